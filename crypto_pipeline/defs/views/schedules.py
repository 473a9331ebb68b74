"""Jobs and schedules of the views: refreshed all day, proven at night."""

import dagster as dg

from crypto_pipeline.defs.base.runs import HIGH, schedule, tags
from crypto_pipeline.store.views.views import VIEWS

#: Not tagged as processors: they take seconds, and must not wait until a long backfill frees its slot.
_SHORT = tags(HIGH)


def _selection(*names: str, proven: bool) -> dg.AssetSelection:
    """Views with their checks; the comparison with the whole table only where it is asked for."""
    assets = dg.AssetSelection.assets(*names)
    checks = ["is_fresh", "equals_table"] if proven else ["is_fresh"]
    keys = [dg.AssetCheckKey(dg.AssetKey(name), check) for name in names for check in checks]
    return assets.without_checks() | dg.AssetSelection.checks(*keys)


refresh_today = dg.define_asset_job(
    "refresh_today",
    selection=_selection("ohlc_today", "instrument_summary", proven=False),
    tags=_SHORT,
    description="Refreshes the views `ohlc_today` and `instrument_summary`.",
)
refresh_recent = dg.define_asset_job(
    "refresh_recent",
    selection=_selection("ohlc_recent", proven=False),
    tags=_SHORT,
    description="Refreshes the view `ohlc_recent`.",
)
prove_views = dg.define_asset_job(
    "prove_views",
    selection=_selection(*VIEWS, proven=True),
    tags=_SHORT,
    description="Refreshes every view and compares it with the tables, row by row.",
)

schedules = [
    # Two minutes after the recent processor, so that what it healed is in; HIGH jobs go first all the same.
    schedule(
        "today_every_five_minutes",
        refresh_today,
        "2-59/5 * * * *",
        "Every 5 minutes: refreshes the view of the last 24 hours and the summary of instruments.",
    ),
    schedule("recent_every_hour", refresh_recent, "7 * * * *", "Every hour: refreshes the view of the last 7 days."),
    schedule(
        "views_proven_daily",
        prove_views,
        "0 2 * * *",
        "Every night: refreshes every view and compares it with the tables, row by row.",
    ),
]
