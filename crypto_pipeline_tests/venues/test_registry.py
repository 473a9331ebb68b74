"""Every venue has one entry in the registry and one line in the list of names that settings read."""

from __future__ import annotations

import pytest

from crypto_pipeline.settings import Settings, SettingsError, load_settings, venue_names
from crypto_pipeline.venue_names import has_stream
from crypto_pipeline.venues import REGISTRY, make_stream, make_venue, traits_of


def test_the_list_of_names_and_the_registry_say_the_same() -> None:
    assert list(venue_names()) == list(REGISTRY)
    assert [name for name in venue_names() if has_stream(name)] == [
        name for name, entry in REGISTRY.items() if entry.stream is not None
    ]
    assert [name for name in venue_names(first=True) if not has_stream(name)] == ["massive", "massive_crypto"]


@pytest.mark.parametrize("name", venue_names())
async def test_every_entry_makes_its_clients(name: str) -> None:
    venue = make_venue(Settings(massive_feed="realtime"), venue=name)
    assert (venue.name, venue.traits) == (name, traits_of(name))
    await venue.close()
    if REGISTRY[name].stream is not None:
        stream = make_stream(Settings(), name)
        assert stream.name == name
        await stream.close()


def test_a_venue_without_a_stream_says_which_have_one() -> None:
    with pytest.raises(ValueError, match="replay_standby has no stream: use one of replay, binance, coinbase, kraken"):
        make_stream(Settings(), "replay_standby")


@pytest.mark.parametrize("name", ["mtgox", "replay_standby", ""])
def test_settings_refuse_what_cannot_be_the_first_venue(name: str) -> None:
    with pytest.raises(SettingsError, match=f"VENUE='{name}'.*use one of replay, binance, coinbase, kraken"):
        load_settings(venue=name)


def test_settings_refuse_an_unknown_stand_in() -> None:
    assert load_settings(failover_venues="kraken, replay_standby").failover_venues == "kraken,replay_standby"
    with pytest.raises(SettingsError, match="'mtgox' is not a venue: use replay, binance"):
        load_settings(failover_venues="kraken,mtgox")
