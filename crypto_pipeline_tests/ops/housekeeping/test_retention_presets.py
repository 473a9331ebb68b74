"""The two presets of retention: what each keeps, what is expected under it, and moving from one to the other.

Guards I9 (docs/invariants.md).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from crypto_pipeline.healing import plan
from crypto_pipeline.healing.plan import Horizon, retention_policy
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.housekeeping.retention import check_look_backs, describe_retention, kept_for_ever_per_day
from crypto_pipeline.settings import SettingsError, load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.retention import Retention
from crypto_pipeline_tests.builders.bars import SYMBOLS, add_symbols, miscounted, series

NOW = datetime(2025, 9, 10, 12, tzinfo=UTC)
LEAN = {"1m": (30, 90), "5m": (180, 365), "15m": (180, 365), "30m": (180, 365), "1h": (365, 730), "4h": (365, 730)}


def test_research_is_the_default_and_drops_nothing_that_is_archived() -> None:
    policy = retention_policy(load_settings())
    for timeframe, kept in policy.bars.items():
        assert kept.kept_days is None, timeframe
        assert policy.kept_start(timeframe, NOW) is None
    assert policy.bars[Timeframe.M1].hot_days == 30
    assert policy.bars[Timeframe.M1].archived
    check_look_backs(load_settings())


def test_lean_has_its_tiers_to_the_day() -> None:
    settings = load_settings(retention="lean")
    policy = retention_policy(settings)
    found = {str(one): (kept.hot_days, kept.kept_days) for one, kept in policy.bars.items()}
    assert found == LEAN | {"1d": (None, None), "1w": (None, None)}
    assert (policy.trades.hot_days, settings.keep_features_days, policy.min_bars) == (7, 90, 2000)
    check_look_backs(settings)


def test_single_figures_win_over_the_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTO_PIPELINE_RETENTION", "lean")
    monkeypatch.setenv("CRYPTO_PIPELINE_KEEP_DAYS", '{"1m": 400}')
    policy = retention_policy(load_settings())
    assert policy.bars[Timeframe.M1].kept_days == 400
    assert policy.bars[Timeframe.M5].kept_days == 365
    monkeypatch.setenv("CRYPTO_PIPELINE_RETENTION", "research")
    policy = retention_policy(load_settings())
    assert (policy.bars[Timeframe.M1].kept_days, policy.bars[Timeframe.M5].kept_days) == (400, None)
    with pytest.raises(SettingsError, match="frugal"):
        load_settings(retention="frugal")


def test_what_is_expected_follows_the_preset() -> None:
    begin = datetime(2025, 9, 10, tzinfo=UTC)
    for preset, days in (("research", 800), ("lean", 90)):
        horizon = Horizon.of(NOW, 800, 5.0, retention_policy(load_settings(retention=preset)))
        assert horizon.first_open(Timeframe.M1) == begin - timedelta(days=days)
        assert horizon.first_hot(Timeframe.M1) == begin - timedelta(days=30)


def test_up_states_the_choice_in_one_sentence() -> None:
    said = describe_retention(load_settings(), 90)
    assert said.startswith(
        "retention 'research': 1m bars stay 30 days in the tables, then in the archive for ever: about"
    )
    assert " 1.6 GB a year for all timeframes of 90 instruments" in said
    lean = describe_retention(load_settings(retention="lean"), 90)
    assert "until day 90 in the archive, and are then dropped" in lean
    assert "CRYPTO_PIPELINE_RETENTION=research" in lean


def test_the_forecast_counts_what_stays_for_ever() -> None:
    inflow = pl.DataFrame(
        {"timeframe": ["1m", "1d"], "rows_per_day": [1440.0, 1.0], "bytes_per_day": [1440 * 170.0, 170.0]}
    )
    none = pl.DataFrame(schema={"timeframe": pl.String, "rows": pl.Int64, "bytes": pl.Int64})
    assert kept_for_ever_per_day(load_settings(), inflow, none) == 1440 * 25 + 170
    assert kept_for_ever_per_day(load_settings(retention="lean"), inflow, none) == 170
    measured = pl.DataFrame({"timeframe": ["1m", "1m", ""], "rows": [900, 100, 5], "bytes": [20_000, 4_000, 99]})
    assert kept_for_ever_per_day(load_settings(), inflow, measured) == 1440 * 24 + 170


def test_from_lean_to_research_nothing_is_lost_and_what_was_dropped_is_expected_again(
    postgres_url: str, tmp_path: Path
) -> None:
    storage = ArchiveStorage(str(tmp_path / "archive"))
    june, august = datetime(2025, 5, 20, tzinfo=UTC), datetime(2025, 7, 20, tzinfo=UTC)
    with Store(postgres_url) as store:
        add_symbols(store)
        store.bars.write(series(SYMBOLS[:1], 1440, june), Timeframe.M1)
        store.bars.write(series(SYMBOLS[:1], 1440, august), Timeframe.M1)

        def keep(preset: str, now: datetime) -> tuple[Horizon, Retention]:
            policy = retention_policy(load_settings(retention=preset, keep_min_bars=0))
            return Horizon.of(now, 180, 5.0, policy), Retention(store.connections, storage, tmp_path / "s", policy)

        _, lean = keep("lean", NOW)
        lean.run(NOW)
        assert [file.first_open.month for file in store.archive.files("bars", Timeframe.M1)] == [7]
        horizon, research = keep("research", NOW)
        instruments = pl.DataFrame({"instrument": [SYMBOLS[0]], "calendar": ["24/7"]})
        plan.refresh_expected(store, instruments, horizon, [Timeframe.M1])
        missing = plan.missing(store, Timeframe.M1, (june, june + timedelta(days=1)), [SYMBOLS[0]], horizon)
        assert missing.select("start", "end").rows() == [(june, june + timedelta(days=1))], "fetched again"
        store.bars.write(series(SYMBOLS[:1], 1440, june), Timeframe.M1)
        late = NOW + timedelta(days=3650)
        assert keep("research", late)[1].run(late).expired == []
        assert [file.first_open.month for file in store.archive.files("bars", Timeframe.M1)] == [5, 7]
        assert miscounted(store) == []
        assert research.run(late).archived == []
