"""Links from every asset to its code: a file and line here, or the same in the remote repository of a checkout."""

from __future__ import annotations

import inspect
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

#: Metadata key of Dagster's links to code.
_KEY = "dagster/code_references"
#: Modules that define the external assets of a group: a spec has no function whose source could be found.
_EXTERNAL = {
    "venues": "defs/sources/venue_asset.py",
    "live": "defs/live/stream.py",
    "macro": "defs/macro/assets.py",
    "operations": "defs/operations/alerts.py",
}
_HTTPS = re.compile(r"https://(?:[^@/]*@)?([^/]+)/(.+?)(?:\.git)?/?$")
_SSH = re.compile(r"(?:ssh://)?git@([^:/]+)[:/](.+?)(?:\.git)?/?$")


def with_code_links(definitions: dg.Definitions, package: Path) -> dg.Definitions:
    """The same definitions, every asset with a link to its code.

    ``package``: folder of the package. Where it lies in a checkout with a remote on GitHub or GitLab, links lead there,
    at the commit that is checked out; elsewhere to the local file.
    """
    assets = [_with_file(asset, package) for asset in dg.with_source_code_references(list(definitions.assets or []))]
    remote = _remote(package.parent)
    if remote is not None:
        url, commit = remote
        mapping = dg.AnchorBasedFilePathMapping(package / "definitions.py", f"{package.name}/definitions.py")
        assets = list(dg.link_code_references_to_git(assets, url, commit, mapping))
    parts = {name: getattr(definitions, name) for name in inspect.signature(dg.Definitions).parameters}
    return dg.Definitions(**{**parts, "assets": assets})


def _with_file(asset: Any, package: Path) -> Any:
    """An external asset with a link to the module of its group; any other as it is."""
    module = _EXTERNAL.get(asset.group_name or "") if isinstance(asset, dg.AssetSpec) else None
    if module is None:
        return asset
    link = dg.LocalFileCodeReference(file_path=str(package / module))
    metadata: Mapping[str, Any] = {_KEY: dg.CodeReferencesMetadataValue(code_references=[link])}
    return asset.merge_attributes(metadata=metadata)


def _remote(checkout: Path) -> tuple[str, str] | None:
    """Web address of the checkout's remote `origin` and the commit, where GitHub or GitLab serve it."""
    if not (checkout / ".git").exists():
        return None
    url, commit = _git(checkout, "config", "--get", "remote.origin.url"), _git(checkout, "rev-parse", "HEAD")
    address = web_address(url) if url else None
    return (address, commit) if address and commit else None


def web_address(remote: str) -> str | None:
    """The web address of a Git remote, without user and password; None where it is not on GitHub or GitLab."""
    match = _HTTPS.match(remote) or _SSH.match(remote)
    if match is None or not any(host in match[1] for host in ("github", "gitlab")):
        return None
    return f"https://{match[1]}/{match[2]}"


def _git(folder: Path, *words: str) -> str | None:
    try:
        answer = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    except OSError:  # Git is not installed
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
