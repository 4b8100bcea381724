"""Whole runs: ``run``, ``demo``, ``report``."""

from pathlib import Path
from typing import Annotated

import typer

from coppice.cli.options import Devices, NumNodes
from coppice.cli.output import print_line

Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change the recipe: training.epochs=50. Repeatable."),
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="The run folder; runs/NAME if not given.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(run)
    app.command()(demo)
    app.command()(report)


def run(
    recipe: Annotated[str, typer.Argument(help="A recipe (YAML), or the name of a shipped one.")],
    set_: Changes = None,
    out: Out = None,
    jobs: Annotated[int, typer.Option(help="Processes, for runs over folds or seeds.")] = 1,
    devices: Devices = 1,
    num_nodes: NumNodes = 1,
) -> None:
    """Carry out a recipe: clips, training, pruning, fine-tuning, 16 bit, report.

    A run that was interrupted goes on where it stopped; stages whose inputs have not changed are not done again.

    Example: `coppice run esc10 --set data.root=esc10-folder --set folds=all --set "seeds=[0,1,2]"`,
    `coppice run recipe.yaml --devices 2`
    """
    _run(recipe, set_, out, jobs, devices, num_nodes)


def demo(set_: Changes = None, out: Out = None) -> None:
    """Carry out the demo recipe, on sounds made by a procedure; nothing is downloaded.

    Example: `coppice demo`
    """
    _run("demo", set_, out, 1)


def report(
    folder: Annotated[Path, typer.Argument(help="A run folder.")],
    markdown: Annotated[Path | None, typer.Option(help="Also write the table of results to this file.")] = None,
    figures: Annotated[Path | None, typer.Option(help="Also write the figures as SVG and PNG to this folder.")] = None,
) -> None:
    """Write a run's report again, and its table and figures for a paper.

    Example: `coppice report runs/esc10 --markdown results.md --figures figures/`
    """
    from coppice.core.files import write_text
    from coppice.reports.markdown import results_page
    from coppice.reports.report import figure_files, write_report

    print_line(f"report: {write_report(folder)}")
    if markdown is not None:
        write_text(markdown, results_page(folder))
        print_line(f"table: {markdown}")
    if figures is not None:
        for path in figure_files(folder, figures):
            print_line(f"figure: {path}")


def _run(
    recipe: str, changes: list[str] | None, out: Path | None, jobs: int, devices: int = 1, num_nodes: int = 1
) -> None:
    from coppice.recipes.recipe import load_recipe
    from coppice.training.devices.machines import Machines

    machines = Machines(devices, num_nodes)
    # A mistake in it shows before torch is imported; a machine that only helps need not have it.
    chosen = load_recipe(recipe, changes=changes or ()) if machines.leads else recipe
    from coppice.studies.run import run as run_recipe

    report = run_recipe(chosen, out=out, jobs=jobs, machines=machines)
    if report is not None:
        print_line(f"report: {report}")
