"""A model that was saved and loaded is the same model; what is damaged, hostile or does not fit is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from hiclr.data.folder import Preparation
from hiclr.encoders.base import Encoder
from hiclr.encoders.checkpoint import load_encoder
from hiclr.encoders.dsta import DSTA
from hiclr.encoders.head import LinearHead
from hiclr.encoders.shared import CARD, CONFIG, WEIGHTS, digest
from hiclr.encoders.stgcn import STGCN
from hiclr.functional import Stream, to_stream
from hiclr.model import Model, load_model
from hiclr.skeleton import SKELETONS, Skeleton
from models import CLASSES, RUN, SMALL, batch, small_model


@pytest.fixture(scope="module")
def model() -> Model:
    return small_model(head=True)


@pytest.fixture
def folder(model: Model, tmp_path: Path) -> Path:
    return model.save_pretrained(tmp_path / "shared")


def features(model: Model, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x)


# --- the same model -------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("skeleton", [SKELETONS["ntu25"], SMALL], ids=["known", "own"])
@pytest.mark.parametrize("stream", ["joint", "motion", "bone"])
@pytest.mark.parametrize("encoder", [STGCN, DSTA])
def test_a_saved_model_is_the_same_bit_for_bit(
    tmp_path: Path, encoder: type[Encoder], stream: Stream, skeleton: Skeleton, head: bool
) -> None:
    before = small_model(skeleton, stream, head, encoder)
    after = Model.from_pretrained(before.save_pretrained(tmp_path / "shared"))
    x = batch(before)
    assert torch.equal(features(after, x), features(before, x))
    assert not after.training and not any(module.training for module in after.modules())
    assert type(after.encoder) is encoder and after.encoder.settings == before.encoder.settings
    assert after.skeleton == skeleton and after.stream == stream and after.preparation == before.preparation
    assert after.epochs == 4 and after.figures == before.figures
    if head:
        assert after.class_names == CLASSES
        assert torch.equal(after.probabilities(features(after, x)), before.probabilities(features(before, x)))
    else:
        assert after.head is None


@pytest.mark.parametrize("encoder", ["stgcn", "dsta"])
def test_published_weights_give_the_published_features_after_saving(shared: Path, tmp_path: Path, encoder: str) -> None:
    before = load_model(shared / "parity" / f"{encoder}_official.pt")
    after = Model.from_pretrained(before.save_pretrained(tmp_path / "shared"))
    with np.load(shared / "parity" / f"{encoder}_official_expected.npz") as file:
        x, published = torch.from_numpy(file["x"]), torch.from_numpy(file["feature"])
    assert torch.equal(features(after, x), features(before, x))
    size = max(published.abs().max().item(), 1.0)
    torch.testing.assert_close(features(after, x), published, rtol=1e-5, atol=1e-5 * size)


def test_a_fresh_process_computes_the_same(model: Model, folder: Path, tmp_path: Path) -> None:
    x = batch(model)
    np.save(tmp_path / "x.npy", x.numpy())
    code = (
        f"import numpy as np, torch; from hiclr import Model; torch.set_num_threads({torch.get_num_threads()}); "
        f"model = Model.from_pretrained({str(folder)!r}); x = torch.from_numpy(np.load({str(tmp_path / 'x.npy')!r})); "
        f"np.save({str(tmp_path / 'features.npy')!r}, model(x).detach().numpy())"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert np.array_equal(np.load(tmp_path / "features.npy"), features(model, x).numpy())


def test_the_model_makes_its_stream_of_joints() -> None:
    model = small_model(stream="bone")
    x = batch(model)
    expected = model.encoder(to_stream(x, "bone", SMALL.parents)).detach()
    assert torch.equal(features(model, x), expected) and not torch.equal(features(model, x), model.encoder(x).detach())


def test_other_settings_of_the_encoder_come_back(tmp_path: Path) -> None:
    before = Model(STGCN(SMALL, 3, dropout=0.25, partition="spatial"), preparation=Preparation(30, "motion", 3, True))
    after = load_model(before.save_pretrained(tmp_path / "m"))
    assert after.encoder.settings == {"width": 3, "dropout": 0.25, "partition": "spatial", "init": "published"}
    assert after.preparation == Preparation(30, "motion", 3, True)
    assert after.run == {} and after.epochs is None and after.figures == {}


def test_saving_again_replaces_and_gives_the_same_bytes(model: Model, folder: Path) -> None:
    first = {file.name: file.read_bytes() for file in folder.iterdir()}
    small_model(stream="bone").save_pretrained(folder)
    assert load_model(folder).stream == "bone"
    model.save_pretrained(folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == first
    assert set(first) == {CONFIG, WEIGHTS, CARD}


def test_a_loaded_model_is_saved_as_it_was(folder: Path, tmp_path: Path) -> None:
    again = load_model(folder).save_pretrained(tmp_path / "again" / "shared")
    for file in folder.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes(), file.name


def test_every_verb_takes_a_model_folder(folder: Path) -> None:
    trained = load_encoder(folder)
    assert trained.path == folder / WEIGHTS and trained.epochs == 4 and trained.hub is None
    assert trained.run["data"]["corpus"] == "mine" and trained.head is not None


def test_weights_that_share_memory_are_saved(tmp_path: Path) -> None:
    before = small_model()
    names = [name for name, value in before.encoder.named_parameters() if value.shape == (3, 3, 3)]
    one, other = (before.encoder.get_parameter(name) for name in names[:2])
    other.data = one.data
    after = load_model(before.save_pretrained(tmp_path / "m"))
    assert torch.equal(features(after, batch(before)), features(before, batch(before)))


# --- no place of the author's machine -------------------------------------------------------------


def test_nothing_tells_where_it_was_made(folder: Path) -> None:
    for name in (CONFIG, CARD):
        text = (folder / name).read_text(encoding="utf-8")
        assert not any(word in text for word in ("/home", "ada", "secret", "Users", "options")), name
    run = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["run"]
    assert run["data"] == {"root": "mine", "corpus": "mine", "sequences": 24, "benchmark": "xsub"}
    assert run["command"] == "hiclr pretrain --config small.yaml --data.root mine --seed=3"
    assert run["learner"] == RUN["learner"]  # a class named "put on a hat/cap" is no path


# --- what is refused ------------------------------------------------------------------------------


def test_another_skeleton_is_refused_with_the_way_out(model: Model) -> None:
    model.check_skeleton(Skeleton("same", SMALL.joint_names, SMALL.parents))
    with pytest.raises(ValueError, match=r"clips have 25 joints \(ntu25\), the model expects 3 \(small\): use a model"):
        model.check_skeleton(SKELETONS["ntu25"], "clips")


def test_the_same_joints_hung_otherwise_are_said_to_be_so() -> None:
    kinect = SKELETONS["kinect20"]
    parents = list(kinect.parents)
    root, child = parents.index(-1), next(joint for joint, parent in enumerate(parents) if parent == parents.index(-1))
    parents[root], parents[child] = child, -1
    turned = Skeleton("turned", kinect.joint_names, tuple(parents))
    with pytest.raises(ValueError, match=r"have the model's joints, but .* hangs on .* and in the model on"):
        small_model(skeleton=kinect).check_skeleton(turned)


def test_a_model_without_classes_says_so(model: Model) -> None:
    with pytest.raises(ValueError, match="the model has no classifier: give one that hiclr linear"):
        _ = small_model().class_names


def test_a_head_of_another_size_is_refused() -> None:
    head = LinearHead(CLASSES, torch.zeros(3, 5), torch.zeros(3))
    with pytest.raises(ValueError, match="the classifier takes features of size 5, the encoder's are 32"):
        Model(STGCN(SMALL, 2), head=head)


def test_other_precisions_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the model is in float16: models are shared in float32"):
        small_model().half().save_pretrained(tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_folder_with_other_things_is_left_alone(model: Model, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"holds other things \(thesis.tex\): choose another folder"):
        model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a file: choose a folder"):
        model.save_pretrained(tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_a_killed_save_left_is_in_nobodys_way(model: Model, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.0123abcd.partial").touch()
    model.save_pretrained(tmp_path)
    assert load_model(tmp_path).stream == model.stream


@pytest.mark.parametrize("name", ["here", "none/at/all", "owner/weights.ckpt"])
def test_nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*: give a run's folder .* or a model folder"):
        Model.from_pretrained(name)


def test_a_save_that_was_stopped_is_told(model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two of its files: what is there afterwards is refused, whatever was there before."""
    write, written = Path.write_bytes, []

    def stop_after_weights(path: Path, content: bytes) -> int:
        written.append(write(path, content))
        path.replace(path.with_name(WEIGHTS))
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", stop_after_weights)
    with pytest.raises(KeyboardInterrupt):
        small_model(stream="bone").save_pretrained(folder)
    assert written
    with pytest.raises(ValueError, match=r"is half-written \(no config.json\): save or copy the model again"):
        load_model(folder)


def test_weights_of_another_model_are_refused(model: Model, folder: Path, tmp_path: Path) -> None:
    """The same network, other numbers: nothing but their hash tells it."""
    other = small_model(head=True)
    with torch.no_grad():
        next(other.parameters()).add_(1)
    other.save_pretrained(tmp_path / "other")
    (tmp_path / "other" / WEIGHTS).replace(folder / WEIGHTS)
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged, or of another model than config\.json"):
        load_model(folder)


def test_cut_weights_are_refused(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:-100])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        load_model(folder)


def replace_weights(folder: Path, content: bytes) -> None:
    (folder / WEIGHTS).write_bytes(content)
    change(folder, lambda config: config.update(weights=digest(content)))


def change(folder: Path, how: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    how(config)
    (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")


def test_what_is_no_safetensors_is_refused_though_its_hash_is_right(folder: Path) -> None:
    replace_weights(folder, b"\x80\x04 a pickle, maybe")
    with pytest.raises(ValueError, match=r"model\.safetensors is no safetensors file"):
        load_model(folder)


def test_weights_in_other_precision_are_refused(folder: Path) -> None:
    tensors = {
        name: value.double() if value.is_floating_point() else value
        for name, value in load_file(folder / WEIGHTS).items()
    }
    replace_weights(folder, save(tensors))
    with pytest.raises(ValueError, match=r"model\.safetensors is in float64: models are shared in float32"):
        load_model(folder)


@pytest.mark.parametrize(
    ("lost", "sentence"), [("encoder.adjacency", "adjacency is missing"), ("head.bias", "classifier is not whole")]
)
def test_a_tensor_is_lost(folder: Path, lost: str, sentence: str) -> None:
    replace_weights(folder, save({name: value for name, value in load_file(folder / WEIGHTS).items() if name != lost}))
    with pytest.raises(ValueError, match=sentence):
        load_model(folder)


SETTINGS = ("encoder", "init_args")


def put(*path: str, value: Any) -> Callable[[dict[str, Any]], object]:
    def how(config: dict[str, Any]) -> None:
        for key in path[:-1]:
            config = config[key]
        config[path[-1]] = value

    return how


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (put("hiclr_format", value=2), "is of format 2, this hiclr reads 1: update hiclr"),
        (put("encoder", "class_path", value="os.system"), "os.system is no hiclr Encoder"),
        (put("encoder", "class_path", value="torch.nn.Linear"), "torch.nn.Linear is no hiclr Encoder"),
        (put("encoder", "class_path", value="hiclr.encoders.gone.Gone"), "is no hiclr Encoder"),
        (put("encoder", "class_path", value=["os"]), "does not say the model's encoder"),
        (put(*SETTINGS, "width", value=4000), "larger than the weights in the file"),
        (put(*SETTINGS, "width", value=10**12), "no STGCN can be built as it says"),
        (put(*SETTINGS, "width", value=3), r"its weights do not fit the encoder it describes: \S+ is \("),
        (put(*SETTINGS, "width", value="2"), "no STGCN can be built as it says"),
        (put(*SETTINGS, "width", value=-2), "width must be at least 1, got -2"),
        (put(*SETTINGS, "partition", value={"deep": [1]}), "unknown partition"),
        (put(*SETTINGS, "callback", value="os.system"), "no STGCN can be built as it says"),
        (put(*SETTINGS, "skeleton", value="/etc/passwd.yaml"), "no skeleton file|unknown skeleton"),
        (put(*SETTINGS, "skeleton", value={"name": "x", "joint_names": [[]], "parents": [-1]}), "is no text"),
        (put(*SETTINGS, "skeleton", value={"name": "x", "joint_names": ["a"], "parents": ["b"]}), "is no joint"),
        (put(*SETTINGS, "skeleton", value=7), "no STGCN can be built as it says"),
        (put("stream", value="smell"), "does not say the model's stream"),
        (put("stream", value=["joint"]), "does not say the model's stream"),
        (put("epochs", value="many"), "does not say the model's epochs"),
        (put("figures", value={"top1": "high"}), "does not say the model's figures"),
        (put("run", value=[]), "does not say the model's run"),
        (put("run", value={"data": "x"}), "does not say the model's run"),
        (put("run", value={"data": {"corpus": ["x"]}}), "does not say the model's run"),
        (put("run", value={"pretraining": {"pretraining": {"learner": 3}}}), "does not say the model's run"),
        (put("weights", value=None), "does not say the model's weights"),
        (put("weights", value="sha256:0"), "is damaged, or of another model"),
        (put("head", value="abc"), "does not say the model's head"),
        (put("head", "class_names", value="abc"), "does not say the model's head"),
        (put("head", "class_names", value=["a", "b"]), "classifier is not whole"),
        (put("head", "normalized", value="yes"), "does not say the model's head"),
        (put("preparation", value=None), "does not say the model's preparation"),
        (put("preparation", "frames", value=10**9), "a preparation with frames 1000000000"),
        (put("preparation", "frames", value="50"), "a preparation with frames '50'"),
        (put("preparation", "bodies", value=True), "a preparation with bodies True"),
        (put("preparation", "actors", value="everybody"), "a preparation with actors 'everybody'"),
        (put("preparation", "planar", value=1), "a preparation with planar 1"),
        (put("preparation", "smoothing", value=3), r"that this hiclr does not know \(smoothing\): update hiclr"),
    ],
)  # fmt: skip
def test_a_strange_configuration_is_refused_in_one_sentence(
    folder: Path, how: Callable[[dict[str, Any]], object], sentence: str
) -> None:
    change(folder, how)
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        load_model(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"model_type": "bert"}', "[" * 100_000, '{"a": NaN'])
def test_another_json_is_refused(folder: Path, text: str) -> None:
    (folder / CONFIG).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"is no JSON|is not of a model of hiclr"):
        load_model(folder)


def test_every_key_of_the_configuration_is_needed(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    assert config["preparation"] == asdict(load_model(folder).preparation)
    for key in config:
        (folder / CONFIG).write_text(json.dumps({k: v for k, v in config.items() if k != key}), encoding="utf-8")
        with pytest.raises(ValueError, match=r"is not of a model of hiclr|does not say"):
            load_model(folder)


def test_a_stream_that_it_was_not_trained_on(folder: Path) -> None:
    with pytest.raises(ValueError, match="was trained on the joint stream, not on bone"):
        load_model(folder, "bone")
    assert load_model(folder, "joint").stream == "joint"
