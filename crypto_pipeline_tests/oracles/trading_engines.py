"""Other people's engines by name: the program, the variable that names its interpreter, and the signals it is given.

    uv venv engine && uv pip install --python engine/bin/python backtesting==0.6.6
    python -m crypto_pipeline_tests.oracles.trading_engines backtesting engine/bin/python

makes its golden table anew (``nautilus``: nautilus_trader==1.221.0; ``freqtrade``: freqtrade==2026.9).
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any

from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline_tests.oracles.foreign import ask
from crypto_pipeline_tests.oracles.trading_signals import SignalBook, signal_book, write_golden

_SINGLE = (Strategy.SWING, Strategy.CHANNEL)


@dataclass(frozen=True)
class TradingEngine:
    """An engine. ``grids``: it is given grids too; ``alone``: no signals that overlap in a strategy and instrument."""

    program: str
    variable: str
    grids: bool = False
    alone: bool = False

    def rows(self, book: SignalBook) -> list[int]:
        """The signals that it is given."""
        rows = book.rows(*Strategy) if self.grids else book.rows(*_SINGLE)
        return book.alone(rows) if self.alone else rows

    def answer(self) -> list[dict[str, Any]]:
        """Its trades, asked for now; skips the test where its interpreter is not named."""
        book = signal_book()
        found: list[dict[str, Any]] = ask(self.variable, self.program, book.question(self.rows(book)))
        return found


ENGINES = {
    "backtesting": TradingEngine("backtesting_program.py", "CRYPTO_PIPELINE_ORACLE_BACKTESTING", grids=True),
    "nautilus": TradingEngine("nautilus_program.py", "CRYPTO_PIPELINE_ORACLE_NAUTILUS"),
    "freqtrade": TradingEngine("freqtrade_program.py", "CRYPTO_PIPELINE_ORACLE_FREQTRADE", alone=True),
}


if __name__ == "__main__":
    name, interpreter = sys.argv[1:]
    os.environ[ENGINES[name].variable] = interpreter
    write_golden(name, ENGINES[name].answer())
