"""The store as one handle."""

from pathlib import Path

import pytest

import crypto_pipeline.store as room
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.store import Store, StoreError


def test_one_handle_has_every_part_and_closes(postgres_url: str) -> None:
    with Store(postgres_url) as store:
        store.instruments.add([Instrument.crypto("BTC-USDT")])
        assert store.coverage.summary() is not None
        assert store.checks.open_alerts().is_empty()
        assert store.budgets.of("binance").name == "binance"
        for part in ("bars", "reader", "ledger", "reconciliations", "audit"):
            assert getattr(store, part) is getattr(store, part)
        assert store.size_bytes() > 1_000_000
        assert ":***@" in repr(store)
    with pytest.raises(StoreError, match="closed"):
        store.instruments.list()


def test_the_room_exports_what_it_names() -> None:
    for name in room.__all__:
        assert getattr(room, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        room.nothing  # noqa: B018


def test_no_file_of_the_room_outgrows_a_reader() -> None:
    for path in Path(room.__file__).parent.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path
