"""What the documents say: every command and every Python block runs, every link leads somewhere, the site builds."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import partial
from inspect import signature
from pathlib import Path
from typing import NamedTuple

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from browser import open_page
from commands import ROOT, lines_of, run
from hiclr import cli, hub
from hiclr.cli import showing
from hiclr.data import corpora
from hiclr.data.prepare import prepare
from hiclr.data.synthetic import MARKER, synthesise
from hiclr.provenance import resolved_options
from hiclr.skeleton import SKELETONS, as_skeleton
from writers.clips import write_csv_clip, write_table
from writers.learnable import learnable_frames, write_learnable
from writers.videos import portrait, write_video

READ = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "recipes/README.md")]
READ += sorted((ROOT / "docs").rglob("*.md"))
SHOWN = ("text", "csv", "json")
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"])


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return (Block(*block) for block in found)


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


RUN = [page for page in READ if page.parent.name != "recipes" and any(blocks(page))]  # test_recipes.py runs those


# --- everything runs ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages take for granted: recordings, NTU files, prepared folders, a run of each with its results."""
    here = tmp_path_factory.mktemp("workshop")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        write_recordings()
        shutil.copytree("recordings", "new")
        for name in ("mine.npz", "utd_mhad.npz", "ui_prmd_kinect.npz"):
            write_learnable(Path(name))
        write_video(Path("films", "hopper.mp4"), portrait())
        synthesise("nturgbd_skeletons", subjects=4, repetitions=1, classes=["drink", "wave", "kick"])
        Path("nturgbd_skeletons", MARKER).unlink()  # from here on they pass for recorded ones
        run("hiclr prepare clips recordings data/mine --table clips.csv --split-by subject")
        run("hiclr prepare ntu60 nturgbd_skeletons data/ntu60 --frames 16")
        for name in ("mine", "ntu60"):
            run(f"hiclr pretrain --data.root data/{name} --out runs/{name}")
            run(f"hiclr linear --checkpoint runs/{name} --data.root data/{name}")
            run(f"hiclr knn --checkpoint runs/{name} --data.root data/{name}")
    return here


class Hub:
    """Takes what is pushed."""

    def __init__(self, token: str | None) -> None: ...

    def create_repo(self, name: str, private: bool, exist_ok: bool) -> str:
        return f"hub:{name}"

    def upload_folder(self, repo_id: str, folder_path: Path, allow_patterns: list[str], commit_message: str) -> None:
        assert Path(folder_path, "model.safetensors").is_file()


def write_recordings() -> None:
    """96 short clips of 20 joints and eight people, in `recordings`, with `clips.csv`."""
    frames = np.concatenate([learnable_frames(), 1.01 * learnable_frames()])
    rows = [{"name": f"clip-{i:02d}", "label": "abc"[i % 3], "subject": f"p{i // 12}"} for i in range(96)]
    for i, row in enumerate(rows):
        clip = frames[10 * i : 10 * (i + 1), 0]
        write_csv_clip(Path("recordings", f"{row['name']}.csv"), clip, SKELETONS["kinect20"])
    write_table(Path("clips.csv"), rows)


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_every_block_of_the_page_runs(
    page: Path, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    said = list(blocks(page))
    here = shutil.copytree(workshop, tmp_path / "here")
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(here)  # as PYTHONPATH=. does
    monkeypatch.setattr(hub, "HfApi", Hub)
    monkeypatch.setattr(showing, "prepare_synthetic", partial(cli.prepare_synthetic, subjects=4, repetitions=1))
    if "released_model.pt" in page.read_text(encoding="utf-8"):
        shutil.copy(request.getfixturevalue("shared") / "parity" / "stgcn_official.pt", "released_model.pt")
    text = "\n".join(block.text for block in said)
    for made in re.findall(r"(?:prepare \w+ \S+ |--out )((?:data|runs)/\S+)", text):
        shutil.rmtree(made, ignore_errors=True)  # the page makes it
    if 'Path("recordings").mkdir()' in text:
        shutil.rmtree("recordings")
        shutil.rmtree("new")
        Path("clips.csv").unlink()
    scope: dict[str, object] = {}
    for block in said:
        run_block(block, scope)


def run_block(block: Block, scope: dict[str, object]) -> None:
    """A script line by line, Python in a scope that the page's blocks share, YAML into the file its comment names."""
    if block.language == "python":
        if named := re.match(r"# (\S+\.py)\n", block.text):
            Path(named[1]).write_text(block.text, encoding="utf-8")
        else:
            resolved_options.clear()  # a session of Python starts without those of a command
            exec(re.sub(r"max_epochs=\d+", "max_epochs=1", block.text), scope)
    elif block.language == "yaml":
        Path(re.findall(r"^# (\S+\.yaml)", block.text)[0]).write_text(block.text, encoding="utf-8")
    elif block.language == "sh":
        for command in lines_of(block.text):
            run_line(command)
    else:
        assert block.language in SHOWN, f"nobody runs a block of {block.language or 'no language'}: {block.text}"


def run_line(command: str) -> None:
    command = command.removeprefix("PYTHONPATH=. ")
    word = command.split()[0]
    if word in ("torchrun", "srun") or "--devices" in command:  # in one process, on this machine
        run(f"{command[command.index('hiclr ') :]} --devices 1 --num_nodes 1 --accelerator cpu")
    elif command.startswith("hiclr doctor"):
        try:
            run(command)
        except SystemExit as stopped:  # something would spoil a result: a part of a published corpus
            assert stopped.code == 1
    elif word == "hiclr":
        run(command)
    elif word == "make":
        assert re.search(rf"^{command.split()[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    elif word == "pip":
        assert set(re.findall(r"\[(\w+)\]", command)) <= EXTRAS
    else:
        of_a_job = re.match(r"\w+=", word) or word in ("[", "exit")  # tests/methods/test_resume.py runs it
        assert of_a_job or word in ("git", "cd"), f"nobody runs {command!r}"


# --- what is said in passing ----------------------------------------------------------------------


@pytest.mark.parametrize("page", READ, ids=name_of)
def test_verbs_and_options_in_passing_exist(page: Path) -> None:
    verbs = {name.split("_")[0] for name in cli.__all__} | {"prepare", "VERB"}
    functions = [*(getattr(cli, name) for name in cli.__all__), *(getattr(corpora, name) for name in corpora.__all__)]
    options = {name for function in [*functions, prepare] for name in signature(function).parameters}
    code = [words for words in re.findall(r"`([^`\n]+)`", prose(page)) if "hiclr" in words or words.startswith("--")]
    said = "\n".join(code)
    assert set(re.findall(r"\bhiclr ([a-z]+)", said)) <= verbs
    named = {option.replace("-", "_") for option in re.findall(r"(?<!\S)--([a-z][\w-]*)", said)}
    assert named <= options | {"config", "help", "version"}


@pytest.mark.parametrize("page", READ, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", prose(page)):
        file = page.parent / target if target else page
        assert file.exists(), f"{name_of(page)} links to {target}"
        if anchor:
            assert anchor in anchors(file), f"{name_of(page)} links to {target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """What a forge and the site call the headings of a page, and names given by hand."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    by_hand = re.findall(r'<a name="(.*?)"', prose(page))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles} | set(by_hand)


def test_every_verb_and_kind_is_in_the_reference() -> None:
    pages = [(ROOT / "docs" / "reference" / f"{name}.md").read_text(encoding="utf-8") for name in ("verbs", "data")]
    for functions, page in ((cli.__all__, pages[0]), (corpora.__all__, pages[1])):
        said = re.findall(r"^::: \S+\.(\w+)$", page, re.MULTILINE)
        assert set(functions) <= set(said)


def test_the_skeleton_of_the_how_to_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    block = next(block for block in blocks(ROOT / "docs/how-to/own-skeleton.md") if block.language == "yaml")
    run_block(block, {})
    skeleton = as_skeleton("mine.yaml")
    assert (skeleton.num_joints, skeleton.joint_names[skeleton.centre_joint]) == (5, "chest")


# --- the site -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return out


def test_the_site_fetches_nothing(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(r'<(?:script|img|iframe)[^>]* src="?(https?:[^">\s]+)', text)
        fetched += re.findall(r'<link[^>]* rel="?(?:stylesheet|preconnect|icon)[^>]* href="?(https?:[^">\s]+)', text)
        assert not fetched, page.name


def test_the_reference_has_the_docstrings(site: Path) -> None:
    page = (site / "reference" / "losses.html").read_text(encoding="utf-8")
    assert "similarity_logits" in page and "temperature" in page
    verbs = (site / "reference" / "verbs.html").read_text(encoding="utf-8")
    assert all(f'.{name}"' in verbs for name in cli.__all__)  # an anchor: hiclr.cli.training.pretrain


def test_the_site_opens_as_files(site: Path) -> None:
    with open_page(site / "index.html") as page:
        page.click("text=How to")
        assert "How to" in page.title()


# --- the notebook ---------------------------------------------------------------------------------


def test_the_notebook_runs_and_is_stored_without_outputs(tmp_path: Path) -> None:
    notebook = nbformat.read(ROOT / "docs" / "first-steps.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    settings = next(cell for cell in code if "subjects, repetitions, epochs = 4, 2, 8" in cell.source)
    settings.source = settings.source.replace("4, 2, 8", "4, 1, 1")
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in code for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert any("iframe" in output.get("data", {}).get("text/html", "") for output in outputs)
    assert "% by chance" in outputs[-1].text
