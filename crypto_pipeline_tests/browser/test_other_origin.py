"""A page of another origin, in Chromium, that tries to command a running deployment in every way there is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from crypto_pipeline.ops.supervision.health import request
from crypto_pipeline_tests.browser.conftest import REBOUND
from crypto_pipeline_tests.builders.deployment import Deployment

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.faults, pytest.mark.slow]

#: Sends everything that a page may send without being asked, waits for each, and says what came back.
_ATTACKS = """
async ({ui, replay}) => {
  const query = key => `mutation { setConcurrencyLimit(concurrencyKey: "${key}", limit: 3) }`;
  const at = key => ui + '/graphql?query=' + encodeURIComponent(query(key));
  const json = key => JSON.stringify({query: query(key)});
  const quietly = promise => promise.then(answer => answer.type + ' ' + answer.status, () => 'blocked');
  const plain = {'Content-Type': 'text/plain'};
  const image = url => new Promise(done => {
    const shown = new Image();
    shown.onload = () => done('shown'); shown.onerror = () => done('broken'); shown.src = url;
  });
  const socket = url => new Promise(done => {
    const line = new WebSocket(url, 'graphql-ws');
    line.onopen = () => done('open'); line.onerror = () => done('refused');
  });
  const form = (url, name) => new Promise(done => {
    const frame = document.createElement('iframe'); frame.name = name; document.body.append(frame);
    const sent = document.createElement('form');
    sent.method = 'POST'; sent.action = url; sent.target = name; sent.enctype = 'text/plain';
    document.body.append(sent); sent.submit(); setTimeout(() => done('sent'), 1000);
  });
  return {
    image: await image(at('image')),
    get: await quietly(fetch(at('get'), {mode: 'no-cors'})),
    credentials: await quietly(fetch(at('credentials'), {mode: 'no-cors', credentials: 'include'})),
    post: await quietly(fetch(at('post'), {method: 'POST', mode: 'no-cors', headers: plain})),
    text: await quietly(fetch(ui + '/graphql', {method: 'POST', mode: 'no-cors', headers: plain, body: json('text')})),
    cors: await quietly(fetch(ui + '/graphql', {
      method: 'POST', headers: {'Content-Type': 'application/json'}, body: json('cors')})),
    report: await quietly(fetch(ui + '/report_asset_materialization/ohlc_1m', {
      method: 'POST', mode: 'no-cors', headers: plain, body: '{}'})),
    form: await form(at('form'), 'target'),
    socket: await socket(ui.replace('http', 'ws') + '/graphql'),
    fault: await quietly(fetch(replay + '/_control/faults', {
      method: 'POST', mode: 'no-cors', headers: plain, body: '{"kind": "outage"}'})),
    clock: await quietly(fetch(replay + '/_control/clock', {
      method: 'POST', mode: 'no-cors', headers: plain, body: '{"speed": 9}'})),
    stream: await socket(replay.replace('http', 'ws') + '/ws/btcusdt@trade'),
  };
}
"""


class _Blank(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>elsewhere</title><body>")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[int]:
    """Port of a server with a blank page."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Blank) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def graphql(house: Deployment, query: str) -> Any:
    status, body = request("POST", house.state.urls["ui"] + "/graphql", {"query": query})
    assert status == 200, body
    return json.loads(body)["data"]


def limits(house: Deployment) -> set[str]:
    found = graphql(house, "{ instance { concurrencyLimits { concurrencyKey } } }")
    return {limit["concurrencyKey"] for limit in found["instance"]["concurrencyLimits"]}


def test_a_page_of_another_origin_commands_nothing(house: Deployment, page: Page, elsewhere: int) -> None:
    graphql(house, 'mutation { setConcurrencyLimit(concurrencyKey: "ours", limit: 3) }')
    assert "ours" in limits(house), "the command that the page tries is one that works"
    before = limits(house)
    urls = house.state.urls
    for origin in (f"http://{REBOUND}:{elsewhere}", f"http://127.0.0.1:{elsewhere}"):
        page.goto(origin)
        told = page.evaluate(_ATTACKS, {"ui": urls["ui"], "replay": urls["replay"]})
        assert told["socket"] == told["stream"] == "refused", told
        assert told["cors"] == "blocked", told
        # pools that runs of the deployment itself begin to use meanwhile are no command of the page
        assert limits(house) - before <= {"venue_history"}, told
    # and GraphQL's own rules hold for whoever sends no Origin
    for method in ("GET", "POST"):
        status, _ = request(method, urls["ui"] + "/graphql?query=mutation%7Bx%7D")
        assert status == 403
    status, body = request("GET", urls["replay"] + "/_control/faults")
    assert status == 200
    assert "outage" not in body.decode()
    status, body = request("GET", urls["replay"] + "/_control/clock")
    assert json.loads(body)["speed"] == 1.0


@pytest.mark.parametrize(("name", "path"), [("ui", "/"), ("api", "/instruments"), ("replay", "/api/v3/time")])
def test_a_name_pointed_at_this_machine_reads_nothing(house: Deployment, page: Page, name: str, path: str) -> None:
    answer = page.goto(f"http://{REBOUND}:{house.state.ports[name]}{path}")
    assert answer is not None
    assert answer.status == 403
    own = page.goto(f"http://localhost:{house.state.ports[name]}{path}")
    assert own is not None
    assert own.status == 200


def test_the_ui_cannot_be_shown_inside_another_page(house: Deployment, page: Page, elsewhere: int) -> None:
    page.goto(f"http://{REBOUND}:{elsewhere}")
    page.set_content(f'<iframe name="inside" src="{house.state.urls["ui"]}/runs"></iframe>')
    page.wait_for_load_state("networkidle")
    inside = page.frame("inside")
    assert inside is None or "Dagster" not in inside.content()
