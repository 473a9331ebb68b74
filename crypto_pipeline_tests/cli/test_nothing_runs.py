"""After `down`: one rule for what asks about now and what works on what is stored; and commands that can be pasted."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import crypto_pipeline
from crypto_pipeline.market import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline.ops.supervision.guardian import already_running
from crypto_pipeline.settings import command
from crypto_pipeline.store import EmbeddedServer, Store, StoreError
from crypto_pipeline.store.schema.migrations import migrate
from crypto_pipeline_tests.builders.bars import START, bar, frame
from crypto_pipeline_tests.cli.test_bad_input import Run, run

__all__ = ["run"]


def pasted(text: str) -> list[str]:
    """The first command in backquotes, as a shell would take it apart."""
    found = re.search(r"`(crypto-pipeline [^`]*--data-dir[^`]*)`", text)
    assert found is not None, text
    return shlex.split(found.group(1))


def test_what_is_stored_is_read_and_what_is_old_says_so(run: Run, tmp_path: Path) -> None:
    data_dir = tmp_path / "my data"
    server = EmbeddedServer(data_dir)
    server.prepare()
    with server.running() as url:
        migrate(url)
        with Store(url) as store:
            store.instruments.add([Instrument.crypto("BTC-USDT")])
            store.bars.write(frame([bar(at=START)]), Timeframe.M1)
    code, out, err = run("read", "BTC-USDT", "1m", "--last", "1", "--format", "csv", "--data-dir", str(data_dir))
    assert code == 0
    assert "2025-03-31T00:00:00Z" in out
    assert "its database is started for this command" in err
    assert "newest 1m bar of BTC-USDT opened at 2025-03-31 00:00Z" in err
    assert pasted(err) == ["crypto-pipeline", "up", "--data-dir", str(data_dir)]
    for asked in (["live", "--once"], ["status"]):
        code, out, err = run(*asked, "--data-dir", str(data_dir))
        assert code == 3
        assert pasted(out + err) == ["crypto-pipeline", "up", "--data-dir", str(data_dir)]
    with pytest.raises(StoreError, match="no database is running") as caught:
        crypto_pipeline.bars("BTC-USDT", "1m", last=1, data_dir=data_dir)
    assert pasted(str(caught.value)) == ["crypto-pipeline", "up", "--data-dir", str(data_dir)]


def test_a_database_of_ones_own_is_shown_with_its_age(run: Run, postgres_url: str) -> None:
    with Store(postgres_url) as store:
        store.instruments.add([Instrument.crypto("BTC-USDT")])
    code, _, err = run("live", "--once", DATABASE_URL=postgres_url)
    assert code == 0
    assert "prices are as old as age_s says" in err


def test_no_command_is_printed_that_a_shell_takes_apart_wrongly(tmp_path: Path) -> None:
    assert shlex.split(command("down", "--data-dir", "/a b/$c'd")) == [
        "crypto-pipeline",
        "down",
        "--data-dir",
        "/a b/$c'd",
    ]
    assert pasted(str(already_running(Places(tmp_path / "a b"))))[-1] == str(tmp_path / "a b")
    sources = Path(crypto_pipeline.__file__).parent.rglob("*.py")
    raw = [path.name for path in sources if re.search(r"--(data-dir|from|to|replay-source)[ =]\{", path.read_text())]
    assert raw == []
