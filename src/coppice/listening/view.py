"""The terminal while somebody listens: a bar for each class, and what hearing costs."""

from collections.abc import Mapping
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from coppice.core.units import percent_text
from coppice.listening.listener import Heard, Listener
from coppice.listening.source import Source

MOST_BARS = 12
_REMARKS = {
    "silent": "silent: every sample is 0; is the microphone muted, or not allowed?",
    "clipped": "clipped: too loud for the recorder; turn it down",
    "not numbers": "samples that are NaN or infinite are taken as 0",
}


class View:
    """Live bars of the smoothed posteriors; a context manager, so that the terminal is left in order.

    Parameters
    ----------
    listener : Listener
        What hears.
    source : Source
        What it hears.
    title : str
        Shown above the bars.
    console : Console
        The terminal.
    """

    def __init__(self, listener: Listener, source: Source, *, title: str, console: Console) -> None:
        self._listener, self._source, self._title = listener, source, title
        self._heard: Heard | None = None
        self._live = Live(console=console, get_renderable=self._picture, refresh_per_second=10)

    def __enter__(self) -> "View":
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, heard: list[Heard]) -> None:
        """Show the newest window from now on."""
        if heard:
            self._heard = heard[-1]

    def _picture(self) -> RenderableType:
        listener, heard = self._listener, self._heard
        lines: list[RenderableType] = [Text(self._title, style="bold", no_wrap=True, overflow="ellipsis")]
        if heard is None:
            lines.append(Text(f"{listener.heard_s:.1f} s of the first {listener.clip_s:g} s"))
            return Group(*lines)
        load = "–" if heard.load is None else f"{heard.load:.2f}"
        lines += [
            bars(heard.smoothed, heard.label),
            Text(
                f"{heard.end_s:.1f} s · latency {heard.latency_ms:.0f} ms · load {load} · "
                f"{self._source.dropped} blocks dropped"
            ),
        ]
        if heard.remark is not None:
            lines.append(Text(_REMARKS[heard.remark], style="yellow"))
        return Group(*lines)


def bars(posteriors: Mapping[str, float], label: str) -> Table:
    """Draw posteriors as bars, that of ``label`` bold.

    Parameters
    ----------
    posteriors : mapping
        Class -> posterior. All keep their place where they are few; of more than twelve, the largest are drawn.
    label : str
        The class that is heard.

    Examples
    --------
    >>> from rich.console import Console
    >>> Console(width=40, color_system=None).print(bars({"dog": 0.9, "rain": 0.1}, "dog"))
    dog   ━━━━━━━━━━━━━━━━━━━━━━━     90.0 %
    rain  ━━╸                         10.0 %
    """
    rows = list(posteriors.items())
    if len(rows) > MOST_BARS:
        rows = sorted(rows, key=lambda row: -row[1])[:MOST_BARS]
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=30)
    table.add_column(ratio=1)
    table.add_column(justify="right", no_wrap=True)
    for name, posterior in rows:
        style = "bold" if name == label else ""
        bar = ProgressBar(total=1.0, completed=posterior)
        table.add_row(Text(name, style=style), bar, Text(percent_text(posterior), style=style))
    return table
