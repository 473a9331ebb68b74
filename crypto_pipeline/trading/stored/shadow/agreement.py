"""Whether the shadow ledger of production is production's own, to the last digit."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from crypto_pipeline.store import Store
from crypto_pipeline.store.trading.ledger import AccountRow
from crypto_pipeline.trading.ledger.records import Simulation

#: Table of the ledger, and the frame of a simulation that has the same rows.
_SAME = {"signals": "decisions", "orders": "orders", "fills": "fills", "trade_logs": "trades", "equity": "equity"}
_BY = ("moment", "exit_ts", "strategy", "instrument", "signal_ts", "number", "order_number", "event")


@dataclass(frozen=True, slots=True)
class ChampionAgreement:
    """``rows`` compared, ``different`` by table, and trades that were ``corrected`` because bars were healed.

    After a correction the books differ for a reason: production keeps what it decided by the bars of then, the shadow
    ledger is computed from those of today.
    """

    rows: int
    different: dict[str, int]
    corrected: int

    @property
    def equal(self) -> bool:
        """Whether every row is the same in every field."""
        return not any(self.different.values())

    @property
    def explained(self) -> bool:
        """Whether it is equal, or bars were healed under trades."""
        return self.equal or self.corrected > 0

    def __str__(self) -> str:
        if self.equal:
            return f"CHAMPION's shadow ledger is production's in every field of {self.rows} rows"
        tables = ", ".join(f"{count} of {table}" for table, count in self.different.items() if count)
        why = f"; bars were healed under {self.corrected} trades" if self.corrected else ""
        return f"CHAMPION's shadow ledger differs from production's: {tables}{why}"


def champion_agreement(store: Store, simulation: Simulation, account: AccountRow) -> ChampionAgreement:
    """Compare the books of the account with a simulation of the same span. Raises StoreError."""
    rows, different, corrected = 0, {}, 0
    for table, name in _SAME.items():
        made: pl.DataFrame = getattr(simulation, name)
        stored = store.trading.ledger.read(table, account.account)
        if table == "fills":
            taken_back = stored.filter(pl.col("reverses").is_not_null())
            corrected = taken_back.select("strategy", "instrument", "signal_ts").n_unique()
        by = [column for column in _BY if column in made.columns]
        ours, theirs = made.sort(by), stored.select(made.columns).sort(by)
        rows += theirs.height
        different[table] = 0 if ours.equals(theirs) else _differing(ours, theirs)
    return ChampionAgreement(rows, different, corrected)


def _differing(ours: pl.DataFrame, theirs: pl.DataFrame) -> int:
    """Rows that stand in one of the frames alone; each pair of unlike rows counts once."""
    alone = [
        mine.join(other, on=mine.columns, how="anti", nulls_equal=True).height
        for mine, other in ((ours, theirs), (theirs, ours))
    ]
    return max(alone) or abs(ours.height - theirs.height) or 1
