"""``python -m crypto_pipeline.ops.alerting.notifier``: evaluates the checks, announces alerts and sends messages.

A program of its own that `up` supervises, so that alerts arrive also when Dagster does not work. Every 15 s it writes
its heartbeat, looks at the alerts, and puts messages into the outbox; a thread for each channel sends them. Of several
notifiers on one database only the holder of the lease acts.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg

from crypto_pipeline.ops.alerting.alert_messages import alert_message, recovery_message
from crypto_pipeline.ops.alerting.channels.registry import channels_for, configured_channels
from crypto_pipeline.ops.alerting.channels.result import DeliveryChannel
from crypto_pipeline.ops.alerting.configuration import rules_of, sender_of
from crypto_pipeline.ops.alerting.dead_man import DeadMan, SeenCheck
from crypto_pipeline.ops.alerting.delivery import Delivery
from crypto_pipeline.ops.alerting.journal import AlertJournal
from crypto_pipeline.ops.alerting.local_alerts import LocalAlerts
from crypto_pipeline.ops.alerting.policy import AlertRules, Decision, decide
from crypto_pipeline.ops.checks.evaluation import Evaluator
from crypto_pipeline.ops.checks.registry import definition_of
from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline.ops.host.processes import this_process
from crypto_pipeline.settings import Settings, SettingsError, load_settings
from crypto_pipeline.store.coordination.heartbeats import Heartbeats
from crypto_pipeline.store.coordination.leases import FencedConnections, Lease, LeaseLost, Leases
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.logs import quiet_drivers
from crypto_pipeline.store.database.pg_errors import OUTAGE, REFUSED_WRITE
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database_url import resolve_url
from crypto_pipeline.store.operations.notifications.alerts import AlertRecords, windows_of
from crypto_pipeline.store.operations.notifications.outbox import Outbox

log = logging.getLogger(__name__)

#: Name of the lease and of the heartbeat row.
NAME = "notifier"
#: Seconds between two looks, and after which a holder that says nothing is replaced.
EVERY, LEASE = 15.0, 40.0
#: Seconds within which the database must answer.
_PATIENCE, _STATEMENT = 3.0, 10.0
_KEEP_SENT = timedelta(days=90)
_PRUNE_EVERY = 3_600.0

#: What an outage of the database explains.
_AWAY = (StoreError, *OUTAGE)

#: Evaluates and records the checks; the states that it saw.
Evaluate = Callable[[], Sequence[SeenCheck]]


def evaluated(settings: Settings) -> Evaluate:
    """Evaluates the operational checks, and stores their states and alerts."""
    evaluator = Evaluator(settings)

    def evaluate() -> Sequence[SeenCheck]:
        states = evaluator.evaluate()
        if not evaluator.record(states):
            raise StoreError("the states of the checks could not be stored")
        return states

    return evaluate


def covered_sources(states: Sequence[SeenCheck]) -> set[str]:
    """Sources of alerts that say the same as a check that is bad."""
    bad = (definition_of(one.name) for one in states if one.status == "bad")
    return {source for one in bad if one is not None for source in one.covers}


class Notifier:
    """One notifier. ``look`` does what is to be done every 15 s; ``run`` does it until it is stopped."""

    def __init__(
        self, settings: Settings, *, evaluate: Evaluate | None = None, rules: AlertRules | None = None
    ) -> None:
        self._settings = settings
        self._evaluate = evaluate or evaluated(settings)
        self._rules = rules or rules_of(settings)
        self._sender = sender_of(settings)
        self._channels: list[DeliveryChannel] = configured_channels(settings)
        self._alert_channels = channels_for("alerts", self._channels)
        self._holder = str(this_process())
        self._connections: Connections | None = None
        self._lease: Lease | None = None
        journal = AlertJournal(Places(settings.data_dir).run / "notifier-journal.jsonl")
        alerted = [one for one in self._channels if one.name in self._alert_channels]
        self._local = LocalAlerts(journal, alerted, self._sender, self._rules)
        url = settings.dead_man_url
        self._dead_man = DeadMan(url, settings.dead_man_seconds) if url is not None else None
        self._wake = {one.name: threading.Event() for one in self._channels}
        self._senders: list[threading.Thread] = []
        self._stop = threading.Event()
        self._pruned = 0.0
        self._role = ""

    def run(self, stop: threading.Event) -> None:
        """Look every 15 s until ``stop`` is set; then give the lease back."""
        self._stop = stop
        while not stop.is_set():
            began = time.monotonic()
            self.look()
            stop.wait(max(0.5, EVERY - (time.monotonic() - began)))
        self.close()

    def look(self) -> Decision | None:
        """Do everything once; None where another notifier acts, or the database cannot be used."""
        try:
            connections = self._open()
            if not self._hold(connections):
                return None
            Heartbeats(connections).beat(NAME, self._holder, self._detail())
            self._store_journal(connections)
            states = self._states()
            decision = self._announce(connections, covered_sources(states))
            self._prune(connections)
        except LeaseLost:
            self._lease = None
            return None
        except _AWAY as error:
            self._without_database(error)
            return None
        except Exception as error:  # a fault of this program must not end the looks; the watcher elsewhere is told
            log.exception("this look failed")
            if self._dead_man is not None:
                trouble = f"the notifier cannot do its work ({type(error).__name__}): see its log"
                self._dead_man.report((), written=False, trouble=trouble)
            return None
        if self._dead_man is not None:
            self._dead_man.report(states, written=True)
        self._start_senders(connections)
        return decision

    def _states(self) -> Sequence[SeenCheck]:
        """The checks as they are now; none where the evaluation fails, which stops no announcement.

        A database that is away is no such failure: it raises one of ``_AWAY``.
        """
        try:
            return self._evaluate()
        except _AWAY:
            raise
        except Exception:  # a fault of this program: the dead man's switch says that nothing was evaluated
            log.exception("the checks cannot be evaluated")
            return ()

    def close(self) -> None:
        """Give the lease back and close the connections."""
        if self._connections is None:
            return
        self._stop.set()
        try:
            if self._lease is not None:
                Leases(self._connections).release(self._lease)
        except (StoreError, psycopg.Error) as error:
            log.warning("the lease was not given back, and ends by itself: %s", error)
        for event in self._wake.values():
            event.set()
        for thread in self._senders:
            thread.join(5.0)
        self._connections.close()

    def _open(self) -> Connections:
        if self._connections is None:
            url = resolve_url(self._settings)
            self._connections = Connections(url, 2, patience=_PATIENCE, statement_timeout=_STATEMENT)
        return self._connections

    def _hold(self, connections: Connections) -> bool:
        """Whether this process holds the lease, which is renewed."""
        leases = Leases(connections)
        if self._lease is not None:
            try:
                leases.renew(self._lease, LEASE)
            except LeaseLost:
                self._lease = None
        if self._lease is None:
            self._lease = leases.acquire(NAME, self._holder, LEASE)
            if self._lease is not None:
                Outbox(connections).keep_channels([one.name for one in self._channels])
            self._note_role()
        return self._lease is not None

    def _note_role(self) -> None:
        role = "acts" if self._lease is not None else "stands by, because another one acts on this database"
        if role != self._role:
            self._role = role
            log.info("this notifier %s", role)

    def _detail(self) -> dict[str, Any]:
        return {"channels": [one.name for one in self._channels], "dead_man": self._dead_man is not None}

    def _store_journal(self, connections: Connections) -> None:
        journal = self._local.journal
        if not journal.alerts:
            return

        def work(connection: psycopg.Connection[Any]) -> None:
            journal.store(connection, _now(connection))

        self._fenced(connections).run(work)
        journal.clear()
        log.info("what the journal held is stored in the database")

    def _announce(self, connections: Connections, covered: set[str]) -> Decision:
        """Decide about all alerts, and store the messages with the decision in one transaction."""

        def work(connection: psycopg.Connection[Any]) -> Decision:
            now = _now(connection)
            records = AlertRecords.look(connection, now)
            if not records:
                return Decision()
            decision = decide(records, now, self._rules, windows_of(connection, now), covered)
            if decision:
                self._queue(connection, decision, now)
            return decision

        decision = self._fenced(connections).run(work)
        if decision:
            for event in self._wake.values():
                event.set()
        return decision

    def _queue(self, connection: psycopg.Connection[Any], decision: Decision, now: datetime) -> None:
        for before, after in decision.continued:
            AlertRecords.continued(connection, before.id, after.id)
        over = [one.id for one in decision.recover] + [before.id for before, _ in decision.continued]
        AlertRecords.recovered(connection, over, now)
        if decision.recover:
            body = recovery_message(decision.recover, now, self._sender).body()
            Outbox.put(connection, "recovery", self._alert_channels, body)
        if decision.announce and self._alert_channels:
            body = alert_message(decision.announce, now, self._sender).body()
            Outbox.put(connection, "alert", self._alert_channels, body)
            AlertRecords.announced(connection, [one.id for one in decision.announce], now)

    def _without_database(self, error: Exception) -> None:
        """Keep the alert in the journal, and tell the watcher elsewhere."""
        refused = isinstance(error, REFUSED_WRITE)
        said = " ".join(str(error).split())
        what = "nothing can be written to the database" if refused else "the database does not answer"
        summary = f"{what}: {said}"
        log.warning("%s", summary)
        self._local.look("database_writable" if refused else "database", summary)
        if self._dead_man is not None:
            self._dead_man.report((), written=False, trouble=summary)

    def _start_senders(self, connections: Connections) -> None:
        if self._senders:
            return
        for channel in self._channels:
            delivery = Delivery(Outbox(connections), channel)
            arguments = [self._stop, self._wake[channel.name]]
            thread = threading.Thread(target=delivery.run, args=arguments, name=channel.name, daemon=True)
            thread.start()
            self._senders.append(thread)

    def _prune(self, connections: Connections) -> None:
        if time.monotonic() - self._pruned >= _PRUNE_EVERY:
            self._pruned = time.monotonic()
            now = connections.run(_now)
            Outbox(connections).prune(now - _KEEP_SENT)

    def _fenced(self, connections: Connections) -> FencedConnections:
        assert self._lease is not None
        return FencedConnections(connections, self._lease)


def _now(connection: psycopg.Connection[Any]) -> datetime:
    """The database's clock, the one that all processes share."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    now: datetime = row[0]
    return now


def main() -> int:
    """Run until a signal; return the exit code."""
    quiet_drivers()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        notifier = Notifier(load_settings())
    except (SettingsError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    notifier.run(stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
