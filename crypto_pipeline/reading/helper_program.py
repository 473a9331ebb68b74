"""The program of the helper process: a Reader that answers questions from its pipe."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from typing import Any

from crypto_pipeline.reading.helper_process import send
from crypto_pipeline.reading.reader import Reader
from crypto_pipeline.store.database.errors import StoreError


def serve() -> None:
    """Answer questions from stdin on stdout until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the process that asks, whose end ends this one
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else may be written there
    sys.path[:], settings = pickle.load(questions)  # noqa: S301  (of the process that started this one)
    with Reader(**settings) as reader:
        while True:
            try:
                method, args, kwargs = pickle.load(questions)  # noqa: S301
            except EOFError:
                return
            answer: Any
            try:
                answer = getattr(reader, method)(*args, **kwargs)
            except (StoreError, ValueError) as error:
                answer = error
            except Exception as error:
                answer = StoreError(f"{type(error).__name__}: {error}")
            send(answers, answer)
