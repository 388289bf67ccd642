"""A CTR-GCN file as a corpus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hiclr.data.corpora import ctrgcn
from hiclr.data.corpora.ntu import NTU60_CLASSES, NTU120_CLASSES
from hiclr.skeleton import SKELETONS
from writers.ctrgcn import ctrgcn_arrays, write_ctrgcn


@pytest.mark.parametrize(
    ("stem", "classes", "benchmark", "published"),
    [
        ("NTU60_CS", 60, "xsub", {"xsub": (40_091, 16_487)}),
        ("NTU60_CV", 60, "xview", {"xview": (37_646, 18_932)}),
        ("NTU120_CSub", 120, "xsub", {"xsub": (63_026, 50_919)}),
        ("NTU120_CSet", 120, "xset", {"xset": (54_468, 59_477)}),
        ("mine", 60, "split", {}),
        ("my_CS", 10, "xsub", {}),
        ("CSS", 60, "split", {}),
    ],
)
def test_the_benchmark_is_in_the_name(
    tmp_path: Path, stem: str, classes: int, benchmark: str, published: dict[str, tuple[int, int]]
) -> None:
    corpus = ctrgcn(write_ctrgcn(tmp_path / f"{stem}.npz", ctrgcn_arrays(classes=classes)))
    assert (corpus.name, corpus.benchmarks, corpus.published) == (stem, (benchmark,), published)
    assert corpus.samples[benchmark].tolist() == ["train"] * 3 + ["test"] * 2
    assert (corpus.bodies, corpus.skeleton, corpus.planar) == (2, SKELETONS["ntu25"], False)
    assert len(corpus.class_names) == classes


def test_class_names_and_labels(tmp_path: Path) -> None:
    arrays = ctrgcn_arrays()
    corpus = ctrgcn(write_ctrgcn(tmp_path / "NTU60_CS.npz", arrays))
    assert corpus.class_names is NTU60_CLASSES
    assert corpus.samples["label"].tolist() == [*arrays["y_train"].argmax(1), *arrays["y_test"].argmax(1)]
    assert ctrgcn(write_ctrgcn(tmp_path / "a.npz", ctrgcn_arrays(classes=120))).class_names is NTU120_CLASSES
    assert ctrgcn(write_ctrgcn(tmp_path / "a.npz", ctrgcn_arrays(classes=3))).class_names == ("0", "1", "2")


def test_one_side_may_be_empty_but_not_both(tmp_path: Path) -> None:
    nothing = {f"x_{side}": np.zeros((0, 12, 150), np.float32) for side in ("train", "test")}
    nothing |= {f"y_{side}": np.zeros((0, 60)) for side in ("train", "test")}
    some = {key: ctrgcn_arrays()[key] for key in ("x_test", "y_test")}
    corpus = ctrgcn(write_ctrgcn(tmp_path / "a.npz", nothing | some))
    assert corpus.samples["split"].tolist() == ["test", "test"]
    assert corpus.read(0).name == "test_000000" and len(corpus.read(0).frames) == 8
    with pytest.raises(ValueError, match=r"a\.npz holds no sequences"):
        ctrgcn(write_ctrgcn(tmp_path / "a.npz", nothing))


def test_the_fingerprint_follows_the_contents(tmp_path: Path) -> None:
    arrays = ctrgcn_arrays()
    path = tmp_path / "a.npz"
    before = ctrgcn(write_ctrgcn(path, arrays)).fingerprint
    assert ctrgcn(write_ctrgcn(path, arrays)).fingerprint == before
    arrays["x_test"][0, 0, 0] += 1
    assert ctrgcn(write_ctrgcn(path, arrays)).fingerprint != before
