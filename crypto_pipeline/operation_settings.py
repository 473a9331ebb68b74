"""The settings of operation: reads over HTTP, backups and housekeeping. They are part of ``Settings``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings


class OperationSettings(BaseSettings):
    """What ``Settings`` has about operation. Durations are in seconds unless the name says days."""

    # Reads from a replica
    database_read_url: SecretStr | None = Field(
        None, description="A streaming replica of the server of database_url, from which stored rows are read (by HTTP "
        "too); what is written, leased or live stays on the primary."
    )  # fmt: skip
    database_read_lag: float = Field(
        5.0, gt=0, description="A replica further behind than so many seconds is left out while the primary answers."
    )

    # Reads over HTTP
    api: bool = Field(True, description="Whether bars are served over HTTP.")
    api_port: int = Field(8790, ge=0, le=65535, description="Port of the HTTP reads.")
    api_token: SecretStr | None = Field(None, description="Only clients with this bearer token are answered.")
    api_rate: float = Field(0.0, ge=0, description="Requests a second of one client, in bursts twice as many; 0: any.")
    api_statement_seconds: float = Field(10.0, gt=0, description="A read that takes longer is cancelled.")
    api_connections: int = Field(8, ge=1, le=64, description="Connections to PostgreSQL for HTTP reads, of each kind.")
    api_cache_mb: int = Field(128, ge=1, description="Memory for answers that are kept, in MiB.")

    # The mirror
    mirror: bool = Field(
        True, description="Whether closed days are also kept as Parquet files, from which long reads are answered."
    )
    mirror_url: str | None = Field(
        None,
        description="Where the files of the mirror go: a folder, or s3://bucket/prefix, gs://…, az://…, of this "
        "database alone. Default: 'mirror' in data_dir.",
    )

    # The mirror in ClickHouse
    clickhouse_url: SecretStr | None = Field(
        None, description="Where all bars are mirrored for wide scans: clickhouse://user:pw@host:8123/database, "
        "or chdb:///folder for the engine in this process. Default: nowhere."
    )  # fmt: skip

    # Iceberg tables
    iceberg: bool = Field(
        True, description="Whether Iceberg tables list the files of mirror and archive; needs the extra iceberg."
    )
    iceberg_url: str | None = Field(
        None,
        description="Where the Iceberg tables describe themselves: a folder, or s3://bucket/prefix …, of this database "
        "alone. Default: 'iceberg' in data_dir.",
    )
    iceberg_keep_hours: float = Field(
        1.0, ge=0.1, le=168, description="Hours for which a snapshot stays readable after another has replaced it."
    )

    # Forecasts
    forecasts: bool = Field(True, description="Whether forecasts are published at every close and kept fresh.")

    # Alerts and reports
    notifier: bool = Field(True, description="Whether `up` runs the program that evaluates checks and sends alerts.")
    slack_webhook: SecretStr | None = Field(
        None, description="Incoming webhook of Slack for alerts and reports: https://hooks.slack.com/services/…"
    )
    slack_webhook_alerts: SecretStr | None = Field(
        None, description="Incoming webhook for alerts; then only reports go to slack_webhook."
    )
    slack_token: SecretStr | None = Field(
        None, description="Bot token (xoxb-…) with chat:write, channels:history and files:write, for slack_channel."
    )
    slack_channel: str | None = Field(None, description="Id of the channel for the bot token: C0123456789.")
    slack_channel_alerts: str | None = Field(
        None, description="Id of the channel for alerts; then only reports go to slack_channel."
    )
    slack_api_url: str = Field("https://slack.com/api", description="Address of Slack's API.")
    apprise_urls: SecretStr | None = Field(
        None, description="Further channels as addresses of apprise, separated by spaces: 'ntfy://topic mailto://…'."
    )
    alert_severity: Literal["critical", "error", "warning", "info"] = Field(
        "warning", description="Less grave alerts are not sent."
    )
    alert_remind_hours: float = Field(
        6.0, ge=0, description="An open alert that nobody acknowledged is sent again after this; 0: never."
    )
    dead_man_url: SecretStr | None = Field(
        None, description="Address that is pinged while all is well (healthchecks.io, or your own Healthchecks)."
    )
    dead_man_seconds: float = Field(60.0, ge=10, le=300, description="Seconds between two pings.")
    deployment_name: str | None = Field(None, description="Name in messages. Default: the name of the machine.")
    docs_url: str = Field("", description="Where the docs are read, for links in messages. Default: paths alone.")
    report_time_zone: str = Field("UTC", description="IANA zone of the reports at 09:00 and 17:00: Europe/Berlin.")

    # More machines
    celery_broker_url: SecretStr | None = Field(
        None, description="Runs are handed over this redis to programs `crypto-pipeline run-worker`, on this or other "
        "machines: redis://:password@host:6379/0. Default: they start on this machine."
    )  # fmt: skip
    ingest_by_runs: bool = Field(
        False, description="Live bars are made by runs of Dagster, which workers may take, not by programs of `up`."
    )

    # Backups and housekeeping
    backup_dir: Path | None = Field(None, description="Where backups go. Default: 'backups' in data_dir.")
    backup_keep: int = Field(3, ge=1, description="Newest backups that are kept.")
    backup_daily: bool | None = Field(
        None, description="Whether a backup is made every night. Default: of the embedded database, yes."
    )
    disk_gb: float | None = Field(None, gt=0, description="Size of the disk of a PostgreSQL of your own.")
    disk_days_warn: float = Field(30.0, gt=0, description="The disk is full in fewer days than this: warning.")
    disk_days_error: float = Field(7.0, gt=0, description="The disk is full in fewer days than this: error.")
    disk_reserve_mb: int = Field(
        256, ge=0, description="Room kept in a file, given up first when the disk is nearly full (at most 5 % of it)."
    )
    dagster_keep_days: int = Field(14, ge=1, description="Days that finished runs and their events are kept.")

    @field_validator("clickhouse_url")
    @classmethod
    def _mirror_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        if urlsplit(value.get_secret_value()).scheme not in ("chdb", "clickhouse", "clickhouses", "http", "https"):
            raise ValueError("use clickhouse://user:password@host:8123/database or chdb:///folder")
        return value

    @field_validator("database_read_url")
    @classmethod
    def _replica(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and urlsplit(value.get_secret_value()).scheme not in ("postgresql", "postgres"):
            raise ValueError("use postgresql://user:password@host:5432/database")
        return value

    @field_validator("slack_webhook", "slack_webhook_alerts", "dead_man_url")
    @classmethod
    def _web_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        parts = urlsplit(value.get_secret_value())
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise ValueError("give the whole address, as https://…")
        return value

    @field_validator("celery_broker_url")
    @classmethod
    def _redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        if urlsplit(value.get_secret_value()).scheme not in ("redis", "rediss"):
            raise ValueError("use redis://:password@host:6379/0, or rediss:// for TLS")
        return value

    @field_validator("report_time_zone")
    @classmethod
    def _time_zone(cls, value: str) -> str:
        try:
            return ZoneInfo(value).key
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{value!r} is no time zone: give a name as Europe/Berlin or America/New_York") from None
