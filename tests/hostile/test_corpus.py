"""Every hostile file, tried through the command line: refused in one sentence, with nothing run and nothing written."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from hiclr.__main__ import main
from hiclr.encoders.checkpoint import CHECKPOINT_KEY
from hostile import files
from hostile.files import CANARY, JSONS, NPY, NPZ, NTU, PICKLES, SAFETENSORS, YAMLS, Make, file_of
from models import clips, small_model
from runs import prepared
from test_report import linear, result
from writers.prepared import write_prepared

USE = "embed --model {evil} --data true.npy --out out.npz"
TINY = "--data.root data --data.batch_size 8 --max_epochs 1 --out out --method.encoder.width 1 --method.queue_size 8"
GO_ON = f"pretrain {TINY} --ckpt_path {{evil}}"
RECIPE = "pretrain --config {evil} --data.root data --out out"
AUGMENT = "view data --augment {evil}"
SHOW = "view {evil}"
PREPARE = "prepare npz {evil} out"
FUSE = "ensemble --results a {evil} --out out"
TELL = "report {evil} --out out.html"


class Attack(NamedTuple):
    """A file, the command that reads it, and what the sentence must name."""

    name: str
    file: str
    make: Make
    command: str
    sentence: str = "{evil}"


def text(content: str) -> Make:
    return lambda path: path.write_bytes(content.encode(errors="surrogatepass"))


def under(folder: str, content: bytes) -> Make:
    """A file in a folder that names its kind."""

    def make(path: Path) -> None:
        path.parent.mkdir()
        path.write_bytes(content)

    return make


def a_result(**changes: object) -> Make:
    """A result, and the scores it was made from."""

    def make(path: Path) -> None:
        path.mkdir()
        (path / "linear-xsub.json").write_text(json.dumps({**linear(), **changes}))
        (path / "linear-xsub-scores.npz").write_bytes(Path("a/linear-xsub-scores.npz").read_bytes())

    return make


def of_scores(content: bytes) -> Make:
    def make(path: Path) -> None:
        a_result()(path)
        (path / "linear-xsub-scores.npz").write_bytes(content)

    return make


def resumed(**changes: object) -> Make:
    """The checkpoint of a true run, of which one part is another; of those in `hiclr` too."""

    def make(path: Path) -> None:
        content = torch.load("run/last.ckpt", weights_only=True)
        for name, value in changes.items():
            (content if name in content else content[CHECKPOINT_KEY])[name.replace("__", "-")] = value
        torch.save(content, path)

    return make


CHECKPOINTS: dict[str, Make] = {
    **{f"an encoder that is {kind}": files.built_as(kind) for kind in (
        "os.system", "subprocess.Popen", "builtins.exec", "functools.partial", "torch.nn.Linear", "pathlib.Path",
        "hiclr.encoders.base.Encoder", "hiclr.encoders.checkpoint.load_encoder", "antigravity.fly", "never.Imported",
        "hiclr.encoders.stgcn.__builtins__", "hiclr.encoders...os.system", "", "os",
    )},
    "a width of 10^9": files.built_as("hiclr.encoders.stgcn.STGCN", width=10**9),
    "a width of 10^400": files.built_as("hiclr.encoders.stgcn.STGCN", width="1" + "0" * 400),
    "a width that fills the memory": files.built_as("hiclr.encoders.stgcn.STGCN", width=20_000),
    "another argument": files.built_as("hiclr.encoders.stgcn.STGCN", callback="os.system"),
    "a skeleton of 10^5 joints": files.built_as(
        "hiclr.encoders.stgcn.STGCN", skeleton={"name": "x", "joint_names": ["j"] * 10**5, "parents": [-1] * 10**5}
    ),
    "a skeleton in a circle": files.built_as(
        "hiclr.encoders.stgcn.STGCN", skeleton={"name": "x", "joint_names": ["a", "b"], "parents": [1, 0]}
    ),
    "a tensor of 10^12 numbers that are one": files.with_tensor(lambda x: x[:1, :1, :1].expand(10**4, 10**4, 10**4)),
    "a tensor without numbers": files.with_tensor(lambda x: x.to("meta")),
    "a sparse tensor": files.with_tensor(lambda x: x.to_sparse()),
    "a quantized tensor": files.with_tensor(lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)),
    "a number for a tensor": files.with_tensor(lambda _: 3),
    "a stream that is a path": files.saved(lambda: files.checkpoint(weights={"../../x": "query."})),
    "no streams": files.saved(lambda: files.checkpoint(weights={})),
    "weights that are a list": files.saved(lambda: {**files.checkpoint(), "state_dict": [1]}),
    "a run that is a number": files.saved(lambda: files.checkpoint(run=3)),
    "epochs that are text": files.saved(lambda: files.checkpoint(epochs="many")),
    "classes that are numbers": files.saved(lambda: files.checkpoint(class_names=[1, 2])),
    "hiclr that is a number": files.saved(lambda: {CHECKPOINT_KEY: 1}),
    "lists in lists in lists": files.unfolding,
    "a list in itself": files.endless,
    "a bomb": files.bomb_of_weights,
    "an array of NumPy": files.saved(lambda: {"a": np.zeros(3)}),
    "a network, as torch saves it whole": files.saved(lambda: torch.nn.Linear(1, 1)),
    "code in the new form": files.saved(lambda: files.Calls(exec, "open('ran', 'w').close()")),
    "code in the old form": files.saved(lambda: files.Calls(exec, "open('ran', 'w').close()"), zipped=False),
    "half a file": lambda path: (files.saved(files.checkpoint)(path), path.write_bytes(path.read_bytes()[:5000])),
}  # fmt: skip

STATES: dict[str, Make] = {
    "optimizer states that are text": resumed(optimizer_states="x"),
    "optimizer states of nobody": resumed(optimizer_states=[{"state": {}, "param_groups": [{"params": [7] * 99}]}]),
    "loops that are a list": resumed(loops=[1]),
    "callbacks that are text": resumed(callbacks="os.system"),
    "a version that is none": resumed(**{"pytorch-lightning_version": "../../1"}),
    "a step before the first": resumed(global_step="first"),
    "random states that are none": resumed(random_states={"cpu": torch.zeros(3, dtype=torch.uint8), "cuda": []}),
    "random states that are text": resumed(random_states="x"),
    "weights of nobody": resumed(state_dict={"x": torch.zeros(1)}),
    "a run of something else": resumed(run={"learner": 3}),
    "a run without a learner": resumed(run={}),
    "epochs without an end": resumed(epochs=10**15),
    "no training at all": files.saved(files.checkpoint),
}

MODELS: dict[str, Make] = {
    "a class that is none": files.model(lambda config: config["encoder"].update(class_path="os.system")),
    "a format that is text": files.model(lambda config: config.update(hiclr_format="1")),
    "frames without an end": files.model(lambda config: config["preparation"].update(frames=10**12)),
    "a figure that is a path": files.model(lambda config: config.update(figures={"top1": "../x"})),
    "a skeleton from a file": files.model(
        lambda config: config["encoder"]["init_args"].update(skeleton="../../etc/x.yaml")
    ),
    **{f"weights: {name}": files.model(lambda _: None, content) for name, content in SAFETENSORS.items()},
    **{f"config: {name}": files.model_with_config(content) for name, content in JSONS.items()
       if name != "half a character"},
}  # fmt: skip

FOLDERS: dict[str, Make] = {
    **{f"array: {name}": files.prepared("sequences.npy", content) for name, content in NPY.items()},
    **{f"about: {name}": files.prepared("about.json", content.encode()) for name, content in JSONS.items()},
    "a benchmark that leaves the folder": files.described(benchmarks=["../../xsub"]),
    "a benchmark with a line end": files.described(benchmarks=["x\nsub"]),
    "a benchmark that is a number": files.described(benchmarks=[1]),
    "frames without an end": files.described(frames=10**12),
    "a skeleton of 10^5 joints": files.described(
        skeleton={"name": "x", "joint_names": [f"{i}" for i in range(10**5)], "parents": [-1, *range(10**5 - 1)]}
    ),
    "actors that are code": files.described(actors="os.system"),
    "a table of 10^5 columns": files.prepared("samples.csv", b",".join(b"c%d" % i for i in range(10**5)) + b"\n"),
    "a table of zeros": files.prepared("samples.csv", bytes(10**5)),
    "a table with a quote": files.prepared("samples.csv", b'name,label,"subject\n' + b"x" * 10**5),
}

SOME_PICKLES = ("os.system, protocol 2", "builtins.exec", "getattr of getattr", "a persistent id", "depth")
SOME_YAMLS = (
    "a call",
    "an object",
    "laughs",
    "an alias of itself",
    "lists within lists",
    "os.system",
    "zeros",
    "a list",
)

ATTACKS = [
    *(Attack(f"pickle: {name}", "evil.pkl", file_of(content), "prepare pyskl {evil} out")
      for name, content in PICKLES.items()),
    *(Attack(f"checkpoint, {name}", "evil.ckpt", file_of(PICKLES[name]), USE) for name in SOME_PICKLES),
    *(Attack(f"checkpoint with {name}", "evil.ckpt", files.with_pickle(PICKLES[name]), USE) for name in SOME_PICKLES),
    *(Attack(f"checkpoint: {name}", "evil.ckpt", make, USE, "") for name, make in CHECKPOINTS.items()),
    *(Attack(f"go on: {name}", "evil.ckpt", make, GO_ON) for name, make in STATES.items()),
    *(Attack(f"model: {name}", "evil", make, USE, "") for name, make in MODELS.items()),
    *(Attack(f"prepared: {name}", "evil", make, SHOW) for name, make in FOLDERS.items()),
    *(Attack(f"recipe: {name}", "evil", text(content), RECIPE, "") for name, content in YAMLS.items()),
    *(Attack(f"recipe to look at: {name}", "evil", text(YAMLS[name]), AUGMENT, "") for name in SOME_YAMLS),
    *(Attack(f"skeleton: {name}", "evil.yaml", text(YAMLS[name]), "view true.npy --options.skeleton {evil}")
      for name in SOME_YAMLS),
    *(Attack(f"array: {name}", "evil.npy", file_of(content), SHOW, "") for name, content in NPY.items()),
    *(Attack(f"ragged: {name}", "evil.npz", file_of(content), PREPARE) for name, content in NPZ.items()),
    *(Attack(f"scores: {name}", "evil", of_scores(content), FUSE) for name, content in NPZ.items()
      if name in ("a bomb", "a size that is a lie", "objects", "nothing")),
    *(Attack(f"NTU: {name}", "S001C001P001R001A001.skeleton", file_of(content), SHOW, "")
      for name, content in NTU.items()),
    Attack("MATLAB: a bomb", "a1_s1_t1_skeleton.mat", file_of(files.mat_bomb()), SHOW, ""),
    *(Attack(f"NW-UCLA: {name}", "a01_s01_e00.json", text(content), SHOW, "") for name, content in JSONS.items()),
    *(Attack(f"result: {name}", "evil/linear-xsub.json", under("evil", content.encode()), TELL, "no result")
      for name, content in JSONS.items()),
    Attack("result: a benchmark that leaves the folder", "evil",
           a_result(data={**result("linear", {}, {})["data"], "benchmark": "../../x"}), FUSE),
    Attack("result: a confusion that is text", "evil", a_result(confusion="x"), FUSE),
    Attack("result: a chance of 10^400", "evil", a_result(chance=10**400), FUSE),
    Attack("clip: 10^5 columns", "evil.csv", file_of(b",".join(b"%d" % i for i in range(10**5)) + b"\n"), SHOW, ""),
    Attack("clip: a quote that stays open", "evil.csv", file_of(b'a_x,"a_y,a_z\n' + b"1,2,3\n" * 10**4), SHOW, ""),
    Attack("clip: zeros", "evil.csv", file_of(bytes(10**5)), SHOW, ""),
    Attack("clip: a formula", "evil.csv", file_of(b"a_x,a_y,a_z\n=cmd|'/C calc'!A0,1,2\n"), SHOW, ""),
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with true data, a run to go on with, a result and a clip."""
    place = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        prepared(Path("data"))
        main(shlex.split(f"pretrain {TINY.replace('--out out', '--out run')}"))
        write_scores(Path("a"))
        np.save("true.npy", clips(1)[0])
        small_model(head=True).save_pretrained("model")
        yield place


def write_scores(folder: Path) -> None:
    """A true result, which `a_result` copies: 8 sequences as in its confusion."""
    folder.mkdir()
    (folder / "linear-xsub.json").write_text(json.dumps(linear()))
    labels, predicted = np.array([0, 0, 0, 0, 1, 1, 1, 1]), [0, 0, 0, 1, 0, 1, 1, 2]
    scores = np.eye(3, dtype=np.float32)[predicted]
    np.savez(folder / "linear-xsub-scores.npz", names=np.array(list("abcdefgh")), labels=labels, scores=scores)


def there() -> set[str]:
    return {str(path) for path in Path().rglob("*")}


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_is_refused_in_one_sentence(place: Path, attack: Attack, capsys: pytest.CaptureFixture[str]) -> None:
    evil = Path(attack.file)
    attack.make(evil)
    before = there()
    try:
        with pytest.raises(SystemExit) as stopped:
            main(shlex.split(attack.command.format(evil=attack.file.partition("/")[0])))
        said = capsys.readouterr().err
        assert stopped.value.code == 2
        lines = said.strip().splitlines()
        assert lines[-1].startswith("hiclr: ") and "Traceback" not in said and len(lines) < 10
        assert lines[-1].isprintable() and len(lines[-1]) < 5000
        assert attack.sentence.format(evil=evil.parts[0]) in lines[-1]
        written = there() - before  # a run that goes on has begun when Lightning looks at the checkpoint
        assert not [name for name in written if attack.command != GO_ON or name.partition("/")[0] != "out"]
        assert before <= there() and not Path(CANARY).exists()
    finally:
        clear(there() - true())


def true() -> set[str]:
    """What the fixture made."""
    return {name for name in there() if name.split("/")[0] in ("data", "run", "a", "true.npy", "model")}


def clear(names: set[str]) -> None:
    for name in sorted(names, reverse=True):
        path = Path(name)
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)


def test_the_true_files_are_read(place: Path) -> None:
    """What is refused above is refused for what is wrong with it."""
    files.saved(files.checkpoint)(Path("true.ckpt"))
    write_prepared(Path("true"))
    go_on = GO_ON.format(evil="last").replace("--max_epochs 1", "--max_epochs 2").replace("--out out", "--out run")
    for command in (
        "embed --model model --data true.npy --out b.npz",
        "embed --model true.ckpt --data true.npy --out c.npz",
        "view true --out d.html",
        "report a --out e.html",
        go_on,
    ):
        main(shlex.split(command))
    clear(there() - true())
