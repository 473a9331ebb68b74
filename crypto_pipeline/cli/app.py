"""The program: it registers all commands, and turns errors into one line and an exit code."""

from __future__ import annotations

import os
import pkgutil
import sys
from importlib import import_module
from typing import Annotated

import typer

from crypto_pipeline.cli import commands
from crypto_pipeline.cli.errors import exit_code
from crypto_pipeline.store.database.logs import quiet_drivers

app = typer.Typer(
    name="crypto-pipeline",
    help="A market database that keeps itself right. Start with `crypto-pipeline up`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Help as plain text: boxes and colours need Rich's Markdown and traceback modules, whose import takes 0.3 s.
    rich_markup_mode=None,
    context_settings={
        "auto_envvar_prefix": "CRYPTO_PIPELINE",
        "help_option_names": ["-h", "--help"],
        "max_content_width": 110,
    },
)


@app.callback()
def common(
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", envvar="CRYPTO_PIPELINE_DEBUG", help="Show tracebacks. May stand anywhere in the line."
        ),
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", show_envvar=False)] = False,
) -> None:
    """A market database that keeps itself right. Start with `crypto-pipeline up`."""
    if version:
        from importlib.metadata import version as installed

        typer.echo(installed("crypto-pipeline"))
        raise typer.Exit


def _register_commands() -> None:
    """Add the commands of every module of ``cli.commands``: those of a deployment first, the others by name."""
    every = pkgutil.walk_packages(commands.__path__, f"{commands.__name__}.")
    names = {module.name.rpartition(".")[2]: module.name for module in every if not module.ispkg}
    for name in sorted(names, key=lambda name: (name != "deployment", name)):
        import_module(names[name]).register(app)


def _say_whole_sentences(app: typer.Typer) -> None:
    # Without this the list of commands would cut off the first sentences.
    for command in app.registered_commands:
        command.short_help = _first_paragraph(command.callback.__doc__ if command.callback else None)
    for group in app.registered_groups:
        inner = group.typer_instance
        if inner is not None:
            callback = inner.registered_callback.callback if inner.registered_callback else None
            group.short_help = _first_paragraph(callback.__doc__ if callback else group.help or inner.info.help)
            _say_whole_sentences(inner)


def _first_paragraph(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())


_register_commands()
_say_whole_sentences(app)


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its code: 0 done, 1 failed, 2 bad input, 3 nothing runs (``status``)."""
    given = sys.argv[1:] if arguments is None else arguments
    if "--debug" in given:
        os.environ["CRYPTO_PIPELINE_DEBUG"] = "1"
        given = [argument for argument in given if argument != "--debug"]
    quiet_drivers()
    try:
        code = app(args=given, prog_name="crypto-pipeline", standalone_mode=False)
    except Exception as error:
        code = exit_code(error)
    except KeyboardInterrupt as error:
        code = exit_code(error)
    sys.exit(code if isinstance(code, int) else 0)
