"""Query, key and queue of one encoder: what is compared with what, and what gets a gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hiclr.encoders.stgcn import STGCN
from hiclr.losses import similarity_logits
from hiclr.methods.contrast import Contrast, feature_spread
from learners import KINECT, Flat, K, N, Watched, poses


@pytest.fixture
def contrast() -> Contrast:
    torch.manual_seed(0)
    return Contrast(Flat(KINECT), K, key_momentum=0.9, temperature=0.07)


def test_the_head_is_the_papers() -> None:
    head = Contrast(STGCN("kinect20"), K, 0.999, 0.07).query.head
    assert [type(layer) for layer in head] == [nn.Linear, nn.ReLU, nn.Linear]
    assert [tuple(head[i].weight.shape) for i in (0, 2)] == [(256, 256), (128, 256)]


def test_queries_and_keys_lie_on_the_sphere(contrast: Contrast) -> None:
    for embeddings in (contrast.embed(poses()), contrast.next_key(poses())):
        assert embeddings.shape == (N, 128)
        torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(N))


def test_the_key_starts_as_a_copy_follows_and_takes_no_gradient(contrast: Contrast) -> None:
    pairs = list(zip(contrast.query.parameters(), contrast.key.parameters(), strict=True))
    assert all(torch.equal(query, key) and query is not key and not key.requires_grad for query, key in pairs)
    with torch.no_grad():
        for query, _ in pairs:
            query.add_(1)
    x = poses()
    key = contrast.next_key(x)
    for query, moved in pairs:
        torch.testing.assert_close(moved, query - 0.9, msg="a tenth of the way")
    assert not key.requires_grad
    torch.testing.assert_close(key, nn.functional.normalize(contrast.key.network(x)), msg="made after following")


def test_comparing_is_with_the_queue_of_now(contrast: Contrast) -> None:
    queries, key = [contrast.embed(poses(seed=seed)) for seed in range(2)], contrast.next_key(poses(seed=3))
    queue = contrast.queue.keys.clone()
    levels = contrast.compare(queries, key)
    contrast.queue.push(key)
    torch.testing.assert_close(levels, [similarity_logits(query, key, queue, 0.07) for query in queries])
    torch.stack(levels).sum().backward()  # that the queue moved on since does not matter
    assert all(parameter.grad is not None for parameter in contrast.query.parameters())


def test_edges_reach_the_encoder_of_query_and_key() -> None:
    contrast = Contrast(Watched(KINECT), K, 0.9, 0.07)
    Watched.calls.clear()

    def double(edges: Tensor, value: Tensor | float) -> Tensor:
        return 2 * value * edges

    for call in (contrast.embed, contrast.next_key):
        call(poses(), double)
        call(poses())
    changed = [call is not None and all((edges == 2).all() for edges in call) for call in Watched.calls]
    assert changed == [True, False, True, False]


def test_health(contrast: Contrast) -> None:
    query, key = contrast.embed(poses()), contrast.next_key(poses())
    (logits,) = contrast.compare([query], key)
    health = contrast.health(query, logits)
    cosines = [query[n] @ contrast.queue.keys[k] for n in range(N) for k in range(K)]
    torch.testing.assert_close(health["queue_similarity"], torch.stack(cosines).mean())
    torch.testing.assert_close(health["feature_spread"], feature_spread(query))


def test_feature_spread() -> None:
    torch.manual_seed(0)
    assert feature_spread(torch.randn(4000, 128)).item() == pytest.approx(1, abs=0.02)
    assert feature_spread(torch.randn(1, 128).expand(50, 128)).item() == pytest.approx(0, abs=1e-5)
    narrow = torch.randn(1, 128) + 0.01 * torch.randn(50, 128)
    assert 0 < feature_spread(narrow) < 0.05
