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
    ("module", "old", "new"),
    [
        ("features.definitions.feature", "TOLERATED = 0.05", "TOLERATED = 0.06"),
        ("features.definitions.feature", "n - int(n", "n - 1 - int(n"),
        ("features.definitions.bar_series", "DAY, WEEK = 96, 672", "DAY, WEEK = 96, 671"),
        ("features.definitions.bars", "for day in range(2, 8)", "for day in range(2, 7)"),
        ("features.definitions.bars", "hour = 2 * math.pi", "hour = math.pi"),
        ("features.definitions.indicators", "n: int = 14, *, seed", "n: int = 15, *, seed"),
        ("features.definitions.market", "moved > 0", "moved >= 0"),
        ("features.definitions.regimes", "<= -0.10", "<= -0.11"),
        ("features.definitions.regimes", "CRASH = -2", "CRASH = -3"),
        ("features.definitions.wider_timeframes", "mean(bars.close, 20)", "mean(bars.close, 21)"),
        ("features.compute", "Timeframe.H4: 42", "Timeframe.H4: 43"),
        ("features.blocks", "opens + grid.step", "opens"),
        ("arrays.rolling", "ddof: int = 1", "ddof: int = 0"),
        ("arrays.rolling_loops", "below + 0.5", "below + 0.4"),
        ("arrays.compiled", "nogil=True", "nogil=True, fastmath=True"),
        ("market.bars", 'UTC_MS = pl.Datetime("ms"', 'UTC_MS = pl.Datetime("us"'),
    ],
)
def test_what_rows_are_computed_from_counts(module: str, old: str, new: str) -> None:
    assert edited(module, old, new) != compute.schema_hash()


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("features.definitions.bars", '"""Relative strength index."""', '"""RSI."""'),
        ("features.definitions.bars", "def macd(", "def unused() -> None: ...\ndef macd("),
        ("arrays.compiled", "compiled kernels are not kept", "kernels are not kept"),
        ("market.timeframes", "give a time zone", "say which time zone"),
        # another timeframe, which no feature uses
        ("market.timeframes", '    H4 = "4h"', '    H2 = "2h", 120, 365, 730\n    H4 = "4h"'),
    ],
)
def test_texts_and_what_no_feature_uses_do_not_count(module: str, old: str, new: str) -> None:
    assert edited(module, old, new) == compute.schema_hash()


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
