"""Text tables as spreadsheets and programs write them: `.csv` with commas, semicolons or tabs between the cells."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from hiclr.forms import reason


@dataclass(frozen=True)
class Sheet:
    """The cells of a text table.

    Args:
        path: where it lies.
        delimiter: what stands between the cells.
        rows: cells without the blanks around them, as many in each row as in the first; blank lines are dropped.
        lines: for each row the number of its line, as an editor counts.
    """

    path: Path
    delimiter: str
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def error(self, row: int, problem: str) -> ValueError:
        """The sentence for a row."""
        return ValueError(f"{self.path.name} line {self.lines[row]}: {reason(problem)}")


def read_sheet(path: Path) -> Sheet:
    """Reads a text table in UTF-8; a tab, else a semicolon in the first line tells that cells are separated by it.

    Raises:
        ValueError: it is no such text, holds nothing, or a row has more or fewer cells than the first; the sentence
            names file and line.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path.name} line {line}: no UTF-8 text: save it as CSV UTF-8") from None
    first = text.lstrip().partition("\n")[0]
    delimiter = next((sign for sign in "\t;" if sign in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, lines = [], []
    try:
        for cells in reader:
            row = tuple(map(str.strip, cells))
            if len(row) > 1 or any(row):
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise ValueError(f"{path.name} line {reader.line_num}: {error}") from None
    if not rows:
        raise ValueError(f"{path.name} is empty")
    sheet = Sheet(path, delimiter, tuple(rows), tuple(lines))
    for at, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise sheet.error(at, f"expected {len(rows[0])} cells as in line {lines[0]}, got {len(row)}")
    return sheet
