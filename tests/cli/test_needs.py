"""What a verb takes is said before it begins, and a disk that lacks the room is refused then."""

from __future__ import annotations

import re
from collections import namedtuple
from pathlib import Path

import pytest

from hiclr import resources
from hiclr.cli import knn, linear
from hiclr.data.module import SkeletonData
from hiclr.evaluation import scores_path
from hiclr.methods.hiclr import HiCLR
from learners import small, tiny_stgcn
from runs import prepared, run

MEMORY = r"about \d+ MB of memory \([\d.]+ [MGT]B available\)"
pytestmark = pytest.mark.usefixtures("told")
Usage = namedtuple("Usage", "total used free")


def learner(skeleton: object) -> HiCLR:
    return small(HiCLR, encoder=tiny_stgcn)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="module")
def trained(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(root, tmp_path_factory.mktemp("runs") / "run", learner, max_epochs=1)


def test_every_verb_says_it_first(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(root, tmp_path / "run", learner, max_epochs=1)
    said = capsys.readouterr().err
    assert re.search(rf"HiCLR on 16 sequences, batch 8: {MEMORY}, [45]\.\d MB on disk in .*run \(", said)
    linear(out, SkeletonData(root), epochs=1, accelerator="cpu")
    knn(out, SkeletonData(root), k=(1,), accelerator="cpu")
    said = capsys.readouterr().err
    assert len(re.findall(rf"Features of 24 sequences, batch 128: {MEMORY}, 1\.\d MB on disk in", said)) == 2


def test_a_disk_without_room_is_refused_before_anything_is_written(
    root: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources.shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 5000, 5000))
    for work in (
        lambda out: run(root, out, learner),
        lambda out: linear(trained, SkeletonData(root), out=out, accelerator="cpu"),
        lambda out: knn(trained, SkeletonData(root), out=out, k=(1,), accelerator="cpu"),
    ):
        with pytest.raises(resources.NoRoomError, match=r"new needs \d\.\d MB on disk, only 5\.0 kB are free"):
            work(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_what_is_reckoned_is_what_is_written(root: Path, trained: Path, tmp_path: Path) -> None:
    linear(trained, SkeletonData(root), out=tmp_path, epochs=1, accelerator="cpu")
    written = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert scores_path(tmp_path / "linear-xsub.json").is_file()
    assert 10_000 < written < 1 << 20


def test_short_memory_is_a_remark_and_the_run_goes_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hiclr.cli.needs.available_memory", lambda: 1000)
    out = run(root, tmp_path / "run", learner, max_epochs=1)
    assert "the system may end the work: lower the batch size (--data.batch_size)" in capsys.readouterr().err
    assert (out / "last.ckpt").is_file()
