"""Workers see each other by their heartbeats; one that has too many shards hands over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crypto_pipeline.ingest.lease import Duty
from crypto_pipeline.ingest.workers.membership import GONE, WORKER, Rebalancing, Workers
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store, StoreError

SHARDS = [f"ingest-{number}" for number in range(4)]


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    with Store(postgres_url) as made:
        yield made


def settings() -> Settings:
    return Settings(venue="replay", ingest_shards=4)


def hold(store: Store, shard: str, worker: str) -> None:
    """Have a process of ``worker`` ingest a shard."""
    holder = f"{worker}:{shard}"
    assert store.leases.acquire(shard, holder, 60.0) is not None
    store.heartbeats.beat(shard, holder, {"state": "live", "worker": worker})


def age(store: Store, name: str, seconds: float) -> None:
    store.connections.run(
        lambda connection: (
            connection.execute(
                "UPDATE ops.heartbeats SET beat = beat - make_interval(secs => %s) WHERE name = %s", [seconds, name]
            )
            and None
        )
    )


def test_a_worker_that_joins_gets_its_part_and_gives_it_back_when_it_is_gone(store: Store) -> None:
    one, two = Workers(settings(), store, "one"), Workers(settings(), store, "two")
    one.beat()
    for shard in SHARDS:
        hold(store, shard, "one")
    assert one.look().part_of("one") == set(SHARDS)
    duties = {shard: Duty(worker="one") for shard in SHARDS}
    watches = {shard: Rebalancing(one, shard, duty) for shard, duty in duties.items()}

    def handed_over() -> list[str]:
        for watch in watches.values():
            watch.look()
        return [shard for shard, duty in duties.items() if duty.over.is_set()]

    assert handed_over() == []
    two.beat()
    moving = set(handed_over())
    assert len(moving) == 2
    assert two.look().part_of("two") == moving
    age(store, f"{WORKER}two", GONE + 1)
    assert handed_over() == [], "nobody is there to take over: it goes on"
    assert one.look().part_of("one") == set(SHARDS)
    two.beat()
    two.leave()
    assert one.look().workers == ("one",)


def test_a_lease_that_nobody_holds_belongs_to_no_worker(store: Store) -> None:
    one = Workers(settings(), store, "one")
    hold(store, "ingest-0", "two")
    assert one.look().held == {"ingest-0": "two"}
    store.connections.run(
        lambda connection: connection.execute("UPDATE ops.leases SET expires_at = clock_timestamp()") and None
    )
    assert one.look().held == {}


def test_workers_with_other_shards_are_refused(store: Store) -> None:
    """Two of four and one of two would leave instruments out."""
    Workers(settings(), store, "one").beat()
    other = Workers(settings().model_copy(update={"ingest_shards": 2}), store, "two")
    with pytest.raises(StoreError, match="CRYPTO_PIPELINE_INGEST_SHARDS"):
        other.look()
