"""All settings in one object: environment first, then a file, then defaults.

Every field is also ``CRYPTO_PIPELINE_<FIELD>`` in the environment and a key in ``crypto_pipeline.toml`` (in the data
directory, or where ``CRYPTO_PIPELINE_CONFIG`` points). Secrets come from the environment only and never print.
"""

from __future__ import annotations

import os
import re
import shlex
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AwareDatetime, Field, PrivateAttr, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from crypto_pipeline.defaults import GENERATED, GENERATED_DAYS, RETENTION, replays
from crypto_pipeline.market.macro.series import SeriesChoice
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.trading_settings import TradingSettings
from crypto_pipeline.venue_names import CCXT, refuse_unknown_venue, venue_names

PREFIX = "CRYPTO_PIPELINE_"
MlMode: TypeAlias = Literal["off", "boost", "gate"]


class SettingsError(ValueError):
    """A setting has a bad value; the message names the setting, the value and what is accepted."""


class Settings(TradingSettings):
    """Everything that can be set. Durations are in seconds unless the name says days."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", validate_default=True)

    _first: bool = PrivateAttr(True)

    # Where things are
    data_dir: Path = Field(Path("~/.crypto_pipeline"), description="Everything that is stored lives below this folder.")
    database_url: SecretStr | None = Field(
        None, description="Use this PostgreSQL (15 or newer) instead of the embedded one: postgresql://user:pw@host/db"
    )
    database_direct_url: SecretStr | None = Field(
        None, description="If database_url leads to a connection pooler (pgbouncer): the same database on PostgreSQL "
        "itself, for migrations, LISTEN, dumps and Dagster's storage."
    )  # fmt: skip
    dagster_database_url: SecretStr | None = Field(
        None, description="Database for Dagster's own storage; default: database 'dagster' on the same server."
    )
    host: str = Field("127.0.0.1", description="Address that every server of ours binds to.")
    allowed_hosts: str | None = Field(
        None, description="Further names under which a browser may use the servers, for example behind a proxy: "
        "'data.example.org'. Addresses in figures, localhost and the machine's own name always may."
    )  # fmt: skip
    ui_port: int = Field(3000, ge=0, le=65535, description="Port of the Dagster UI.")
    replay_port: int = Field(8765, ge=0, le=65535, description="Port of the replay exchange.")

    # What is collected
    venue: str = Field("replay", description=f"Bars come from: {', '.join(venue_names(first=True))}, {CCXT}NAME.")
    instruments: str | None = Field(
        None, description="The first N of the universe, or a list 'BTC-USDT,ETH-USDT'. Default: 8 on replay, else all."
    )
    days: int | None = Field(None, ge=1, le=20_000, description="Days of history. Default: 45 on replay, else 180.")
    stocks_venue: Literal["massive"] | None = Field(
        None,
        description="Where the stocks of the universe come from, beside what the venue has. Default: none of them.",
    )
    universe_file: Path | None = Field(None, description="Your own universe file; default: the one in the package.")

    # The replay exchange
    replay_source: str = Field("generated", description="'generated', or a folder of recorded bars and trades.")
    replay_stocks: Path | None = Field(None, description="Folder of LEAN's data with stocks. Default: generated ones.")
    replay_macro: Path | None = Field(None, description="Folder of FRED's CSV files. Default: generated macro series.")
    replay_seed: int = Field(1, description="Seed of the generated market.")
    replay_speed: float = Field(1.0, gt=0, description="How fast the replay exchange's clock runs.")
    replay_shift_to_now: bool = Field(False, description="Shift recordings by whole weeks so that they end now.")
    replay_now: AwareDatetime | None = Field(
        None,
        description="Time at which the replay exchange's clock begins (2021-05-10T12:00Z). Default: now; for a "
        "recording that is not shifted, a day or more before its end.",
    )
    replay_faults: Path | None = Field(None, description="JSON file with faults to play.")
    replay_intensity: int = Field(1, ge=1, le=10_000, description="Times as many trades, for load tests.")
    replay_token: SecretStr | None = Field(
        None, description="Token of the replay exchange's control endpoints. Default: one in run/replay-token."
    )

    # Venue addresses and manners
    binance_url: str = Field("https://data-api.binance.vision", description="REST address of Binance spot.")
    binance_archive_url: str = Field("https://data.binance.vision", description="Address of Binance's file archive.")
    binance_stream_url: str = Field("wss://data-stream.binance.vision", description="Stream address of Binance spot.")
    coinbase_url: str = Field("https://api.exchange.coinbase.com", description="REST address of Coinbase Exchange.")
    coinbase_stream_url: str = Field("wss://ws-feed.exchange.coinbase.com", description="Stream address of the same.")
    kraken_url: str = Field("https://api.kraken.com", description="REST address of Kraken spot.")
    kraken_stream_url: str = Field("wss://ws.kraken.com/v2", description="Stream address of Kraken spot (v2).")
    massive_url: str = Field("https://api.massive.com", description="REST address of Massive (formerly Polygon.io).")
    massive_requests_per_minute: int = Field(5, ge=1, le=60_000, description="What the plan of Massive's key allows.")
    massive_feed: Literal["delayed", "realtime", "rest"] = Field(
        "delayed", description="What the plan allows: data of 15 minutes ago, of now, or no stream."
    )
    massive_source: Literal["massive", "replay"] = Field("massive", description="The service, or the replay exchange.")
    massive_key: SecretStr | None = Field(None, description="Key of Massive: massive.com/dashboard/keys.")
    ccxt_urls: dict[str, str] = Field({}, description='Addresses of exchanges of ccxt: {"bitstamp": "http://…"}.')
    budget_share: float = Field(0.9, gt=0, le=1, description="Share of the venue's request budget that may be used.")
    request_timeout: float = Field(15.0, gt=0, description="A request without an answer after this long is repeated.")
    request_attempts: int = Field(6, ge=1, description="Attempts per request before giving up for now.")
    fetch_concurrency: int = Field(8, ge=1, le=64, description="Requests in flight at once per process.")
    archive_min_days: int = Field(3, ge=1, description="Spans at least this long come from the file archive first.")

    # Other venues, where the first cannot be asked or contradicts itself
    failover_venues: str | None = Field(
        None, description="Venues that stand in for the first, in this order: 'coinbase,kraken'. The universe file may "
        "list others for an instrument. Default: none."
    )  # fmt: skip
    failover_days: int = Field(2, ge=1, description="Other venues are asked only for so many newest days.")
    replay_standby_port: int = Field(8766, ge=0, le=65535, description="Port of a second replay exchange.")

    # Macro series
    macro_series: SeriesChoice | None = Field(
        None, description="Macro series to collect: 'default' (the five that have names), or names and ids of FRED."
    )
    macro_source: Literal["fred", "replay"] = Field("fred", description="Where they come from: fred or replay.")
    fred_api_key: SecretStr | None = Field(None, description="Key of FRED. Default: none, and so no vintages.")
    fred_url: str = Field("https://api.stlouisfed.org", description="Address of FRED's API.")

    # Storing and healing
    write_batch_rows: int = Field(50_000, ge=1_000, le=500_000, description="Bars per write transaction.")
    heal_attempts: int = Field(5, ge=1, description="Spaced attempts before a hole is called unfillable.")
    heal_backoff: float = Field(300.0, gt=0, description="Wait before attempt two; the next are 4 times as long.")
    settle_delay: float = Field(5.0, ge=0, description="A bar is expected this long after its end.")
    compare_again_days: int = Field(30, ge=1, description="Every stored day is compared again after so many days.")
    compare_share: float = Field(0.3, gt=0, le=1, description="Part of the request budget for that comparison.")
    compare_minutes: float = Field(10.0, gt=0, description="One run of that comparison ends after this long.")
    reconcile_sample_days: int = Field(2, ge=1, description="Days per instrument that a check compares.")
    freshness_ok: float = Field(300.0, gt=0, description="A bar overdue for longer than this: warning.")
    freshness_warn: float = Field(600.0, gt=0, description="A bar overdue for longer than this: error.")
    freshness_critical: float = Field(900.0, gt=0, description="A bar overdue for longer than this: critical.")
    freshness_bars: int = Field(10, ge=0, le=60, description="Fewer 1m bars in the last hour: they are fetched.")

    # The live layer
    ingest: bool = Field(True, description="Whether live bars are made from the venue's stream.")
    ingest_shards: int = Field(1, ge=1, le=64, description="Parts of the instruments, each with its own ingest run.")
    ingest_rotate_hours: float = Field(6.0, gt=0, description="An ingest run hands over to a fresh one after this.")
    ingest_lease_seconds: float = Field(10.0, ge=2, description="A holder that says nothing for this long is replaced.")
    ingest_flush_ms: int = Field(100, ge=10, le=5000, description="Trades and live prices are stored at this pace.")
    ingest_settle_ms: int = Field(2000, ge=0, description="What ids do not prove waits this long after a minute's end.")
    ingest_buffer_trades: int = Field(200_000, ge=1000, description="Trades kept in memory while the database is away.")
    ingest_recover_seconds: float = Field(
        900.0, ge=60, description="After an absence up to this long trades are fetched again, after a longer one bars."
    )

    # Retention and archive
    retention: Literal["research", "lean"] = Field(
        "research",
        description="research: what leaves the tables stays in the archive for ever. lean: archived bars are dropped "
        "(1m after 90 days, 5m to 30m after 365, 1h and 4h after 730). The settings keep_… change single figures.",
    )
    keep_hot_days: dict[str, int] = Field(
        default={},
        description="Days in the tables, by timeframe; 0: for ever. What is not named is as `retention` says.",
    )
    keep_days: dict[str, int] = Field(
        default={},
        description="Days in tables and archive together, by timeframe, then dropped; 0: for ever. What is not named "
        "is as `retention` says.",
    )
    keep_min_bars: int = Field(2000, ge=0, description="The newest bars of every series that never leave the tables.")
    keep_trades_days: int = Field(7, ge=1, description="Days of trades in the table.")
    keep_trades_archived_days: int = Field(
        0, ge=0, description="Days of trades in table and archive together; 0: they are not archived."
    )
    keep_features_days: int = Field(
        90, ge=30, description="Days of features that are kept and kept up to date; whole months leave."
    )
    archive_url: str | None = Field(
        None,
        description="Where archived months go: a folder, or s3://bucket/prefix, gs://…, az://… "
        "(credentials as AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL … in the environment). Default: 'archive' in data_dir.",
    )

    # Features
    feature_benchmark: str = Field(
        "BTC",
        min_length=1,
        description="What market features and DCA setups refer to: an instrument, the base of the first such, or none.",
    )

    # Labels
    label_parameters: dict[str, dict[str, dict[str, Any]]] = Field(
        default={},
        description="Parameter sets for labels, side by side with 'default': what differs, by set and strategy "
        '({"tight": {"dca": {"fall": 0.06}}}).',
    )
    label_events: int = Field(500, ge=1, description="Fewer labels of a strategy than this are too few to learn from.")

    # Models
    ml_mode: dict[str, MlMode] = Field(
        default={},
        description="What predictions are used for, by strategy: off, boost (the size of a trade is scaled by 0.5 to "
        "1.5) or gate (only signals that should win). What is not named: boost. Without a usable model: off.",
    )

    @field_validator("host")
    @classmethod
    def _without_brackets(cls, value: str) -> str:
        return value.strip().removeprefix("[").removesuffix("]")

    @field_validator("data_dir", "universe_file", "replay_stocks", "replay_macro", "replay_faults", "backup_dir")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value is not None else None

    @field_validator("keep_hot_days", "keep_days")
    @classmethod
    def _all_timeframes(cls, value: dict[str, int], info: ValidationInfo) -> dict[str, int]:
        preset = RETENTION[info.data.get("retention", "research")][str(info.field_name)]
        if unknown := [name for name in value if name not in set(Timeframe)]:
            raise ValueError(f"unknown timeframe {unknown[0]!r}: use one of {', '.join(Timeframe)}")
        if low := [name for name in value if value[name] < 0]:
            raise ValueError(f"{value[low[0]]} days of {low[0]}: give a number of days, or 0 for ever")
        return preset | value

    @field_validator("database_url", "database_direct_url", "dagster_database_url")
    @classmethod
    def _postgres(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and urlsplit(value.get_secret_value()).scheme not in ("postgresql", "postgres"):
            raise ValueError("use postgresql://user:password@host:5432/database")
        return value

    @field_validator("database_direct_url")
    @classmethod
    def _beside_pooler(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None and info.data.get("database_url", "") is None:
            raise ValueError("it goes with database_url, the URL of the pooler: set that too, or unset this")
        return value

    @field_validator("venue")
    @classmethod
    def _venue(cls, value: str) -> str:
        refuse_unknown_venue(value, first=True)
        return value

    @field_validator("failover_venues")
    @classmethod
    def _venues(cls, value: str | None) -> str | None:
        names = [name.strip() for name in (value or "").split(",") if name.strip()]
        if unknown := [name for name in names if name not in venue_names()]:
            raise ValueError(f"{unknown[0]!r} is not a venue: use {', '.join(venue_names())}")
        return ",".join(names) or None

    def at(self, venue: str, *, first: bool = True) -> Settings:
        """These settings for the series of ``venue``; ``first``: it is the first venue of the deployment."""
        if venue == self.venue and first == self._first:
            return self
        chosen = self.model_copy(update={"venue": venue})
        chosen._first = first
        return chosen

    @property
    def states_time(self) -> bool:
        """Whether the clock of the venue is the market's: several clocks would move it to and fro."""
        return self._first

    @property
    def replayed(self) -> bool:
        """Whether the venue is an exchange that replays a market."""
        return replays(self.venue) or (self.venue.startswith("massive") and self.massive_source == "replay")

    @property
    def history_days(self) -> int:
        """Days of history that are expected to be there.

        A recording that is replayed has few of them; the generated market has as many as are asked for.
        """
        recorded = self.replay_source != "generated" or self.replay_stocks is not None
        usual = 180 if not self.replayed else 7 if recorded else GENERATED_DAYS
        return usual if self.days is None else self.days

    @property
    def clock_rate(self) -> float:
        """Seconds of the venue's clock per second of ours."""
        return self.replay_speed if self.replayed else 1.0

    @property
    def instrument_choice(self) -> str:
        """Which instruments of the universe: a number, a list, or ``all``."""
        usual = "all" if not replays(self.venue) else str(len(GENERATED)) if self.universe_file else ",".join(GENERATED)
        return self.instruments or usual

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line, then environment, then file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, _config_file(init_settings()))


def command(*words: object) -> str:
    """A command of ours as it can be pasted into a shell, also where a path has a space in it."""
    return shlex.join(["crypto-pipeline", *map(str, words)])


def _config_file(given: dict[str, Any]) -> Path:
    if path := os.environ.get(f"{PREFIX}CONFIG"):
        return Path(path).expanduser()
    default = Settings.model_fields["data_dir"].default
    data_dir = given.get("data_dir") or os.environ.get(f"{PREFIX}DATA_DIR") or default
    return Path(data_dir).expanduser() / "crypto_pipeline.toml"


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; ``overrides`` that are None are left out. Raises SettingsError in one clear line."""
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(problem) for problem in error.errors())) from None
    except ValueError as error:  # an unreadable settings file, or a table in the environment
        variable = re.search(r'field "(\w+)" from source "Env', str(error))
        if variable is None:
            raise SettingsError(f"cannot read {_config_file(given)}: {error}") from None
        field = Settings.model_fields[variable[1]]
        raise SettingsError(f"{PREFIX}{variable[1].upper()} is not JSON: {field.description}") from None


def _explain(problem: Any) -> str:
    name, *inner = [str(part) for part in problem["loc"]] or [""]
    field = Settings.model_fields.get(name)
    if field is None:
        return f"unknown setting {name!r}: see `crypto-pipeline settings`"
    shown = "(hidden)" if "Secret" in str(field.annotation) else repr(problem["input"])
    own = problem.get("ctx", {}).get("error")  # of a check of ours: it names what is accepted
    return (
        f"{PREFIX}{'.'.join((name.upper(), *inner))}={shown}: {own or problem['msg'] + '. ' + str(field.description)}"
    )


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once."""
    return load_settings()
