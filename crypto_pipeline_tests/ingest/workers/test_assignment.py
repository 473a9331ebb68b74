"""Equal parts for all workers, and as few moves as possible."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from crypto_pipeline.ingest.workers.assignment import assigned

SHARDS = st.integers(1, 20).map(lambda count: [f"ingest-{number}" for number in range(count)])
WORKERS = st.lists(st.sampled_from("abcdef"), min_size=1, unique=True)


@given(SHARDS, WORKERS, st.data())
def test_parts_are_equal_and_nothing_moves_without_need(
    shards: list[str], workers: list[str], data: st.DataObject
) -> None:
    held = data.draw(st.dictionaries(st.sampled_from(shards), st.sampled_from("abcdefx")))
    found = assigned(shards, workers, held)
    assert set(found) == set(shards)
    parts = Counter(dict.fromkeys(workers, 0)) + Counter()
    parts.update(found.values())
    numbers = [parts[worker] for worker in workers]
    assert max(numbers) - min(numbers) <= 1
    assert assigned(list(reversed(shards)), list(reversed(workers)), held) == found, "all workers find the same"
    assert assigned(shards, workers, found) == found, "nothing moves afterwards"
    least = len(shards) // len(workers)
    for worker in workers:
        mine = [shard for shard in shards if held.get(shard) == worker]
        kept = [shard for shard in mine if found[shard] == worker]
        assert len(kept) >= min(len(mine), least), "a worker keeps what it has, up to its part"


def test_without_workers_nothing_is_assigned() -> None:
    assert assigned(["ingest-0"], [], {}) == {}
