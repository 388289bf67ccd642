"""What the page shows of single sequences: a map of the features, neighbours, right and wrong answers, views."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import Tensor
from torch.nn.functional import normalize

from hiclr.data.folder import PreparedFolder
from hiclr.evaluation import Scores
from hiclr.player import from_prepared, layout, packed
from hiclr.reporting.gathering import Result
from hiclr.reporting.views import drawn_views

Part = dict[str, Any]
Rows = NDArray[np.int64]
Features = Callable[[Rows, str], Tensor]  # of rows of the prepared folder (N, D), and what they are for

_ROOM = 4_000_000  # characters of the page that sequences may take: plotly takes 5 of its 10 million
_FEWEST = 8  # frames in which a movement can still be seen
_SECONDS = 3  # that a prepared sequence is played for: how long it was is not kept
_WRONG, _RIGHT, _QUERIES = 12, 8, 12  # answers listed; queries whose neighbours are shown
_STYLES = 7  # other sequences that lend their style to a view
_BANK = 10_000  # training sequences searched for neighbours


def look(
    result: Result,
    folder: PreparedFolder,
    features: Features,
    learner: Mapping[str, Any],
    sequences: int,
    neighbours: int,
    seed: int,
) -> Part:
    """All parts of the page that show sequences; one that cannot be made says why, under "missing".

    Args:
        result: whose answers are shown.
        folder: the prepared folder that it was measured on.
        features: of some rows, by the encoder; may raise ValueError or FileNotFoundError.
        learner: the settings of the method, for its views.
        sequences: of the test side, on the map.
        neighbours: shown of each query.
        seed: of what is drawn.

    Raises:
        ValueError: so many sequences do not fit.
    """
    table = _answers(result, folder)
    answered = "probability" in table
    listed = _listed(table, seed) if answered else {}
    forced = [row for rows in listed.values() for row in rows]
    _check_room(folder, sequences)
    shown = _with_forced(stratified(table["label"].to_numpy(), sequences, seed), table.index.to_numpy(), forced)
    examples = table.loc[shown].assign(row=shown)
    parts: Part = {"features": {}, "neighbours": {}}
    also: list[int] = []
    try:
        found = features(examples["row"].to_numpy(), "Features of the map")
        coordinates, explained = _map(found, seed)
        for name, places in coordinates.items():
            examples[name] = list(places.tolist())
        parts["features"] = {"kinds": list(coordinates), "explained": explained}
        parts["neighbours"], also = _gallery(result, folder, features, examples, found, neighbours, seed)
    except (ValueError, OSError) as error:
        parts = {"features": {"missing": str(error)}, "neighbours": {"missing": str(error)}}
    pool = dict.fromkeys([*examples["row"].tolist(), *also])
    frames = _frames_that_fit(folder, np.array(list(pool)))
    return {
        **parts,
        "layout": layout(folder.skeleton),
        "fps": max(2, round(frames / _SECONDS)),
        "frames": frames,
        "test_sequences": len(table),
        "sequences": {str(row): _packed(folder, row, frames) for row in pool},
        "examples": examples.replace({np.nan: None}).to_dict("records"),
        "answers": {name: [int(row) for row in rows] for name, rows in listed.items()}
        if answered
        else {"missing": table.attrs["missing"]},
        "views": _views(folder, examples, learner, seed),
    }


# --- choosing -------------------------------------------------------------------------------------


def stratified(labels: NDArray[Any], count: int, seed: int) -> Rows:
    """Places of up to `count` of labels (N,), drawn so that no class has more than one above another that has some."""
    drawn = np.random.default_rng(seed).permutation(len(labels))
    turn = pd.Series(labels[drawn]).groupby(labels[drawn]).cumcount().to_numpy()
    return np.sort(drawn[np.argsort(turn, kind="stable")[:count]])


def _with_forced(places: Rows, rows: Rows, forced: Sequence[int]) -> list[int]:
    return sorted({*rows[places].tolist(), *forced})


def _answers(result: Result, folder: PreparedFolder) -> pd.DataFrame:
    """The test side, a line a sequence, by its row in the folder, with answers and probabilities if they are kept."""
    benchmark = str(result.facts["data"]["benchmark"])
    rows = folder.indices(benchmark, "test")
    table = folder.samples.iloc[rows][["name", "label"]].set_axis(rows)
    try:
        scores = result.scores()
    except (OSError, ValueError) as error:
        table.attrs["missing"] = str(error)
        return table
    place = {name: at for at, name in enumerate(scores.names)}
    order = [place.get(name, -1) for name in table["name"]]
    if -1 in order or scores.labels[order].tolist() != table["label"].tolist():
        table.attrs["missing"] = f"the scores beside {result.path} are of other sequences"
        return table
    chances = probabilities(scores, result.protocol)[order]
    best = chances.max(1)
    return table.assign(predicted=best.indices.numpy(), probability=best.values.double().numpy().round(4))


def probabilities(scores: Scores, protocol: str) -> Tensor:
    """(N, L): of neighbours, their shares of the votes; of others, the softmax of the scores."""
    if protocol == "knn":
        return scores.scores / scores.scores.sum(1, keepdim=True)
    return scores.scores.softmax(1)


def _listed(table: pd.DataFrame, seed: int) -> dict[str, list[int]]:
    """The surest of the wrong answers, and some of the right ones."""
    right = table["predicted"] == table["label"]
    wrong = table[~right].sort_values("probability", ascending=False, kind="stable").index[:_WRONG]
    good = table[right].index.to_numpy()
    drawn = good[stratified(table.loc[good, "label"].to_numpy(), _RIGHT, seed)] if len(good) else good
    return {"wrong": wrong.tolist(), "right": drawn.tolist()}


# --- features -------------------------------------------------------------------------------------


def _map(features: Tensor, seed: int) -> tuple[dict[str, NDArray[np.float64]], list[float]]:
    """Places in the plane (N, 2), by what made them; and the shares of the variance on the axes of PCA, in per cent."""
    if len(features) < 3:
        raise ValueError(f"a map needs at least 3 sequences, there are {len(features)}")
    unit = normalize(features).double().numpy()
    pca = PCA(2, random_state=seed, svd_solver="full")
    flat = pca.fit_transform(unit)
    places = {"pca": flat}
    if len(unit) >= 10:
        perplexity = min(30.0, (len(unit) - 1) / 3)
        places["tsne"] = TSNE(2, perplexity=perplexity, init=flat * 1e-4, random_state=seed).fit_transform(unit)
    explained = [round(100 * float(share), 1) for share in np.nan_to_num(pca.explained_variance_ratio_)]
    return {name: _even(place) for name, place in places.items()}, explained


def _even(places: NDArray[Any]) -> NDArray[np.float64]:
    """Within -1 and 1, three decimals: a page of text carries them."""
    centred = np.asarray(places - places.mean(0), dtype=np.float64)
    return np.asarray(np.round(centred / max(float(np.abs(centred).max()), 1e-12), 3))


def _gallery(
    result: Result,
    folder: PreparedFolder,
    features: Features,
    examples: pd.DataFrame,
    found: Tensor,
    neighbours: int,
    seed: int,
) -> tuple[Part, list[int]]:
    """Queries among the examples with their nearest training sequences, and the rows of those."""
    train = folder.indices(str(result.facts["data"]["benchmark"]), "train")
    labels = folder.samples["label"].to_numpy("int64")
    bank = train[stratified(labels[train], _BANK, seed)]
    known = normalize(features(bank, "Features to search for neighbours"))
    cosine, nearest = (normalize(found) @ known.T).topk(min(neighbours, len(bank)), dim=1)
    near = bank[nearest.numpy()]
    own = examples["label"].to_numpy()
    hit = labels[near[:, 0]] == own
    queries: list[int] = []
    for places in (np.flatnonzero(hit), np.flatnonzero(~hit)):
        if len(places):
            queries += places[stratified(own[places], _QUERIES // 2, seed)].tolist()
    names = folder.samples["name"]
    rows = examples["row"].to_numpy()
    gallery: list[Part] = [
        {
            "row": int(rows[at]),
            "neighbours": [
                {"row": int(row), "name": str(names.iloc[row]), "label": int(labels[row]), "cosine": round(float(c), 3)}
                for row, c in zip(near[at], cosine[at], strict=True)
            ],
        }
        for at in queries
    ]
    said = {"queries": gallery, "searched": len(bank), "training": len(train), "first_right": 100 * float(hit.mean())}
    return said, [one["row"] for query in gallery for one in query["neighbours"]]


# --- sequences ------------------------------------------------------------------------------------


def _check_room(folder: PreparedFolder, sequences: int) -> None:
    if sequences < 3:
        raise ValueError(f"sequences must be at least 3, got {sequences}")
    rows = np.arange(len(folder.samples))
    most = _ROOM * len(rows) // (_FEWEST * _characters(folder, rows)) - _WRONG - _RIGHT - 8 * _QUERIES
    if sequences > most:
        raise ValueError(f"{sequences} sequences do not fit on one page: set --sequences to at most {most}")


def _characters(folder: PreparedFolder, rows: Rows) -> int:
    """That one frame of each of some sequences takes on the page: base64 of two bytes a coordinate."""
    bodies = folder.samples["bodies"].to_numpy("int64")[rows].clip(1, folder.sequences.shape[4])
    return 8 * int(folder.sequences.shape[3]) * int(bodies.sum())


def _frames_that_fit(folder: PreparedFolder, rows: Rows) -> int:
    return int(min(folder.sequences.shape[2], max(_FEWEST, _ROOM // _characters(folder, rows))))


def _packed(folder: PreparedFolder, row: int, frames: int) -> Part:
    """A sequence of the folder for the player, with fewer frames where the page is short of room."""
    sample = folder.samples.iloc[row]
    x = folder.sequences[row]
    steps = np.linspace(0, x.shape[1] - 1, min(frames, x.shape[1])).round().astype(np.int64)
    title = folder.class_names[int(sample["label"])]
    return packed(
        from_prepared(x[:, steps], folder.skeleton.centre_joint),
        title,
        str(sample["name"]),
        str(row),
        folder.skeleton.centre_joint,
    )


def _views(folder: PreparedFolder, examples: pd.DataFrame, learner: Mapping[str, Any], seed: int) -> Part:
    """One lively sequence under the views that the method trains on."""
    rows = examples["row"].to_numpy()
    alone = rows[folder.samples["bodies"].to_numpy()[rows] == 1]
    rows = alone if len(alone) else rows
    movement = np.array([np.asarray(np.diff(folder.sequences[row], axis=1)).std() for row in rows])
    row = int(rows[np.argsort(movement, kind="stable")[int(0.9 * (len(rows) - 1))]])
    x = torch.from_numpy(folder.sequences[[row, *rows[rows != row][:_STYLES]]])
    try:
        for draw in range(seed, seed + 20):  # one that flattens no view shows more
            views = drawn_views(x, learner, folder.skeleton, draw)
            if all((np.ptp(view, axis=(1, 2, 3)) > 0).all() for view in views.values()):
                break
    except ValueError as error:
        return {"missing": str(error)}
    centre = folder.skeleton.centre_joint
    said = {
        "name": str(folder.samples["name"].iloc[row]),
        "title": folder.class_names[folder.samples["label"].iloc[row]],
    }
    return {
        **said,
        "sequences": [packed(from_prepared(view, centre), name, centre=centre) for name, view in views.items()],
    }
