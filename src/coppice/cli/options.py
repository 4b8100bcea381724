"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

_SOURCES = "folder, a CSV/TSV file, esc10, esc50 or synthetic."

Source = Annotated[str, typer.Option("--data", help=f"A {_SOURCES}")]
LookedAt = Annotated[
    str | None,
    typer.Option("--data", help=f"For criteria that look at clips, drawn from the training part: a {_SOURCES}"),
]
ClipCount = Annotated[int, typer.Option("--clips", help="With --data: how many clips criteria look at.")]
RefittedOn = Annotated[
    str | None, typer.Option("--data", help=f"For least_squares, drawn from the training part: a {_SOURCES}")
]
RefittedCount = Annotated[int, typer.Option("--clips", help="With --data: how many clips layers are refitted on.")]
Root = Annotated[Path | None, typer.Option(help="Where the recordings of a named dataset or table lie.")]
TestFold = Annotated[int | None, typer.Option(help="The fold to test on.")]
BadClips = Annotated[str, typer.Option(help="refuse or skip clips that cannot be used.")]
Epochs = Annotated[int, typer.Option(help="At most so many epochs.")]
Patience = Annotated[int, typer.Option(help="Stop after so many epochs without a better validation log-loss.")]
Seed = Annotated[int, typer.Option(help="Seed.")]
Criterion = Annotated[str, typer.Option("--criterion", "-c", help="How filters are ranked.")]
Layers = Annotated[list[str] | None, typer.Option("--layer", help="Only this layer. Repeatable.")]
Devices = Annotated[
    int, typer.Option(help="GPUs that share every batch of a fit; without a GPU, processes that divide the cores.")
]
NumNodes = Annotated[
    int,
    typer.Option(
        help="Machines that share every batch; each runs this command with MASTER_ADDR, MASTER_PORT and NODE_RANK set."
    ),
]
