"""Both sides of a hot path compute the same: with chance taken out, the straightforward one proves ours."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hiclr.benchmarks import sides
from hiclr.benchmarks.ours import OurStep
from hiclr.benchmarks.paths import OURS_BF16, PATHS
from hiclr.benchmarks.plain.data import prepare_one, read_coordinates, read_into_dicts
from hiclr.benchmarks.plain.evaluation import batches, nearest_labels, probe_epoch
from hiclr.benchmarks.plain.network import PlainProjected, PlainSTGCN
from hiclr.benchmarks.plain.step import PlainStep, contrast, follow, push
from hiclr.benchmarks.plain.views import Draw, batch_view, draw
from hiclr.benchmarks.raw import write_recording
from hiclr.benchmarks.sizes import NTU, QUICK
from hiclr.data.prepare import prepare_batch
from hiclr.data.recordings.ntu import read_ntu_skeleton
from hiclr.encoders.stgcn import STGCN
from hiclr.evaluation import FeatureBank, linear_probe, nearest_neighbours
from hiclr.losses import hierarchical_consistency, info_nce
from hiclr.methods.contrast import Contrast
from hiclr.momentum import MomentumEncoder
from hiclr.transforms import View, growing_views

WIDTH, K = QUICK.width, QUICK.queue


Params = list[dict[str, Tensor]]  # of one draw of a view, transform by transform


def remember(views: Iterable[View]) -> list[list[Params]]:
    """Makes views keep the parameters of each of their draws, from now on: by view, then by draw."""
    kept: list[list[Params]] = []
    now: list[Params] = []
    known: set[nn.Module] = set()
    for view in views:
        draws: list[Params] = []
        kept.append(draws)

        def begin(*_: Any, draws: list[Params] = draws) -> None:
            draws.append([])
            now[:] = draws[-1:]

        view.register_forward_pre_hook(begin)
        for transform in {*view.of_joints, *view.of_stream} - known:  # views share them
            known.add(transform)

            def made(x: Tensor, make: Any = transform.make_params) -> dict[str, Tensor]:
                now[0].append(make(x))
                return now[0][-1]

            transform.make_params = made
    return kept


def one_by_one(drawn: Params) -> list[Draw]:
    """The parameters of a batch as those of its sequences."""
    shear, crop, *rest = drawn
    found = []
    for n in range(len(shear["matrix"])):
        of_n = {"shear": shear["matrix"][n].numpy(), "start": int(crop["start"][n])}
        if rest:
            flip, rotate, noise, blur, axis, *mask = ({name: value[n] for name, value in part.items()} for part in rest)
            of_n |= {
                "flip": bool(flip["applied"]),
                "degrees": rotate["degrees"].numpy(),
                "noise": noise["noise"].numpy() if noise["applied"] else None,
                "sigma": float(blur["sigma"]) if blur["applied"] else None,
                "axis": int(axis["axis"]) if axis["applied"] else None,
                "masked": mask[0]["masked"].numpy() if mask else None,
            }
        found.append(Draw(**of_n))
    return found


# --- the training step ----------------------------------------------------------------------------


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_views_are_the_same_sequence_by_sequence(level: int, lean: bool) -> None:
    torch.manual_seed(0)
    x = QUICK.sequences().double()
    view = growing_views("BA,NA,Mask", NTU)[level]
    (draws,) = remember([view])
    with torch.no_grad():
        ours = view(x)
    plain = batch_view(x, one_by_one(draws[0]), NTU, lean=lean)
    torch.testing.assert_close(plain, ours, rtol=1e-6, atol=1e-6)  # the angles are float32
    assert (ours != x).any() and (level < 2 or (ours == 0).any())


def step_of_both(kind: torch.dtype, steps: int = 2) -> tuple[PlainStep, OurStep, list[tuple[Tensor, Tensor]]]:
    """Some steps of each, with the same weights, queue and draws; and the losses."""
    torch.manual_seed(0)
    x = QUICK.sequences().to(kind)
    ours = OurStep(x, NTU, width=WIDTH, dropout=0.0, queue_size=K)
    network = PlainProjected(PlainSTGCN(NTU, WIDTH, dropout=0.0), 16 * WIDTH)  # its weights spread the features
    state = network.state_dict()
    for part in (ours.learner.contrast.query, ours.learner.contrast.key.network):
        part.load_state_dict(state)
    ours.learner.to(kind)
    plain = PlainStep(network.to(kind), ours.learner.contrast.queue.keys.clone(), NTU)
    draws = remember(ours.learner.views)
    losses = []
    for _ in range(steps):
        for drawn in draws:
            drawn.clear()
        loss = ours()
        *views, key_view = (one_by_one(drawn) for drawn in (draws[0][0], draws[1][0], draws[2][0], draws[0][1]))
        losses.append((plain(x, views, key_view), loss))
    return plain, ours, losses


def test_steps_have_the_same_loss_gradients_weights_and_queue() -> None:
    plain, ours, losses = step_of_both(torch.float64)
    for reference, loss in losses:
        torch.testing.assert_close(loss, reference, rtol=1e-5, atol=0.0)
    contrast = ours.learner.contrast
    pairs = {name: weight.grad for name, weight in contrast.query.named_parameters()}
    references = {name: weight.grad for name, weight in plain.query.named_parameters()}
    largest = max(float(gradient.abs().max()) for gradient in references.values() if gradient is not None)
    for name, gradient in references.items():  # before a batch norm a bias has none but for rounding
        torch.testing.assert_close(pairs[name], gradient, rtol=1e-5, atol=1e-9 * largest, msg=name)
    for network, reference in ((contrast.query, plain.query), (contrast.key.network, plain.key)):
        state = network.state_dict()
        for name, value in reference.state_dict().items():
            torch.testing.assert_close(state[name], value, rtol=1e-5, atol=1e-7, msg=name)
    (mask_value,) = (p for name, p in ours.learner.named_parameters() if name.startswith("views."))
    torch.testing.assert_close(mask_value, plain.mask_value, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(contrast.queue.keys, plain.queue, rtol=1e-5, atol=1e-7)
    assert int(contrast.queue.place) == plain.place == 2 * QUICK.batch


def test_steps_agree_in_float32() -> None:
    plain, ours, losses = step_of_both(torch.float32, steps=1)
    torch.testing.assert_close(losses[0][1], losses[0][0], rtol=1e-5, atol=0.0)
    torch.testing.assert_close(ours.learner.contrast.queue.keys, plain.queue, rtol=1e-5, atol=1e-5)


def test_bf16_step_is_near_and_not_the_same() -> None:
    losses = []
    for side in ("ours", OURS_BF16):
        torch.manual_seed(0)
        losses.append(float(PATHS["step"].sides[side](QUICK)().detach()))  # type: ignore[attr-defined]
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.05, abs=0.005)


def test_features_are_the_same_in_eval_mode() -> None:
    torch.manual_seed(0)
    ours = STGCN(NTU, WIDTH).double()
    plain = PlainSTGCN(NTU, WIDTH).double()
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    plain.load_state_dict(ours.state_dict())
    x = QUICK.sequences().double()
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), plain.eval()(x), rtol=1e-6, atol=1e-12)


def test_losses_their_gradients_and_queues_are_the_same() -> None:
    torch.manual_seed(0)
    queries, key, queue = sides._embeddings(QUICK)
    again = [query.detach().clone().requires_grad_() for query in queries]
    ours = Contrast(STGCN(NTU, width=1), K, 0.999, 0.07)
    ours.queue.keys.copy_(queue)
    levels = ours.compare(again, key)
    loss = info_nce(levels[0]) + 0.5 * hierarchical_consistency(levels)
    loss.backward()
    ours.queue.push(key)
    reference = contrast(queries, key, queue)
    reference.backward()
    assert push(queue, key, 0) == int(ours.queue.place)
    torch.testing.assert_close(loss, reference)
    for query, same in zip(queries, again, strict=True):
        torch.testing.assert_close(same.grad, query.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ours.queue.keys, queue)


def test_key_networks_follow_alike() -> None:
    torch.manual_seed(0)
    key, query = sides._networks(QUICK)
    before = copy.deepcopy(key.state_dict())
    ours = MomentumEncoder(key, 0.999)
    ours.follow(query)
    follow(key, query)
    for name, value in key.named_parameters():
        torch.testing.assert_close(dict(ours.network.named_parameters())[name], value)
    assert any((value != before[name]).any() for name, value in key.named_parameters())


def test_straightforward_draws_are_as_specified() -> None:
    chance = np.random.default_rng(0)
    drawn = [draw((3, 50, 25, 2), 2, chance) for _ in range(400)]
    shear = np.stack([one.shear for one in drawn])
    assert (shear[:, range(3), range(3)] == 1).all() and 0.45 < np.abs(shear[:, 0, 1:]).max() <= 0.5
    assert {one.start for one in drawn} == set(range(17))
    degrees = np.stack([one.degrees for one in drawn if one.degrees is not None])
    assert ((degrees > 1).sum(1) <= 1).all() and 25 < degrees.max() <= 30
    assert all(one.masked is not None and (one.masked.sum(1) == 2).all() for one in drawn)
    for applied in ("flip", "noise", "sigma", "axis"):
        assert (
            0.4
            < np.mean([getattr(one, applied) is not None and getattr(one, applied) is not False for one in drawn])
            < 0.6
        )
    basic, normal = draw((3, 50, 25, 2), 0, chance), draw((3, 50, 25, 2), 1, chance)
    assert basic.degrees is None and basic.masked is None
    assert normal.degrees is not None and normal.masked is None


# --- evaluation and data --------------------------------------------------------------------------


def test_probe_behind_the_encoder_is_the_probe_on_cached_features() -> None:
    """One epoch of one batch from the same weights: the same layer, hence the same scores."""
    torch.manual_seed(0)
    encoder = PlainSTGCN(NTU, WIDTH).eval()
    x, labels = QUICK.sequences(), torch.arange(QUICK.batch) % 3
    with torch.no_grad():
        bank = FeatureBank(tuple(map(str, range(len(x)))), encoder(x), labels)
    scores = linear_probe(bank, bank, 3, epochs=1, lr_drop_epochs=()).scores.scores
    layer = nn.Linear(16 * WIDTH, 3)
    nn.init.normal_(layer.weight, 0.0, 0.01, generator=torch.Generator().manual_seed(0))
    nn.init.zeros_(layer.bias)
    probe_epoch(
        encoder, layer, torch.optim.SGD(layer.parameters(), lr=3.0, momentum=0.9), x, labels, torch.randperm(10)
    )
    torch.testing.assert_close(scores, layer(bank.features).detach(), rtol=1e-4, atol=1e-5)


def test_nearest_neighbours_are_the_same() -> None:
    train, test = sides._banks(QUICK)
    ours = nearest_neighbours(train, test, sides.CLASSES, [1])[1].predictions
    torch.testing.assert_close(nearest_labels(train.features, train.labels, test.features), ours)


def test_batches_hold_the_same_sequences() -> None:
    size = replace(QUICK, stored=25)
    data = sides._stored(size)
    plain = list(batches(data.folder.sequences, torch.arange(25), size.batch))
    ours = list(data.batches(np.arange(25)))[:2]
    assert len(plain) == len(list(data.train_dataloader())) == 2
    torch.testing.assert_close(torch.cat(plain), torch.cat(ours), rtol=0, atol=0)
    torch.testing.assert_close(torch.cat(plain), QUICK.sequences().repeat(2, 1, 1, 1, 1), rtol=0, atol=0)


def test_preparation_is_the_same() -> None:
    x = sides._recorded(QUICK)[:12]
    plain = np.stack([prepare_one(sequence, NTU.centre_joint, NTU.shoulder_pair) for sequence in x])
    ours = prepare_batch(torch.from_numpy(x), NTU).numpy()
    np.testing.assert_allclose(plain, ours, atol=1e-2)  # near arccos(1) the last bit shows


@pytest.mark.parametrize("people", [1, 2])
def test_readers_read_the_same(tmp_path: Any, people: int) -> None:
    file = write_recording(tmp_path / "a.skeleton", 12, people)
    ours, lean = read_ntu_skeleton(file).frames, read_coordinates(file)[:, :people]
    every = [
        [[[joint[axis] for axis in "xyz"] for joint in body["joints"]] for body in frame]
        for frame in read_into_dicts(file)
    ]
    np.testing.assert_array_equal(lean, ours)
    np.testing.assert_array_equal(np.array(every, np.float32), ours)


@pytest.mark.parametrize("path", sorted(PATHS.keys() - {"step-gpu"}))
def test_every_side_does_its_work_again_and_again(path: str) -> None:
    for make in PATHS[path].sides.values():
        work = make(replace(QUICK, stored=20, train=50, test=20))
        work()
        work()
