"""A text table ends in its cells, or in a ValueError that names file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from hiclr.data.recordings.sheets import read_sheet
from writers.clips import write_text


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_cells_and_their_lines(tmp_path: Path, delimiter: str) -> None:
    text = '\n a |b\r\n\r\n1| "2\n"\n|\n"x|y"| z z\n'.replace("|", delimiter)
    sheet = read_sheet(write_text(tmp_path / "a.csv", text.replace(' "', '"')))
    assert sheet.rows == (("a", "b"), ("1", "2"), ("", ""), (f"x{delimiter}y", "z z"))
    assert (sheet.delimiter, sheet.lines) == (delimiter, (2, 5, 6, 7))
    assert str(sheet.error(3, "why")) == "a.csv line 7: why"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "a.csv is empty"),
        ("\n \n\t\n", "a.csv is empty"),
        ("a,b\n\n1,2,3\n", "a.csv line 3: expected 2 cells as in line 1, got 3"),
        ("\na,b\n1\n", "a.csv line 3: expected 2 cells as in line 2, got 1"),
        ('a,b\n1,"2\n', "a.csv line 2: unexpected end of data"),
        (b"a,b\n1,\xff\n", "a.csv line 2: no UTF-8 text"),
        ("a,b\n" + "x" * 200_000, "a.csv line 2: field larger than field limit"),
    ],
)
def test_faults_name_the_line(tmp_path: Path, text: str | bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        read_sheet(write_text(tmp_path / "a.csv", text))
