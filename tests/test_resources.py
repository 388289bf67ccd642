"""Disk and memory: what is there, and the sentence where it is not enough."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hiclr import resources
from hiclr.data import writer
from hiclr.data.corpora import ntu60
from hiclr.data.prepare import prepare
from hiclr.provenance import write_whole
from hiclr.resources import Needs, NoRoomError, available_memory, check_disk, free_disk, in_words, room_for
from writers.ntu import write_person

ROOM = 20 << 20


@pytest.mark.parametrize(
    ("size", "words"),
    [
        *[(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (9_940, "9.9 kB"), (9_950, "10 kB")],
        *[(999_499, "999 kB"), (999_500, "1.0 MB"), (3.2e9, "3.2 GB"), (120e9, "120 GB"), (5.4e21, "5400 EB")],
    ],
)
def test_sizes_in_two_or_three_digits(size: float, words: str) -> None:
    assert in_words(size) == words


# --- disk -------------------------------------------------------------------------------------------------------------


def test_free_disk_is_that_of_the_nearest_folder_there_is(tmp_path: Path) -> None:
    there = shutil.disk_usage(tmp_path).free
    assert free_disk(tmp_path / "not" / "there" / "yet.npy") == pytest.approx(there, rel=0.05)


def test_free_disk_follows_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(shutil, "disk_usage", lambda place: asked.append(place) or os.terminal_size((7, 7)))
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far")
    with pytest.raises(AttributeError):  # of the stand-in
        free_disk(tmp_path / "link" / "new")
    assert asked == [(tmp_path / "far").resolve()]


def test_a_disk_without_room_is_refused_with_the_way_out(tmp_path: Path) -> None:
    check_disk(tmp_path / "out", 1000)
    with pytest.raises(NoRoomError, match=r"out needs 100 PB on disk, only .* are free: make room, or choose another"):
        check_disk(tmp_path / "out", 10**17)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_sentence(tmp_path: Path, number: int) -> None:
    with pytest.raises(NoRoomError) as caught, room_for(tmp_path / "a.npy", "all is kept"):
        try:
            raise OSError(number, os.strerror(number))
        except OSError:
            raise RuntimeError("unexpected pos 704 vs 598") from None  # what torch.save makes of it
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'a.npy'} cannot be written, ")
    assert said.endswith("free): all is kept; make room and start the same command again")


def test_other_errors_come_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match="mine"), room_for(tmp_path):
        raise PermissionError(errno.EACCES, "mine")


def test_the_innermost_sentence_stays(tmp_path: Path) -> None:
    with pytest.raises(NoRoomError, match="inner cannot"), room_for(tmp_path / "outer"), room_for(tmp_path / "inner"):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 20 MB, where one may be mounted."""
    disk = tmp_path / "small"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "none", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_file_on_a_disk_that_is_truly_full_is_there_as_before(small_disk: Path) -> None:
    path = small_disk / "weights.pt"
    tensors = {"a": torch.ones(ROOM // 16)}

    def write(file: Path) -> None:
        with file.open("wb") as stream:
            torch.save(tensors, stream)

    write_whole(path, write)
    before = path.read_bytes()
    (small_disk / "filler").write_bytes(bytes(free_disk(small_disk) - 100_000))
    with pytest.raises(NoRoomError, match=r"weights\.pt cannot be written, the disk is full \(\d+ bytes free\)"):
        write_whole(path, write)
    assert path.read_bytes() == before
    assert {file.name for file in small_disk.iterdir()} == {"weights.pt", "filler"}
    (small_disk / "filler").unlink()
    write_whole(path, write)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Recordings in NTU's format whose sequences take 540 kB."""
    for number in range(18):
        write_person(tmp_path / "raw" / f"S001C001P001R001A{number + 1:03d}.skeleton", 5, seed=number)
    return tmp_path / "raw"


def prepared(raw: Path, out: Path) -> dict[str, bytes]:
    prepare(ntu60(raw), out, processes=1, progress=False)
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.parametrize("rest", [0, 6_000])
def test_a_preparation_goes_on_once_a_full_disk_has_room_again(
    small_disk: Path, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rest: int
) -> None:
    whole = prepared(raw, tmp_path / "whole")
    sequences = -(-len(whole["sequences.npy"]) // 4096) * 4096
    (small_disk / "filler").write_bytes(bytes(free_disk(small_disk) - sequences - rest))
    monkeypatch.setattr(writer, "_ROW", 0)  # as where names are longer than was reckoned with
    with pytest.raises(NoRoomError, match=r"the disk is full .*: what is prepared is kept; make room and start the"):
        prepared(raw, small_disk / "out")
    assert not (small_disk / "out").exists()
    (small_disk / "filler").unlink()
    assert prepared(raw, small_disk / "out") == whole
    assert [path.name for path in small_disk.iterdir()] == ["out"]


@pytest.mark.parametrize("most", [0, 400_000])
def test_a_limit_on_the_size_of_files_is_one_sentence(raw: Path, tmp_path: Path, most: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    corpus = ntu60(raw)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        with pytest.raises(NoRoomError, match=r"cannot be written, files may not become that large here \(ulimit -f\)"):
            prepare(corpus, tmp_path / "out", processes=1, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for /proc and /sys/fs/cgroup; 8 GB are available."""
    monkeypatch.setattr(resources, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(resources, "_CGROUPS", tmp_path / "cgroup")
    write(tmp_path / "proc" / "meminfo", "MemTotal: 16000000 kB\nMemAvailable:    8000000 kB\n")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_available_is_what_the_machine_says(system: Path) -> None:
    assert available_memory() == 8_000_000 * 1024


def test_of_an_unknown_system_nothing_is_claimed(system: Path) -> None:
    (system / "proc" / "meminfo").unlink()
    assert available_memory() is None
    assert resources.own_memory() is None


@pytest.mark.parametrize("inside", [False, True], ids=["on the host", "in a container"])
def test_limit_of_a_slurm_job_or_container_counts(system: Path, inside: bool) -> None:
    write(system / "proc" / "self" / "cgroup", "0::/slurm/job_7/step_0\n")
    job = system / "cgroup" if inside else system / "cgroup" / "slurm" / "job_7"
    write(job / "memory.max", "4000000000\n")
    write(job / "memory.current", "3000000000\n")
    write(job / "memory.stat", "anon 2500000000\ninactive_file 500000000\n")
    write(job / "step_0" / "memory.max", "max\n")
    write(job / "step_0" / "memory.current", "3000000000\n")
    assert available_memory() == 1_500_000_000


def test_limit_of_the_older_control_groups_counts(system: Path) -> None:
    write(system / "proc" / "self" / "cgroup", "3:cpuset:/\n4:cpu,memory:/docker/abc\n0::/\n")
    group = system / "cgroup" / "memory" / "docker" / "abc"
    write(group / "memory.limit_in_bytes", "2000000000\n")
    write(group / "memory.usage_in_bytes", "2100000000\n")
    assert available_memory() == 0
    write(group / "memory.stat", "cache 5\ntotal_inactive_file 600000000\n")
    assert available_memory() == 500_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="is asked for on Linux alone")
def test_own_memory_grows_with_what_is_held() -> None:
    before = resources.own_memory()
    held = torch.ones(50_000_000)
    after = resources.own_memory()
    assert before is not None and after is not None
    assert after - before > 100_000_000 and len(held)


# --- what is said -----------------------------------------------------------------------------------------------------


def test_what_is_known_is_said_in_one_sentence(tmp_path: Path) -> None:
    needs = Needs("HiCLR on 40 sequences", tmp_path, 2_000_000, 5_100_000_000, 21_000_000_000, processes=2)
    assert str(needs).startswith(
        "HiCLR on 40 sequences: about 5.1 GB of memory in each of 2 processes (21 GB available), "
        f"2.0 MB on disk in {tmp_path} ("
    )
    unknown = Needs("HiCLR", tmp_path, 2_000_000)
    assert str(unknown).startswith(f"HiCLR: 2.0 MB on disk in {tmp_path} (")


@pytest.mark.parametrize(
    ("memory", "processes", "short"), [(5, 2, False), (6, 2, True), (11, 1, True), (None, 9, False)]
)
def test_short_memory_is_a_remark(tmp_path: Path, memory: int | None, processes: int, short: bool) -> None:
    remark = Needs("x", tmp_path, 1, memory, 10, processes).remark("lower the batch size")
    assert (remark is not None) == short
    assert not short or remark.endswith("lower the batch size")  # type: ignore[union-attr]
