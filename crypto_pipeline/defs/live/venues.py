"""The venues that the settings name, as external assets: everything else comes from them."""

import dagster as dg

from crypto_pipeline.defs.base.subjects import VENUES, venue_key
from crypto_pipeline.settings import Settings, load_settings


@dg.definitions
def venues() -> dg.Definitions:
    """The venue that bars come from, and those that stand in for it."""
    settings = load_settings()
    stand_ins = [name.strip() for name in (settings.failover_venues or "").split(",") if name.strip()]
    names = dict.fromkeys([settings.venue, *stand_ins])
    return dg.Definitions(assets=[venue_asset(settings, name) for name in names])


def venue_asset(settings: Settings, name: str) -> dg.AssetSpec:
    """The external asset of the venue called ``name``, with its addresses as the settings give them."""
    addresses = {
        what: dg.MetadataValue.text(address)
        for what in ("url", "stream_url")
        if (address := getattr(settings, f"{name}_{what}", None)) is not None
    }
    role = (
        "Where bars and trades come from" if name == settings.venue else "Stands in when the first venue cannot answer"
    )
    return dg.AssetSpec(
        venue_key(name),
        **VENUES.arguments(),
        kinds={"api"},
        description=f"{role}: REST for history and instruments, a stream for what happens now.",
        metadata={"role": "first" if name == settings.venue else "stand-in", **addresses},
    )
