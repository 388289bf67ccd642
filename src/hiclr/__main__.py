"""The command line: finds the verb, builds its arguments with jsonargparse, turns failures into one sentence.

Kept apart from `hiclr.cli`, which imports torch and Lightning, so that `hiclr --help` answers at once.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from collections.abc import Callable
from inspect import signature
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn

from hiclr.forms import printable
from hiclr.memory import use_huge_pages
from hiclr.stopping import Stopped

_LONGEST = 4000  # of a message, which may quote a file
_HELP = ("-h", "--help")
_TEXTS = ("str", "Path")  # a clip may be called 00
_WITH_POSITIONALS = ("prepare", "doctor")
# what stands before their options is their first one: `hiclr video a.mp4 b.mp4`
_WORDS_FIRST = ("report", "video", "view")


def main(arguments: list[str] | None = None) -> None:
    """Runs `hiclr VERB ...`; exits with 2 on a failure that the user can mend (HICLR_DEBUG=1: with its traceback)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    summaries = _summaries()
    verb = next((verb for verb in summaries if arguments[: len(verb.split())] == verb.split()), None)
    if verb is None:
        _help_or_fail(arguments, summaries)
        return
    for argument in arguments:
        if argument != argument.encode(errors="replace").decode():  # bytes of a file name, which no file could state
            _fail(f"{argument!a} is no UTF-8: rename it")
    use_huge_pages()
    try:
        _run(verb, arguments[len(verb.split()) :])
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        if os.environ.get("HICLR_DEBUG") or not _can_be_mended(error):
            raise
        _fail(" ".join(_sentence(error).split()))
    except Stopped as stopped:
        _fail(str(stopped), code=stopped.code)
    except KeyboardInterrupt:
        _fail("stopped: what is finished is kept", code=130)


def _can_be_mended(error: Exception) -> bool:
    """PyTorch says in words alone that there is no memory."""
    return not isinstance(error, RuntimeError) or isinstance(error, RecursionError) or _no_memory(error)


def _no_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error)


def _sentence(error: Exception) -> str:
    if not isinstance(error, ValueError | OSError) and _no_memory(error):
        return (
            "there is not enough memory: start fewer processes (--processes 1), take smaller settings, or look for a "
            "file of huge size"
        )
    if isinstance(error, RecursionError):
        return "a file or an option holds lists within lists without end"
    if isinstance(error, OSError) and error.filename is not None:  # the system's own, "[Errno 13] Permission ..."
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _run(verb: str, arguments: list[str]) -> None:
    import yaml
    from jsonargparse import ArgumentError, ArgumentParser

    from hiclr.options import trust_no_file
    from hiclr.provenance import resolved_options

    trust_no_file()
    calls = _calls(verb)
    parser = ArgumentParser(prog=f"hiclr {verb}", description=_first_paragraph(calls[0].__doc__), exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of these options: a recipe")
    for call in calls:
        positional = verb.split()[0] in _WITH_POSITIONALS
        parser.add_function_arguments(call, as_group=False, as_positional=positional, skip={"corpus"})
    arguments = [_underscored(argument) for argument in arguments]
    if verb in _WORDS_FIRST and arguments and not arguments[0].startswith("-"):
        arguments = [f"--{next(iter(signature(calls[0]).parameters))}", *arguments]
    try:
        options = parser.parse_args(arguments if verb.split()[0] in _WITH_POSITIONALS else _gathered(arguments, calls))
    except ArgumentError as error:
        raise ValueError(f"{_innermost(str(error))}: see hiclr {verb} --help") from None
    resolved_options.update(yaml.safe_load(parser.dump(options)))
    results: list[Any] = []
    try:
        values = vars(parser.instantiate(options))
        for call in calls:
            results = [call(*results, **{name: values[name] for name in signature(call).parameters if name in values})]
    finally:
        resolved_options.clear()  # what is called from Python next, in this process, is no part of the command
    if getattr(results[0], "spoils", False):  # a diagnosis
        sys.exit(1)


def _calls(verb: str) -> list[Callable[..., Any]]:
    """The functions a verb runs, each on the result of the one before: of `hiclr.cli`, or a corpus and `prepare`."""
    from hiclr.data import corpora

    kind = verb.removeprefix("prepare ")
    if kind in corpora.__all__:
        from hiclr.data.prepare import prepare

        return [getattr(corpora, kind), prepare]
    from hiclr import cli

    return [getattr(cli, verb.replace(" ", "_"))]


def _underscored(argument: str) -> str:
    """`--split-by` is `--split_by`, as other tools write it."""
    if not argument.startswith("--"):
        return argument
    option, equals, value = argument.removeprefix("--").partition("=")
    return f"--{option.replace('-', '_')}{equals}{value}"


def _gathered(arguments: list[str], calls: list[Callable[..., Any]]) -> list[str]:
    """`--results a b` is `--results ["a", "b"]`: an option takes all words up to the next; a list even a single one."""
    gathered: list[str] = []
    for is_option, group in groupby(arguments, key=lambda argument: argument.startswith("--")):
        words = list(group)
        option = gathered[-1] if gathered else ""
        kind = _kind_of_list(option, calls)
        single = len(words) == 1 and (words[0].startswith("[") or not kind)
        if not (is_option or single or "=" in option):
            words = [f"[{', '.join(json.dumps(word) if kind in _TEXTS else _quoted(word) for word in words)}]"]
        gathered += words
    return gathered


def _kind_of_list(option: str, calls: list[Callable[..., Any]]) -> str:
    """What a verb's option is a list of; nothing if it may be something else."""
    parameters = [signature(call).parameters.get(option.removeprefix("--")) for call in calls]
    kinds = [str(parameter.annotation) for parameter in parameters if parameter is not None]
    lists = [re.fullmatch(r"Sequence\[(\w+)\]( \| None)?", kind) for kind in kinds]
    return next((found[1] for found in lists if found), "")


def _quoted(word: str) -> str:
    try:
        float(word)
    except ValueError:
        return json.dumps(word)
    return word


def _innermost(message: str) -> str:
    """The part about the option itself, of jsonargparse's message about everything around it."""
    message = message[max(message.rfind("Parser key"), 0) :].split(". Got value: Namespace")[0]
    own = r"\1 is Python's own, no class of hiclr"
    message = re.sub(r"Importing '(\S+)' is not allowed.* to allow it\.?", own, message)
    return re.sub(r"Does not validate against any of the Union.* Given value: ", "cannot be ", message, flags=re.DOTALL)


def _summaries() -> dict[str, str]:
    """Each verb and the first sentence of its docstring, read from the sources without importing them.

    Each function that `hiclr.cli` exports is a verb (`prepare_synthetic` is `prepare synthetic`), and each that
    `hiclr.data.corpora` exports is a kind of `prepare`.
    """
    here = Path(__file__).parent
    kinds = {f"prepare {kind}": summary for kind, summary in _exported(here / "data" / "corpora").items()}
    own = {name.replace("_", " "): summary for name, summary in _exported(here / "cli").items()}
    return kinds | own


def _exported(package: Path) -> dict[str, str]:
    """The functions in a package's `__all__`, in that order, and the first sentence of their docstrings."""
    names = ast.parse((package / "__init__.py").read_text(encoding="utf-8")).body[-1]
    assert isinstance(names, ast.Assign)  # __all__
    nodes = [node for source in package.glob("*.py") for node in ast.parse(source.read_text(encoding="utf-8")).body]
    functions = {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}
    return {name: _first_paragraph(ast.get_docstring(functions[name])) for name in ast.literal_eval(names.value)}


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
        _fail(f"no verb {' '.join(arguments[: 2 if inside else 1])!r}: choose one of {', '.join(inside or summaries)}")


def _print_verbs(usage: str, summaries: dict[str, str]) -> None:
    print(f"usage: {usage} ...\n\nSelf-supervised skeleton-based action recognition.\n")
    width = max(len(verb) for verb in summaries) + 2
    for verb, summary in summaries.items():
        print(f"  {verb:<{width}}{summary}")
    print("\n`hiclr VERB --help` lists a verb's options.")


def _fail(message: str, code: int = 2) -> NoReturn:
    # one of the processes on a machine that Lightning, torchrun or SLURM has started; Lightning ends all when one fails
    message = printable(message if len(message) <= _LONGEST else f"{message[:_LONGEST]} ...")
    process = os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0"))
    if process == "0" or code == 2:  # all were stopped alike
        print(f"hiclr{'' if process == '0' else f', process {process}'}: {message}", file=sys.stderr)
    if process != "0" and code != 2 and not {"TORCHELASTIC_RUN_ID", "SLURM_PROCID"} & os.environ.keys():
        code = 0  # Lightning, which has started this process, would kill the first one before it has said why it ends
    sys.exit(code)


if __name__ == "__main__":
    main()
