"""The venue's clock as we know it: late rather than early, whatever an answer took."""

from __future__ import annotations

import time

from crypto_pipeline.ingest.venue_clock import VenueClock


def test_a_slow_answer_moves_a_known_clock_not_and_an_unknown_one_not_ahead() -> None:
    true_ms, now = 1_000_000_000.0, time.monotonic()
    clock = VenueClock()
    clock.set(true_ms, now - 8.0, now)  # asked for several times: the answer is as old as now
    assert abs(clock.now_ms() - true_ms) < 500
    clock.set(true_ms + 60_000, now - 8.0, now)
    assert abs(clock.now_ms() - true_ms) < 500
    clock.set(true_ms + 100, now - 0.2, now)
    assert 0 <= clock.now_ms() - true_ms - 200 < 500


def test_the_rate_of_a_replay_is_learned() -> None:
    now = time.monotonic()
    clock = VenueClock()
    clock.set(1_000_000.0, now - 20.0, now - 20.0)
    clock.set(1_000_000.0 + 600_000, now, now)
    assert abs(clock.rate - 30.0) < 0.01
    assert abs(clock.seconds(60_000) - 2.0) < 0.01
