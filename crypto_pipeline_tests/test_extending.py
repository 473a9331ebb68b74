"""The worked examples of docs/extending.md, each made in a copy of the package as it is written there.

A section names every file that it touches. The copy with these changes, and no others, is imported and tested, its
migrations are applied to a database, and something of the new thing is written and read back.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import crypto_pipeline_tests
from crypto_pipeline.store.database.connect import connect, with_database
from crypto_pipeline.store.embedded.server import EmbeddedServer

ROOT = Path(crypto_pipeline_tests.__file__).parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text()
COPIED = ("crypto_pipeline", "crypto_pipeline_tests", "sql", "docs", "pyproject.toml", "dagster.yaml", "README.md")
#: Where each kind of file lies. Of files that are there before, a section changes one, and one page of docs.
KINDS = {
    "migration": re.compile(r"sql/\d{4}\.\w+\.sql"),
    "test": re.compile(r"crypto_pipeline_tests/.*test_\w+\.py"),
    "docs": re.compile(r"docs/\w+\.md"),
    "code": re.compile(r"crypto_pipeline/.*\.py"),
    "wire": re.compile(r"crypto_pipeline_tests/venues/contract/wires\.py"),
    "list": re.compile(r"crypto_pipeline/venues/names\.txt"),
}

#: What the changed package does in a process of its own; ``url`` is that of an empty database.
SCRIPTS = {
    "A venue": """
        from crypto_pipeline.market.instruments import Instrument

        one = Instrument.crypto("BTC-USDT").model_copy(update={"venue_symbols": {"binance_us": "BTCUSDT"}})
        store.instruments.add([one])
        assert store.instruments.frame("binance_us")["venue_symbol"].to_list() == ["BTCUSDT"]
    """,
    "A timeframe": """
        from datetime import timedelta
        from crypto_pipeline.market import Instrument, Timeframe, roll_up_all
        from crypto_pipeline_tests.builders.feature_market import START, minutes

        store.instruments.add([Instrument.crypto("BTC-USDT")])
        bars = roll_up_all(minutes(("BTC-USDT",), 1), [Timeframe.H2])[Timeframe.H2]
        store.bars.write(bars, Timeframe.H2)
        rows = store.reader.read(["BTC-USDT"], Timeframe.H2, START, START + timedelta(days=1), columns=["close"])
        assert rows["close"].to_list() == bars["close"].to_list()
    """,
    "A strategy": """
        from datetime import timedelta
        from crypto_pipeline.labels.parameters import parameter_sets
        from crypto_pipeline.labels.stored.update import bring_up_to_date
        from crypto_pipeline.labels.strategies.registry import Strategy
        from crypto_pipeline_tests.builders.feature_market import START, minutes, stock

        stock(store, minutes(("BTC-USDT",), 7))
        loose = {"loose": {"breakout": {"breakout": 0.0, "window": 24, "horizon": 24}}}
        parameters = parameter_sets(loose)["loose"][Strategy.BREAKOUT]
        end = START + timedelta(days=7)
        report = bring_up_to_date(store, Strategy.BREAKOUT, parameters, START, end, now=end)
        table = Strategy.BREAKOUT.definition.table
        labels = store.labels.read(table, parameters.hash, START, end)
        assert labels.height == report.labels > 0
        assert labels.columns == list(table.stored_schema)
    """,
    "A bar column": """
        from datetime import timedelta
        import polars as pl
        from crypto_pipeline.market import BAR_SCHEMA, Instrument, Timeframe
        from crypto_pipeline_tests.builders.feature_market import START, minutes

        store.instruments.add([Instrument.crypto("BTC-USDT")])
        bars = minutes(("BTC-USDT",), 0.01).with_columns(taker_quote_volume=pl.lit(2.5)).select(BAR_SCHEMA.keys())
        store.bars.write(bars, Timeframe.M1)
        end = START + timedelta(days=1)
        rows = store.reader.read(["BTC-USDT"], Timeframe.M1, START, end, columns=["taker_quote_volume"])
        assert rows["taker_quote_volume"].to_list() == [2.5] * bars.height > []
    """,
    "A feature": """
        from datetime import timedelta
        from crypto_pipeline.features.stored.update import bring_up_to_date
        from crypto_pipeline_tests.builders.feature_market import START, minutes, stock

        stock(store, minutes(("BTC-USDT",), 3))
        end = START + timedelta(days=3)
        bring_up_to_date(store, START, end, now=end)
        rows = store.features.read(["BTC-USDT"], START, end, ["open_time", "realised_skew_96"])
        assert rows["realised_skew_96"].count() > 96
    """,
    "A check": """
        from crypto_pipeline.ops.checks.evaluation import Evaluator
        from crypto_pipeline.settings import load_settings

        evaluator = Evaluator(load_settings(database_url=sys.argv[1]))
        evaluator.record(evaluator.evaluate())
        evaluator.close()
        rows = store.checks.open_alerts().filter(source="instruments_collected")
        assert rows["summary"].to_list() == ["no instrument that trades at all hours is collected"]
    """,
    "A macro series": """
        from datetime import UTC, date, datetime
        from crypto_pipeline.market.macro.series import find_series
        from crypto_pipeline.market.macro.vintages import Availability, Vintage

        series, day = find_series("PAYROLLS"), date(2026, 3, 6)
        store.macro.choose([series])
        hours = frozenset([day]), series.release_time, series.release_zone
        known = Availability(series.zone, datetime(2026, 4, 1, tzinfo=UTC), *hours)
        store.macro.write("PAYEMS", [Vintage(date(2026, 2, 1), 158_000.0, day, None)], known)
        rows = store.macro.observations(store.macro.find("PAYROLLS"), as_of=datetime(2026, 3, 6, 13, 30, tzinfo=UTC))
        assert rows.select("value", "basis").rows() == [(158_000.0, "release")]
    """,
}


@dataclass(frozen=True)
class Block:
    """One file of a worked example: its text when it is new, else a diff."""

    path: str
    text: str
    new: bool

    @property
    def kind(self) -> str:
        return next(kind for kind, pattern in KINDS.items() if pattern.fullmatch(self.path))

    def apply(self, folder: Path) -> None:
        target = folder / self.path
        if self.new:
            assert not target.exists(), f"{self.path} is there already"
            target.parent.mkdir(exist_ok=True)
            target.write_text(self.text)
            return
        text = target.read_text()
        for hunk in self.text.split("@@\n"):
            lines = hunk.splitlines(keepends=True)
            before = "".join(line[1:] for line in lines if line[0] in " -")
            after = "".join(line[1:] for line in lines if line[0] in " +")
            assert text.count(before) == 1, f"{self.path} has {text.count(before)} times:\n{before}"
            text = text.replace(before, after)
        target.write_text(text)


def sections() -> dict[str, list[Block]]:
    """The blocks of every section of the page, by its title."""
    pattern = re.compile(r"^\*\*`([^`]+)`\*\*( \(new\))?\n\n```\w+\n(.*?)^```$", re.M | re.S)
    parts = re.split(r"^## (.+)$", PAGE, flags=re.M)[1:]
    return {
        title: [Block(path, code, bool(new)) for path, new, code in pattern.findall(text)]
        for title, text in zip(parts[::2], parts[1::2], strict=True)
    }


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of everything that an example may touch. Kernels that one example compiles in it serve the next one."""
    folder = tmp_path_factory.mktemp("copy")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("pictures"))
        else:
            shutil.copy(source, folder / name)
    return folder


@pytest.fixture
def project(title: str, copied: Path) -> Iterator[Path]:
    """The copy with the example of ``title``; afterwards as it was, with the times of its files."""
    blocks = sections()[title]
    try:
        for block in blocks:
            block.apply(copied)
        yield copied
    finally:
        for block in blocks:
            if block.new:
                (copied / block.path).unlink(missing_ok=True)
            else:
                shutil.copy2(ROOT / block.path, copied / block.path)


def test_the_page_has_a_section_for_everything_that_grows() -> None:
    assert list(sections()) == list(SCRIPTS)


@pytest.mark.parametrize("title", SCRIPTS)
def test_an_example_touches_nothing_but_its_own(title: str) -> None:
    blocks = sections()[title]
    changed = [block.path for block in blocks if not block.new and block.kind == "code"]
    assert len(changed) <= 1, f"more than one registry: {changed}"
    assert {block.kind for block in blocks} >= {"test", "docs"}
    assert len({block.path for block in blocks}) == len(blocks)


@pytest.mark.parametrize("title", SCRIPTS)
def test_the_worked_example_works(title: str, project: Path, postgres_server: EmbeddedServer) -> None:
    tests = [str(project / block.path) for block in sections()[title] if block.kind == "test"]
    name = f"extending_{os.getpid()}"
    admin = postgres_server.url("postgres")
    try:
        done = subprocess.run(
            [sys.executable, "-c", program(title), with_database(admin, name), *tests],
            cwd=project, env=os.environ | {"PYTHONPATH": str(project)}, capture_output=True, text=True, timeout=300,
            check=False,
        )  # fmt: skip
    finally:
        with connect(admin) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def program(title: str) -> str:
    """What a process of the changed package runs: the example's tests, the migrations, and its script."""
    return textwrap.dedent("""
            import sys
            import pytest
            import crypto_pipeline
            from crypto_pipeline.store import Store
            from crypto_pipeline.store.schema.migrations import migrate

            assert crypto_pipeline.__file__.startswith(sys.path[1] + "/"), crypto_pipeline.__file__
            url, *tests = sys.argv[1:]
            assert pytest.main(["-q", "-p", "no:cacheprovider", *tests]) == 0
            migrate(url)
            with Store(url) as store:
        """) + textwrap.indent(textwrap.dedent(SCRIPTS[title]), "    ")
