"""A whole `crypto-pipeline up` under faults, one test at a time; each prints its observations and exits with 1 on
failure.

    python bench/under_fire.py failed-run [--minutes 30]   the run of a living ingest is marked failed, again and again
    python bench/under_fire.py two-homes [--minutes 8]     two data directories on one database
    python bench/under_fire.py disk [--rounds 2]           a small file system that fills and empties (needs root)
    python bench/under_fire.py instruments                 wrong, foreign and delisted ones added and removed
    python bench/under_fire.py launches [--runs 30]        so many runs launched while ingest is killed
    python bench/under_fire.py kills [--hogs 30]           all programs killed, quiet and beside loops that only count
    python bench/under_fire.py ipv6                        `up --host ::1`, and a venue that cannot be reached
    python bench/under_fire.py frames [--minutes 4]        a stream that sends frames of 64 MB again and again

Free ports, a data directory of its own, the generated market; everything is thrown away afterwards. With
``--on DATA_DIR`` `instruments` and `launches` take a deployment that runs already, and leave it running.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fire_ingest import failed_run, kills, launches, two_homes
from fire_instruments import instruments
from fire_places import disk, frames, ipv6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    exams = parser.add_subparsers(required=True)
    chosen = exams.add_parser("failed-run")
    chosen.add_argument("--minutes", type=float, default=30)
    chosen.set_defaults(exam=failed_run)
    chosen = exams.add_parser("two-homes")
    chosen.add_argument("--minutes", type=float, default=8)
    chosen.set_defaults(exam=two_homes)
    chosen = exams.add_parser("disk")
    chosen.add_argument("--rounds", type=int, default=2)
    chosen.add_argument("--mb", type=int, default=900)
    chosen.set_defaults(exam=disk)
    chosen = exams.add_parser("kills")
    chosen.add_argument("--hogs", type=int, default=30)
    chosen.add_argument("--times", type=int, default=5)
    chosen.set_defaults(exam=kills)
    exams.add_parser("ipv6").set_defaults(exam=ipv6)
    chosen = exams.add_parser("frames")
    chosen.add_argument("--minutes", type=float, default=4)
    chosen.set_defaults(exam=frames)
    for name, exam in (("instruments", instruments), ("launches", launches)):
        chosen = exams.add_parser(name)
        chosen.add_argument("--on", type=Path, metavar="DATA_DIR")
        chosen.set_defaults(exam=exam)
        if name == "launches":
            chosen.add_argument("--runs", type=int, default=30)
        else:
            chosen.add_argument("--minutes", type=int, default=2)
    given = parser.parse_args()
    sys.exit(given.exam(given))


if __name__ == "__main__":
    main()
