"""``coppice study``: many runs over a grid."""

from pathlib import Path
from typing import Annotated

import typer

from coppice.cli import study_page
from coppice.cli.output import JsonFlag, print_json, print_line, print_table
from coppice.core.units import bytes_text, count_text, percent_text

app = typer.Typer(help="Many runs over a grid: run a study file, look at what has come out.", no_args_is_help=True)
study_page.add_commands(app)


@app.command()
def run(
    study: Annotated[str, typer.Argument(help="A study (YAML), or the name of a shipped one.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change the base recipe: training.epochs=50. Repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The folder; runs/NAME if not given.")] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Runs side by side, one thread each; as many as fit if not given.")
    ] = None,
    cluster: Annotated[str | None, typer.Option(help="Use a Ray cluster: auto, ray://host:10001 or host:6379.")] = None,
    share: Annotated[
        str | None,
        typer.Option(help="Where a cluster shares no folder: a URL for run folders to go through, s3://bucket/study."),
    ] = None,
) -> None:
    """Carry out a study: all points of its grid, with every fold and seed.

    What is done is not done again: the same command goes on after a crash, tries what failed once more, and does
    what the file has gained. The exit code is 1 where runs failed.

    Example: `coppice study run criteria-shootout --set data.root=esc10-folder --jobs 2`
    """
    from coppice.studies.study_file import load_study

    chosen = load_study(study, changes=set_ or ())  # a mistake in it shows before torch is imported
    from coppice.studies.engine import run_study
    from coppice.studies.found import read_study

    folder = run_study(chosen, out=out, jobs=jobs, cluster=cluster, share=share)
    print_line(f"results: {folder / 'results.csv'}")
    print_line(f"page: {folder / 'study.html'}")
    if read_study(folder).failed:
        raise typer.Exit(1)


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="The folder of a study.")],
    json: JsonFlag = False,
) -> None:
    """Show what a study has found so far: each point, averaged over its folds and seeds.

    Example: `coppice study show runs/criteria-shootout`
    """
    from coppice.studies.found import read_study

    found = read_study(folder)
    if json:
        print_json(found.to_dict())
        return
    rows = [
        [
            " · ".join(point.values.values()) or point.name,
            f"{point.done} of {point.runs}",
            percent_text(point.accuracy) if point.accuracy is not None else "–",
            f"{point.log_loss:.3f}" if point.log_loss is not None else "–",
            count_text(point.macs) if point.macs is not None else "–",
            count_text(point.params_total) if point.params_total is not None else "–",
            bytes_text(point.size_bytes) if point.size_bytes is not None else "–",
        ]
        for point in found.points
    ]
    columns = [" · ".join(found.axes) or "point", "done", "accuracy", "log-loss", "MACs", "params", "bytes"]
    print_table(f"{found.title}: means over folds and seeds, on test clips", columns, rows)
    for remark in found.remarks:
        print_line(remark)
