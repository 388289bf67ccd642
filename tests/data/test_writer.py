"""Writing a prepared folder: whatever stops it, the end is the same, and what is not ours is left alone."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hiclr.data.folder import PreparedFolder
from hiclr.data.writer import FolderWriter, _npy_header
from hiclr.resources import NoRoomError
from writers.prepared import ABOUT, RECIPE, SEQUENCES, add, table, write_prepared, writer_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_prepared(tmp_path / "prepared")


def bytes_below(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in root.iterdir()}


@pytest.mark.parametrize("count", [0, 1, 56_578, 10**9])
def test_header_is_numpys_for_any_number_of_sequences(tmp_path: Path, count: int) -> None:
    (tmp_path / "header.npy").write_bytes(_npy_header((count, 3, 50, 25, 2)))
    with (tmp_path / "header.npy").open("rb") as file:
        assert np.lib.format.read_magic(file) == (1, 0)
        assert np.lib.format.read_array_header_1_0(file) == ((count, 3, 50, 25, 2), False, np.dtype("<f4"))
        assert file.tell() == 128


def test_nothing_but_the_folder_is_left(root: Path) -> None:
    assert [path.name for path in root.parent.iterdir()] == ["prepared"]


def test_a_kill_leaves_chunks_that_are_taken_up(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    first = writer_of(out)
    with first.locked():
        first.start()
        add(first, 2)
        first.write(0, np.ones((3, *SEQUENCES.shape[1:]), np.float32))  # killed before it was noted
    with (tmp_path / "killed.partial" / "progress.jsonl").open("ab") as progress:
        progress.write(b"[0, 3, ")
    second = writer_of(out)
    assert not second.is_done() and second.is_begun()
    with second.locked():
        assert second.start() == ["going on with killed.partial: 3 sequences are there"]
        assert second.notes == {2: "chunk 2"}
        add(second, 0)
        add(second, 1)
        second.finish(table(), ABOUT)
    assert second.is_done() and not second.is_begun()
    assert bytes_below(out) == bytes_below(root)


@pytest.mark.parametrize("damage", ["recipe", "array lost", "array short", "notes garbled", "notes of others"])
def test_chunks_that_do_not_fit_are_begun_anew(tmp_path: Path, damage: str) -> None:
    first = writer_of(tmp_path / "out", **({"frames": 5} if damage == "recipe" else {}))
    with first.locked():
        first.start()
        add(first, 0)
    partial = tmp_path / "out.partial"
    if damage == "array lost":
        (partial / "new" / "sequences.npy").unlink()
    if damage == "array short":
        os.truncate(partial / "new" / "sequences.npy", 1000)
    if damage == "notes garbled":
        (partial / "progress.jsonl").write_bytes(b"\x00\x00\n")
    if damage == "notes of others":
        (partial / "progress.jsonl").write_bytes(b"null\n5\n")
    writer = writer_of(tmp_path / "out")
    with writer.locked():
        said = writer.start()
        assert said == (
            ["out.partial was begun from another source or with other options: starting anew"] * (damage == "recipe")
        )
        assert writer.notes == {}
        for chunk in range(3):
            add(writer, chunk)
        writer.finish(table(), ABOUT)
    np.testing.assert_array_equal(PreparedFolder.open(tmp_path / "out").sequences, SEQUENCES)


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    holds, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with writer_of(tmp_path / "out").locked():
            holds.set()
            let_go.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    try:
        assert holds.wait(30)
        with (
            pytest.raises(ValueError, match=r"another hiclr prepare is making .*out"),
            writer_of(tmp_path / "out").locked(),
        ):
            pass
    finally:
        let_go.set()
        other.join()
    with writer_of(tmp_path / "out").locked():
        pass


def test_a_lock_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "lock").symlink_to(tmp_path / "nowhere" / "lock")
    with pytest.raises(OSError, match=r"out\.partial"):
        writer_of(tmp_path / "out").locked().__enter__()


def test_a_full_disk_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    writer = writer_of(tmp_path / "out")
    with pytest.raises(NoRoomError, match=r"out.sequences.npy cannot be written, the disk is full"), writer.locked():
        writer.start()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_is_not_filled_to_see_whether_it_has_room(tmp_path: Path) -> None:
    writer = FolderWriter(tmp_path / "out", RECIPE, (3, 10**18, 25, 2), rows=9, chunk=3)
    with pytest.raises(NoRoomError, match=r"out needs 5400 EB on disk, only .* make room, or choose"), writer.locked():
        writer.start()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["link", "link/out"])
def test_a_link_to_itself_is_no_place(tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to("link")
    writer = writer_of(tmp_path / name)
    with pytest.raises((ValueError, OSError), match=r"choose another place"):
        assert not writer.is_done()
        with writer.locked():
            pass


def test_ends_of_lines_in_names_come_back(tmp_path: Path) -> None:
    rows = table().assign(name=["a\rb", "a\nb", "a\r\nb", '"', "c,d"])
    folder = PreparedFolder.open(write_prepared(tmp_path / "out", samples=rows))
    pd.testing.assert_frame_equal(folder.samples, rows)


def test_a_file_system_that_reserves_nothing_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "posix_fallocate", unknown, raising=False)
    np.testing.assert_array_equal(PreparedFolder.open(write_prepared(tmp_path / "out")).sequences, SEQUENCES)


def test_a_folder_of_another_recipe_is_replaced_only_when_told(root: Path) -> None:
    writer = writer_of(root, frames=5)
    with pytest.raises(ValueError, match=r"other options \(frames 4, now 5\): choose another place, or .* overwrite"):
        writer.is_done()
    assert not writer_of(root, overwrite=True, frames=5).is_done()
    assert writer_of(root).is_done()


def test_a_broken_folder_is_replaced_only_when_told(root: Path) -> None:
    (root / "samples.csv").unlink()
    writer = writer_of(root)
    with pytest.raises(ValueError, match=r"half-written .*overwrite"):
        writer.is_done()
    assert not writer_of(root, overwrite=True).is_done()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_not_ours_is_never_replaced(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "thesis"
    if kind == "folder":
        out.mkdir()
        (out / "chapter1.tex").touch()
    else:
        out.touch()
    with pytest.raises(ValueError, match="holds other things than a prepared folder"):
        writer_of(out, overwrite=True).is_done()


def test_a_partial_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "chapter1.tex").touch()
    with pytest.raises(ValueError, match="move it away"), writer_of(tmp_path / "out").locked():
        pass
    assert (tmp_path / "out.partial" / "chapter1.tex").exists()


def test_an_empty_folder_may_be_filled_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    write_prepared(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert len(PreparedFolder.open(tmp_path / "elsewhere").samples) == 5


def test_no_rows_left_out_no_second_copy(tmp_path: Path) -> None:
    writer = writer_of(tmp_path / "out")
    whole = np.ones((3, *SEQUENCES.shape[1:]), np.float32)
    with writer.locked():
        writer.start()
        for chunk in range(3):
            writer.write(chunk, whole)
            writer.note(chunk, 3, None)
        inode = (tmp_path / "out.partial" / "new" / "sequences.npy").stat().st_ino
        rows = table().iloc[[0] * 9].assign(name=[str(i) for i in range(9)])
        writer.finish(rows, ABOUT)
    assert (tmp_path / "out" / "sequences.npy").stat().st_ino == inode


def test_what_comes_there_meanwhile_is_left_alone(tmp_path: Path) -> None:
    for overwrite in (False, True):
        writer = writer_of(tmp_path / "out", overwrite=overwrite)
        with writer.locked():
            writer.start()
            for chunk in range(3):
                add(writer, chunk)
            (tmp_path / "out").mkdir(exist_ok=True)
            (tmp_path / "out" / "chapter1.tex").touch()
            with pytest.raises(ValueError, match="holds other things than a prepared folder"):
                writer.finish(table(), ABOUT)
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["chapter1.tex"]
    (tmp_path / "out" / "chapter1.tex").unlink()
    writer = writer_of(tmp_path / "out")
    with writer.locked():
        assert "5 sequences are there" in writer.start()[0]
        writer.finish(table(), ABOUT)
    assert len(PreparedFolder.open(tmp_path / "out").samples) == 5


def test_names_that_are_no_text_do_not_lose_the_work(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    root = write_prepared(
        tmp_path / "out", ABOUT | {"notes": [odd]}, table().assign(name=pd.Series([odd, *"bcde"], dtype=object))
    )
    folder = PreparedFolder.open(root)
    assert [folder.samples["name"][0], *folder.about["notes"]] == ["caf\\udce9"] * 2


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs fork")
def test_many_at_once_end_with_one_folder(tmp_path: Path) -> None:
    def make() -> None:
        writer = writer_of(tmp_path / "out")
        while not writer.is_done():
            with suppress(ValueError), writer.locked():  # on a slow machine the others may keep it for a while
                if writer.is_done():
                    writer.abandon()
                    return
                writer.start()
                for chunk in range(3):
                    add(writer, chunk)
                writer.finish(table(), ABOUT)

    for _ in range(5):
        processes = [get_context("fork").Process(target=make) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * 4
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
        PreparedFolder.open(tmp_path / "out")
        shutil.rmtree(tmp_path / "out")
