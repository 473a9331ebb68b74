"""When macro series are asked for: as soon as one is due, and every six hours in any case, with their checks."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import HIGH, SOON, asset_job, is_running, schedule, sensor, tags
from crypto_pipeline.defs.base.subjects import VenueLooks
from crypto_pipeline.defs.macro.assets import OBSERVATIONS, ChosenSeries, observations_asset, source_asset
from crypto_pipeline.defs.macro.checks import macro_checks
from crypto_pipeline.healing.macro.due import due_series
from crypto_pipeline.settings import Settings

#: Name of the job that asks for macro series.
UPDATE = "update_macro"
_SIX_HOURS = "40 */6 * * *"
#: Not tagged as a processor: it takes seconds, and must not wait until a long backfill frees its slot.
_SHORT = tags(HIGH)
#: A run over the same series is asked for at most this often, also where runs fail as a whole.
_EVERY = timedelta(minutes=1)


def macro_definitions(settings: Settings, looks: VenueLooks, cron: str | None) -> dg.Definitions:
    """FRED and what comes from it: observations with checks, and when they are asked for. ``cron``: when every series
    is asked for in any case (UTC); default: every six hours.
    """
    update = asset_job(
        UPDATE, [OBSERVATIONS], _SHORT, "Asks for macro series, stores new vintages, and checks the series."
    )
    every_six_hours = schedule(
        "macro_every_six_hours",
        update,
        cron or _SIX_HOURS,
        "Every 6 hours: asks for every macro series, and checks them.",
    )
    return dg.Definitions(
        assets=[source_asset(settings, looks), observations_asset()],
        asset_checks=[macro_checks()],
        jobs=[update],
        schedules=[every_six_hours],
        sensors=[due_sensor(update)],
    )


def due_sensor(job: Any) -> dg.SensorDefinition:
    """The sensor that asks for one run of ``job`` over all series that are due."""

    @sensor(
        job=job,
        minimum_interval_seconds=SOON,
        description="Asks for a macro series when it is new, when its next release is due, and after the pause that "
        "follows a failure.",
    )
    def macro_due(context: dg.SensorEvaluationContext, database: MarketDatabase) -> dg.SensorResult | dg.SkipReason:
        if is_running(context.instance, UPDATE):
            return dg.SkipReason(f"{UPDATE} is under way")
        with database.store() as store:
            due = due_series(store, store.clock.now())
        names, now = [one.row.name for one in due], datetime.now(UTC)
        if not names:
            return dg.SkipReason("no macro series is due")
        asked = json.loads(context.cursor or "{}")
        if set(names) <= set(asked.get("series", [])) and now - datetime.fromisoformat(asked["at"]) < _EVERY:
            return dg.SkipReason(f"{', '.join(names)}: asked for at {asked['at']}")
        context.log.info("; ".join(f"{one.row.name}: {one.reason}" for one in due))
        request = dg.RunRequest(
            run_key=f"macro:{now.isoformat()}",
            run_config=dg.RunConfig(ops={OBSERVATIONS: ChosenSeries(series=names)}),
            tags=_SHORT,
        )
        return dg.SensorResult([request], cursor=json.dumps({"series": names, "at": now.isoformat()}))

    return macro_due
