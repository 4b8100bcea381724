"""The command ``coppice``: parse, call, print. A user's mistake is one sentence and exit code 2."""

import sys
from typing import Annotated

import typer

from coppice import __version__
from coppice.cli import data, networks, runs
from coppice.core.errors import CoppiceError

app = typer.Typer(
    name="coppice",
    help="Prune, fine-tune, quantize and honestly measure audio CNNs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"coppice {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


runs.add_commands(app)
networks.add_commands(app)
app.add_typer(data.app, name="data")


def main() -> None:
    """Run the command line; exit with 0, 2 on a user's mistake, 130 on Ctrl-C."""
    try:
        app()
    except CoppiceError as error:
        typer.echo(f"coppice: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("coppice: interrupted; the same command goes on where this one stopped.", err=True)
        sys.exit(130)
