"""The files of deploy/celery and deploy/kubernetes: valid by Kubernetes' schemas, safe, of settings that exist."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from crypto_pipeline.settings import PREFIX, Settings
from crypto_pipeline_tests.builders.places import PROJECT

KUBERNETES, CELERY = PROJECT / "deploy/kubernetes", PROJECT / "deploy/celery"


def documents() -> list[dict[str, Any]]:
    texts = [(KUBERNETES / name).read_text() for name in ("manifests.yaml", "secret.example.yaml")]
    return [one for text in texts for one in yaml.safe_load_all(text)]


def test_every_manifest_is_valid_by_the_schemas_of_kubernetes() -> None:
    schemas = pytest.importorskip("kubernetes_validate")
    for one in documents():
        schemas.validate(one, "1.30", strict=True)


def test_pods_run_without_rights_and_with_probes_and_limits() -> None:
    pods = [one["spec"]["template"]["spec"] for one in documents() if one["kind"] == "Deployment"]
    assert len(pods) == 2
    for pod in pods:
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(pods[0]["containers"][0])


def test_every_setting_exists_and_no_password_is_in_a_file() -> None:
    files = [*KUBERNETES.iterdir(), *CELERY.iterdir()]
    for file in files:
        text = file.read_text()
        for name in re.findall(rf"{PREFIX}([A-Z_]+)\b", text):
            assert name.lower() in Settings.model_fields, (file, name)
        assert set(re.findall(r"://[^\s:@]*:([^\s@]+)@", text)) <= {"choose-one"}, file


def test_runs_of_kubernetes_and_of_celery_have_the_same_limits() -> None:
    values = yaml.safe_load((KUBERNETES / "values.yaml").read_text())
    queue = values["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]
    runs = yaml.safe_load((CELERY / "dagster.yaml").read_text())["concurrency"]["runs"]
    assert queue["maxConcurrentRuns"] == runs["max_concurrent_runs"]
    assert queue["tagConcurrencyLimits"] == runs["tag_concurrency_limits"]
    assert values["postgresql"]["enabled"] is False
    assert "postgresqlPassword" not in values["postgresql"]
