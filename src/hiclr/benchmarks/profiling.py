"""Where the time of one training step goes, by groups of operators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from torch import nn
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.hooks import RemovableHandle

from hiclr.benchmarks.ours import OurStep
from hiclr.methods.contrast import Projected

_AUGMENTATION, _ENCODER, _BACKWARD, _OPTIMIZER = "augmentation", "encoder", "backward", "optimizer"
_STAGES = (_AUGMENTATION, _OPTIMIZER)  # all of what happens in them
# part of an operator's name, or of one's that called it -> group; the first that fits
_KINDS = {
    "Dropout": "dropout",
    "dropout": "dropout",
    "random": "dropout",
    "bernoulli": "dropout",
    "Normalize": "batch norm",
    "batch_norm": "batch norm",
    "BatchNorm": "batch norm",
    "bmm": "graph products",
    "Bmm": "graph products",
    "matmul": "graph products",
}
GROUPS = (
    "convolution, forward", "convolution, backward", "graph products", "batch norm", "dropout",
    "other in the encoder", "augmentation", "loss and queue", "optimizer",
)  # fmt: skip


def profiled(step: OurStep) -> dict[str, float]:
    """Milliseconds of one step, after one to warm up, by `GROUPS`."""
    contrast = step.learner.contrast
    queue_size, joints = len(contrast.queue.keys), contrast.query.encoder.skeleton.num_joints
    encoders = contrast.query.encoder, cast("Projected", contrast.key.network).encoder
    named: list[tuple[nn.Module, str]] = [(view, _AUGMENTATION) for view in step.learner.views]
    for encoder in encoders:
        layers = (layer for layer in encoder.modules() if isinstance(layer, nn.BatchNorm2d | nn.Dropout))
        named += [(encoder, _ENCODER), *((layer, type(layer).__name__) for layer in layers)]
    handles = [handle for module, name in named for handle in _marked(module, name)]
    step()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as recorded:
        step()
    for handle in handles:
        handle.remove()
    times = dict.fromkeys(GROUPS, 0.0)
    for event in recorded.events():
        times[_group(event, queue_size, joints)] += event.self_cpu_time_total / 1e3
    return times


def _marked(module: nn.Module, name: str) -> list[RemovableHandle]:
    """Gives the profiler a name for every call of a module."""
    calls: list[record_function] = []

    def begin(*_: Any) -> None:
        calls.append(record_function(name))
        calls[-1].__enter__()

    def end(*_: Any) -> None:
        calls.pop().__exit__(None, None, None)

    return [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]


def _group(event: FunctionEvent, queue_size: int, joints: int) -> str:
    names = [(caller.name, cast("list[list[int]]", caller.input_shapes or [])) for caller in _callers(event)]
    stage = next((name for name, _ in names if name in (*_STAGES, _ENCODER, _BACKWARD)), None)
    if stage in _STAGES:
        return stage
    of_queue = any({queue_size, queue_size + 1} & set(shape) for _, shapes in names for shape in shapes if shape)
    if stage is None or of_queue:
        return "loss and queue"
    for name, shapes in names:
        if "convolution" in name.lower():
            weight = shapes[2 if "backward" in name.lower() else 1] if len(shapes) > 2 else []
            if list(weight[1:]) == [joints, 1, 1]:
                return "graph products"
            return f"convolution, {'backward' if stage == _BACKWARD else 'forward'}"
        for part, group in _KINDS.items():
            if part in name:
                return group
    return "other in the encoder"


def _callers(event: FunctionEvent | None) -> Iterator[FunctionEvent]:
    """The event, what called it, and so on."""
    while event is not None:
        yield event
        event = event.cpu_parent
