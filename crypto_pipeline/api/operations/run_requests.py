"""Runs that an HTTP request starts, through the GraphQL of Dagster's webserver.

The same request has the same run until that is over: the run carries the request as a tag, and a lock in the database
lets requests of one kind take turns, in whatever process they are answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crypto_pipeline.ops.host.paths import Places, running_state
from crypto_pipeline.settings import Settings
from crypto_pipeline.store.coordination.named_lock import named_locks
from crypto_pipeline.store.database.errors import DatabaseAwayError
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.operations.figures.dagster import DagsterFigures

#: Tags of a run: what was asked for, and the key that the client gave with it.
REQUEST_TAG, KEY_TAG = "crypto_pipeline/request", "crypto_pipeline/idempotency_key"
_LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId status } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on Error { message }
  }
}"""
_SECONDS = 20.0


class DagsterAwayError(DatabaseAwayError):
    """Dagster's webserver does not answer; a later attempt may succeed."""


class UnlikeRequestError(ValueError):
    """An idempotency key was used before, for another request."""


@dataclass(frozen=True, slots=True)
class RunOrder:
    """A run to be started.

    Attributes:
        request: What is asked for, in one line; equal for equal requests.
        job: Name of Dagster's job.
        config: Its run config.
        tags: Further tags of the run.
    """

    request: str
    job: str
    config: Mapping[str, Any]
    tags: Mapping[str, str]


class RunRequests:
    """Starts runs, and finds those that are under way. Thread-safe."""

    def __init__(self, connections: Connections, dagster: DagsterFigures, settings: Settings) -> None:
        self._connections, self._dagster, self._settings = connections, dagster, settings

    def start(self, order: RunOrder, key: str | None) -> dict[str, Any]:
        """The run of ``order``, as ``CacheRun`` has it: one that is under way, else a new one.

        ``key``: the client's own for this request; the same key has the same run, also when that is over. Raises
        DagsterAwayError, StoreError, and UnlikeRequestError for a key that belongs to another request.
        """
        locks = [f"run request {order.request}"] + ([] if key is None else [f"idempotency key {key}"])
        with named_locks(self._connections, *locks):
            found = self._of_key(order, key) or self._under_way(order)
            started = found is None
            if found is None:
                found = self._launch(order, key)
        return self.shown({**found, "what": order.request}, started=started)

    def recent(self, most: int) -> list[dict[str, Any]]:
        """The newest runs that requests started, as ``CacheRun`` has them."""
        return [self.shown(row, started=False) for row in self._dagster.tagged(REQUEST_TAG, most)]

    def shown(self, run: Mapping[str, Any], *, started: bool) -> dict[str, Any]:
        """A run as ``CacheRun`` has it."""
        return {
            "run_id": run["run_id"], "job": run["job"], "status": run["status"], "request": run["what"],
            "started": started, "url": f"{dagster_address(self._settings)}/runs/{run['run_id']}",
        }  # fmt: skip

    def _under_way(self, order: RunOrder) -> dict[str, Any] | None:
        return self._dagster.newest_tagged(REQUEST_TAG, order.request, REQUEST_TAG, unfinished=True)

    def _of_key(self, order: RunOrder, key: str | None) -> dict[str, Any] | None:
        if key is None:
            return None
        found = self._dagster.newest_tagged(KEY_TAG, key, REQUEST_TAG, unfinished=False)
        if found is not None and found["what"] != order.request:
            raise UnlikeRequestError(
                f"the Idempotency-Key {key!r} belongs to the request {found['what']!r}: use another key"
            )
        return found

    def _launch(self, order: RunOrder, key: str | None) -> dict[str, Any]:
        from crypto_pipeline.ops.supervision.programs import LOCATION

        tags = {**order.tags, REQUEST_TAG: order.request} | ({} if key is None else {KEY_TAG: key})
        params = {
            "selector": {
                "repositoryName": "__repository__", "repositoryLocationName": LOCATION, "jobName": order.job,
            },
            "runConfigData": dict(order.config),
            "executionMetadata": {"tags": [{"key": name, "value": value} for name, value in tags.items()]},
        }  # fmt: skip
        try:
            answer = self._ask(params)
        except DagsterAwayError:
            # the answer may have come too late while the run was created
            if (created := self._under_way(order)) is None:
                raise
            return created
        if answer.get("__typename") != "LaunchRunSuccess":
            said = answer.get("message") or "; ".join(each["message"] for each in answer.get("errors", []))
            raise DagsterAwayError(f"Dagster does not start {order.job}: {said.strip().splitlines()[0]}")
        run = answer["run"]
        return {"run_id": run["runId"], "status": run["status"].lower(), "job": order.job}

    def _ask(self, params: Mapping[str, Any]) -> dict[str, Any]:
        import httpx  # needed by requests that start runs alone

        ui = dagster_address(self._settings)
        try:
            answer = httpx.post(
                f"{ui}/graphql", json={"query": _LAUNCH, "variables": {"params": params}}, timeout=_SECONDS,
                trust_env=False,
            )  # fmt: skip
            data = answer.raise_for_status().json()
            launched: dict[str, Any] = data["data"]["launchRun"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            said = str(error).strip() or type(error).__name__
            raise DagsterAwayError(
                f"the Dagster UI at {ui} cannot start a run ({said}): is it running? Ask again in some seconds"
            ) from None
        return launched


def dagster_address(settings: Settings) -> str:
    """Address of Dagster's webserver: of what runs in the data directory, else as the settings have it."""
    state = running_state(Places(settings.data_dir))
    return (state.urls.get("ui") if state else None) or f"http://{settings.host}:{settings.ui_port}"
