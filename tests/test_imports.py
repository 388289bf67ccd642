"""Who may know whom: the picture of the house, read from the sources; and what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import hiclr

ROOT = Path(hiclr.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
    for path in sorted(ROOT.rglob("*.py"))
}
every_module = pytest.mark.parametrize("module", MODULES, ids=lambda name: name or "hiclr")

# What a module may import of ours. The longest entry that a module lies in is its rule; "encoders" among the allowed
# ones allows every module in it.
ALLOWED: dict[str, set[str]] = {
    "": set(),  # the front door imports lazily
    "__main__": {"forms", "options", "cli", "data.corpora", "data.prepare", "memory", "provenance", "stopping"},
    "cli": {
        "forms", "screen",
        *("animation", "card", "device", "hub", "inference", "prediction_figures", "teaching", "timeline", "viewing"),
        *("ablation", "benchmarks", "cli", "data", "distributed", "encoders", "evaluation", "functional", "fusion"),
        *("memory", "methods", "onnx", "model", "plots", "pose", "provenance", "repeatable", "reporting"),
        *("resources", "skeleton", "transforms"),
    },
    "ablation": {"methods", "skeleton", "transforms"},
    "benchmarks": {
        "benchmarks", "data", "encoders", "evaluation", "losses", "memory", "methods", "momentum", "skeleton",
        "transforms",
    },
    "benchmarks.plain": {"benchmarks.plain", "skeleton"},
    "layouts": set(),
    "forms": set(),
    "plain_yaml": set(),
    "options": {"plain_yaml"},
    "screen": {"forms"},
    "device": set(),
    "resources": set(),
    "stopping": set(),
    "inference": {"data", "model"},
    "timeline": {"data", "inference", "model"},
    "teaching": {"encoders", "evaluation"},
    "prediction_figures": {"inference", "plots", "timeline"},
    "distributed": set(),
    "memory": set(),
    "skeleton": {"forms", "plain_yaml", "layouts"},
    "functional": {"skeleton"},
    "losses": {"skeleton"},
    "momentum": {"distributed"},
    "evaluation": {"data.recordings.archive", "provenance", "skeleton"},
    "fusion": {"evaluation"},
    "onnx": {"functional", "model", "skeleton"},
    "plots": {"skeleton"},
    "animation": {"player", "plots", "skeleton"},
    "pages": set(),
    "player": {"pages", "plots", "skeleton"},
    "viewing": {"data", "player", "transforms"},
    "pose": {"pose", "skeleton"},
    "reporting": {
        "forms",
        "data.folder", "encoders.checkpoint", "evaluation", "pages", "player", "plots", "provenance", "reporting",
        "skeleton",
        "transforms",
    },
    "transforms": {"functional", "skeleton"},
    "provenance": {"data.folder", "repeatable", "resources"},
    "repeatable": set(),
    "encoders": {"forms", "distributed", "encoders", "functional", "hub", "skeleton"},
    "model": {"card", "data", "encoders", "functional", "hub", "provenance", "skeleton"},
    "card": {"pages"},
    "hub": set(),
    "estimator": {"data", "functional", "model"},
    "methods": {
        "forms", "options", "plain_yaml",
        "data.module", "device", "distributed", "encoders", "functional", "losses", "memory", "methods", "momentum",
        "data.processes", "provenance", "resources", "skeleton", "stopping", "transforms",
    },
    "data": {"forms", "screen", "data", "functional", "resources", "skeleton"},
    "data.actors": set(),
    "data.folder": {"forms", "data.actors", "skeleton"},
    "data.recordings": {"forms", "data.recordings", "resources", "skeleton"},
    "data.corpora": {"forms", "data.corpora", "data.recordings", "data.synthetic", "skeleton"},
    "data.processes": set(),
    "data.writer": {"data.folder", "resources"},
    "data.module": {"data.folder", "skeleton"},
}  # fmt: skip
LIGHTNING = ("ablation", "benchmarks", "cli", "data.module", "methods")


def without_typing(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        yield node
        yield from without_typing(node)


def imported(path: Path) -> Iterator[str]:
    """Dotted names of all modules a file imports, inside functions too."""
    for node in without_typing(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} line {node.lineno}: relative import"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}".removeprefix("hiclr.")
                yield f"hiclr.{inner}" if node.module.startswith("hiclr") and inner in MODULES else node.module


def ours(module: str) -> set[str]:
    """Which of our modules a module imports."""
    names = {name for name in imported(MODULES[module]) if name.split(".")[0] == "hiclr"}
    return {name.removeprefix("hiclr").removeprefix(".") for name in names}


def inside(module: str, layers: Iterable[str]) -> bool:
    return any(module == layer or module.startswith(f"{layer}.") for layer in layers)


def rule_of(module: str) -> set[str]:
    return ALLOWED[max((name for name in ALLOWED if name == "" or inside(module, [name])), key=len)]


# --- the picture ----------------------------------------------------------------------------------


@every_module
def test_every_module_has_a_place_in_the_picture(module: str) -> None:
    assert module == "" or inside(module, ALLOWED.keys() - {""})


@every_module
def test_imports_only_what_lies_below(module: str) -> None:
    strange = {name for name in ours(module) if not inside(name, rule_of(module))}
    assert not strange, f"{module} imports {', '.join(sorted(strange))}"


@every_module
def test_only_methods_data_module_and_cli_know_lightning(module: str) -> None:
    knows = any(name.split(".")[0] in ("lightning", "pytorch_lightning") for name in imported(MODULES[module]))
    assert not knows or inside(module, LIGHTNING)


def test_nothing_imports_in_a_circle() -> None:
    graph = {module: ours(module) for module in MODULES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"circle: {' -> '.join([*path[path.index(module) :], module])}"
        if module not in done:
            for other in graph[module]:
                visit(other, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@every_module
def test_imports_stand_at_the_top_but_in_the_two_lazy_doors(module: str) -> None:
    if module in ("", "__main__"):
        return
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    top = {node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)}
    every = {node for node in without_typing(tree) if isinstance(node, ast.Import | ast.ImportFrom)}
    assert every == top


# --- what it costs --------------------------------------------------------------------------------


def loaded_after(statement: str) -> set[str]:
    """Top-level packages that a fresh Python holds after a statement."""
    code = f"import sys; {statement}; print(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_the_front_door_costs_nothing() -> None:
    assert not {"torch", "lightning", "numpy", "pandas"} & loaded_after("import hiclr, hiclr.__main__")


def test_what_need_not_know_lightning_does_not_load_it() -> None:
    modules = [f"hiclr.{module}" for module in MODULES if module and not inside(module, (*LIGHTNING, "__main__"))]
    loaded = loaded_after(f"import {', '.join(modules)}")
    assert "torch" in loaded and "lightning" not in loaded


def test_a_skeleton_costs_no_torch() -> None:
    assert "torch" not in loaded_after("import hiclr.skeleton, hiclr.data.folder")


# --- the front door -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", hiclr.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert callable(getattr(hiclr, name))


def test_public_names_are_sorted_and_known_to_type_checkers() -> None:
    assert list(hiclr.__all__) == sorted(hiclr.__all__)
    tree = ast.parse(MODULES[""].read_text(encoding="utf-8"))
    typed = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        for statement in node.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert typed == set(hiclr.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'hiclr' has no attribute 'transformers'"):
        _ = hiclr.transformers
