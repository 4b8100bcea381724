"""``coppice study``: many runs over a grid."""

import typer

from coppice.cli import study_page

app = typer.Typer(help="Many runs over a grid: look at what has come out.", no_args_is_help=True)
study_page.add_commands(app)
