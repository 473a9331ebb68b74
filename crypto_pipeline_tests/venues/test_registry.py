"""Every venue has one entry in the registry and one line in the list of names that settings read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from crypto_pipeline.settings import Settings, SettingsError, load_settings
from crypto_pipeline.venue_names import has_stream, venue_names
from crypto_pipeline.venues import REGISTRY, collected_venues, make_stream, make_venue, traits_of


def test_the_list_of_names_and_the_registry_say_the_same() -> None:
    assert list(venue_names()) == list(REGISTRY)
    assert [name for name in venue_names() if has_stream(name)] == [
        name for name, entry in REGISTRY.items() if entry.stream is not None
    ]


@pytest.mark.parametrize("name", venue_names())
async def test_every_entry_makes_its_clients(name: str) -> None:
    venue = make_venue(Settings(massive_feed="realtime"), venue=name)
    assert (venue.name, replace(venue.traits, requests_per_minute=None)) == (name, traits_of(name))
    await venue.close()
    if REGISTRY[name].stream is not None:
        stream = make_stream(Settings(), name)
        assert stream.name == name
        await stream.close()


def test_a_venue_without_a_stream_says_which_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REGISTRY, "massive", replace(REGISTRY["massive"], stream=None))
    with pytest.raises(ValueError, match="massive has no stream: use one of replay, binance, coinbase, kraken"):
        make_stream(Settings(), "massive")


def universe(tmp_path: Path, *venues: str | None) -> Settings:
    """Settings with a universe of one group of each of ``venues``; None: a group that names none."""
    groups = [("" if venue is None else f'venue = "{venue}"\n') for venue in venues]
    file = tmp_path / "universe.toml"
    file.write_text("".join(f'[[group]]\ntier = "large"\n{group}symbols = ["BTC"]\n' for group in groups))
    return Settings(universe_file=file)


def test_a_deployment_collects_from_the_venues_that_its_universe_names(tmp_path: Path) -> None:
    assert collected_venues(Settings()) == ("replay",)
    settings = universe(tmp_path, None, "kraken", "coinbase")
    assert collected_venues(settings) == ("replay", "kraken", "coinbase")
    assert collected_venues(settings.at("kraken")) == ("kraken",)
    assert collected_venues(universe(tmp_path, "kraken")) == ("kraken",), "the default venue is in no group"
    one = Settings(universe_file=settings.universe_file, venue="binance")
    assert collected_venues(one) == ("binance",), "a venue that is set by name is the only one"


def test_a_venue_of_the_universe_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="venue of BTC-USDT: 'mtgox' is not a venue: use one of replay, binance"):
        collected_venues(universe(tmp_path, "mtgox"))


@pytest.mark.parametrize("name", ["mtgox", "replay_standby", ""])
def test_settings_refuse_what_cannot_be_the_first_venue(name: str) -> None:
    with pytest.raises(SettingsError, match=f"VENUE='{name}'.*use one of replay, binance, coinbase, kraken"):
        load_settings(venue=name)


def test_settings_refuse_an_unknown_stand_in() -> None:
    assert load_settings(failover_venues="kraken, replay_standby").failover_venues == "kraken,replay_standby"
    with pytest.raises(SettingsError, match="'mtgox' is not a venue: use replay, binance"):
        load_settings(failover_venues="kraken,mtgox")
