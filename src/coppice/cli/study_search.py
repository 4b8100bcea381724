"""``coppice study search``: ratios, criterion and precision under a budget."""

from pathlib import Path
from typing import Annotated

import typer

from coppice.cli.output import print_line


def add_commands(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(search)


def search(
    study: Annotated[str, typer.Argument(help="A study (YAML) with a section search, or the name of a shipped one.")],
    trials: Annotated[
        int | None, typer.Option(help="Trials in all, those of earlier calls included; as in the file if not given.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="Database in which machines meet: sqlite:////shared/search.db, postgresql://user@host/name."),
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder of a grid of the same recipe and system, to start from.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change the base recipe: training.epochs=50. Repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The folder; runs/NAME if not given.")] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Runs side by side, one thread each; as many as fit if not given.")
    ] = None,
) -> None:
    """Search for networks that score well on validation clips and cost little.

    One trial is a ratio for each layer, a criterion and a precision, with every fold and seed. What is beyond the
    budget is never trained. The same command goes on after a crash. The exit code is 1 where trials failed.

    Example: `coppice study search search-esc10 --from runs/criteria-shootout --set data.root=esc10-folder`
    """
    from coppice.studies.study_file import load_study

    chosen = load_study(study, changes=set_ or ())  # a mistake in it shows before torch is imported
    trials = chosen.search.trials if trials is None else trials
    from coppice.studies.search import search_study

    folder = search_study(chosen, trials=trials, storage=storage, source=source, out=out, jobs=jobs)
    print_line(f"trials: {folder / 'trials.csv'}")
    if not (folder / "study.json").exists():
        return
    from coppice.studies.found import read_study

    print_line(f"results: {folder / 'results.csv'}")
    print_line(f"page: {folder / 'study.html'}")
    if read_study(folder).failed:
        raise typer.Exit(1)
