"""``settings``: all settings with their current values."""

from __future__ import annotations

import os
from typing import Any

import typer

from crypto_pipeline.cli.options import AsJson, DataDir


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(settings)


def settings(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List every setting with its value, the source of the value, its environment variable and its meaning."""
    from crypto_pipeline.cli.context import deployment_settings
    from crypto_pipeline.cli.output import console, print_json
    from crypto_pipeline.settings import PREFIX, Settings

    found = deployment_settings(data_dir)
    rows = []
    for name, field in Settings.model_fields.items():
        variable = f"{PREFIX}{name.upper()}"
        value = getattr(found, name)
        origin = "environment" if variable in os.environ else "set" if name in found.model_fields_set else "default"
        rows.append(
            {"name": name, "value": _shown(value), "from": origin, "env": variable, "description": field.description}
        )
    if as_json:
        print_json(rows)
        return
    out = console()
    for row in rows:
        out.print(f"[bold]{row['env']}[/bold] = {row['value']}  ({row['from']})\n    {row['description']}")


def _shown(value: Any) -> Any:
    if type(value).__name__ == "SecretStr":
        return "(hidden)"
    return value if isinstance(value, int | float | bool | type(None)) else str(value)
