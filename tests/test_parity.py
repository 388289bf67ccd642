"""The numbers of the published implementation: graph, network, one training step, preparation, augmentations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from hiclr import functional, load_official
from hiclr.data.prepare import prepare_batch
from hiclr.encoders.base import Encoder
from hiclr.encoders.dsta import DSTA
from hiclr.encoders.stgcn import STGCN
from hiclr.losses import hierarchical_consistency, info_nce, nearest_positives, similarity_logits
from hiclr.methods.contrast import Projected
from hiclr.methods.hiclr import HiCLR
from hiclr.momentum import KeyQueue, MomentumEncoder
from hiclr.skeleton import SKELETONS, Skeleton
from hiclr.transforms import RandomMask

NTU = SKELETONS["ntu25"]
TEMPERATURE, MOMENTUM, CONSISTENCY_WEIGHT = 0.07, 0.999, 0.5
Arrays = dict[str, Tensor]

ENCODERS: dict[str, Callable[[Skeleton], Encoder]] = {
    "stgcn": lambda skeleton: STGCN(skeleton, dropout=0.0),
    "dsta": DSTA,
}
every_encoder = pytest.mark.parametrize("encoder", ENCODERS)


@pytest.fixture(scope="module")
def parity(shared: Path) -> Path:
    return shared / "parity"


def arrays(path: Path) -> Arrays:
    with np.load(path) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def agrees(ours: Tensor | float, published: Tensor) -> None:
    """To 1e-5; of the largest number where that is above 1, as in features that reach 1e12 with drawn weights."""
    largest = max(published.abs().max().item(), 1.0)
    torch.testing.assert_close(torch.as_tensor(ours).double(), published.double(), rtol=1e-5, atol=1e-5 * largest)


# --- graph, preparation, augmentation -------------------------------------------------------------


@pytest.mark.parametrize(("layout", "name"), [("ntu25", "ntu_spatial"), ("kinect20", "ucla_spatial")])
def test_adjacency(parity: Path, layout: str, name: str) -> None:
    published = arrays(parity / "graph_expected.npz")[name]
    torch.testing.assert_close(torch.from_numpy(SKELETONS[layout].adjacency()).double(), published, rtol=0, atol=1e-7)


def test_preparation(parity: Path) -> None:
    expected = arrays(parity / "preprocess_expected.npz")
    agrees(prepare_batch(expected["raw"], NTU, 50), expected["prepared"])
    by_hand = functional.resample(functional.centre(expected["raw"], NTU.centre_joint), expected["lengths"], 50)
    agrees(functional.face_camera(by_hand, NTU.shoulder_pair), expected["prepared"])


AUGMENTATIONS: dict[str, Callable[[Tensor, Arrays], Tensor]] = {
    "crop": lambda x, given: functional.temporal_window(x[:1], given["crop_start"].view(1), 50 // 6)[0],
    "shear": lambda x, given: functional.shear(x[:1], given["shear_matrix"][None])[0],
    "flip": lambda x, _: functional.mirror(x[:1], NTU.mirror_pairs)[0],
    "rotate": lambda x, given: functional.rotate(x[:1], given["rotate_degrees"][None])[0],
    "blur": lambda x, given: functional.blur(x[1:2], given["blur_sigma"].view(1))[0],
    "adain_tv": lambda x, _: functional.adain(x, x.roll(1, 0)),
    "adain_v": lambda x, _: functional.adain(x, x.roll(1, 0), dims=(3,)),
    "bone": lambda x, _: functional.to_bone(x, NTU.parents),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation(parity: Path, name: str, dtype: torch.dtype) -> None:
    expected = arrays(parity / "augment_expected.npz")
    agrees(AUGMENTATIONS[name](expected["x"].to(dtype), expected), expected[name])


# --- network --------------------------------------------------------------------------------------


def projected(path: Path, side: str, folder: Path) -> Projected:
    """Encoder and head of one side ("encoder_q" or "encoder_k") of a published file."""
    state = torch.load(path, weights_only=True)
    own = {key.replace(side, "encoder_q"): value for key, value in state.items() if key.startswith(side)}
    torch.save(own, folder / "own.pt")
    network = Projected(ENCODERS[path.stem.removesuffix("_official")](NTU))
    network.encoder.load_state_dict(load_official(folder / "own.pt").state_dict())
    network.head.load_state_dict(
        {key.removeprefix("encoder_q.fc."): value for key, value in own.items() if ".fc." in key}
    )
    return network


@every_encoder
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_feature(parity: Path, encoder: str, dtype: torch.dtype) -> None:
    expected = arrays(parity / f"{encoder}_official_expected.npz")
    with torch.no_grad():
        ours = load_official(parity / f"{encoder}_official.pt").to(dtype)(expected["x"].to(dtype))
    agrees(ours, expected["feature"])


@pytest.mark.parametrize(
    ("encoder", "side", "name"),
    [
        ("stgcn", "encoder_q", "embedding"),
        ("stgcn", "encoder_k", "key_embedding"),
        ("dsta", "encoder_q", "embedding"),  # the file of DSTA holds no key encoder
    ],
)
def test_embedding(parity: Path, tmp_path: Path, encoder: str, side: str, name: str) -> None:
    expected = arrays(parity / f"{encoder}_official_expected.npz")
    network = projected(parity / f"{encoder}_official.pt", side, tmp_path).eval()
    with torch.no_grad():
        agrees(network(expected["x"]), expected[name])


# --- one training step ----------------------------------------------------------------------------


class PublishedKey(nn.Module):
    """A key network that gives the published keys, where it was not published itself."""

    def __init__(self, keys: Tensor) -> None:
        super().__init__()
        self.register_buffer("keys", keys)

    def follow(self, network: nn.Module) -> None:
        pass

    def forward(self, *args: object) -> Tensor:
        return self.get_buffer("keys")


@pytest.fixture
def start(parity: Path, tmp_path: Path, encoder: str) -> SimpleNamespace:
    """What the published step started from (both networks, the queue as (K, D), the value of the mask) and gave."""
    path = parity / f"{encoder}_official.pt"
    state = torch.load(path, weights_only=True)
    expected = arrays(parity / f"{encoder}_step_expected.npz")
    if any(name.startswith("encoder_k.") for name in state):
        key = MomentumEncoder(projected(path, "encoder_k", tmp_path), MOMENTUM).train()
    else:
        key = PublishedKey(expected["plain_queue_after"].T[: len(expected["key"])])
    return SimpleNamespace(
        query=projected(path, "encoder_q", tmp_path).train(),
        key=key,
        queue=state["queue"].T.clone(),
        mask_value=state["mask_param"],
        expected=expected,
    )


def check_step(
    expected: Arrays, phase: str, terms: dict[str, Tensor], network: nn.Module, mask_value: Tensor, queue: KeyQueue
) -> None:
    """Losses, gradients after `loss.backward()` and the queue, against one phase's numbers."""
    for name, value in terms.items():
        agrees(value.detach(), expected[f"{phase}_{name}"])
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    torch.testing.assert_close(norm.double(), expected[f"{phase}_grad_norm"], rtol=1e-5, atol=0)
    assert mask_value.grad is not None
    torch.testing.assert_close(mask_value.grad.float(), expected[f"{phase}_grad_mask"], rtol=0, atol=1e-6)
    agrees(queue.keys.T, expected[f"{phase}_queue_after"])


@every_encoder
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("phase", ["plain", "mining"])
def test_step_from_the_free_pieces(start: SimpleNamespace, encoder: str, phase: str, dtype: torch.dtype) -> None:
    expected = start.expected
    query, follower = start.query.to(dtype), start.key.to(dtype)
    queue = KeyQueue(*start.queue.shape).to(dtype)
    queue.keys.copy_(start.queue)
    mask_value = nn.Parameter(start.mask_value.to(dtype))
    basic, normal, unmasked, other_basic = (
        expected[name].to(dtype) for name in ("basic", "normal", "masked_before", "key")
    )
    masked = functional.mask_joints(unmasked, expected["mask_ntv"] == 0, mask_value, absent_bodies=True)
    follower.follow(query)
    key = normalize(follower(other_basic))
    levels = [
        similarity_logits(normalize(query(view)), key, queue.snapshot(), TEMPERATURE)
        for view in (basic, normal, masked)
    ]
    terms = {
        "logits0": levels[0],
        "info": info_nce(levels[0], nearest_positives(levels, k=1) if phase == "mining" else None),
        "h1": hierarchical_consistency(levels[:2]),
        "h2": hierarchical_consistency(levels[1:]),
    }
    terms["loss"] = terms["info"] + CONSISTENCY_WEIGHT * (terms["h1"] + terms["h2"])
    terms["loss"].backward()
    queue.push(key)
    check_step(expected, phase, terms, query, mask_value, queue)


class Prepared(nn.Module):
    """A view that hands out prepared tensors, one a call."""

    def __init__(self, *views: Tensor, mask: nn.Module | None = None) -> None:
        super().__init__()
        self.waiting = list(views)
        self.edges = None
        self.mask = mask or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.mask(self.waiting.pop(0))


class PublishedMask(RandomMask):
    """The real mask with the published draw."""

    def __init__(self, masked: Tensor) -> None:
        super().__init__(absent_bodies=True)
        self.masked = masked

    def draw(self, x: Tensor) -> dict[str, Tensor]:
        return {"masked": self.masked}


@every_encoder
@pytest.mark.parametrize(("phase", "epoch"), [("plain", 0), ("plain", 149), ("mining", 150), ("mining", 299)])
def test_step_of_the_learner(
    start: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, encoder: str, phase: str, epoch: int
) -> None:
    expected = start.expected
    learner = HiCLR(NTU, encoder=ENCODERS[encoder], queue_size=len(start.queue))
    contrast = learner.contrast
    contrast.query.load_state_dict(start.query.state_dict())
    if isinstance(start.key, MomentumEncoder):
        contrast.key.load_state_dict(start.key.state_dict())
    else:
        contrast.key = start.key
    contrast.queue.keys.copy_(start.queue)
    mask = PublishedMask(expected["mask_ntv"] == 0)
    mask.value.data.copy_(start.mask_value)
    learner.views = nn.ModuleList(
        [
            Prepared(expected["basic"], expected["key"]),
            Prepared(expected["normal"]),
            Prepared(expected["masked_before"], mask=mask),
        ]
    )
    stub: Any = SimpleNamespace(current_epoch=epoch, max_epochs=300)
    learner.trainer = stub
    terms: dict[str, Tensor] = {}
    monkeypatch.setattr(learner, "log_terms", lambda **logged: terms.update(logged))
    loss = learner.training_step(torch.zeros(4, 3, 50, 25, 2), 0)
    loss.backward()
    assert torch.equal(loss, terms["loss"])
    agrees(terms["consistency"].detach(), expected[f"{phase}_h1"] + expected[f"{phase}_h2"])
    logged = {name: terms[name] for name in ("loss", "info")}
    check_step(expected, phase, logged, contrast.query, mask.value, contrast.queue)
    if isinstance(start.key, MomentumEncoder):
        parts = (contrast.key.parameters(), start.key.parameters(), start.query.parameters())
        for ours, moved, query in zip(*parts, strict=True):
            torch.testing.assert_close(ours, MOMENTUM * moved + (1 - MOMENTUM) * query)
            assert ours.grad is None
