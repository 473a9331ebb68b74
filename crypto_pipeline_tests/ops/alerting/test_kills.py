"""A sender that is killed fifty times loses no message, and repeats none without saying so.

Guards I7 and I12 (docs/invariants.md).
"""

from __future__ import annotations

import multiprocessing
import random
import time
from collections import defaultdict

import pytest

from crypto_pipeline.ops.alerting.messages import MAY_REPEAT, Announcement, section
from crypto_pipeline.store.operations.notifications.outbox import Outbox
from crypto_pipeline_tests.builders.slack_stub import SlackStub
from crypto_pipeline_tests.ops.alerting.sender_process import send_until_killed

KILLS, MESSAGES = 50, 120


@pytest.mark.faults
def test_fifty_kills_lose_nothing_and_repeat_only_what_says_so(
    postgres_url: str, outbox: Outbox, slack: SlackStub
) -> None:
    for number in range(MESSAGES):
        outbox.add("report", ["hook"], Announcement(f"number {number}", "text", blocks=[section("x")]).body())
    slack.delay = 0.004
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([send_until_killed.__module__])
    chance = random.Random(12)

    def start() -> multiprocessing.process.BaseProcess:
        process = context.Process(target=send_until_killed, args=[postgres_url, f"{slack.url}/hook"], daemon=True)
        process.start()
        return process

    for _ in range(KILLS):
        process, before = start(), len(slack.asked)
        until = time.monotonic() + 10
        while len(slack.asked) == before and time.monotonic() < until:  # it is sending
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.02))
        process.kill()
        process.join()
    process = start()
    try:
        until = time.monotonic() + 120
        while any(one.waiting for one in outbox.channel_states()):
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        process.kill()
        process.join()

    copies = defaultdict(list)
    for text in slack.texts():
        copies[text.split("\n")[0]].append(MAY_REPEAT in text)
    assert set(copies) == {f"number {number}" for number in range(MESSAGES)}
    doubles = [marks for marks in copies.values() if len(marks) > 1]
    assert all(all(marks[1:]) for marks in doubles)
    assert doubles, "no kill came between a message and its receipt: this shows nothing"
