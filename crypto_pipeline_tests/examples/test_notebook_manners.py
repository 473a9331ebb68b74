"""Inside a kernel: a running event loop, threads, a forked worker, pickles, progress, and what a cell shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from crypto_pipeline_tests.examples.conftest import SmallDeployment
from crypto_pipeline_tests.examples.running import run_cells

pytestmark = pytest.mark.own_server

CELLS = (
    """
import asyncio, multiprocessing, pickle, threading
import crypto_pipeline
from crypto_pipeline.reading.display import progress
reader = crypto_pipeline.Reader()
reader""",
    """
asyncio.get_running_loop()
frame = reader.bars("BTC-USDT", "1h", last=24)
again = await asyncio.gather(*(asyncio.to_thread(reader.bars, "BTC-USDT", "1h", last=24) for _ in range(8)))
print("in a loop", all(each.equals(frame) for each in again))""",
    """
found = []
read = lambda: found.append(crypto_pipeline.bars("BTC-USDT", "1h", last=24))
threads = [threading.Thread(target=read) for _ in range(4)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
print("in threads", [each.equals(frame) for each in found])""",
    """
with multiprocessing.get_context("fork").Pool(1) as pool:
    print("in a fork", pool.apply(reader.bars, ("BTC-USDT", "1h"), {"last": 24}).equals(frame))
print("pickled", pickle.loads(pickle.dumps(reader)).bars("BTC-USDT", "1h", last=24).equals(frame))""",
    """
async for update in crypto_pipeline.stream("bars/BTC-USDT/1m", url="{api_url}"):
    print("streamed", update.kind, update.frame().to_pandas()["close"].iloc[-1] > 0)
    break""",
    """
progress._SILENT_FOR = progress._BETWEEN = 0.0
now = reader.now()
days = reader.scan("BTC-USDT", "1m", now.replace(year=now.year - 1), now).collect().height / 1440
print("days", round(days))""",
    """
made = crypto_pipeline.training_set("channel", now.replace(day=1), now)""",
    """
crypto_pipeline.replay_trading(now.replace(day=8), now)""",
)


def test_a_notebook_is_a_place_to_work(deployment: SmallDeployment, tmp_path: Path) -> None:
    cells = [cell.replace("{api_url}", deployment.api_url) for cell in CELLS]
    shown, in_loop, in_threads, elsewhere, streamed, scanned, trained, replayed = run_cells(
        cells, environment=deployment.environment, folder=tmp_path
    )
    assert "first_day" in shown.html
    assert "2025-06-02" in shown.html
    assert in_loop.text == "in a loop True\n"
    assert in_threads.text == f"in threads {[True] * 4}\n"
    assert elsewhere.text == "in a fork True\npickled True\n"
    assert streamed.text == "streamed snapshot True\n"
    # one output each, drawn again at every step, which says at its end how many there were
    assert "Months of 1m bars: 13 steps in " in scanned.text
    assert "days 16\n" in scanned.text
    assert trained.text.startswith("Training set, instruments: 4 steps in ")
    assert "<progress" not in trained.html, "it is over"
    assert replayed.text.startswith("Replay, weeks: 2 steps in ")
    assert "trades, " in replayed.text.splitlines()[1]
    assert len(replayed.text) < 400
