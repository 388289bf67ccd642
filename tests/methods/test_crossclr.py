"""CrosSCLR: both stages against loops, and that nothing but knowledge is shared between the streams."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from hiclr.functional import Stream, to_stream
from hiclr.methods.crossclr import CrosSCLR
from hiclr.transforms import RandomMask
from learners import KINECT, Array, Handed, K, N, attached, distribution, info, moved_on, poses, small, softmax, unit

STREAMS: list[Stream] = ["joint", "motion", "bone"]


def slow_crossed(queries: dict[Stream, Array], keys: dict[Stream, Array], queues: dict[Stream, Array]) -> float:
    """The second stage for one sequence: over ordered pairs (u, v), mean over v, sum over u."""
    total = 0.0
    for u, v in permutations(STREAMS, 2):
        s_u, s_v = ([unit(queries[w]) @ memory for memory in queues[w]] for w in (u, v))
        context = [mine * other for mine, other in zip(s_u, s_v, strict=True)]
        p = softmax(value / 0.07 for value in [unit(queries[u]) @ unit(keys[u]), *s_u, *context])
        j = int(np.argmax(s_v))
        total += info(p, {0, 1 + j, 1 + K + j}) / 2
    return total


@pytest.mark.parametrize("stage", [1, 2])
def test_step_equals_the_formulae(stage: int) -> None:
    learner = small(CrosSCLR, key_momentum=0.9).double()
    ours, theirs = (10 * poses(seed=seed).double() for seed in range(2))
    learner.view = Handed(ours, theirs)  # type: ignore[assignment]
    terms = attached(learner, epoch=4 if stage == 1 else 5)
    moved_on(learner)
    queues = {stream: learner.contrast_of(stream).queue.snapshot().numpy() for stream in STREAMS}

    loss = learner.training_step(poses(), 0)

    queries: dict[Stream, Array] = {}
    keys: dict[Stream, Array] = {}
    with torch.no_grad():
        for stream in STREAMS:
            contrast = learner.contrast_of(stream)
            queries[stream] = contrast.query(to_stream(ours, stream, KINECT.parents)).numpy()
            keys[stream] = contrast.key(to_stream(theirs, stream, KINECT.parents)).numpy()
    alone = crossed = 0.0
    for n in range(N):
        alone += sum(info(distribution(queries[s][n], keys[s][n], queues[s]), {0}) for s in STREAMS) / N
        crossed += slow_crossed({s: queries[s][n] for s in STREAMS}, {s: keys[s][n] for s in STREAMS}, queues) / N
    assert loss.item() == pytest.approx(alone if stage == 1 else crossed, rel=1e-9)
    assert terms["info"].item() == pytest.approx(alone / 3, rel=1e-9)


@pytest.mark.parametrize("epoch", [0, 9], ids=["stage 1", "stage 2"])
def test_gradient_reaches_every_query_and_no_key(epoch: int) -> None:
    learner = small(CrosSCLR)
    attached(learner, epoch)
    loss = learner.training_step(poses(), 0)
    loss.backward()
    assert loss.isfinite()
    for stream in STREAMS:
        contrast = learner.contrast_of(stream)
        gradients = [parameter.grad for parameter in contrast.query.parameters()]
        assert all(gradient is not None and gradient.isfinite().all() and gradient.any() for gradient in gradients)
        assert all(parameter.grad is None for parameter in contrast.key.parameters())


@pytest.mark.parametrize("epoch", [0, 9], ids=["stage 1", "stage 2"])
def test_every_key_follows_and_the_queues_stay_aligned(epoch: int) -> None:
    """Three steps of 6 keys, in queues of 11: the third one goes round the end."""
    learner = small(CrosSCLR, key_momentum=0.9)
    attached(learner, epoch)
    for step in range(3):
        moved_on(learner)
        before = {s: [p.clone() for p in learner.contrast_of(s).key.parameters()] for s in STREAMS}
        theirs = poses(seed=10 + step)
        learner.view = Handed(poses(seed=step), theirs)  # type: ignore[assignment]
        learner.training_step(poses(), step)
        for stream in STREAMS:
            contrast = learner.contrast_of(stream)
            for key, old, query in zip(
                contrast.key.parameters(), before[stream], contrast.query.parameters(), strict=True
            ):
                torch.testing.assert_close(key, 0.9 * old + 0.1 * query)
            rows = [(step * N + n) % K for n in range(N)]
            keys = contrast.key(to_stream(theirs, stream, KINECT.parents))
            torch.testing.assert_close(contrast.queue.keys[rows], torch.nn.functional.normalize(keys))
            assert contrast.queue.place == (step + 1) * N % K


def test_streams_share_no_tensor_but_the_clips() -> None:
    learner = small(CrosSCLR)
    seen: dict[Stream, list[Tensor]] = {stream: [] for stream in STREAMS}
    for stream in STREAMS:
        for network in (learner.contrast_of(stream).query, learner.contrast_of(stream).key.network):
            network.register_forward_pre_hook(lambda _, args, stream=stream: seen[stream].append(args[0]))
    tensors = [t.data_ptr() for stream in STREAMS for t in learner.contrast_of(stream).state_dict().values()]
    assert len(set(tensors)) == len(tensors)
    attached(learner)
    learner.training_step(poses(), 0)
    for clips in zip(*seen.values(), strict=True):  # of the query, then of the key
        for stream, clip in zip(STREAMS, clips, strict=True):
            assert torch.equal(clip, to_stream(clips[0], stream, KINECT.parents))
    assert not torch.equal(seen["joint"][0], seen["joint"][1])


def test_masks_fall_on_the_stream() -> None:
    """On joints a masked one would touch two bones and two steps of motion."""
    learner = small(CrosSCLR, augmentation=[RandomMask(0.2)])
    seen: dict[Stream, Tensor] = {}
    for stream in STREAMS:
        learner.contrast_of(stream).query.register_forward_pre_hook(
            lambda _, args, stream=stream: seen.__setitem__(stream, args[0])
        )
    attached(learner)
    x = poses()
    learner.training_step(x, 0)
    for stream in STREAMS:
        changed = (seen[stream] != to_stream(x, stream, KINECT.parents)).any(dim=1).any(dim=-1).sum(2)
        assert changed.max() <= 4, stream  # of 20 joints in a frame
