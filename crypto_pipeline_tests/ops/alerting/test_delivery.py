"""Messages leave through the outbox: none is lost, and what may arrive twice says so. Slack is a stub on a real socket.

Guards I12 (docs/invariants.md).
"""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import pytest

from crypto_pipeline.ops.alerting.channels.result import DeliveryChannel
from crypto_pipeline.ops.alerting.channels.slack import SlackBot, SlackWebhook
from crypto_pipeline.ops.alerting.delivery import Delivery
from crypto_pipeline.ops.alerting.messages import MAY_REPEAT, Announcement, section
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.operations.notifications.outbox import Outbox
from crypto_pipeline_tests.builders.slack_stub import SlackStub


def put(outbox: Outbox, channel: DeliveryChannel, title: str, kind: str = "alert") -> None:
    body = Announcement(title, f"text of {title}", "error", [section(title)]).body()
    outbox.add(kind, [channel.name], body)  # type: ignore[arg-type]


def states(connections: Connections) -> list[tuple[str, int, bool]]:
    return connections.rows("SELECT state, attempts, may_repeat FROM ops.outbox ORDER BY id")  # type: ignore[return-value]


def make_due(connections: Connections) -> None:
    """Let the pauses of the outbox be over."""

    def work(connection: object) -> None:
        connection.execute("UPDATE ops.outbox SET next_attempt = now()")  # type: ignore[attr-defined]
        connection.execute("UPDATE ops.notification_channels SET next_at = now()")  # type: ignore[attr-defined]

    connections.run(work)


def test_a_message_is_sent_once(
    outbox: Outbox, webhook: SlackWebhook, slack: SlackStub, connections: Connections
) -> None:
    delivery = Delivery(outbox, webhook, rate=0)
    put(outbox, webhook, "one")
    assert delivery.send_next()
    assert not delivery.send_next()
    assert slack.texts() == ["one\ntext of one"]
    assert slack.taken[0].body["blocks"] == [section("one")]
    assert states(connections) == [("sent", 1, False)]


def test_at_most_one_message_a_second(outbox: Outbox, webhook: SlackWebhook, slack: SlackStub) -> None:
    for title in "abc":
        put(outbox, webhook, title, "report")
    stop, wake = threading.Event(), threading.Event()
    delivery = Delivery(outbox, webhook, rate=0.2)
    thread = threading.Thread(target=delivery.run, args=[stop, wake])
    thread.start()
    slack.wait_for(3)
    stop.set()
    wake.set()
    thread.join()
    times = [one.at for one in slack.taken]
    assert all(later - earlier >= 0.2 for earlier, later in itertools.pairwise(times))


def test_retry_after_is_obeyed_by_every_message_of_the_channel(
    outbox: Outbox, webhook: SlackWebhook, slack: SlackStub, connections: Connections
) -> None:
    slack.troubles.append("429:1")
    put(outbox, webhook, "one")
    put(outbox, webhook, "two")
    delivery = Delivery(outbox, webhook, rate=0)
    assert delivery.send_next()
    assert not delivery.send_next()  # neither the first nor the second
    assert states(connections) == [("queued", 1, False), ("queued", 0, False)]
    assert 0.5 < (outbox.next_in("hook") or 0) <= 1.0
    while not delivery.send_next():
        time.sleep(0.02)
    assert slack.asked[1].at - slack.asked[0].at >= 1.0
    assert delivery.send_next()
    assert [text.split("\n")[0] for text in slack.texts()] == ["one", "two"]


@pytest.mark.parametrize(
    ("trouble", "arrived"), [("500", 0), ("503-taken", 1), ("hang", 0), ("cut", 1), ("refused", 0)]
)
def test_what_may_have_arrived_is_repeated_with_a_mark(
    trouble: str, arrived: int, outbox: Outbox, webhook: SlackWebhook, slack: SlackStub, connections: Connections
) -> None:
    slack.troubles.append(trouble)
    put(outbox, webhook, "one")
    delivery = Delivery(outbox, webhook, rate=0)
    assert delivery.send_next()
    assert states(connections) == [("unknown", 1, True)]
    make_due(connections)
    assert delivery.send_next()
    assert states(connections) == [("sent", 2, True)]
    assert len(slack.taken) == arrived + 1
    assert MAY_REPEAT in slack.texts()[-1]
    assert MAY_REPEAT in str(slack.taken[-1].body["blocks"])


@pytest.mark.parametrize(("trouble", "arrived"), [("500", 0), ("503-taken", 1), ("hang", 0), ("cut", 1)])
def test_with_a_bot_token_an_unknown_message_is_looked_up_before_it_is_repeated(
    trouble: str, arrived: int, outbox: Outbox, bot: SlackBot, slack: SlackStub, connections: Connections
) -> None:
    slack.troubles.append(trouble)
    put(outbox, bot, "one")
    delivery = Delivery(outbox, bot, rate=0)
    assert delivery.send_next()
    assert states(connections)[0][0] == "unknown"
    make_due(connections)
    assert delivery.send_next()
    assert states(connections)[0][0] == "sent"
    assert len(slack.taken) == 1
    assert MAY_REPEAT not in slack.texts()[0]
    assert [one.path for one in slack.asked][1] == "/api/conversations.history"


def test_where_it_cannot_be_looked_up_nothing_is_repeated(
    outbox: Outbox, bot: SlackBot, slack: SlackStub, connections: Connections
) -> None:
    slack.troubles.extend(["cut", "error:missing_scope", "500"])
    put(outbox, bot, "one")
    delivery = Delivery(outbox, bot, rate=0)
    for _ in range(3):
        assert delivery.send_next()
        make_due(connections)
    assert len(slack.taken) == 1
    assert delivery.send_next()
    assert states(connections)[0][0] == "sent"
    assert len(slack.taken) == 1


def test_a_refused_channel_keeps_its_messages_and_pauses_grow(
    outbox: Outbox, webhook: SlackWebhook, slack: SlackStub, connections: Connections
) -> None:
    slack.troubles.extend(["404:no_service"] * 3)
    put(outbox, webhook, "one")
    delivery = Delivery(outbox, webhook, rate=0)
    pauses = []
    for _ in range(3):
        assert delivery.send_next()
        pauses.append(round(outbox.next_in("hook") or 0))
        make_due(connections)
    assert pauses == [5, 10, 20]
    (state,) = outbox.channel_states()
    assert (state.failures, state.last_error, state.waiting) == (3, "HTTP 404 no_service", 1)
    assert state.failing_since is not None
    assert delivery.send_next()
    assert MAY_REPEAT not in slack.texts()[0]  # it was known not to have arrived
    assert outbox.channel_states()[0].failing_since is None


def test_a_message_that_slack_does_not_take_goes_as_plain_text_and_delays_no_other(
    outbox: Outbox, webhook: SlackWebhook, slack: SlackStub, connections: Connections
) -> None:
    slack.troubles.append("400:invalid_blocks")
    put(outbox, webhook, "odd")
    put(outbox, webhook, "usual")
    delivery = Delivery(outbox, webhook, rate=0)
    assert delivery.send_next()
    make_due_channel = "UPDATE ops.notification_channels SET next_at = now()"
    connections.run(lambda connection: connection.execute(make_due_channel) and None)
    assert delivery.send_next()
    assert slack.texts() == ["usual\ntext of usual"]
    make_due(connections)
    assert delivery.send_next()
    assert slack.taken[1].body == {"text": "odd\ntext of odd"}


def test_a_dead_port_is_known_not_to_have_taken_anything(outbox: Outbox, connections: Connections) -> None:
    from pydantic import SecretStr

    dead = SlackWebhook("dead", SecretStr("http://127.0.0.1:9/planted-secret"))
    put(outbox, dead, "one")
    assert Delivery(outbox, dead, rate=0).send_next()
    assert states(connections) == [("queued", 1, False)]
    error = outbox.channel_states()[0].last_error
    assert error == "no connection (ConnectError)" or (error or "").startswith("no connection (ConnectError: ")
    assert "planted-secret" not in (error or "")


def test_many_waiting_alerts_become_one_message(
    outbox: Outbox, webhook: SlackWebhook, slack: SlackStub, connections: Connections
) -> None:
    for number in range(40):
        put(outbox, webhook, f"alert {number}")
    put(outbox, webhook, "report", "report")
    delivery = Delivery(outbox, webhook, rate=0)
    slack.troubles.append("cut")
    assert delivery.send_next()
    make_due(connections)
    while delivery.send_next():
        make_due(connections)
    assert len(slack.taken) == 3  # the collected one twice, and the report
    for number in range(40):
        assert f"alert {number}" in slack.texts()[0]
    assert sum(MAY_REPEAT in text for text in slack.texts()) == 1
    assert {state for state, _, _ in states(connections)} == {"sent"}


def test_pictures_follow_a_message_of_the_bot(outbox: Outbox, bot: SlackBot, slack: SlackStub, tmp_path: Path) -> None:
    picture = tmp_path / "chart.png"
    picture.write_bytes(b"\x89PNG of this test")
    body = Announcement("report", "text", "info", [section("x")], {"Chart": str(picture)}).body()
    outbox.add("report", [bot.name], body)
    assert Delivery(outbox, bot, rate=0).send_next()
    assert slack.uploads == {"chart.png": b"\x89PNG of this test"}
    assert slack.asked[-1].body["files"] == [{"id": "F-chart.png", "title": "Chart"}]
    assert slack.asked[-1].body["thread_ts"] == "1.0001"


def test_two_processes_never_send_one_message_twice(
    postgres_url: str, outbox: Outbox, webhook: SlackWebhook, slack: SlackStub
) -> None:
    slack.delay = 0.01
    for number in range(10):
        put(outbox, webhook, f"report {number}", "report")
    pools = [Connections(postgres_url, 2) for _ in range(2)]

    def work(pool: Connections) -> None:
        delivery = Delivery(Outbox(pool), webhook, rate=0)
        until = time.monotonic() + 20
        while len(slack.taken) < 10 and time.monotonic() < until:
            delivery.send_next() or time.sleep(0.02)

    threads = [threading.Thread(target=work, args=[pool]) for pool in pools]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for pool in pools:
        pool.close()
    assert sorted(slack.texts()) == sorted(set(slack.texts()))
    assert len(slack.texts()) == 10
