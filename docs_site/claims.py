"""What pages claim and the code can deny: commands, options, functions, arguments and addresses that do not exist."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from collections.abc import Iterator
from functools import cache
from typing import Any

from typer.main import get_command

import crypto_pipeline
from crypto_pipeline.cli.app import app
from docs_site.command_reference import PROGRAM

_BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
_SHELL = {"sh", "bash", "console"}
#: Addresses that the OpenAPI document does not list: the page, and the documents themselves.
_UNDESCRIBED = {"/", "/openapi.json", "/asyncapi.json"}
_ADDRESS = re.compile(r"https?://(?:127\.0\.0\.1|localhost|[\w.]+\.example\.org):8790(/[\w/{}.@-]*)")


def blocks(page: str, languages: set[str]) -> Iterator[str]:
    """Blocks of code of some languages, without the indentation of a list."""
    for indent, language, text in _BLOCK.findall(page):
        if language in languages:
            yield "\n".join(line.removeprefix(indent) for line in text.splitlines())


def command_lines(page: str) -> Iterator[str]:
    """Every call of the program in blocks for a shell, one line each, and in code within the text."""
    # in a session that is shown with what was printed, commands stand behind prompts
    typed = [*blocks(page, _SHELL), *("\n".join(re.findall(r"(?m)^\$ .*", each)) for each in blocks(page, {""}))]
    for block in typed:
        for line in block.replace("\\\n", " ").splitlines():
            if found := re.search(rf"(?:^|[\s/]){PROGRAM} (.*)", line.removeprefix("$ ")):
                yield found[1]
    text = _BLOCK.sub("", page)
    yield from re.findall(rf"`{PROGRAM} ([^`]*)`", text)


def wrong_commands(page: str) -> list[str]:
    """Calls of the program with a command or an option that it does not have."""
    return [line for line in command_lines(page) if not _exists(line)]


def _exists(line: str) -> bool:
    words = shlex.split(re.split(r"\s[#|;&>]|; ", line + " ")[0].replace("'", '"'), posix=True)
    command = _program()
    known = set(command.context_settings.get("help_option_names", ())) | {"--help", "--debug", "--version"}
    for word in words:
        inner = getattr(command, "commands", {})
        if word in inner:
            command = inner[word]
        elif inner and not word.startswith("-") and not _takes_words(command):
            return word in ("…", "...") or word.isupper() or "|" in word
        known |= {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        if word.startswith("-") and word.split("=")[0] not in known:
            return False
    return True


@cache
def _program() -> Any:
    return get_command(app)


def _takes_words(command: Any) -> bool:
    """Whether an argument or the value of an option may follow."""
    return any(each.param_type_name == "argument" or not each.is_flag for each in command.params)


def wrong_calls(page: str) -> list[str]:
    """Python that cannot be read, and calls of the package or of ``reader`` that its functions do not accept."""
    wrong = []
    for block in blocks(page, {"python"}):
        try:
            tree = ast.parse(block)
        except SyntaxError as error:
            wrong.append(f"{error}: {block[:60]}")
            continue
        wrong += [ast.unparse(call) for call in ast.walk(tree) if isinstance(call, ast.Call) and not _accepted(call)]
    return wrong


def _accepted(call: ast.Call) -> bool:
    function = _function(call.func)
    if function is None:
        return True
    names = [each.arg for each in call.keywords]
    parameters = inspect.signature(function).parameters
    open_ended = None in names or any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    return open_ended or {name for name in names if name} <= set(parameters)


def _function(called: ast.expr) -> Any:
    """What is called, if it is the package's or a reader's; a name that neither has is a call that accepts nothing."""
    if not (isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name)):
        return crypto_pipeline.Reader if isinstance(called, ast.Name) and called.id == "Reader" else None
    owner = {"crypto_pipeline": crypto_pipeline, "reader": crypto_pipeline.Reader}.get(called.value.id)
    return None if owner is None else getattr(owner, called.attr, lambda: None)


def wrong_addresses(page: str, paths: set[str]) -> list[str]:
    """Addresses of the HTTP server that have no route; ``paths`` are those of its OpenAPI document."""
    routes = [re.compile(re.sub(r"\{\w+\}", "[^/]+", path)) for path in paths]
    return [path for path in _ADDRESS.findall(page) if path not in _UNDESCRIBED and not _matches(path, routes)]


def _matches(path: str, routes: list[re.Pattern[str]]) -> bool:
    return any(route.fullmatch(path) for route in routes)
