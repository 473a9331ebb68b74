"""What Dagster's own tool `dg` lists of the definitions, and the names that a deployment's state hangs on.

``python -m crypto_pipeline_tests.defs.listed_definitions`` writes both snapshots anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import dagster as dg

#: `dg list defs --json`, without lines of code.
LISTED = Path(__file__).with_name("listed_definitions.json")
#: Names of assets, checks, jobs, schedules, sensors, resources and pools.
NAMES = Path(__file__).with_name("names.json")
_CHECKOUT = Path(__file__).parents[2]


#: `dg` with one command after another, in one process: most of its time is that of importing all definitions.
_DG = """
import json, sys
from dagster_dg_cli.cli import cli
for words in json.loads(sys.argv[1]):
    if cli.main(words, prog_name="dg", standalone_mode=False):
        sys.exit(f"dg {' '.join(words)} fails")
"""


def dg_tool(home: Path, *commands: str) -> str:
    """Output of commands of `dg` in the checkout, with settings of their own and an empty instance in ``home``."""
    (home / "dagster.yaml").touch()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("CRYPTO_PIPELINE_", "DAGSTER_"))
    }
    environment |= {"DAGSTER_HOME": str(home), "CRYPTO_PIPELINE_DATA_DIR": str(home / "data")}
    done = subprocess.run(
        [sys.executable, "-c", _DG, json.dumps([command.split() for command in commands])],
        cwd=_CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def listed(home: Path) -> dict[str, Any]:
    """`dg list defs --json` in one order; lines of code, which change with every edit, are left out.

    `dg check defs` must have found all of them right.
    """
    said = dg_tool(home, "check defs", "list defs --json")
    checked, begin, rest = said.partition("\n{\n")
    assert "All definitions loaded successfully." in checked, said[:2000]
    answer: dict[str, list[dict[str, Any]]] = json.loads(begin + rest)
    for rows in answer.values():
        rows.sort(key=lambda row: str(row.get("asset_key", "")) + str(row.get("name", "")))
        for row in rows:
            for value in row.values():
                if isinstance(value, list) and all(isinstance(one, str) for one in value):
                    value.sort()
            if source := row.get("source"):
                row["source"] = source.rpartition(":")[0]
            if tags := row.get("tags"):
                row["tags"] = {tag["key"]: tag["value"] for tag in tags}
    return answer


def names(definitions: dg.Definitions) -> dict[str, Any]:
    """Every name that state of a deployment, or somebody's script, may hang on."""
    repository = definitions.get_repository_def()
    graph = repository.asset_graph
    assets = [one for one in definitions.assets or [] if isinstance(one, dg.AssetsDefinition)]
    return {
        "assets": {key.to_user_string(): graph.get(key).group_name for key in sorted(graph.get_all_asset_keys())},
        "checks": sorted(f"{key.asset_key.to_user_string()}:{key.name}" for key in graph.asset_check_keys),
        "jobs": sorted(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")),
        "schedules": {one.name: one.job_name for one in sorted(repository.schedule_defs, key=lambda one: one.name)},
        "sensors": sorted(one.name for one in repository.sensor_defs),
        "resources": sorted(repository.get_top_level_resources()),
        "pools": {one.op.name: one.op.pool for one in assets if one.op.pool},
    }


def main() -> None:
    """Write the snapshots."""
    from crypto_pipeline.definitions import defs

    with tempfile.TemporaryDirectory() as home:
        LISTED.write_text(json.dumps(listed(Path(home)), indent=1, ensure_ascii=False) + "\n")
    NAMES.write_text(json.dumps(names(defs()), indent=1) + "\n")


if __name__ == "__main__":
    main()
