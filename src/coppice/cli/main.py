"""The command ``coppice``: parse, call, print. A user's mistake is one sentence and exit code 2."""

import os
import sys
from typing import Annotated, Any, NoReturn

import typer

from coppice import __version__
from coppice.cli import (
    challenge,
    classify,
    compile,
    data,
    energy,
    ensemble,
    export,
    listen,
    networks,
    pruning,
    published,
    quantization,
    runs,
    sensitivity,
    study,
    training,
)
from coppice.core.errors import CoppiceError

_INTERRUPTED = 130
_UsageError: Any = typer.BadParameter.__bases__[0]  # of click, or of the copy of it that typer carries

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
training.add_commands(app)
networks.add_commands(app)
pruning.add_commands(app)
sensitivity.add_commands(app)
quantization.add_commands(app)
classify.add_commands(app)
listen.add_commands(app)
export.add_commands(app)
compile.add_commands(app)
published.add_commands(app)
energy.add_commands(app)
ensemble.add_commands(app)
challenge.add_commands(app)
app.add_typer(data.app, name="data")
app.add_typer(study.app, name="study")


def main() -> None:
    """Run the command line; exit with 0, 2 on a user's mistake, 130 on Ctrl-C."""
    # Read when torch is loaded: without it, a machine that is lost leaves a stack trace of C++ before our sentence.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        code = app(prog_name="coppice", standalone_mode=False)
    except CoppiceError as error:
        _end(str(error), 2)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except _UsageError as error:
        message = str(error.format_message())
        if not message:  # no command at all: the help has been printed
            sys.exit(2)
        command = error.ctx.command_path if error.ctx else "coppice"
        _end(f"{message}{'' if message[-1] in '.?' else '.'} See {command} --help.", 2)
    if code == _INTERRUPTED:  # typer takes the interrupt for itself and leaves its number
        _end("interrupted; the same command goes on where this one stopped.", _INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _end(sentence: str, code: int) -> NoReturn:
    typer.echo(f"coppice: {sentence}", err=True)
    sys.exit(code)
