"""The definitions as a whole: how they are found, what is in sight of every asset, and names that stay as they are.

Guards: importing them reads no setting and changes nothing elsewhere; names of Dagster objects do not change unseen.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from crypto_pipeline.definitions import defs
from crypto_pipeline.defs.bars.source import BarSource
from crypto_pipeline.defs.base.check_results import dagster_severity
from crypto_pipeline.defs.base.code_links import web_address
from crypto_pipeline.defs.base.partitions import range_tags, read_partitions
from crypto_pipeline.defs.base.resources import MarketDatabase, RunScope
from crypto_pipeline.market import Instrument, Timeframe
from crypto_pipeline.market.severity import SEVERITIES
from crypto_pipeline.settings import SettingsError, load_settings
from crypto_pipeline.store import Store
from crypto_pipeline_tests.defs import listed_definitions
from crypto_pipeline_tests.defs.conftest import Deployed

_IMPORT_ALL = """
import json, logging, pkgutil, importlib, sys, warnings
import dagster, numpy, polars
before = [list(warnings.filters), logging.getLogger("crypto_pipeline").level, logging.root.handlers[:]]
import crypto_pipeline.settings as settings
def refuse(*_, **__):
    raise AssertionError("a setting was read while importing")
settings.load_settings = settings.settings = settings.Settings.__init__ = refuse
import crypto_pipeline.definitions, crypto_pipeline.defs
names = [one.name for one in pkgutil.walk_packages(crypto_pipeline.defs.__path__, "crypto_pipeline.defs.")]
for name in names:
    importlib.import_module(name)
after = [list(warnings.filters), logging.getLogger("crypto_pipeline").level, logging.root.handlers[:]]
assert after == before, (before, after)
print(json.dumps(names))
"""


def test_importing_reads_no_setting_and_changes_nothing_elsewhere() -> None:
    wrong = {"CRYPTO_PIPELINE_DAYS": "many", "CRYPTO_PIPELINE_VENUE": "nowhere"}  # who reads them, raises
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CRYPTO_PIPELINE_")}
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT_ALL], env=kept | wrong, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) > 20


def test_names_do_not_change() -> None:
    assert listed_definitions.names(defs()) == json.loads(listed_definitions.NAMES.read_text())


def test_what_dg_checks_and_lists_is_what_was_kept(tmp_path: Path) -> None:
    listed = listed_definitions.listed(tmp_path)
    assert listed == json.loads(listed_definitions.LISTED.read_text()), (
        "if this was meant: python -m crypto_pipeline_tests.defs.listed_definitions"
    )


def test_every_asset_has_an_owner_kinds_tags_a_description_and_a_link_to_its_code() -> None:
    for spec in defs().resolve_all_asset_specs():
        name = spec.key.to_user_string()
        assert spec.owners, name
        assert spec.kinds, name
        assert spec.tags["subject"] == spec.group_name, name
        assert spec.description, name
        links = spec.metadata["dagster/code_references"].code_references
        assert links, name
        assert all("crypto_pipeline/" in link.source for link in links), name
        if spec.group_name not in ("venues", "operations"):
            assert "dagster/column_schema" in spec.metadata, name


def test_what_has_no_partitions_and_is_made_by_a_schedule_has_a_freshness_policy() -> None:
    graph = defs().resolve_asset_graph()
    loose = [
        spec
        for spec in defs().resolve_all_asset_specs()
        if graph.get(spec.key).is_materializable and spec.partitions_def is None and spec.key.path != ["instruments"]
    ]
    assert len(loose) >= 8
    for spec in loose:
        assert spec.freshness_policy is not None, spec.key


def test_one_severity_is_one_severity_of_dagster() -> None:
    shown = {severity: dagster_severity(severity) for severity in SEVERITIES}
    error, warning = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
    assert shown == {"critical": error, "error": error, "warning": warning, "info": warning}


def test_the_first_day_stays_where_it_is_while_the_deployment_grows_older(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", postgres_url)
    monkeypatch.setenv("CRYPTO_PIPELINE_DAYS", "7")
    settings, started = load_settings(), datetime(2026, 3, 4, 12, tzinfo=UTC)
    first = read_partitions(settings, started)
    assert first.history_day == datetime(2026, 2, 25, tzinfo=UTC)
    assert first.first_day == datetime(2026, 2, 23, tzinfo=UTC), "the Monday before"
    with Store(postgres_url) as store:
        store.instruments.add([Instrument.crypto("BTC-USDT")])
        cell = {"instrument": "BTC-USDT", "timeframe": "1m", "day": first.history_day.date(), "expected": 1440}
        store.coverage.set_expected(pl.DataFrame([cell]))
    for days in (1, 30, 400):
        later = read_partitions(settings, started + timedelta(days=days))
        assert (later.history_day, later.first_day) == (first.history_day, first.first_day)
        assert later.daily.get_first_partition_key() == "2026-02-23"
    monkeypatch.setenv("CRYPTO_PIPELINE_DAYS", "60")
    longer = read_partitions(load_settings(), started)
    assert longer.history_day == datetime(2026, 1, 3, tzinfo=UTC), "more history was asked for"


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/someone/thing.git", "https://github.com/someone/thing"),
        ("https://user:secret@github.com/someone/thing", "https://github.com/someone/thing"),
        ("git@gitlab.com:group/sub/thing.git", "https://gitlab.com/group/sub/thing"),
        ("ssh://git@github.com/someone/thing.git", "https://github.com/someone/thing"),
        ("https://example.org/someone/thing.git", None),
        ("/srv/git/thing", None),
    ],
)
def test_a_remote_is_linked_to_without_its_secrets(remote: str, address: str | None) -> None:
    assert web_address(remote) == address


_SOURCE = """
type: crypto_pipeline.defs.bars.source.BarSource
attributes:
  name: second
  venue: replay
  instruments: [ETH-USDT]
  widest: 5m
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    """Definitions of a project that has nothing but one YAML entry."""
    folder = tmp_path / "one_source" / "second"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "defs.yaml").write_text(_SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("one_source")
    monkeypatch.delitem(sys.modules, "one_source")
    tree = dg.ComponentTree(defs_module=module, project_root=tmp_path, code_location_name="one_source")
    shared = dg.Definitions(
        resources={"database": MarketDatabase(), "scope": RunScope()}, executor=dg.in_process_executor
    )
    return dg.Definitions.merge(tree.build_defs(), shared)


def test_a_source_of_bars_is_one_yaml_entry_from_which_the_rest_follows(
    source: dg.Definitions, deploy: Callable[..., Deployed]
) -> None:
    house = deploy("BTC-USDT", "ETH-USDT")
    found = listed_definitions.names(source)
    made = ["second_instruments", "second_ohlc_1m", "second_ohlc_5m"]
    assert list(found["assets"]) == [*made, "venues/replay"]
    assert found["jobs"] == ["second_backfill_bars", "second_refresh_instruments"]
    assert found["schedules"]["second_recent_processor"] == "second_backfill_bars"
    assert "second_ohlc_5m:rollup_conservation" in found["checks"]
    now = datetime.now(UTC)
    done = source.resolve_job_def("second_backfill_bars").execute_in_process(
        instance=house.instance, tags=range_tags(now - timedelta(hours=1), now)
    )
    assert done.success
    for timeframe, some in ((Timeframe.M1, True), (Timeframe.M5, True), (Timeframe.M15, False)):
        bars = house.store.reader.read(["BTC-USDT", "ETH-USDT"], timeframe, now - timedelta(days=1), now)
        assert bars["instrument"].unique().to_list() == (["ETH-USDT"] if some else [])


def test_a_source_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown timeframe '2h'"):
        _ = BarSource(widest="2h").timeframes
    with pytest.raises(SettingsError, match="nowhere"):
        BarSource(venue="nowhere").settings()
