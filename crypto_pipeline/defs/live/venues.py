"""The venues that the settings name, as external assets: everything else comes from them."""

import dagster as dg

from crypto_pipeline.defs.base.subjects import VENUES, venue_key
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.venues import collected_venues


@dg.definitions
def venues() -> dg.Definitions:
    """The venues that bars come from, and those that stand in for them."""
    settings = load_settings()
    collected = collected_venues(settings)
    stand_ins = [name.strip() for name in (settings.failover_venues or "").split(",") if name.strip()]
    names = dict.fromkeys([*collected, *stand_ins])
    return dg.Definitions(assets=[venue_asset(settings, name, first=name in collected) for name in names])


def venue_asset(settings: Settings, name: str, *, first: bool) -> dg.AssetSpec:
    """The external asset of the venue called ``name``, with its addresses as the settings give them.

    ``first``: its own series are collected; otherwise it stands in for another venue.
    """
    addresses = {
        what: dg.MetadataValue.text(address)
        for what in ("url", "stream_url")
        if (address := getattr(settings, f"{name}_{what}", None)) is not None
    }
    role = "Where bars and trades come from" if first else "Stands in when the first venue cannot answer"
    return dg.AssetSpec(
        venue_key(name),
        **VENUES.arguments(),
        kinds={"api"},
        description=f"{role}: REST for history and instruments, a stream for what happens now.",
        metadata={"role": "first" if first else "stand-in", **addresses},
    )
