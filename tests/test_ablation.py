"""The paper's tables: every row can be built from a recipe; the verb trains, keeps, goes on and sums up."""

from __future__ import annotations

import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from hiclr.__main__ import main
from hiclr.ablation import FIGURES, PUBLISHED, TABLES, markdown, method_of, summary
from hiclr.cli import comparing
from hiclr.encoders.stgcn import STGCN
from hiclr.losses import branch_weights
from hiclr.methods.base import Learner
from hiclr.methods.hiclr import HiCLR
from hiclr.skeleton import SKELETONS
from hiclr.transforms import RandomMask
from writers.learnable import write_learnable

KINECT = SKELETONS["kinect20"]
RECIPE = partial(
    HiCLR,
    arrangement=["NA"],
    encoder=partial(STGCN, width=1, dropout=0.1),
    queue_size=17,
    temperature=0.2,
    optimizer=partial(torch.optim.SGD, lr=0.05),
)
ROWS = {row.run: row for rows in TABLES.values() for row in rows}


@cache
def learner_of(run: str) -> Learner:
    return method_of(ROWS[run], RECIPE)(KINECT)


# --- the rows -------------------------------------------------------------------------------------


def test_what_defines_a_row_is_not_the_recipes_to_say() -> None:
    odd = partial(
        HiCLR, arrangement=["NA"], consistency_weight=9.0, branch_weights=[1, 2], symmetric=True, distance="squared"
    )
    for run in ROWS:
        changed, plain = (method_of(ROWS[run], method)(KINECT).settings for method in (odd, HiCLR))
        assert changed == plain


def test_crossclr_crosses_though_the_recipe_does_not_mine() -> None:
    learner = method_of(ROWS["CrosSCLR"], partial(HiCLR, mining_start=1.0))(KINECT)
    assert learner.second_stage_start == 0.5


@pytest.mark.parametrize("recipe", [lambda skeleton: HiCLR(skeleton), 3])
def test_a_recipe_that_does_not_tell_its_arguments_is_refused(recipe: Any) -> None:
    with pytest.raises(ValueError, match=r"give a class, or a functools\.partial of one"):
        method_of(ROWS["untrained"], recipe)


@pytest.mark.parametrize("run", ROWS)
def test_every_row_takes_the_recipe_and_its_own_changes(run: str) -> None:
    learner = learner_of(run)
    assert type(learner) is ROWS[run].method
    assert learner.settings["queue_size"] == 17 and learner.settings["temperature"] == 0.2
    assert learner.contrast.query.encoder.settings["dropout"] == 0.1
    assert learner.make_optimizer([torch.nn.Parameter(torch.zeros(1))]).defaults["lr"] == 0.05


def test_rows_with_one_run_are_the_same_training() -> None:
    for rows in TABLES.values():
        for row in rows:
            twin = ROWS[row.run]
            assert (row.method, dict(row.changes), row.trained) == (twin.method, dict(twin.changes), twin.trained)


def test_no_two_rows_of_a_table_are_the_same_training() -> None:
    for rows in TABLES.values():
        trained = [row for row in rows if row.trained]
        settings = {json.dumps(learner_of(row.run).settings) for row in trained}
        assert len(settings) == len(trained) == len({row.name for row in trained})


# method.md, sections 3 and 8
PUBLISHED_ARRANGEMENTS = {
    "SkeletonCLR": (68.3, None, None),
    "HiCLR-BA-NA": (76.8, 1.0, [1.0]),
    "HiCLR-BA-NA-Mask": (77.6, 0.5, [1.0, 1.0]),
    "HiCLR-BA-NA-AdaIN": (77.3, 0.5, [1.0, 1.0]),
    "HiCLR-BA-NA-DAE": (77.2, 0.5, [1.0, 1.0]),
    "HiCLR-BA-NA-DAE-Mask": (77.4, 1.0, [0.5, 0.3, 0.2]),
    "HiCLR-BA-NA-DAE-AdaIN": (77.5, 1.0, [0.5, 0.3, 0.2]),
}


def test_the_seven_arrangements_are_the_published_ones() -> None:
    rows = [row for row in TABLES["arrangements"] if row.trained]
    assert {row.run: row.published for row in rows} == {run: line[0] for run, line in PUBLISHED_ARRANGEMENTS.items()}
    for row in rows[1:]:
        _, consistency_weight, weights = PUBLISHED_ARRANGEMENTS[row.run]
        learner = method_of(row, HiCLR)(KINECT)
        assert isinstance(learner, HiCLR)
        assert learner.consistency_weight == consistency_weight
        assert learner.branch_weights == weights == list(branch_weights(len(learner.views), weights))


def test_ratios_of_the_consistency_table_reach_the_transforms() -> None:
    def steps(run: str) -> str:
        return str(learner_of(run).settings["arrangement"][-1])

    assert "RandomMask(p=1.0, ratio=0.4" in steps("HiCLR-mask0.4")
    assert "DropAddEdges(p=1.0, drop=0.3, add=0.05)" in steps("HiCLR-drop0.3")


def test_what_is_trained_is_made_anew_for_every_run() -> None:
    one, other = (method_of(ROWS["HiCLR-mask0.4"], RECIPE)(KINECT) for _ in range(2))
    masks = [next(part for part in learner.modules() if isinstance(part, RandomMask)) for learner in (one, other)]
    assert masks[0].value is not masks[1].value


# --- the summary ----------------------------------------------------------------------------------


def test_summary_is_mean_and_sample_deviation() -> None:
    runs = pd.DataFrame(
        {
            "row": ["b", "a", "b"],
            **{figure: [10.0, 50.0, 14.0] for figure in FIGURES},
            PUBLISHED: [None, 77.6, None],
        }
    )
    table = summary(runs)
    assert table[""].tolist() == ["b", "a"] and table["seeds"].tolist() == ["2", "1"]
    assert table[FIGURES[0]].tolist() == ["12.0 ± 2.8", "50.0"]
    assert table[PUBLISHED].tolist() == ["", "77.6"]
    assert markdown(table).splitlines()[0] == f"|  | seeds | {' | '.join(FIGURES)} | {PUBLISHED} |"
    assert markdown(table).splitlines()[2] == "| b | 2 | 12.0 ± 2.8 | 12.0 ± 2.8 | 12.0 ± 2.8 |  |"


# --- the verb -------------------------------------------------------------------------------------


def prepare_words() -> list[str]:
    """Writes 48 short clips here; gives an ablation of two rows on them, small enough for a test."""
    for name, root in (("mine", "data"), ("other", "other")):
        write_learnable(Path(f"{name}.npz"))
        main(["prepare", "npz", f"{name}.npz", root, "--frames", "12"])
    Path("tiny.yaml").write_text(
        "data: {batch_size: 12}\nmethod: {class_path: HiCLR, init_args: {queue_size: 16, encoder: "
        "{class_path: STGCN, init_args: {width: 1, init: pytorch}}}}\n",
        encoding="utf-8",
    )
    options = "ablate --config tiny.yaml --data.root data --max_epochs 1 --seeds 3 --out out --table contrast"
    return [*options.split(), "--rows", "SkeletonCLR", "CrosSCLR"]


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return prepare_words()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    place = tmp_path_factory.mktemp("ablation")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        words = prepare_words()
        main(words)
    return place, words


@pytest.fixture
def trained(finished: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The same where it has run already; whoever asks for it leaves it as it is."""
    monkeypatch.chdir(finished[0])
    return finished[1]


def test_ablate_trains_and_writes_tables(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(words)
    said = capsys.readouterr().out
    assert "CrosSCLR, joint encoder" in said.replace("\n", " ") or "CrosSCLR" in said
    runs = pd.read_csv("out/contrast.csv")
    assert runs["run"].tolist() == ["SkeletonCLR", "CrosSCLR"] and runs["seed"].tolist() == [3, 3]
    for run in ("SkeletonCLR", "CrosSCLR"):
        result = json.loads(Path(f"out/{run}-seed3/measured/linear-xsub.json").read_text(encoding="utf-8"))
        line = runs[runs["run"] == run].iloc[0]
        assert line[FIGURES[0]] == result["top1_last_epoch"] and line[FIGURES[1]] == result["top1_best_on_test"]
        assert (result["stream"], result["pretraining"]["seed"]) == ("joint", 3)
    text = Path("out/contrast.md").read_text(encoding="utf-8")
    assert "1 epochs, batches of 12" in text and "| SkeletonCLR: BA | 1 |" in text and "68.3" in text
    assert Path("out/contrast.png").stat().st_size > 10_000


def test_ablate_keeps_finished_runs_and_goes_on(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    main(words)
    before = Path("out/contrast.csv").read_bytes()
    lost = Path("out/CrosSCLR-seed3/measured/knn-xsub.json")  # as if it had been stopped before the last measurement
    lost.unlink()
    trained: list[Path] = []
    pretrain = comparing.pretrain
    monkeypatch.setattr(comparing, "pretrain", lambda *args, **rest: trained.append(args[2]) or pretrain(*args, **rest))
    main(words)
    assert trained == [Path("out/CrosSCLR-seed3")]
    assert Path("out/contrast.csv").read_bytes() == before


def test_what_a_user_measures_beside_does_not_enter_the_table(words: list[str]) -> None:
    main(words)
    before = Path("out/contrast.csv").read_bytes()
    main(
        [
            "linear",
            "--checkpoint",
            "out/SkeletonCLR-seed3",
            "--data.root",
            "data",
            "--epochs",
            "1",
            "--standardize",
            "true",
        ]
    )
    main(["knn", "--checkpoint", "out/SkeletonCLR-seed3", "--data.root", "data", "--k", "5"])
    main(words)
    assert Path("out/contrast.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            "--max_epochs 2",
            "out/SkeletonCLR-seed3 was trained with max_epochs 1, not 2: use the same, or another --out",
        ),
        ("--method.stream bone", "out/SkeletonCLR-seed3 was trained with learner.streams ['joint'], not ['bone']"),
        ("--method.optimizer.lr 0.9", "out/SkeletonCLR-seed3 was trained with learner.optimizer.lr 0.1, not 0.9"),
        ("--data.root other", "out/SkeletonCLR-seed3 was trained with data.corpus mine, not other"),
        ("--data.benchmark null", "evaluation needs a benchmark: choose one of xsub"),
        ("--rows AimCLR Best", "contrast has no row Best: choose among untrained, SkeletonCLR, "),
        ("--seeds 3 3", "seeds must be different numbers, at least one, got [3, 3]"),
        ("--seeds []", "seeds must be different numbers, at least one, got []"),
    ],
)
def test_ablate_refuses(trained: list[str], capsys: pytest.CaptureFixture[str], options: str, sentence: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(trained + options.split())
    assert stopped.value.code == 2 and sentence in capsys.readouterr().err
