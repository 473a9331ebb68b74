"""The ClickHouse mirror of a deployment: where it is, bringing it up to date, and holding it against PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable

from crypto_pipeline.lake.clickhouse.comparison import MirrorComparison, compare
from crypto_pipeline.lake.clickhouse.engine import MirrorAddress, MirrorEngine
from crypto_pipeline.lake.clickhouse.follow import Followed, follow
from crypto_pipeline.lake.clickhouse.tables import MirrorTables
from crypto_pipeline.settings import Settings, SettingsError
from crypto_pipeline.store import Store

#: Name of the check.
CLICKHOUSE_CHECK = "clickhouse_equals_table"
NOT_WANTED = "no mirror in ClickHouse is wanted (CRYPTO_PIPELINE_CLICKHOUSE_URL)"


def mirror_address(settings: Settings) -> MirrorAddress | None:
    """Where the mirror is; None if none is wanted. Raises SettingsError for an address of another kind."""
    if settings.clickhouse_url is None:
        return None
    try:
        return MirrorAddress.parse(settings.clickhouse_url.get_secret_value())
    except ValueError as error:
        raise SettingsError(f"CRYPTO_PIPELINE_CLICKHOUSE_URL: {error}") from None


def follow_in_clickhouse(
    store: Store, address: MirrorAddress, progress: Callable[[str], object] = lambda text: None
) -> tuple[Followed, dict[str, int]]:
    """Bring the mirror up to date; return what was done, and the mirror's figures afterwards. Raises StoreError."""
    with MirrorEngine(address) as engine:
        tables = MirrorTables(engine)
        return follow(store, tables, address.shown, progress=progress), tables.figures()


def compare_with_clickhouse(store: Store, settings: Settings) -> MirrorComparison | None:
    """Hold a part of the mirror against PostgreSQL; None if there is no mirror.

    The outcome is stored as a check result; its failure opens an alert.
    """
    address = mirror_address(settings)
    if address is None:
        store.checks.record_result(CLICKHOUSE_CHECK, None, passed=True, severity="error", summary=NOT_WANTED)
        return None
    with MirrorEngine(address) as engine:
        tables = MirrorTables(engine)
        tables.prepare()
        found = compare(store, tables)
    store.checks.record_result(
        CLICKHOUSE_CHECK,
        None,
        passed=not found.differences,
        severity="error",
        summary=comparison_text(found),
        detail={"differences": found.differences[:20]},
    )
    return found


def comparison_text(found: MirrorComparison) -> str:
    """One sentence for people."""
    if found.differences:
        return f"the ClickHouse mirror differs from the table: {found.differences[0]}"
    return f"{found.bars:,} bars of the ClickHouse mirror equal the table's; {found.waiting:,} cells wait for its run"
