"""Every parser of every venue on mutated recorded payloads: ``python bench/mutations.py [payloads a venue]``.

Prints what came of them. Nothing but MalformedAnswer may be raised, and no row that was left alone may be lost.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from crypto_pipeline_tests.builders.mutations import Tally, examine, examine_session, sessions, subjects


def main() -> None:
    """Run the exam."""
    each = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    recorded = Path(os.environ["CRYPTO_PIPELINE_TEST_DATA"])
    failed = False
    for venue in ("binance", "coinbase", "kraken"):
        chance, tally, began = random.Random(venue), Tally(), time.monotonic()
        mine = [subject for subject in subjects(recorded) if subject.venue == venue]
        for subject in mine:
            examine(subject, each // (2 * len(mine)), chance, tally)
        rest = tally.payloads
        for name, make, frames in sessions(recorded):
            if name == venue:
                examine_session(make, frames, each // 4, chance, tally)
        print(
            f"{venue}: {tally.payloads:,} payloads ({rest:,} bodies, {tally.payloads - rest:,} frames), "
            f"{tally.malformed:,} malformed, {len(tally.wrong)} other exceptions, {len(tally.lost)} good rows lost, "
            f"{time.monotonic() - began:.0f} s"
        )
        for text in [*tally.wrong[:5], *tally.lost[:5]]:
            print("   ", text[:400])
        failed |= bool(tally.wrong or tally.lost)
    sys.exit(failed)


if __name__ == "__main__":
    main()
