"""Which worker is to ingest which shard: equal parts, and as few moves as possible."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def assigned(shards: Collection[str], workers: Collection[str], held: Mapping[str, str]) -> dict[str, str]:
    """The worker of each shard, by the shard's name; empty without workers.

    ``held``: who has a shard now. The numbers of shards of two workers differ by at most one. A worker keeps what it
    holds as far as its part allows, so that every worker finds the same answer from the same rows, and nothing moves
    once the parts are equal.
    """
    if not workers:
        return {}
    having: dict[str, list[str]] = {worker: [] for worker in workers}
    for shard in sorted(shards):
        if held.get(shard) in having:
            having[held[shard]].append(shard)
    # who holds most may have one more, so that the remainder moves nothing
    order = sorted(having, key=lambda worker: (-len(having[worker]), worker))
    part, more = divmod(len(shards), len(order))
    room = {worker: part + (number < more) for number, worker in enumerate(order)}
    found = {shard: worker for worker in order for shard in having[worker][: room[worker]]}
    for worker in found.values():
        room[worker] -= 1
    places = [worker for worker in order for _ in range(room[worker])]
    free = [shard for shard in sorted(shards) if shard not in found]
    return found | dict(zip(free, places, strict=True))
