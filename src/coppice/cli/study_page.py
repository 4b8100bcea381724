"""``coppice study page`` and ``figures``: what a study shows, for people and for papers."""

from pathlib import Path
from typing import Annotated

import typer

from coppice.cli.output import print_line

StudyFolder = Annotated[Path, typer.Argument(help="The folder of a study.", show_default=False)]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(page)
    app.command()(figures)


def page(folder: StudyFolder) -> None:
    """Write study.html: fronts, comparisons, curves and all runs, in one file that needs no network.

    Example: `coppice study page runs/criteria-shootout`
    """
    from coppice.reports.study_page import write_study_page

    print_line(f"page: {write_study_page(folder)}")


def figures(
    folder: StudyFolder,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="FOLDER/figures if not given.")] = None,
    style: Annotated[str, typer.Option(help="paper: one column of two, serif; page: as in study.html.")] = "paper",
    formats: Annotated[str, typer.Option("--formats", help="Any of svg, pdf, png.")] = "svg,pdf",
) -> None:
    """Write every figure of a study as files.

    Example: `coppice study figures runs/criteria-shootout --style paper --out figures`
    """
    from coppice.reports.study_figures import study_figure_files

    out = folder / "figures" if out is None else out
    written = study_figure_files(folder, out, formats=[name.strip() for name in formats.split(",")], style=style)
    print_line(f"{len(written)} files in {out}")
