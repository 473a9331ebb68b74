"""``read`` with every option: what comes out, in every form, and what is refused in one line."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from crypto_pipeline.market import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import LivePrice, Store
from crypto_pipeline.store.columns.frames import READ_SCHEMA
from crypto_pipeline_tests.builders.bars import bar, database_clock, frame
from crypto_pipeline_tests.cli.test_bad_input import Run, run

__all__ = ["run"]

#: The minute that is forming: the newest of which a price is known.
NOW = datetime.now(UTC).replace(second=0, microsecond=0)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def filled(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> datetime:
    """Bars 5 and 3 to 1 minutes before NOW, the last incomplete; the first was revised after the returned moment."""
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", postgres_url)
    with Store(postgres_url) as store:
        store.instruments.add([Instrument.crypto("BTC-USDT"), Instrument.crypto("ETH-USDT")])
        bars = [bar(at=NOW - ago * MINUTE, price=100.0 + ago, complete=ago > 1) for ago in (5, 3, 2, 1)]
        store.bars.write(frame([*bars, bar("ETH-USDT", NOW - 2 * MINUTE, price=7.0)]), Timeframe.M1)
        before = database_clock(store)
        store.bars.write(
            frame([bar(at=NOW - 5 * MINUTE, price=200.0, revision=NOW + timedelta(hours=2))]), Timeframe.M1
        )
        opened = int(NOW.timestamp() * 1000)
        store.live.flush(
            "replay",
            prices=[
                LivePrice("BTC-USDT", Timeframe.M1, opened, 1, 2, 0.5, 1.5, 1.0, 1.5, 1.0, 1, 1.5, opened, 7, "live")
            ],
        )
    return before


def prices(run: Run, *options: str) -> list[float]:
    code, out, err = run("read", "BTC-USDT", "1m", "--format", "json", *options)
    assert code == 0, err
    return [row["open"] for row in json.loads(out)]


def test_options_choose_what_is_read(run: Run, filled: datetime) -> None:
    assert prices(run) == [200, 103, 102]
    assert prices(run, "--last", "2") == [103, 102]
    assert prices(run, "--last", "3", "--forming") == [102, 101, 1]
    assert prices(run, "--forming") == [200, 103, 102, 101, 1]
    assert prices(run, "--fill", "flat") == [200, 200.5, 103, 102]
    assert prices(run, "--as-of", filled.isoformat()) == [105, 103, 102]
    start, end = (NOW - 3 * MINUTE).isoformat(), (NOW - 2 * MINUTE).isoformat()
    assert prices(run, "--start", start, "--end", end) == [103]
    assert prices(run, "--last", "1", "--end", end) == [103]


def test_every_form_says_the_same(run: Run, filled: datetime, tmp_path: Path) -> None:
    files = {form: tmp_path / f"bars.{form}" for form in ("csv", "json", "parquet", "arrow")}
    asked = ("read", "BTC-USDT,ETH-USDT", "1m", "--fill", "flat", "--columns", "all")
    for form, path in files.items():
        code, _, err = run(*asked, "--format", form, "-o", str(path))
        assert code == 0, err
    expected = pl.read_parquet(files["parquet"])
    assert expected.columns == [*READ_SCHEMA, "filled"]
    assert expected["instrument"].to_list() == ["BTC-USDT"] * 4 + ["ETH-USDT"]
    assert expected["filled"].to_list() == [False, True, False, False, False]
    arrow = files["arrow"].read_bytes()
    read = pl.read_ipc_stream if arrow[:6] != b"ARROW1" else pl.read_ipc
    assert read(io.BytesIO(arrow)).equals(expected)
    csv = pl.read_csv(files["csv"], try_parse_dates=True)
    assert csv.select("open", "filled").equals(expected.select("open", "filled"))
    rows = json.loads(files["json"].read_text())
    assert [row["close"] for row in rows] == expected["close"].to_list()
    code, out, _ = run("read", "BTC-USDT", "1m", "--last", "1", "--format", "csv")
    assert out.splitlines()[0] == "instrument,open_time,open,high,low,close,volume,trade_count,source,complete"
    code, out, _ = run("read", "BTC-USDT", "1m", "--last", "1", "--columns", "close, vwap", "--format", "csv")
    assert out.splitlines()[0] == "close,vwap"
    code, out, _ = run("read", "BTC-USDT", "1m", "--last", "1")
    assert code == 0
    assert "BTC-USDT" in out
    assert "102" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--last", "1", "--start", "2026-01-01"], "--last and --start contradict"),
        (["--last", "0"], "--last"),
        (["--fill", "zero"], "give flat"),
        (["--format", "xml"], "table, csv, json, parquet, arrow"),
        (["--as-of", "noon"], "'noon'"),
        (["--columns", "hihg"], "bars have no column 'hihg'"),
    ],
)
def test_options_that_cannot_be_are_refused(run: Run, filled: datetime, options: list[str], said: str) -> None:
    code, _, err = run("read", "BTC-USDT", "1m", *options)
    assert code != 0
    assert said in err
