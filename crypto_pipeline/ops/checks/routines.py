"""Which checks a person looks at in the morning, in the afternoon and in the evening (docs/runbook.md)."""

from __future__ import annotations

from typing import Literal, TypeAlias

Routine: TypeAlias = Literal["morning", "afternoon", "evening"]

#: Names of checks. Morning: what the night left. Afternoon: what works now. Evening: what must last through the night.
ROUTINES: dict[Routine, frozenset[str]] = {
    "morning": frozenset(
        {
            "database", "coverage_24h", "coverage_7d", "oldest_gap", "accounted_for", "venue_agreement",
            "rollup_conservation", "backup", "backup_is_right", "schedules_run", "processors",
            "job_errors", "tables_hold_what_is_counted",
            "archive_files_are_whole", "macro_release_missed", "macro_is_fresh", "labels_current", "up_to_date",
            "forecasts_complete", "forecast_coverage", "forecast_skill", "books_balance", "broker_equals_label",
            "ohlc_today_equals_table", "ohlc_recent_equals_table", "instrument_summary_equals_table", "notifier",
        }
    ),
    "afternoon": frozenset(
        {
            "database", "database_speed", "ingest", "instruments_silent", "freshness", "features_age",
            "venue_bans", "connection", "clock",
            "run_queue", "run_workers", "dagster_daemon", "code_server", "webserver", "http_api", "notifier",
            "parity", "no_leak", "forecast_loop", "forecasts_fresh", "takes_followed_up", "positions_equal_venue",
        }
    ),
    "evening": frozenset(
        {
            "database", "database_writable", "supervisor", "disk_room", "storage_disk_lasts",
            "storage_partitions_ahead",
            "storage_tables_are_not_bloated", "schedules_run", "run_queue", "backup", "ingest", "notifier",
        }
    ),
}  # fmt: skip
