"""`hiclr share`: a model folder out of any checkpoint, and to the Hub."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from hiclr import knn, linear, share
from hiclr.cli import sharing
from hiclr.cli.results import result_folder
from hiclr.data.module import SkeletonData
from hiclr.encoders.checkpoint import load_encoder
from hiclr.encoders.shared import CARD, CONFIG, WEIGHTS
from hiclr.encoders.stgcn import STGCN
from hiclr.hub import push
from hiclr.methods.hiclr import HiCLR
from hiclr.model import load_model
from models import batch, small_model
from runs import prepared, run


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool, str]]:
    """What goes to the Hub: the name, whether it is private, and the card."""
    went = []

    def fake(folder: Path, name: str, files: Sequence[str], private: bool) -> str:
        assert set(files) == {CARD, CONFIG, WEIGHTS}
        went.append((name, private, (folder / CARD).read_text(encoding="utf-8")))
        return f"https://hub/{name}"

    monkeypatch.setattr(sharing, "push_folder", fake)
    return went


def test_published_weights_become_a_model_folder(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = shared / "parity" / "stgcn_official.pt"
    folder = share(weights, tmp_path / "m", stream="motion")
    assert sorted(file.name for file in folder.iterdir()) == sorted([CARD, CONFIG, WEIGHTS])
    ours, theirs = load_model(folder), load_model(weights, "motion")
    x = torch.randn(1, 3, 20, 25, 1)
    assert ours.stream == "motion" and torch.equal(ours(x), theirs(x))
    said = " ".join(capsys.readouterr().err.split())
    assert "STGCN of the motion stream, 25 joints (ntu25), 256 features, no classifier" in said
    assert "state a licence, then hiclr share --model" in said


def test_the_card_tells_what_was_measured_with_the_checkpoint(tmp_path: Path) -> None:
    folder = run(
        prepared(tmp_path / "data"),
        tmp_path / "run",
        partial(HiCLR, encoder=partial(STGCN, width=2), queue_size=16),
        max_epochs=0,
    )
    data = SkeletonData(tmp_path / "data", batch_size=8)
    top1 = linear(folder, data, epochs=2)["top1_last_epoch"]
    knn(folder, data, k=[1])
    other = json.loads((folder / "knn-xsub.json").read_text(encoding="utf-8"))
    other["checkpoint"]["sha256"] = "of an epoch before"
    (folder / "knn-xsub.json").write_text(json.dumps(other), encoding="utf-8")
    assert load_model(share(folder, tmp_path / "m")).figures == {"linear top-1 on tiny xsub, %": top1}


def test_a_card_that_its_author_has_changed_is_uploaded_as_it_is(
    tmp_path: Path, pushed: list[tuple[str, bool, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = small_model(head=True).save_pretrained(tmp_path / "m")
    (folder / CARD).write_text("mine, license: mit", encoding="utf-8")
    assert share(folder, push="ada/waves", private=False) == folder
    assert pushed == [("ada/waves", False, "mine, license: mit")]
    assert "Uploaded to https://hub/ada/waves (public if it is new)" in capsys.readouterr().err


def test_written_and_uploaded_at_once(tmp_path: Path, pushed: list[tuple[str, bool, str]]) -> None:
    folder = small_model().save_pretrained(tmp_path / "m")
    other = share(folder, out=tmp_path / "other", push="ada/waves")
    name, private, card = pushed[0]
    assert (name, private) == ("ada/waves", True) and 'embed("ada/waves", "recordings")' in card
    model = load_model(other)
    assert torch.equal(model(batch(model)), load_model(folder)(batch(model)))


def test_a_damaged_folder_is_not_uploaded(tmp_path: Path, pushed: list[tuple[str, bool, str]]) -> None:
    folder = small_model().save_pretrained(tmp_path / "m")
    (folder / WEIGHTS).write_bytes(b"half")
    with pytest.raises(ValueError, match="is damaged"):
        share(folder, push="ada/waves")
    assert not pushed


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "nothing to do with .*: say with --out where to write the model, or with --push where"),
        ({"push": "waves"}, "'waves' is no name on the Hugging Face Hub: give owner/name"),
        ({"stream": "bone", "out": Path("x")}, "was trained on the joint stream, not on bone"),
    ],
)  # fmt: skip
def test_what_cannot_be(tmp_path: Path, pushed: list[Any], options: dict[str, Any], sentence: str) -> None:
    folder = small_model().save_pretrained(tmp_path / "m")
    with pytest.raises(ValueError, match=sentence):
        share(folder, **options)
    assert not pushed and not Path("x").exists()


def test_a_checkpoint_is_no_folder_to_upload(shared: Path, pushed: list[Any]) -> None:
    with pytest.raises(ValueError, match="nothing to do with"):
        share(shared / "parity" / "stgcn_official.pt", push="ada/waves")
    assert not pushed and sharing.push_folder is not push


def test_results_of_a_model_do_not_go_into_its_folder_nor_into_the_cache_of_the_hub(tmp_path: Path) -> None:
    trained = load_encoder(small_model().save_pretrained(tmp_path / "cache"))
    data = SkeletonData(prepared(tmp_path / "data"), batch_size=8)
    assert result_folder(trained, data, None) == tmp_path / "cache-results" / "on-data"
    assert result_folder(replace(trained, hub="ada/waves"), data, None) == Path("runs/ada/waves/on-data")


def test_a_link_is_not_uploaded(tmp_path: Path, pushed: list[tuple[str, bool, str]]) -> None:
    folder = small_model(head=True).save_pretrained(tmp_path / "m")
    (tmp_path / "diary.md").write_text("not for others", encoding="utf-8")
    (folder / CARD).unlink()
    (folder / CARD).symlink_to(tmp_path / "diary.md")
    with pytest.raises(ValueError, match=r"README\.md is a link: put the file itself in its place"):
        share(folder, push="ada/waves")
    assert not pushed
