"""Names from files: none leaves the output folder, steers the terminal, or becomes part of another file's name."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.table import Table

from hiclr.__main__ import main
from hiclr.data.folder import PreparedFolder
from hiclr.data.opening import open_corpus
from hiclr.forms import is_file_name, printable
from hiclr.provenance import write_json
from hiclr.screen import Screen
from writers.prepared import ABOUT, table, write_prepared
from writers.ragged import ragged_arrays, write_ragged

STEERING = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\u202ewalk"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "/x", "a/b", "a\\b", "a\0b", "a\nb", "\x1b[2J", "x" * 101, "\u202ex"]
)
def test_no_benchmark_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    assert not is_file_name(name)
    with pytest.raises(ValueError, match="cannot be part of a file's name: rename it"):
        PreparedFolder.open(write_prepared(tmp_path / "p", {**ABOUT, "benchmarks": [name]}, table()))


@pytest.mark.parametrize("name", ["xsub", "cross-subject", "fold 1", "übung", "受試者", "a.b"])
def test_plain_names_may_be_part_of_a_files_name(name: str) -> None:
    assert is_file_name(name)


def test_a_benchmark_of_raw_data_is_looked_at_before_it_is_prepared(tmp_path: Path) -> None:
    arrays = ragged_arrays()
    split = next(key for key in arrays if key.startswith("split_"))
    path = write_ragged(tmp_path / "mine.npz", {**arrays, "split_..": arrays[split]})
    with pytest.raises(ValueError, match=r"'\.\.' cannot be part of a file's name"):
        open_corpus(path)


def test_what_steers_a_terminal_becomes_a_question_mark() -> None:
    assert printable(STEERING) == "?]0;owned??[2J?31m??walk"
    assert printable("put on a hat/cap, Übung 受\n\t") == "put on a hat/cap, Übung 受\n\t"


def test_tables_and_sentences_on_the_screen_steer_nothing() -> None:
    written = io.StringIO()
    screen = Screen(file=written, force_terminal=True, color_system=None, width=100)
    cells = Table("name")
    cells.add_row(STEERING)
    screen.print(cells)
    screen.print(STEERING, markup=False)
    assert "owned" in written.getvalue() and not set("\x1b\x07\x9b\r\u202e") & set(written.getvalue())


def test_a_name_in_a_failure_steers_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_prepared(Path("p"), ABOUT, table().assign(name=STEERING, label=9))
    with pytest.raises(SystemExit) as stopped:
        main(["view", "p"])
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and "owned" in said and said.strip().isprintable()


def test_a_link_in_an_output_folder_is_not_written_through(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    for name in ("a.json", "a.json.partial"):
        (out / name).symlink_to(precious)
    write_json(out / "a.json", {"b": 1})
    assert precious.read_text() == "mine"
    assert not (out / "a.json").is_symlink() and json.loads((out / "a.json").read_text()) == {"b": 1}
