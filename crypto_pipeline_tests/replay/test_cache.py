"""The cache of the replay exchange is bounded by bytes, and by how long ago an entry was used."""

from __future__ import annotations

import time

import pytest

from crypto_pipeline.replay.wire.cache import BoundedCache, drop_unused_entries


def test_the_least_recently_used_entries_go_above_the_bound() -> None:
    cache: BoundedCache[str] = BoundedCache(100)
    for name in "abc":
        cache.put(name, name, 40)
    assert [cache.get(name) for name in "abc"] == [None, "b", "c"]
    assert cache.get("b") == "b"
    cache.put("d", "d", 40)
    assert [cache.get(name) for name in "bcd"] == ["b", None, "d"]
    assert cache.used == 80


def test_entries_that_nobody_used_for_long_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    cache: BoundedCache[str] = BoundedCache(100, seconds=60)
    for name in "abc":
        cache.put(name, name, 10)
    now = 1050.0
    assert cache.get("a") == "a"
    drop_unused_entries()
    assert cache.used == 30
    now = 1070.0
    drop_unused_entries()
    assert [cache.get(name) for name in "abc"] == ["a", None, None]
    assert cache.used == 10
