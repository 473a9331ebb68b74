"""Shared parts of the tests of under_fire.py: a deployment, its Dagster instance, and the result."""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from common import load, machine
from dagster import DagsterInstance
from deployed import Deployed

from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline.ops.supervision.programs import DAGSTER_URL_VARIABLE
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store.database_url import dagster_url

_LAUNCH = """mutation ($job: String!) { launchRun(executionParams: {runConfigData: {}, selector: {
  repositoryLocationName: "crypto_pipeline", repositoryName: "__repository__", jobName: $job}}) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""


class Exam(Deployed):
    """A deployment, its Dagster instance, and the faults found."""

    def __init__(self, *options: str, name: str = "", **given: Any) -> None:
        super().__init__(*options, **given)
        self.name, self.wrong = name, list[str]()

    def say(self, text: str) -> None:
        print(f"{datetime.now(UTC):%H:%M:%S} {self.name}{text}", flush=True)

    def want(self, true: object, otherwise: str) -> None:
        if not true:
            self.wrong.append(otherwise)
            self.say(f"WRONG: {otherwise}")

    @classmethod
    @contextmanager
    def sitting(cls, *options: str, on: Path | None = None) -> Iterator[Self]:
        """Start a deployment and stop it afterwards; or take the one that runs ``on`` a data directory as it is."""
        exam = cls(*options)
        if on is not None:
            shutil.rmtree(exam.house.data_dir)
            exam.house.data_dir, exam.house.places = on, Places(on)
            yield exam
            return
        try:
            exam.start()
            yield exam
        finally:
            exam.house.stop()

    def start(self) -> None:
        self.house.start()
        self.say(f"healthy after {self.house.took:.1f} s (load {load()})")
        self.until(self.live, 120, "ingest is live")

    @contextmanager
    def dagster(self) -> Iterator[DagsterInstance]:
        """The Dagster instance of this deployment, opened as its other processes do."""
        settings = load_settings(data_dir=self.house.data_dir)
        os.environ[DAGSTER_URL_VARIABLE] = dagster_url(settings, self.url)
        with DagsterInstance.from_config(str(self.house.places.dagster_home)) as instance:
            yield instance

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """Send a GraphQL query as the UI does."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        ui = f"{self.house.state.urls['ui']}/graphql"
        request = urllib.request.Request(ui, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            found = json.load(answer)
        if "errors" in found:
            raise RuntimeError(str(found["errors"]))
        return dict(found["data"])

    def launch(self, job: str) -> str:
        """Launch a run as a person does in the UI."""
        found = self.graphql(_LAUNCH, job=job)["launchRun"]
        if found["__typename"] != "LaunchRunSuccess":
            raise RuntimeError(f"{job} was not launched: {found}")
        return str(found["run"]["runId"])

    def alerts(self) -> dict[str, str]:
        """Summaries of open alerts by source and timeframe."""
        rows = self.store.checks.open_alerts().iter_rows(named=True)
        return {f"{row['source']} {row['timeframe']}".strip(): row["summary"] for row in rows}

    def tell(self, head: str) -> int:
        """Print the machine and the result at the end."""
        print(f"\n{head}, {machine()}")
        print("WRONG: " + "; ".join(self.wrong) if self.wrong else "all as it should be", flush=True)
        return 1 if self.wrong else 0


def compare(exam: Exam, start: datetime) -> None:
    """Compare all trades and bars since then with the exchange's tape, and wait for healing to fetch the last ones."""
    end = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=1)
    until = time.monotonic() + 240
    while (wrong := exam.compare(start, end)) and time.monotonic() < until:
        time.sleep(5)
    exam.want(not wrong, f"not as on the exchange's tape: {wrong}")
    waited = 240 - (until - time.monotonic())
    exam.say(f"{start:%H:%M} to {end:%H:%M} against the tape after {waited:.0f} s more: {exam.counted}")
