"""The rank of every source (invariant I1).

Guards I1 (docs/invariants.md).
"""

from __future__ import annotations

from crypto_pipeline.market.bars import FAILOVER, SUBSTITUTE, BarOrigin
from crypto_pipeline.market.precedence import SOURCE_RANKS


def test_every_source_has_a_rank_of_its_own() -> None:
    assert set(SOURCE_RANKS) == set(BarOrigin)
    assert len(set(SOURCE_RANKS.values())) == len(BarOrigin)


def test_other_venues_rank_below_the_first_while_it_is_down_and_above_where_it_contradicts_itself() -> None:
    names = ("venue_historical", "historical_aggregated", "live_gap_filled", "live_aggregated")
    first = [BarOrigin(name) for name in names]
    ranks = [SOURCE_RANKS[source] for source in first]
    for failover, substitute in zip(sorted(FAILOVER), sorted(SUBSTITUTE), strict=True):
        assert SOURCE_RANKS[failover] < min(ranks)
        assert max(ranks) < SOURCE_RANKS[substitute] < SOURCE_RANKS[BarOrigin.RECONCILED]
