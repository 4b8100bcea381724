"""Progress of long work, on standard error, so that standard output stays for results."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

Advance = Callable[[int, str], None]

console = Console(stderr=True, highlight=False)


def say(message: str) -> None:
    """Print one line about what is going on, on standard error."""
    console.print(message, markup=False, emoji=False, soft_wrap=True)


@contextmanager
def progress_bar(
    description: str,
    total: int,
    *,
    after_s: float = 0.0,
    done: int = 0,
    unit: Literal["steps", "bytes"] = "steps",
) -> Iterator[Advance]:
    """Show a bar while the block runs; nothing where standard error is not a terminal.

    Parameters
    ----------
    description : str
        What is being done, such as ``"log-mel"``.
    total : int
        How many steps there are.
    after_s : float
        Show nothing for so long: work that may be done by then needs no bar.
    done : int
        How many steps were done before.
    unit : {"steps", "bytes"}
        For bytes the bar also says how many there are in a second.

    Yields
    ------
    callable
        ``advance(steps, note)``: moves the bar and replaces the note behind it.

    Examples
    --------
    >>> with progress_bar("counting", 3) as advance:
    ...     for number in range(3):
    ...         advance(1, f"at {number}")
    """
    counts: tuple[ProgressColumn, ...] = (
        (DownloadColumn(), TransferSpeedColumn()) if unit == "bytes" else (MofNCompleteColumn(),)
    )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        *counts,
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
    )
    # Without a terminal nobody watches a bar, and rich would leave an empty line for it.
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    task = bar.add_task(description, total=total, completed=done, note="")
    begun = time.monotonic()

    def advance(steps: int, note: str = "") -> None:
        bar.update(task, advance=steps, note=note)
        if not bar.live.is_started and time.monotonic() - begun >= after_s:
            bar.start()

    try:
        if not after_s:
            bar.start()
        yield advance
    finally:
        bar.stop()
