"""Files that strangers could send: each tries to run code, to fill the memory or the disk, or to leave its folder."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from hiclr.encoders.checkpoint import CHECKPOINT_KEY, describe
from hiclr.encoders.shared import CONFIG, WEIGHTS, digest
from hiclr.encoders.stgcn import STGCN
from models import SMALL, small_model
from writers.prepared import write_prepared

CANARY = "ran"  # the file that code from a file would make
_TOUCH = f"open({CANARY!r}, 'w').close()"

Make = Callable[[Path], object]
"""Writes a hostile file to a path."""


# --- pickles ----------------------------------------------------------------------------------------------------------


class Calls:
    """An object whose pickle calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def _system(protocol: int) -> bytes:
    import os

    return pickle.dumps(Calls(os.system, f"touch {CANARY}"), protocol)


PICKLES: dict[str, bytes] = {
    **{f"os.system, protocol {protocol}": _system(protocol) for protocol in range(6)},
    "builtins.exec": pickle.dumps(Calls(exec, _TOUCH)),
    "builtins.eval": pickle.dumps(Calls(eval, f"exec({_TOUCH!r})")),
    "getattr of getattr": pickle.dumps(Calls(getattr, Calls(__import__, "os"), "system")),
    "a copyreg": b"ccopyreg\n_reconstructor\n(cposix\nsystem\nc__builtin__\nobject\nNtR.",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent id": b"Pposix.system\n.",
    "an object in an array": pickle.dumps(np.array([Calls(exec, _TOUCH)], dtype=object)),
    "an instance, as old Python wrote it": b"(S'" + _TOUCH.encode() + b"'\ni__builtin__\nexec\n.",
    "of a class of ours": pickle.dumps(Calls(Path.unlink, Path("data"))),
    "memory by a length": b"\x80\x04\x8e" + struct.pack("<Q", 10**15) + b".",
    "memory by a place": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "depth": b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b".",
}


def file_of(content: bytes) -> Make:
    return lambda path: path.write_bytes(content)


# --- checkpoints ------------------------------------------------------------------------------------------------------


def checkpoint(**changes: Any) -> dict[str, Any]:
    """What a true checkpoint holds, but for some of what it says of itself."""
    encoder = STGCN(SMALL, 1)
    state = {f"query.{name}": value for name, value in encoder.state_dict().items()}
    known = {**describe(encoder, {"joint": "query."}), "epochs": 1, "run": {}, **changes}
    return {"state_dict": state, CHECKPOINT_KEY: known, "global_step": 1}


def saved(content: Callable[[], Any], zipped: bool = True) -> Make:
    return lambda path: torch.save(content(), path, _use_new_zipfile_serialization=zipped)


def built_as(class_path: str, **settings: Any) -> Make:
    """A checkpoint whose encoder is of another class, or has other settings."""
    arguments = {"skeleton": SMALL.to_dict(), "width": 1, **settings}
    return saved(lambda: checkpoint(encoder={"class_path": class_path, "init_args": arguments}))


def with_tensor(tensor: Callable[[Tensor], Any]) -> Make:
    """A checkpoint with another tensor in the place of one."""

    def content() -> dict[str, Any]:
        made = checkpoint()
        made["state_dict"]["query.adjacency"] = tensor(made["state_dict"]["query.adjacency"])
        return made

    return saved(content)


def with_pickle(content: bytes) -> Make:
    """A checkpoint, a zip archive, with another pickle in it."""

    def make(path: Path) -> None:
        torch.save(checkpoint(), path)
        _rewrite(path, lambda name, old: content if name.endswith("data.pkl") else old)

    return make


def _rewrite(path: Path, change: Callable[[str, bytes], bytes], packing: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, old in entries.items():
            archive.writestr(name, change(name, old))


def bomb_of_weights(path: Path) -> None:
    """64 MiB of zeros in some 70 kB."""
    torch.save({**checkpoint(), "more": torch.zeros(2**24)}, path)
    _rewrite(path, lambda name, old: old, zipfile.ZIP_DEFLATED)


def unfolding(path: Path) -> None:
    """Lists in lists that are few in the file, and 10^9 written out."""
    inner: list[Any] = [0] * 10
    for _ in range(9):
        inner = [inner] * 10
    torch.save(checkpoint(run={"seed": inner}), path)


def endless(path: Path) -> None:
    inner: list[Any] = []
    inner.append(inner)
    torch.save(checkpoint(run={"seed": inner}), path)


# --- model folders ----------------------------------------------------------------------------------------------------


def model(change: Callable[[dict[str, Any]], object], weights: bytes | None = None) -> Make:
    """A model folder whose configuration is changed, or whose weights are others with the right hash."""

    def make(path: Path) -> None:
        folder = small_model(head=True).save_pretrained(path)
        config = json.loads((folder / CONFIG).read_text())
        if weights is not None:
            (folder / WEIGHTS).write_bytes(weights)
            config["weights"] = digest(weights)
        change(config)
        (folder / CONFIG).write_text(json.dumps(config))

    return make


def model_with_config(text: str) -> Make:
    def make(path: Path) -> None:
        (small_model().save_pretrained(path) / CONFIG).write_text(text)

    return make


def tensors(header: Mapping[str, Any] | str, data: bytes = bytes(16), size: int | None = None) -> bytes:
    """A safetensors file with a header of one's own."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def entry(shape: list[int], start: int, stop: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


SAFETENSORS: dict[str, bytes] = {
    "a header of 2^63 bytes": tensors("{}", size=2**63 - 1),
    "a header larger than the file": tensors("{}", size=10**9),
    "10^12 numbers": tensors({"a": entry([10**12], 0, 4 * 10**12)}),
    "numbers over one another": tensors({"a": entry([4], 0, 16), "b": entry([4], 0, 16)}),
    "numbers before the file": tensors({"a": entry([4], -16, 0)}),
    "a shape that overflows": tensors({"a": entry([2**62, 2**62], 0, 16)}),
    "a name twice": tensors('{"a":' + json.dumps(entry([4], 0, 16)) + ',"a":' + json.dumps(entry([4], 0, 16)) + "}"),
    "lists within lists": tensors("[" * 100_000),
    "a type that nobody knows": tensors({"a": entry([4], 0, 16, "F1")}),
    "nothing": b"",
    "a pickle": PICKLES["os.system, protocol 4"],
    "no weights at all": save({"a": torch.zeros(1)}),
}


# --- arrays -----------------------------------------------------------------------------------------------------------


def npy(shape: Any, dtype: str = "<f4", data: bytes = bytes(48), text: str | None = None) -> bytes:
    """A `.npy` with a header of one's own."""
    header = text if text is not None else f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}"
    padded = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded + data


NPY: dict[str, bytes] = {
    "10^12 frames": npy("(1000000000000, 3, 3)"),
    "a shape that overflows": npy("(4611686018427387904, 4, 4)"),
    "a negative shape": npy("(-1, 3, 3)"),
    "objects": npy("(1,)", "|O", PICKLES["builtins.exec"]),
    "objects in a record": npy("(1,)", "|O8", PICKLES["builtins.exec"]),
    "a header that is code": npy("", text=f"__import__('os').system('touch {CANARY}')"),
    "a header of brackets": npy("", text="(" * 9000),
    "a pickle": PICKLES["os.system, protocol 2"],
}


def npz(entries: Mapping[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packing) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _stating(content: bytes, size: int) -> bytes:
    """A zip archive of one compressed entry that states another size in both of its headers."""
    changed = bytearray(content)
    struct.pack_into("<I", changed, changed.index(b"PK\x03\x04") + 22, size)
    struct.pack_into("<I", changed, changed.index(b"PK\x01\x02") + 24, size)
    return bytes(changed)


def _overlapping(copies: int) -> bytes:
    """Entries that all point to one compressed content, as in the better zip bombs."""
    content = bytearray(npz({"frames.npy": npy("(1000000, 1, 3, 3)", data=bytes(36_000_000))}))
    start = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    entry, tail = content[start:end], content[end:]
    central = b"".join(entry.replace(b"frames.npy", f"fram{i:02}.npy".encode()) for i in range(copies))
    struct.pack_into("<HHII", tail, 8, copies, copies, len(central), start)
    return bytes(content[:start] + central + tail)


_OPEN = b"PK\x01\x02\x14\x03\x14\x00\x00"  # the beginning of a central header, up to its flags

NPZ: dict[str, bytes] = {
    "a bomb": npz({"frames.npy": npy("(10000000, 1, 3, 3)", data=bytes(36_000_000))}),
    "a size that is a lie": _stating(npz({"frames.npy": npy("(1, 1, 3, 3)", data=bytes(36))}), 2**32 - 2),
    "entries over one another": _overlapping(90),
    "a zip in a zip": npz({"frames.npy": npz({"frames.npy": b""})}),
    "a name that leaves the folder": npz({"../../frames.npy": npy("(4, 1, 3)")}),
    "an absolute name": npz({"/tmp/frames.npy": npy("(4, 1, 3)")}),
    "10^4 entries": npz({f"{i}.npy": npy("(4, 1, 3)") for i in range(10_000)}, zipfile.ZIP_STORED),
    "objects": npz({"frames.npy": NPY["objects"]}),
    "an encrypted entry": npz({"frames.npy": npy("(4, 1, 3)")}).replace(_OPEN, _OPEN[:-1] + b"\x01"),
    "another packing": npz({"frames.npy": npy("(4, 1, 3)")}, zipfile.ZIP_LZMA),
    "nothing": b"",
}  # fmt: skip


def mat_bomb() -> bytes:
    """A MATLAB 5 file whose one array is 64 MiB of zeros in some 65 kB."""
    packed = zlib.compress(bytes(2**26), 9)
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(packed)) + packed


# --- text -------------------------------------------------------------------------------------------------------------

NTU: dict[str, bytes] = {
    "10^12 frames": b"1000000000000\n1\n",
    "10^12 bodies": b"1\n1000000000000\n",
    "frames of a thousand digits": b"9" * 1000 + b"\n",
    "frames of ten thousand digits": b"9" * 10_000 + b"\n",
    "10^12 joints": b"1\n1\n0 0 0 0 0 0 0 0 0 0\n1000000000000\n",
    "no number": b"nan\n",
    "zeros": bytes(100_000),
    "a pickle": PICKLES["os.system, protocol 0"],
}
DEEP = "[" * 100_000
JSONS: dict[str, str] = {
    "lists within lists": DEEP,
    "objects within objects": '{"a":' * 100_000,
    "a number of 10^5 digits": "9" * 100_000,
    "a number of 400 digits": "9" * 400,
    "not a number": "NaN",
    "infinity": "[Infinity]",
    "half a character": '{"\\ud800": "\\udfff"}',
    "a list": "[]",
    "nothing": "",
    "zeros": "\0" * 1000,
}
YAMLS: dict[str, str] = {
    "a call": f"method: !!python/object/apply:os.system ['touch {CANARY}']",
    "an object": f"method: !!python/object/new:subprocess.Popen [[touch, {CANARY}]]",
    "a name": "method: !!python/name:os.system",
    "a module": "method: !!python/module:os",
    "laughs": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True))
    + "out: *h",
    "an alias of itself": "out: &a [*a]",
    "lists within lists": "out: " + DEEP,
    "objects within objects": "out: " + "{a: " * 3000,
    "a key twice": "max_epochs: 1\nmax_epochs: 2",
    "a number of 5000 digits": "max_epochs: " + "9" * 5000,
    "infinitely many epochs": "max_epochs: 1e999",
    "zeros": "\0\0\0",
    "a list": "- a",
    "os.system": "method: os.system",
    "a function without an end": "method: os.abort",
    "subprocess.Popen": f"method: {{class_path: subprocess.Popen, init_args: {{args: [touch, {CANARY}]}}}}",
    "a partial": "method: {class_path: functools.partial, init_args: {func: os.system}}",
    "a class that is no method": "method: {class_path: torch.nn.Linear, init_args: {in_features: 1, out_features: 1}}",
    "a method that is no class": "method: hiclr.methods.training.train",
    "a module that opens a browser": "method: antigravity.fly",
    "an encoder that is none": "method: {class_path: HiCLR, init_args: {encoder: os.system}}",
    "an optimizer that is none": "method: {class_path: HiCLR, init_args: {optimizer: shutil.rmtree}}",
    "a transform that is none": "method: {class_path: HiCLR, init_args: {arrangement: [[{class_path: os.system}]]}}",
    "a queue of 10^15": "method: {class_path: HiCLR, init_args: {queue_size: 1000000000000000}}",
    "itself": "config: evil",
}


# --- prepared folders -------------------------------------------------------------------------------------------------


def prepared(name: str, content: bytes) -> Make:
    """A prepared folder of which one file is another."""

    def make(path: Path) -> None:
        (write_prepared(path) / name).write_bytes(content)

    return make


def described(**changes: Any) -> Make:
    """A prepared folder that says other things of itself."""

    def make(path: Path) -> None:
        about = write_prepared(path) / "about.json"
        about.write_text(json.dumps(json.loads(about.read_text()) | changes))

    return make
