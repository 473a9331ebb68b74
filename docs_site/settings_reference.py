"""The page about settings: every field of ``Settings``, grouped as in its source."""

from __future__ import annotations

import inspect
import re
from typing import Any, get_args, get_origin

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from crypto_pipeline.settings import PREFIX, Settings
from docs_site.markdown import table

_WORDS = {
    "str": "text", "float": "number", "int": "whole number", "bool": "true or false", "Path": "path",
    "AwareDatetime": "time with zone", "Decimal": "number",
}  # fmt: skip
_HEAD = f"""# Settings

Each setting is a variable of the environment, `{PREFIX}` and its name in capitals (`{PREFIX}DATA_DIR`), or a key in
the file `crypto_pipeline.toml` in the data directory (`{PREFIX}CONFIG` names another file). The environment wins over
the file. Secrets are read from the environment only. `crypto-pipeline settings` lists the settings of your
deployment, with their values and where each came from.

"""


def groups() -> dict[str, list[str]]:
    """Names of settings by the comment above them in the source."""
    found: dict[str, list[str]] = {}
    for owner in reversed(Settings.__mro__):
        if not owner.__module__.startswith("crypto_pipeline"):
            continue
        title = ""
        for line in inspect.getsource(owner).splitlines():
            if comment := re.fullmatch(r"    # (.+)", line):
                title = comment[1]
            elif (field := re.match(r"    (\w+):", line)) and field[1] in Settings.model_fields:
                found.setdefault(title, []).append(field[1])
    order = ["Where things are", "What is collected"]
    return {title: found[title] for title in sorted(found, key=lambda one: order.index(one) if one in order else 9)}


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for title, names in groups().items():
        rows = [
            (_named(name), _default(name), _kind(name), Settings.model_fields[name].description or "") for name in names
        ]
        parts += [f"## {title}\n", table(("setting", "default", "type", "meaning"), rows)]
    return "\n".join(parts)


def _named(name: str) -> str:
    return f'<span id="{name}"></span>`{name}`'


def _default(name: str) -> str:
    value = Settings.model_fields[name].get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined or value == "":
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _kind(name: str) -> str:
    return _type_name(Settings.model_fields[name].annotation)


def _type_name(kind: Any) -> str:
    given = [each for each in get_args(kind) if each is not type(None)]
    if kind is SecretStr:
        return "secret"
    if get_origin(kind) is None and not given:
        return _WORDS.get(kind.__name__, str(kind.__name__))
    if all(isinstance(each, str) for each in given):
        return ", ".join(f"`{each}`" for each in given)
    if get_origin(kind) is dict:
        return "table"
    return " or ".join(dict.fromkeys(_type_name(each) for each in given if hasattr(each, "__name__") or get_args(each)))
