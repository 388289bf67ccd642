"""The whole examination, and what is shown of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from hiclr.data import corpora
from hiclr.data.doctor import Diagnosis, Finding, examine
from hiclr.data.prepare import prepare
from writers import SMALL
from writers.people import person
from writers.prepared import write_prepared
from writers.ragged import write_ragged


def quietly(path: Path, **options: Any) -> Diagnosis:
    return examine(path, processes=1, progress=False, **options)


def arrays_of(size: int = 40, frames: int = 30) -> dict[str, Any]:
    clips = [person(frames, seed=seed) for seed in range(size)]
    rows = np.arange(size)
    return {
        "frames": np.concatenate(clips),
        "offsets": np.arange(size + 1) * frames,
        "label": rows // 4 % 2,
        "subject": 1 + rows % 4,
        "class_names": np.array(["walk", "[bold]sit[/bold]"]),
        "split_xsub": 1 - rows % 2,
    }


def shown(diagnosis: Diagnosis, width: int = 100) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        diagnosis.print(console)
    return capture.get()


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return write_ragged(tmp_path / "mine.npz", arrays_of())


@pytest.mark.parametrize("kind", sorted(set(SMALL) & set(corpora.__all__)))
def test_every_corpus_can_be_examined(kind: str, tmp_path: Path) -> None:
    arguments = SMALL[kind](tmp_path)
    diagnosis = quietly(Path(arguments.pop("raw")), options=arguments)
    assert diagnosis.kind == kind and diagnosis.corpus
    assert json.loads(json.dumps(diagnosis.to_dict())) == diagnosis.to_dict()
    assert shown(diagnosis) and diagnosis.next


def test_what_is_said_of_clean_data(mine: Path) -> None:
    diagnosis = quietly(mine)
    assert not diagnosis.spoils and diagnosis.findings == ()
    assert diagnosis.next == (f"Prepare it: hiclr prepare npz {mine} data/mine",)
    said = diagnosis.to_dict()
    assert list(said) == [
        *("schema", "path", "kind", "options", "spoils", "corpus", "counts", "findings", "notes", "next")
    ]
    assert said["corpus"] == {
        "name": "mine",
        "synthetic": False,
        "skeleton": "ntu25",
        "joints": 25,
        "bodies": 1,
        "recordings": 40,
        "usable": 40,
        "frames": {"min": 30, "median": 30.0, "max": 30},
    }
    assert said["counts"] == {
        "class": [{"label": 0, "name": "walk", "count": 20}, {"label": 1, "name": "[bold]sit[/bold]", "count": 20}],
        "subject": [{"value": subject, "count": 10} for subject in (1, 2, 3, 4)],
        "camera": [],
        "setup": [],
        "benchmark": [
            {
                "name": "xsub",
                "train": 20,
                "test": 20,
                "unused": 0,
                "published": None,
                "classes": [2, 2],
                "subjects": [2, 2],
            }
        ],
    }


def test_counts_are_of_what_can_be_used(tmp_path: Path) -> None:
    arrays = arrays_of()
    arrays["frames"][:120] = np.nan  # rows 0 to 3
    arrays["split_xsub"][39] = -1
    diagnosis = quietly(write_ragged(tmp_path / "mine.npz", arrays))
    assert diagnosis.spoils
    assert diagnosis.corpus["recordings"] == 40 and diagnosis.corpus["usable"] == 36
    assert [one["count"] for one in diagnosis.counts["class"]] == [16, 20]
    assert [one["count"] for one in diagnosis.counts["subject"]] == [9, 9, 9, 9]
    (xsub,) = diagnosis.counts["benchmark"]
    assert (xsub["train"], xsub["test"], xsub["unused"]) == (18, 17, 1)


def test_raw_and_prepared_are_judged_alike(tmp_path: Path) -> None:
    arrays = arrays_of()
    arrays["frames"][30:60] = arrays["frames"][:30]  # on both sides
    arrays["frames"][90:120] = arrays["frames"][90]  # frozen
    arrays["frames"][120:130, 0, 3] += 0.8  # a third of the frames
    raw = write_ragged(tmp_path / "mine.npz", arrays)
    folder = prepare(corpora.npz(raw), tmp_path / "out", progress=False, processes=1)
    for diagnosis in (quietly(raw), quietly(folder.root)):
        assert diagnosis.spoils
        assert [(one.what, one.severity, one.names) for one in diagnosis.findings] == [
            ("duplicates across train and test of xsub", "spoils", ("000000 = 000001",)),
            ("frozen: no movement in 15 frames or at all", "look", ("000003",)),
            ("impossible bone lengths in over 20% of the frames", "look", ("000004",)),
        ]
    raw_counts, counts = quietly(raw).counts, quietly(folder.root).counts
    assert raw_counts == counts


def test_a_prepared_folder_says_what_was_left_out(tmp_path: Path) -> None:
    arrays = arrays_of()
    arrays["frames"][30:60] = np.nan
    arrays["frames"][95] = 0
    raw = write_ragged(tmp_path / "mine.npz", arrays)
    folder = prepare(corpora.npz(raw), tmp_path / "out", progress=False, processes=1)
    diagnosis = quietly(folder.root)
    (finding,) = diagnosis.findings
    assert (finding.what, finding.count, finding.severity) == ("left out when it was prepared", 1, "look")  # 1 of 40
    assert finding.names[0].startswith("000001: NaN")
    assert any("frames without the first body in 1 of the sequences" in note for note in diagnosis.notes)


def test_the_next_step_of_clean_prepared_data(mine: Path, tmp_path: Path) -> None:
    folder = prepare(corpora.npz(mine), tmp_path / "my out", progress=False, processes=1)
    diagnosis = quietly(folder.root)
    assert diagnosis.findings == ()
    assert diagnosis.next == (f"Train: hiclr pretrain --config recipes/small.yaml --data.root '{folder.root}'",)


@pytest.mark.parametrize("damage", ["cut", "half", "about"])
def test_what_cannot_be_opened_is_a_finding(tmp_path: Path, damage: str) -> None:
    root = write_prepared(tmp_path / "out")
    if damage == "cut":
        data = (root / "sequences.npy").read_bytes()
        (root / "sequences.npy").write_bytes(data[:-100])
    if damage == "half":
        (root / "about.json").unlink()
    if damage == "about":
        (root / "about.json").write_text("{")
    diagnosis = quietly(root)
    (finding,) = diagnosis.findings
    assert diagnosis.spoils and finding.what.startswith("cannot be used: ")
    assert "--overwrite true" in diagnosis.next[0]
    said = diagnosis.to_dict()
    assert said["corpus"] == {} and said["counts"] == {} and json.dumps(said)
    assert "spoil" in shown(diagnosis)


def test_nothing_usable_is_a_diagnosis_too(tmp_path: Path) -> None:
    arrays = arrays_of()
    arrays["frames"][:] = np.nan
    diagnosis = quietly(write_ragged(tmp_path / "mine.npz", arrays))
    assert diagnosis.spoils and diagnosis.corpus["usable"] == 0 and diagnosis.corpus["frames"] is None
    assert {"NaN (or an empty cell), or coordinates beyond 1,000,000 m", "xsub: no train sequences"} < {
        finding.what for finding in diagnosis.findings
    }
    assert json.dumps(diagnosis.to_dict()) and shown(diagnosis)


def test_the_worst_comes_first_and_no_more_than_three_things_follow(tmp_path: Path) -> None:
    arrays = arrays_of()
    arrays["frames"][30:60] = arrays["frames"][:30]
    arrays["frames"][60:180] = np.nan
    arrays["frames"][180:210] = arrays["frames"][180]
    arrays["subject"][:] = 1
    diagnosis = quietly(write_ragged(tmp_path / "mine.npz", arrays))
    severities = [finding.severity for finding in diagnosis.findings]
    assert severities == ["spoils", "spoils", "spoils", "look"]
    assert diagnosis.next == tuple(finding.advice for finding in diagnosis.findings[:3])


def test_kind_and_options_override(mine: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        quietly(mine, kind="nonsense")
    with pytest.raises(ValueError, match="npz has no option 'table'"):
        quietly(mine, options={"table": "x.csv"})
    with pytest.raises(FileNotFoundError):
        quietly(tmp_path / "nowhere")
    assert quietly(mine.rename(tmp_path / "mine.dat"), kind="npz").corpus["usable"] == 40


def test_commands_repeat_the_options(tmp_path: Path) -> None:
    root = tmp_path / "my clips"
    root.mkdir()
    for row in range(4):
        np.save(root / f"{row}.npy", person(9, seed=row)[:, 0] * [1, -1, -1])
    table = tmp_path / "table.csv"
    table.write_text("name,label,subject\n0,walk,1\n1,sit,1\n2,walk,2\n3,sit,2\n")
    diagnosis = quietly(root, options={"up": "-y", "split_by": "subject"})  # the table is found
    said = f"hiclr prepare clips '{root}' 'data/my clips' --up=-y --split_by=subject '--table={table}'"
    assert diagnosis.next[0].replace("'", "") == f"Prepare it: {said}".replace("'", "")
    assert f"'{root}'" in diagnosis.next[0]


# --- the screen -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 120])
def test_it_fits_the_screen_and_commands_stay_whole(tmp_path: Path, width: int) -> None:
    arrays = arrays_of()
    arrays["frames"][30:300] = np.tile(arrays["frames"][:30], (9, 1, 1, 1))
    arrays["name"] = np.array([f"recording number {row} of mine" for row in range(40)])
    raw = write_ragged(tmp_path / "mine.npz", arrays)
    text = shown(quietly(raw), width)
    table = text[: text.index("Something here would spoil a result.")].splitlines()
    assert max(len(line) for line in table[3:]) <= width  # below the head, which names the path
    diagnosis = quietly(write_ragged(tmp_path / "clean.npz", arrays_of()))
    assert diagnosis.next[0] in shown(diagnosis, width)


def test_names_are_no_markup_and_long_lists_are_shortened(tmp_path: Path) -> None:
    arrays = arrays_of()
    arrays["label"][:4] = 1
    text = shown(quietly(write_ragged(tmp_path / "mine.npz", arrays)))
    assert "16 (walk)" in text and "24 ([bold]sit[/bold])" in text
    names = tuple(f"[red]{row}[/red]" for row in range(9))
    text = shown(Diagnosis(tmp_path, "npz", (Finding("many", 9, "look", names, "nothing"),), ()))
    assert "[red]0[/red]; [red]1[/red]; [red]2[/red] and 6 more" in text


def test_subjects_may_have_names(mine: Path, tmp_path: Path) -> None:
    folder = prepare(corpora.npz(mine), tmp_path / "out", progress=False, processes=1)
    table = pd.read_csv(folder.root / "samples.csv", dtype={"name": str})
    table["subject"] = table["subject"].map({1: "anna", 2: "ben", 3: "chloé", 4: "dai"})
    table.to_csv(folder.root / "samples.csv", index=False)
    diagnosis = quietly(folder.root)
    assert diagnosis.findings == ()
    assert [one["value"] for one in diagnosis.counts["subject"]] == ["anna", "ben", "chloé", "dai"]
