"""The registry names every check of the system, with a paragraph in the runbook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crypto_pipeline.definitions import defs
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market.severity import SEVERITIES
from crypto_pipeline.ops.checks.registry import definition_of, definitions
from crypto_pipeline.ops.checks.report import exit_code, of_category
from crypto_pipeline.ops.checks.routines import ROUTINES
from crypto_pipeline.ops.checks.states import CATEGORIES, CheckFinding, CheckState
from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.settings import load_settings

RUNBOOK = Path(__file__).parents[3] / "docs" / "runbook.md"


def test_every_check_has_its_paragraph_and_every_paragraph_its_check() -> None:
    text = RUNBOOK.read_text()
    anchors = set(re.findall(r"^### (\w+)$", text, re.MULTILINE))
    assert anchors == set(definitions())
    links = re.findall(r"\]\(#([\w-]+)\)", text)
    headings = {
        re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    assert set(links) <= headings


def test_definitions_are_whole() -> None:
    seen: set[str] = set()
    for definition in definitions().values():
        assert definition.category in CATEGORIES
        assert definition.severity in SEVERITIES
        assert definition.promise.endswith("."), definition.name
        assert "{" not in definition.limit(load_settings())
        assert set(definition.requires) <= seen, f"{definition.name} stands before what it requires"
        seen.add(definition.name)
    assert set.union(*(set(names) for names in ROUTINES.values())) <= seen


def test_every_asset_check_of_dagster_is_in_the_registry() -> None:
    """Dagster and the registry cannot disagree: each asset check stores its result under a name of the registry."""
    prefixes = {"backup": "backup", "storage_report": "storage"} | {f"{name}_model": "model" for name in Strategy}
    missing = []
    for key in defs().resolve_asset_graph().asset_check_keys:
        asset = key.asset_key.path[-1]
        names = [key.name, f"{prefixes.get(asset, asset)}_{key.name}", f"macro_{key.name}"]
        covered = {name for one in definitions().values() for name in one.covers}
        if not any(definition_of(name) or name in covered for name in names):
            missing.append(key.to_user_string())
    assert missing == []


def _state(status: str) -> CheckState:
    return definitions()["clock"].state(
        CheckFinding(status, "x"),  # type: ignore[arg-type]
        load_settings(),
    )


@pytest.mark.parametrize(
    ("statuses", "code"),
    [([], 2), (["ok"], 0), (["ok", "unknown"], 2), (["unknown", "bad"], 1), (["ok", "bad"], 1)],
)
def test_exit_codes(statuses: list[str], code: int) -> None:
    assert exit_code([_state(status) for status in statuses]) == code


def test_an_unknown_category_names_those_that_exist() -> None:
    with pytest.raises(OpsError, match="'bars' is no category of checks: use one of data_pipeline, strategies"):
        of_category([], "bars")
    assert of_category([_state("ok")], "models") == []
