"""Which Iceberg table a file belongs in, what it is for, and which table of the database describes its columns."""

from __future__ import annotations

from dataclasses import dataclass

from crypto_pipeline.store.iceberg.lake_files import LakeFile

#: Namespaces of the catalogue: the names of the database's schemas.
NAMESPACES = ("market", "research")
#: Columns that files have and tables of the database do not, or by another name.
COLUMNS = {
    "instrument": "The instrument's name: BTC-USDT.",
    "source": "Where this copy of the bar came from.",
    "venue": "The venue of the trade.",
    "taker_side": "buy or sell: what the taker did.",
}


@dataclass(frozen=True, slots=True, order=True)
class TableName:
    """Namespace and name of an Iceberg table."""

    namespace: str
    name: str

    @classmethod
    def of(cls, file: LakeFile) -> TableName:
        """The table of a file: ``market.bars_1m``, ``market.trades``, ``research.labels_swing`` …"""
        series = file.series.partition("/")[0]
        namespace = "market" if file.kind in ("bars", "revisions", "trades") else "research"
        return cls(namespace, f"{file.kind}_{series}" if series else file.kind)

    @classmethod
    def parse(cls, text: str) -> TableName:
        """The name written as ``market.bars_1m``."""
        namespace, _, name = text.partition(".")
        return cls(namespace, name)

    @property
    def source(self) -> str:
        """The table of the database whose comments describe the columns."""
        kind, _, series = self.name.partition("_")
        return {
            "bars": "market.ohlc_data",
            "revisions": "market.ohlc_revisions",
            "trades": "market.trades",
            "features": "research.ml_features",
        }.get(kind, f"research.strategy_{series}_labels")

    @property
    def about(self) -> str:
        """What it holds, one sentence."""
        kind, _, series = self.name.partition("_")
        return {
            "bars": f"Bars of {series} of closed days, from the mirror and the archive.",
            "revisions": f"Superseded copies of archived bars of {series}.",
            "trades": "Archived trades.",
            "features": "Features of closed days.",
        }.get(kind, f"Labels of {series} of closed days.")

    def __str__(self) -> str:
        return f"{self.namespace}.{self.name}"
