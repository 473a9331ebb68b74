"""Who looks after the assets of a subject, what they are filtered by in the UI, and names that subjects share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

import dagster as dg

#: The asset of stored trades: live bars are made of them.
TRADES = "trades"
#: The asset of the newest prices and forming bars.
LIVE_PRICES = "live_prices"


class AssetArguments(TypedDict):
    """Those arguments of an asset that its subject gives."""

    group_name: str
    owners: list[str]
    tags: dict[str, str]


@dataclass(frozen=True, slots=True)
class Subject:
    """A group of assets.

    Attributes:
        name: Of the group in Dagster, and the value of the tag `subject`.
        team: That owns it.
    """

    name: str
    team: str

    def arguments(self, schema: str | None = None, **tags: str) -> AssetArguments:
        """Group, owners and tags of an asset, for `dg.asset`; its table is in ``schema`` of the database."""
        all_tags = {"subject": self.name} | ({"schema": schema} if schema else {}) | tags
        return {"group_name": self.name, "owners": [f"team:{self.team}"], "tags": all_tags}


VENUES = Subject("venues", "market-data")
LIVE = Subject("live", "market-data")
BARS = Subject("bars", "market-data")
VIEWS = Subject("views", "market-data")
OPERATIONS = Subject("operations", "market-data")
FEATURES = Subject("features", "research")
LABELS = Subject("labels", "research")
MODELS = Subject("models", "research")
FORECASTS = Subject("forecasts", "research")
TRADING = Subject("trading", "trading")
MACRO = Subject("macro", "research")


@dataclass(frozen=True, slots=True)
class VenueLooks:
    """What people see of a venue: a text instead of the usual one, owners, tags and kinds besides the usual ones, and
    the address of its documentation.
    """

    description: str | None = None
    owners: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    kinds: Sequence[str] = ()
    documentation: str | None = None


def venue_key(venue: str) -> dg.AssetKey:
    """The key of the external asset that stands for a venue."""
    return dg.AssetKey(["venues", venue])
