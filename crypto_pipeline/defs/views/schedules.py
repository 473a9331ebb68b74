"""Jobs and schedules of the views: refreshed all day, proven at night."""

import time

import dagster as dg

from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import HIGH, is_running, schedule, tags
from crypto_pipeline.defs.views.refresh import refresh_without_run
from crypto_pipeline.store import StoreError
from crypto_pipeline.store.views.views import VIEWS

#: Not tagged as processors: they take seconds, and must not wait until a long backfill frees its slot.
_SHORT = tags(HIGH)
_TODAY = ("ohlc_today", "instrument_summary")
#: A view whose last refresh took this long, in seconds, is refreshed by a run, which can be watched and ended.
_LONGEST = 5.0


def _selection(*names: str, proven: bool) -> dg.AssetSelection:
    """Views with their checks; the comparison with the whole table only where it is asked for."""
    assets = dg.AssetSelection.assets(*names)
    checks = ["is_fresh", "equals_table"] if proven else ["is_fresh"]
    keys = [dg.AssetCheckKey(dg.AssetKey(name), check) for name in names for check in checks]
    return assets.without_checks() | dg.AssetSelection.checks(*keys)


refresh_today = dg.define_asset_job(
    "refresh_today",
    selection=_selection(*_TODAY, proven=False),
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


@dg.schedule(
    job=refresh_today,
    # Two minutes after the recent processor, so that what it healed is in; HIGH jobs go first all the same.
    cron_schedule="2-59/5 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every 5 minutes: refreshes the view of the last 24 hours and the summary of instruments, rarely by a "
    "run.",
)
def today_every_five_minutes(
    context: dg.ScheduleEvaluationContext, database: MarketDatabase
) -> dg.RunRequest | dg.SkipReason:
    """Refresh the views of today. A run is asked for where a refresh takes long, failed, or was never done."""
    request = dg.RunRequest(run_key=f"{refresh_today.name}:{context.scheduled_execution_time:%Y-%m-%dT%H:%M}")
    if is_running(context.instance, refresh_today.name):
        return dg.SkipReason(f"{refresh_today.name} is under way")
    began = time.monotonic()
    try:
        with database.store() as store:
            taken = dict(store.views.state().select("name", "seconds").rows())
            if any(taken.get(name, _LONGEST) >= _LONGEST for name in _TODAY):
                return request
            for name in _TODAY:
                refresh_without_run(context.instance, store, name)
    except StoreError as error:
        context.log.warning(f"the views are refreshed by a run: {error}")
        return request
    return dg.SkipReason(f"{' and '.join(_TODAY)} were refreshed in {time.monotonic() - began:.2f} s without a run")


schedules = [
    today_every_five_minutes,
    schedule("recent_every_hour", refresh_recent, "7 * * * *", "Every hour: refreshes the view of the last 7 days."),
    schedule(
        "views_proven_daily",
        prove_views,
        "0 2 * * *",
        "Every night: refreshes every view and compares it with the tables, row by row.",
    ),
]
