"""The page with the examples of ``examples/``: scripts and notebooks as text, in the order of its README."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

from docs_site.markdown import as_anchor, code, heading
from docs_site.stage import PROJECT

FOLDER = PROJECT / "examples"
_HEAD = """# Examples

Each of these runs as it stands, and tests run them all against a deployment. They lie in the folder `examples/` of the
project. Start `crypto-pipeline up` first, or set `CRYPTO_PIPELINE_DATABASE_URL` to a database that it fills.
`pip install 'crypto-pipeline[notebook]'` brings what the notebooks need: a kernel, matplotlib, and pandas for
`.to_pandas()`.

"""


def listed() -> list[tuple[Path, str]]:
    """Every example that the README names, with what it shows."""
    rows = re.findall(r"^\| \[[^\]]+\]\(([^)]+)\) \| (.+) \|$", (FOLDER / "README.md").read_text("utf-8"), re.MULTILINE)
    return [(FOLDER / name, about) for name, about in rows]


def page() -> str:
    """The whole page."""
    parts = [_HEAD, *(f"- [{path.name}](#{as_anchor(path.name)}): {about}" for path, about in listed()), ""]
    for path, _ in listed():
        parts.append(heading(2, path.name, as_anchor(path.name)))
        parts.append(_text(path) if path.is_file() else f"The folder `examples/{path.name}`.\n")
    return "\n".join(parts)


def _text(path: Path) -> str:
    text = path.read_text("utf-8")
    if path.suffix == ".ipynb":
        return "\n\n".join(_cell(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"])
    if path.suffix == ".py":
        about = ast.get_docstring(ast.parse(text)) or ""
        body = text.split('"""', 2)[2].strip() if text.startswith('"""') else text
        return f"{_lines(about)}\n\n{code(body, 'python')}"
    return code(text.strip(), path.suffix[1:])


def _cell(kind: str, source: str) -> str:
    if kind == "code":
        return code(source, "python")
    # a heading of a notebook would be one of this page
    return re.sub(r"^#+ (.+)$", r"**\1**", source, flags=re.MULTILINE)


def _lines(about: str) -> str:
    """A docstring whose indented lines are what a person types."""
    return re.sub(
        r"(?m)(^    .*\n?)+", lambda found: f"\n{code(re.sub(r'(?m)^    ', '', found[0]).strip(), 'sh')}\n", about
    )
