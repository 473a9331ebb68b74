"""The models in use, loaded: a process keeps one predictor per strategy and follows the aliases."""

from __future__ import annotations

import threading
import time

from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.predictor import Predictor
from crypto_pipeline.models.refusal import PredictionRefused
from crypto_pipeline.models.stored.registry import Registry
from crypto_pipeline.store import Store
from crypto_pipeline.store.database import fork_safety


class Champions:
    """Predictors of the champions. Thread-safe.

    The aliases are looked up again after ``fresh_for`` seconds, by one short query. While a new champion is loaded,
    other threads are answered by the one before it, so a change of the alias costs no request.
    """

    def __init__(self, fresh_for: float = 0.0) -> None:
        self._fresh_for = fresh_for
        self._ids: dict[str, str] = {}
        self._looked: float | None = None
        self._loaded: dict[str, tuple[str, Predictor | PredictionRefused]] = {}
        self.after_fork()
        fork_safety.renew_in_children(self)

    def after_fork(self) -> None:
        """The lock of a forked child: the parent's may be held for ever."""
        self._loading = threading.Lock()

    def ids(self, store: Store) -> dict[str, str]:
        """The champion's id by strategy."""
        now = time.monotonic()
        if self._looked is None or now - self._looked >= self._fresh_for:
            self._ids, self._looked = store.models.champions(), now
        return self._ids

    def predictor(self, store: Store, strategy: Strategy) -> Predictor | None:
        """The champion, loaded and proven; None where the strategy has none.

        Raises PredictionRefused where the stored model is damaged, or its probe rows have another answer here.
        """
        wanted = self.ids(store).get(str(strategy))
        if wanted is None:
            return None
        has = self._loaded.get(str(strategy))
        if has is None or has[0] != wanted:
            # another thread loads it already: this request is answered by the champion before
            if not self._loading.acquire(blocking=has is None):
                assert has is not None
                return _usable(has[1])
            try:
                has = self._loaded.get(str(strategy))
                if has is None or has[0] != wanted:
                    has = self._loaded[str(strategy)] = wanted, _load(store, wanted)
            finally:
                self._loading.release()
        return _usable(has[1])


def _load(store: Store, model_id: str) -> Predictor | PredictionRefused:
    try:
        return Predictor(Registry(store).load(model_id))
    except PredictionRefused as refused:
        return refused


def _usable(found: Predictor | PredictionRefused) -> Predictor:
    if isinstance(found, PredictionRefused):
        raise PredictionRefused(found.reason, str(found), found.names)
    return found
