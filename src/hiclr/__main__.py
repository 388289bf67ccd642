"""The command line: finds the verb, builds its arguments with jsonargparse, turns failures into one sentence.

Kept apart from `hiclr.cli`, which imports torch and Lightning, so that `hiclr --help` answers at once.
"""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path
from typing import NoReturn

_HELP = ("-h", "--help")


def main(arguments: list[str] | None = None) -> None:
    """Runs `hiclr VERB ...`; exits with 2 on a failure that the user can mend (HICLR_DEBUG=1: with its traceback)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    summaries = _summaries()
    verb = next((verb for verb in summaries if arguments[: len(verb.split())] == verb.split()), None)
    if verb is None:
        _help_or_fail(arguments, summaries)
        return
    try:
        _run(verb, arguments[len(verb.split()) :])
    except (ValueError, OSError) as error:
        if os.environ.get("HICLR_DEBUG"):
            raise
        _fail(" ".join(str(error).split()))
    except KeyboardInterrupt:
        _fail("stopped", code=130)


def _run(verb: str, arguments: list[str]) -> None:
    import yaml
    from jsonargparse import ArgumentError, ArgumentParser

    from hiclr import cli
    from hiclr.provenance import resolved_options

    function = getattr(cli, verb.replace(" ", "_"))
    parser = ArgumentParser(prog=f"hiclr {verb}", description=_first_paragraph(function.__doc__), exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of these options: a recipe")
    parser.add_function_arguments(function, as_group=False, as_positional=verb.startswith("prepare"))
    try:
        options = parser.parse_args(arguments)
    except ArgumentError as error:
        raise ValueError(f"{_innermost(str(error))}: see hiclr {verb} --help") from None
    resolved_options.update(yaml.safe_load(parser.dump(options)))
    ready = parser.instantiate(options)
    function(**{name: value for name, value in vars(ready).items() if name != "config"})


def _innermost(message: str) -> str:
    """The part about the option itself, of jsonargparse's message about everything around it."""
    return message[max(message.rfind("Parser key"), 0) :].split(". Got value: Namespace")[0]


def _summaries() -> dict[str, str]:
    """Each verb and the first sentence of its docstring, read from the source without importing it.

    A function `prepare_npz` is the verb `prepare npz`.
    """
    tree = ast.parse(Path(__file__).with_name("cli.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    return {node.name.replace("_", " "): _first_paragraph(ast.get_docstring(node)) for node in functions}


def _first_paragraph(docstring: str | None) -> str:
    return " ".join((docstring or "").split("\n\n")[0].split())


def _help_or_fail(arguments: list[str], summaries: dict[str, str]) -> None:
    group = arguments[0] if arguments else ""
    inside = {verb: summary for verb, summary in summaries.items() if verb.startswith(f"{group} ")}
    if not arguments or arguments[0] in _HELP:
        _print_verbs("hiclr VERB", summaries)
    elif inside and (len(arguments) == 1 or arguments[1] in _HELP):
        _print_verbs(f"hiclr {group} KIND", inside)
    elif arguments[0] == "--version":
        from importlib.metadata import version

        print(f"hiclr {version('hiclr')}")
    else:
        _fail(f"no verb {' '.join(arguments[: 2 if inside else 1])!r}: choose of {', '.join(inside or summaries)}")


def _print_verbs(usage: str, summaries: dict[str, str]) -> None:
    print(f"usage: {usage} ...\n\nSelf-supervised skeleton-based action recognition.\n")
    width = max(len(verb) for verb in summaries) + 2
    for verb, summary in summaries.items():
        print(f"  {verb:<{width}}{summary}")
    print("\n`hiclr VERB --help` lists a verb's options.")


def _fail(message: str, code: int = 2) -> NoReturn:
    print(f"hiclr: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
