"""Models by their name on the Hub: paths are never looked up, every failure is one sentence, nothing goes half."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hiclr import hub
from hiclr.encoders.checkpoint import load_encoder
from hiclr.encoders.shared import CARD, CONFIG, WEIGHTS
from hiclr.hub import fetch, is_hub_name, push
from hiclr.model import Model, load_model
from models import batch, small_model

FILES = (CONFIG, WEIGHTS, CARD)
REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder, in which no name is a path."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path / "here"


# --- which names are looked up --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["owner/name", "ada-l/ST-GCN_ntu60.v2", "a/b"])
def test_names_of_models(name: str) -> None:
    assert is_hub_name(name) and is_hub_name(Path(name))


@pytest.mark.parametrize(
    "path",
    [
        "name",
        "a/b/c",
        "/a/b",
        "./a/b",
        "../a",
        "~/a",
        "a/last.ckpt",
        "a/b.pt",
        "a/b.json",
        "a/ b",
        "a\\b",
        "",
        "a/",
        ".a/b",
    ],
)
def test_paths_are_no_names(path: str) -> None:
    assert not is_hub_name(path)


def test_what_is_here_is_no_name_and_neither_is_a_slip_beside_it(elsewhere: Path) -> None:
    (elsewhere / "runs" / "mine").mkdir(parents=True)
    assert not is_hub_name("runs/mine") and not is_hub_name("runs/mien")
    assert is_hub_name("others/mine")


def test_a_slip_is_a_missing_file_and_asks_nobody(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "runs").mkdir()
    monkeypatch.setattr(hub, "snapshot_download", None)  # would be called
    with pytest.raises(FileNotFoundError, match="no checkpoint runs/mien"):
        load_model("runs/mien")


# --- fetching -------------------------------------------------------------------------------------


@pytest.fixture
def on_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A Hub with one model, and what it was asked."""
    asked = []
    folder = small_model(head=True).save_pretrained(tmp_path / "snapshot")

    def snapshot_download(name: str, **options: Any) -> str:
        asked.append({"name": name, **options})
        return str(folder)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    return asked


def test_a_model_comes_from_the_hub(on_hub: list[dict[str, Any]]) -> None:
    model = Model.from_pretrained("ada/waves", revision="v1", token="secret")
    expected = small_model(head=True)
    assert torch.equal(model(batch(model)), expected(batch(expected)))
    assert on_hub == [{"name": "ada/waves", "revision": "v1", "token": "secret", "allow_patterns": list(FILES)}]


def test_every_verb_takes_its_name(on_hub: list[dict[str, Any]]) -> None:
    trained = load_encoder(Path("ada/waves"))
    assert trained.hub == "ada/waves" and load_model("ada/waves").class_names == trained.head.class_names  # type: ignore[union-attr]
    assert {request["name"] for request in on_hub} == {"ada/waves"}


def test_a_local_folder_comes_first(on_hub: list[dict[str, Any]], elsewhere: Path) -> None:
    small_model(stream="bone").save_pretrained(elsewhere / "ada" / "waves")
    assert Model.from_pretrained("ada/waves", revision="v1").stream == "bone" and not on_hub


def test_something_else_on_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    with pytest.raises(
        ValueError, match=r"google/bert on the Hugging Face Hub is no model of hiclr: it lacks config.json"
    ):
        load_model("google/bert")


RESPONSE = MagicMock()


class NetworkError(Exception):
    """As network libraries raise: their own, and no OSError."""


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (RepositoryNotFoundError("gone", response=RESPONSE), "the Hub has none of this name: correct it, or log in"),
        (GatedRepoError("gated", response=RESPONSE), "it asks you to accept its terms first"),
        (RevisionNotFoundError("gone", response=RESPONSE), "it has no revision 'v1'"),
        (LocalEntryNotFoundError("offline\nmore"), r"not in the cache, and the Hub cannot be reached \(offline\)"),
        (NetworkError("no route"), r"the Hub cannot be reached \(no route\)"),
        (TimeoutError(), r"the Hub cannot be reached \(TimeoutError\)"),
    ],
)  # fmt: skip
def test_failures_are_one_sentence(monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise error

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(
        FileNotFoundError, match=f"no model ada/waves, neither here nor on .* Hub: .*{sentence}"
    ) as failure:
        fetch("ada/waves", FILES, "v1")
    assert "\n" not in str(failure.value)


def offline(cache: Path, code: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "HICLR_DEBUG": ""}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


def test_what_was_fetched_before_is_found_without_a_network(tmp_path: Path) -> None:
    """As huggingface_hub itself lays out its cache; and what is not there is one sentence."""
    kept = tmp_path / "cache" / "hub" / "models--ada--waves"
    model = small_model()
    model.save_pretrained(kept / "snapshots" / REVISION)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(REVISION)
    code = (
        "import torch; from hiclr import Model; "
        "print(Model.from_pretrained('ada/waves')(torch.ones(1, 3, 16, 3, 1)).sum().item()); "
        "import hiclr.__main__; hiclr.__main__.main(['share', '--model', 'ada/none', '--out', 'x'])"
    )
    run = offline(tmp_path / "cache", code)
    assert float(run.stdout) == model(torch.ones(1, 3, 16, 3, 1)).sum().item()
    assert run.returncode == 2 and "no model ada/none, neither here nor on the Hugging Face Hub" in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1


# --- pushing --------------------------------------------------------------------------------------


class FakeApi:
    """Notes what it is asked for; keeps what is uploaded."""

    calls: list[Any]
    uploaded: dict[str, bytes]

    def __init__(self, token: str | None) -> None:
        FakeApi.calls = [("token", token)]

    def create_repo(self, name: str, private: bool, exist_ok: bool) -> str:
        self.calls.append(("create", name, private, exist_ok))
        return f"https://hub/{name}"

    def upload_folder(self, repo_id: str, folder_path: Path, allow_patterns: list[str], commit_message: str) -> None:
        self.calls.append(("upload", repo_id))
        found = (path for path in Path(folder_path).iterdir() if path.name in allow_patterns)
        FakeApi.uploaded = {path.name: path.read_bytes() for path in found}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> type[FakeApi]:
    monkeypatch.setattr(hub, "HfApi", FakeApi)
    return FakeApi


@pytest.mark.parametrize("private", [True, False])
def test_a_model_goes_to_the_hub_whole_and_in_one_commit(api: type[FakeApi], tmp_path: Path, private: bool) -> None:
    model = small_model(head=True)
    assert model.push_to_hub("ada/waves", private, "secret") == "https://hub/ada/waves"
    assert api.calls == [("token", "secret"), ("create", "ada/waves", private, True), ("upload", "ada/waves")]
    assert set(api.uploaded) == set(FILES)
    for name, content in api.uploaded.items():
        (tmp_path / name).write_bytes(content)
    assert torch.equal(load_model(tmp_path)(batch(model)), model(batch(model)))
    assert b'embed("ada/waves"' in api.uploaded[CARD]


def test_a_new_model_is_private_unless_asked_otherwise(api: type[FakeApi]) -> None:
    small_model().push_to_hub("ada/waves")
    assert ("create", "ada/waves", True, True) in api.calls


@pytest.mark.parametrize("name", ["waves", "a/b/c", "https://hub/ada/waves", "ada/", ""])
def test_no_name(api: type[FakeApi], tmp_path: Path, name: str) -> None:
    api.calls = []
    with pytest.raises(ValueError, match="is no name on the Hugging Face Hub: give owner/name"):
        push(tmp_path, name, FILES)
    assert api.calls == []


def test_a_refusal_is_one_sentence(api: type[FakeApi], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise NetworkError("401 Unauthorized\nmore")

    monkeypatch.setattr(api, "upload_folder", refuse)
    with pytest.raises(
        OSError, match=r"^ada/waves was not pushed \(401 Unauthorized\): look at the name and the network"
    ):
        push(tmp_path, "ada/waves", FILES)


def test_what_lies_beside_a_model_stays_at_home(api: type[FakeApi], tmp_path: Path) -> None:
    folder = small_model().save_pretrained(tmp_path / "m")
    (folder / "linear-xsub.json").write_text('{"root": "/home/ada"}', encoding="utf-8")
    push(folder, "ada/waves", FILES)
    assert set(api.uploaded) == set(FILES)
