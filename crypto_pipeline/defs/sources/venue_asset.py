"""A venue as an external asset, which everything that comes from it stands on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import dagster as dg

from crypto_pipeline.defs.base.subjects import VENUES, VenueLooks, venue_key
from crypto_pipeline.settings import Settings
from crypto_pipeline.venues import streams

#: Whether a venue's own series are collected, or it stands in for another venue.
Role = Literal["first", "stand-in"]
_ROLES: Mapping[Role, str] = {
    "first": "Where bars and trades come from",
    "stand-in": "Stands in when the first venue cannot answer",
}


def is_streamed(settings: Settings, venue: str) -> bool:
    """Whether live bars are made of the venue's stream; otherwise its prices are updated by REST."""
    return settings.ingest and streams(settings, venue)


def venue_asset(settings: Settings, name: str, role: Role, looks: VenueLooks) -> dg.AssetSpec:
    """The external asset of the venue called ``name``, with its addresses as the settings give them."""
    metadata: dict[str, Any] = {"role": role}
    for what in ("url", "stream_url"):
        if (address := getattr(settings, f"{name}_{what}", None)) is not None:
            metadata[what] = dg.MetadataValue.text(address)
    if looks.documentation is not None:
        metadata["documentation"] = dg.MetadataValue.url(looks.documentation)
    shared = VENUES.arguments()
    happening = (
        "a stream for what happens now" if is_streamed(settings, name) else "no stream, so prices every 15 minutes"
    )
    return dg.AssetSpec(
        venue_key(name),
        group_name=shared["group_name"],
        owners=list(looks.owners) or shared["owners"],
        tags={**looks.tags, **shared["tags"]},
        kinds={"api", *looks.kinds},
        description=looks.description or f"{_ROLES[role]}: REST for history and instruments, {happening}.",
        metadata=metadata,
    )
