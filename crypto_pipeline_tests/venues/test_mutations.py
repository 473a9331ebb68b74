"""Every parser on spoiled recorded payloads, in short; the long form is ``bench/mutations.py``."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from crypto_pipeline_tests.builders.mutations import Tally, examine, examine_session, sessions, subjects

pytestmark = pytest.mark.realdata


def test_rows_or_malformed_and_no_good_row_is_lost(recorded_data: Path) -> None:
    chance, tally = random.Random(20261129), Tally()
    for subject in subjects(recorded_data):
        examine(subject, 150, chance, tally)
    assert tally.wrong == []
    assert tally.lost == []
    assert tally.payloads >= 3_000


def test_frames_of_recorded_sessions(recorded_data: Path) -> None:
    chance, tally = random.Random(20261129), Tally()
    for _, make, frames in sessions(recorded_data):
        examine_session(make, frames, 500, chance, tally)
    assert tally.wrong == []
    assert tally.lost == []
