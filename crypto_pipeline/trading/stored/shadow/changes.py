"""Changes of production that a person makes: a strategy trades as a variant does, or as the settings say again."""

from __future__ import annotations

from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.store import Store
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.trading.shadow import ShadowChange
from crypto_pipeline.trading.shadow.variants import find_variant


def apply_variant(store: Store, strategy: str, *, reason: str, person: str, variant: str | None = None) -> ShadowChange:
    """Let production trade a strategy as a variant does, from the next signal on. A person decides that.

    ``variant``: default the one that the newest test recommends; CHAMPION goes back to the settings. Raises StoreError
    where nothing is recommended, for an unknown strategy or variant, and without reason or name.
    """
    if strategy not in set(Strategy):
        raise StoreError(f"there is no strategy {strategy!r}: use one of {', '.join(Strategy)}")
    newest = next(iter(store.trading.shadow.tests(1)), None)
    recommended = newest.recommended.get(strategy) if newest else None
    chosen = recommended if variant is None else variant.upper()
    if chosen is None:
        raise StoreError(f"no change of {strategy} is recommended: name a variant to make one all the same")
    try:
        found = find_variant(chosen)
    except ValueError as error:
        raise StoreError(str(error)) from None
    if Strategy(strategy) not in found.strategies:
        raise StoreError(f"{chosen} does not concern {strategy}: it is the same as production there")
    test = newest.test_id if newest is not None and chosen == recommended else None
    change = ShadowChange(store.clock.now(), strategy, chosen, found.declares, person, reason, test)
    store.trading.shadow.change(change)
    return change
