"""The schema hash of the features: which changes of the project make stored rows stale, and which do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import crypto_pipeline_tests
from crypto_pipeline.features import compute
from crypto_pipeline.features.compute import ENTRIES
from crypto_pipeline.features.definitions import bars, market, schema_hash, wider_timeframes
from crypto_pipeline.features.definitions.feature import Feature
from crypto_pipeline.features.definitions.registry import FEATURES

CODE = "crypto_pipeline."


def edited(module: str, old: str, new: str) -> str:
    """The schema hash with ``old`` replaced by ``new`` in a module."""
    text = schema_hash.installed_source(CODE + module)
    assert text is not None
    assert old in text, old
    return schema_hash.hash_of_rows(
        ENTRIES, lambda name: text.replace(old, new) if name == CODE + module else schema_hash.installed_source(name)
    )


@pytest.mark.parametrize(
    ("module", "old", "new", "counts"),
    [
        # what rows are computed from
        ("features.definitions.feature", "TOLERATED = 0.05", "TOLERATED = 0.06", True),
        ("features.definitions.feature", "n - int(n", "n - 1 - int(n", True),
        ("features.definitions.bar_series", "DAY, WEEK = 96, 672", "DAY, WEEK = 96, 671", True),
        ("features.definitions.bars", "for day in range(2, 8)", "for day in range(2, 7)", True),
        ("features.definitions.bars", "hour = 2 * math.pi", "hour = math.pi", True),
        ("features.definitions.indicators", "n: int = 14, *, seed", "n: int = 15, *, seed", True),
        ("features.definitions.market", "moved > 0", "moved >= 0", True),
        ("features.definitions.regimes", "<= -0.10", "<= -0.11", True),
        ("features.definitions.regimes", "CRASH = -2", "CRASH = -3", True),
        ("features.definitions.wider_timeframes", "mean(bars.close, 20)", "mean(bars.close, 21)", True),
        ("features.compute", "Timeframe.H4: 42", "Timeframe.H4: 43", True),
        ("features.blocks", "opens + grid.step", "opens", True),
        ("arrays.rolling", "ddof: int = 1", "ddof: int = 0", True),
        ("arrays.rolling_loops", "below + 0.5", "below + 0.4", True),
        ("arrays.compiled", "nogil=True", "nogil=True, fastmath=True", True),
        ("market.bars", 'UTC_MS = pl.Datetime("ms"', 'UTC_MS = pl.Datetime("us"', True),
        # texts, and what no feature uses
        ("features.definitions.bars", '"""Relative strength index."""', '"""RSI."""', False),
        ("features.definitions.bars", "def macd(", "def unused() -> None: ...\ndef macd(", False),
        ("arrays.compiled", "compiled kernels are not kept", "kernels are not kept", False),
        ("market.timeframes", "give a time zone", "say which time zone", False),
        # another timeframe, which no feature uses
        ("market.timeframes", '    H4 = "4h"', '    H2 = "2h", 120, 365, 730\n    H4 = "4h"', False),
    ],
)
def test_what_rows_are_computed_from_counts_and_nothing_else(module: str, old: str, new: str, counts: bool) -> None:
    assert (edited(module, old, new) != compute.schema_hash()) is counts


def test_of_a_feature_only_name_timeframe_and_function_count(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = list(bars.BAR_FEATURES)

    def with_list(*features: Feature) -> str:
        monkeypatch.setattr(bars, "BAR_FEATURES", list(features))
        return schema_hash.hash_of_rows(ENTRIES)

    first, *rest = listed
    assert with_list(*reversed(listed)) == compute.schema_hash()
    assert with_list(replace(first, text="another", warm_up=999, group="other"), *rest) == compute.schema_hash()
    assert with_list(replace(first, of=bars.macd), *rest) != compute.schema_hash()
    assert with_list(replace(first, name="other"), *rest) != compute.schema_hash()
    assert with_list(*rest) != compute.schema_hash()


def test_every_feature_is_in_the_list_once() -> None:
    names = [feature.name for feature in FEATURES]
    assert len(names) == len(set(names))
    assert len(FEATURES) == sum(map(len, (bars.BAR_FEATURES, market.MARKET_FEATURES, wider_timeframes.HIGHER_FEATURES)))


def test_every_feature_is_on_its_page_of_docs() -> None:
    page = (Path(crypto_pipeline_tests.__file__).parent.parent / "docs" / "features.md").read_text()
    assert [feature.name for feature in FEATURES if f"`{feature.name}`" not in page] == []
