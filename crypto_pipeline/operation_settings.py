"""The settings of operation: reads over HTTP, backups and housekeeping. They are part of ``Settings``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings


class OperationSettings(BaseSettings):
    """What ``Settings`` has about operation. Durations are in seconds unless the name says days."""

    # Reads over HTTP
    api: bool = Field(True, description="Whether bars are served over HTTP.")
    api_port: int = Field(8790, ge=0, le=65535, description="Port of the HTTP reads.")
    api_token: SecretStr | None = Field(None, description="Only clients with this bearer token are answered.")
    api_rate: float = Field(0.0, ge=0, description="Requests a second of one client, in bursts twice as many; 0: any.")
    api_statement_seconds: float = Field(10.0, gt=0, description="A read that takes longer is cancelled.")
    api_connections: int = Field(8, ge=1, le=64, description="Connections to PostgreSQL for HTTP reads, of each kind.")
    api_cache_mb: int = Field(128, ge=1, description="Memory for answers that are kept, in MiB.")

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
