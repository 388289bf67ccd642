"""The fuzz targets read their seeds and refuse what is empty or damaged; atheris, which only `drive` needs, or not."""

from __future__ import annotations

import random
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from fuzz.containers import from_zip, to_zip
from fuzz.judge import Finding, check_refusal, watched
from fuzz.readers import READERS, Target

ROOM = Path(__file__).parents[1] / "fuzz"
TELLS = ("ntu", "pku", "nwucla", "mat")  # folders are opened all the same, and what is wrong in them is said

every_reader = pytest.mark.parametrize("name", READERS)


@every_reader
def test_seeds_are_read_and_damage_is_refused_or_read(tmp_path: Path, name: str) -> None:
    target, chance = Target(READERS[name], tmp_path / "true"), random.Random(0)
    seeds = target.seeds()
    for seed in seeds:
        assert target(seed) is None
    refused = 0
    for seed in seeds:
        at = chance.randrange(1, len(seed))
        for damage in (seed[:1], seed[:at], seed[:at] + b"\xff" + seed[at + 1 :]):
            refused += target(damage) is not None  # a Finding would end the test
        assert target(seed) is None  # the folder is true again
    assert refused or name in TELLS


@pytest.mark.parametrize(
    ("error", "finding"),
    [
        (KeyError("mine.npy"), "KeyError, which no caller expects"),
        (RecursionError("mine.npy"), "RecursionError, which no caller expects"),
        (ValueError(" "), "without a reason"),
        (ValueError("mine.npy\nis wrong"), "more than one line"),
        (ValueError("mine.npy " + "x" * 500), "more than 500 characters"),
        (ValueError("it is wrong"), "does not say which file"),
    ],
)
def test_a_bad_refusal_is_a_finding(error: Exception, finding: str) -> None:
    with pytest.raises(Finding, match=finding):
        check_refusal(error, ("mine.npy",))


def test_a_sentence_with_the_file_is_none() -> None:
    check_refusal(ValueError("mine.npy is cut"), ("mine.npy",))
    check_refusal(FileNotFoundError(2, "gone", "mine.npy"), ("mine.npy",))


@pytest.mark.parametrize("what", ["write", "run", "remove"])
def test_what_a_reader_must_not_touch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("here")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    deeds: dict[str, Any] = {
        "write": lambda: victim.write_text("gone"),
        "run": lambda: subprocess.run(["rm", victim], check=True),
        "remove": victim.unlink,
    }
    with pytest.raises(Finding, match="it tried"), watched():
        deeds[what]()
    assert victim.read_text() == "here"
    with watched(), tempfile.TemporaryFile() as own:
        own.write(b"allowed")
    victim.unlink()  # nobody looks any more


def test_entries_of_a_zip_come_back() -> None:
    packed = to_zip(b"a\n\x02\x00\x00\x00xyb/c\n\x00\x00\x00\x00")
    assert from_zip(packed) == b"a\n\x02\x00\x00\x00xyb/c\n\x00\x00\x00\x00"
    assert from_zip(to_zip(b"cut\n\xff\xff\xff\x7fxy")) == b"cut\n\x02\x00\x00\x00xy"


def test_atheris_is_needed_to_drive_alone() -> None:
    sources = {path.name: path.read_text() for path in ROOM.glob("*.py")}
    assert [name for name, text in sources.items() if "import atheris" in text] == ["drive.py"]
    assert not [name for name, text in sources.items() if "fuzz.drive import" in text]


def test_the_makefile_starts_the_runner() -> None:
    makefile = (ROOM.parent / "Makefile").read_text()
    assert re.search(r"-m fuzz\.run --reader \$\(READER\) --seconds \$\(SECONDS\)", makefile)
