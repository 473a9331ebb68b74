"""A group of options is one parameter of a command, and its options stand in the command line in its place."""

from __future__ import annotations

import dataclasses

import typer
from typer.testing import CliRunner

from crypto_pipeline.cli.option_groups import SeriesOptions, SpanOptions, with_groups
from crypto_pipeline.cli.options import AsJson


def lines(*words: str) -> str:
    app = typer.Typer()

    @app.command()
    @with_groups
    def shown(context: typer.Context, series: SeriesOptions, as_json: AsJson = False) -> None:
        """Show what was given."""
        typer.echo(f"{context.info_name} {dataclasses.astuple(series)} {as_json}")

    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return result.output


def test_options_of_a_group_reach_the_command_as_one_object() -> None:
    given = ("--start", "2026-01-01", "--timeframe", "1h", "--instruments", "BTC-USDT", "--json")
    assert lines(*given) == "shown ('2026-01-01', None, 'BTC-USDT', '1h') True\n"
    assert lines() == "shown (None, None, None, None) False\n"


def test_help_lists_them_among_the_others() -> None:
    text = lines("--help")
    assert all(option in text for option in ("--start", "--end", "--instruments", "--timeframe", "--json"))
    assert "Show what was given." in text
    assert "series" not in text


def test_what_is_left_out_restricts_nothing() -> None:
    assert SpanOptions().bounds() == (None, None)
    assert SeriesOptions().timeframes() is None
    assert SeriesOptions().symbols(["BTC-USDT"]) is None
