"""What a plain `up` on the generated market collects is enough for labels of every strategy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from crypto_pipeline.arrays.panel import Panel
from crypto_pipeline.defaults import GENERATED, GENERATED_DAYS
from crypto_pipeline.labels.compute import SetupContext, find_setups
from crypto_pipeline.labels.parameters import parameter_sets
from crypto_pipeline.labels.strategies.dca import halts
from crypto_pipeline.market import Timeframe
from crypto_pipeline.market.universe import choose_instruments, load_universe
from crypto_pipeline.ops.supervision.start.initial_instruments import chosen_instruments
from crypto_pipeline.replay.market.generated import GeneratedMarket
from crypto_pipeline.settings import load_settings


def test_every_strategy_has_setups_whose_horizon_has_ended() -> None:
    now = datetime(2027, 2, 14, tzinfo=UTC)
    start = now - timedelta(days=GENERATED_DAYS)
    market = GeneratedMarket(1, GENERATED)
    tiers = {one.symbol: str(one.tier) for one in choose_instruments(load_universe(), ",".join(GENERATED))}
    assert set(tiers.values()) == {"large", "mid", "meme"}

    def panel(timeframe: Timeframe) -> Panel:
        bars = pl.concat([market.bars(name, timeframe, start, now) for name in GENERATED])
        return Panel.from_bars(bars, GENERATED, start, now, timeframe)

    quarters = panel(Timeframe.M15)
    context = SetupContext(halts(quarters.close[0]), panel(Timeframe.H1))
    sets = parameter_sets({})
    for strategy, parameters in sets["default"].items():
        found = find_setups(strategy, quarters, context, parameters, tiers)
        wide = find_setups(strategy, quarters, context, sets["loose"][strategy], tiers)
        if parameters.setup_spacing is None:  # setups that keep a distance stand elsewhere in a wider set
            assert found.join(wide, on=["number", "place"], how="anti").is_empty()
        assert wide.height > 1.5 * found.height
        ended = found.filter(pl.col("place") + 1 + parameters.horizon < quarters.width)
        assert ended.height >= 2, strategy
    assert timedelta(days=GENERATED_DAYS) > 250 * Timeframe.H4.delta  # what features of 4h need


def test_what_is_collected_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DAYS", "INSTRUMENTS", "VENUE"):
        monkeypatch.delenv(f"CRYPTO_PIPELINE_{name}", raising=False)
    plain = load_settings(data_dir=tmp_path)
    assert plain.history_days == 45
    assert [one.symbol for one in chosen_instruments(plain)] == list(GENERATED)
    # Whoever has a universe of their own gets the first of it, and a recording is not asked for more than it has.
    own = tmp_path / "universe.toml"
    own.write_text('[[instruments]]\nbases = "DOGE ETH BTC"\nquote = "USDT"\ntier = "large"\n')
    assert load_settings(data_dir=tmp_path, universe_file=own).instrument_choice == "8"
    assert load_settings(data_dir=tmp_path, replay_source=str(tmp_path)).history_days == 7
    real = load_settings(data_dir=tmp_path, venue="binance")
    assert (real.history_days, real.instrument_choice) == (180, "all")
    assert load_settings(data_dir=tmp_path, days=3, instruments="20").history_days == 3
