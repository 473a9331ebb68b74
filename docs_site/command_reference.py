"""The page about commands: every command of the program with its arguments and options."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from crypto_pipeline.cli.app import app
from docs_site.markdown import as_anchor, code, heading, table

PROGRAM = "crypto-pipeline"
_HEAD = """# Commands

Every command of the program `crypto-pipeline`, made from the program itself; `--help` shows the same. An option that
is also a setting takes its value from the [setting](settings.md) where it is left out. Exit codes: 0 done, 1 failed,
2 bad input, 3 nothing runs. `--debug` anywhere in the line shows tracebacks.

"""


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that is not hidden, with its words, groups before their commands."""
    yield from _below((PROGRAM,), get_command(app))


def _below(words: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, one in getattr(command, "commands", {}).items():
        if not one.hidden:
            yield (*words, name), one
            yield from _below((*words, name), one)


def page() -> str:
    """The whole page."""
    listed = list(commands())
    rows = [
        (f"[`{' '.join(words[1:])}`](#{as_anchor(*words[1:])})", _first(one))
        for words, one in listed
        if len(words) == 2
    ]
    parts = [_HEAD, table(("command", "what it does"), rows)]
    for words, one in listed:
        parts += [heading(min(len(words), 4), " ".join(words[1:]), as_anchor(*words[1:])), _text(one)]
        parts.append(code(" ".join([*words, *_usage(one)]), "sh"))
        options = [_option(each) for each in one.params if not getattr(each, "hidden", False)]
        if options:
            parts.append(table(("", "meaning"), options))
    return "\n".join(parts)


def _text(command: Any) -> str:
    return inspect.cleandoc(command.help or "").replace("\b\n", "") + "\n"


def _first(command: Any) -> str:
    return " ".join(_text(command).split("\n\n")[0].split())


def _usage(command: Any) -> Iterator[str]:
    if any(each.param_type_name == "option" for each in command.params):
        yield "[OPTIONS]"
    for each in command.params:
        if each.param_type_name == "argument":
            name = each.name.upper() + ("…" if each.nargs == -1 else "")
            yield name if each.required else f"[{name}]"
    if getattr(command, "commands", None):
        yield "[COMMAND]"


def _option(parameter: Any) -> tuple[str, str]:
    meaning = getattr(parameter, "help", None) or ""
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}`", meaning
    names = ", ".join(f"`{each}`" for each in [*parameter.opts, *parameter.secondary_opts])
    if not parameter.is_flag and parameter.metavar:
        names += f" `{parameter.metavar}`"
    return names, meaning
