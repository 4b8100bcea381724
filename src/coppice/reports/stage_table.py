"""The table of stages and measures, once, for the page and for Markdown."""

from dataclasses import dataclass

from coppice.reports.headline import realised_speed
from coppice.reports.run_records import RunRecord, StageRecord
from coppice.reports.wording import (
    UNKNOWN,
    bytes_or_dash,
    count_or_dash,
    ms_text,
    number_interval_text,
    number_or_dash,
    percent_interval_text,
    percent_or_dash,
    whole_or_dash,
)


@dataclass(frozen=True)
class Cell:
    """One cell: the value, and below it in small what goes with it (an interval, a count)."""

    value: str
    small: str = ""


@dataclass(frozen=True)
class Row:
    """One stage."""

    title: str
    cells: tuple[Cell, ...]
    system: str | None = None
    headline: bool = False


@dataclass(frozen=True)
class Table:
    """Columns, rows, and the conventions without which the numbers mean nothing."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    footnotes: tuple[str, ...]
    warnings: tuple[str, ...] = ()


COLUMNS = (
    "Test accuracy",
    "Macro accuracy",
    "Log-loss",
    "Parameters",
    "Parameters, BN folded",
    "MACs",
    "Size, float32",
    "Size, float16",
    "Latency p50",
    "Latency p95",
    "Peak activations",
    "Speed-up ÷ MAC reduction",
)


def stage_table(run: RunRecord) -> Table:
    """Build the table of a run: one row per stage, a dash where nothing was measured.

    Parameters
    ----------
    run : RunRecord
        Finished or not.
    """
    before = run.unpruned
    last = run.last_stage(run.summary.headline_system) if run.summary.headline_system else None
    rows = tuple(
        Row(
            title=stage.entry.title,
            cells=_cells(run, before, stage),
            system=stage.entry.system,
            headline=last is not None and stage.entry.id == last.entry.id,
        )
        for stage in run.stages
    )
    return Table(columns=COLUMNS, rows=rows, footnotes=_footnotes(run), warnings=_warnings(run, before))


def _cells(run: RunRecord, before: StageRecord | None, stage: StageRecord) -> tuple[Cell, ...]:
    test, counts = stage.test, stage.complexity
    scores = (
        (
            Cell(percent_or_dash(test.accuracy), f"{percent_interval_text(test.accuracy_interval)}"),
            Cell(percent_or_dash(test.macro_accuracy), percent_interval_text(test.macro_accuracy_interval)),
            Cell(number_or_dash(test.log_loss, 3), number_interval_text(test.log_loss_interval)),
        )
        if test
        else (Cell(UNKNOWN),) * 3
    )
    sizes = (
        (
            Cell(whole_or_dash(counts.params_total)),
            Cell(whole_or_dash(counts.params_bn_folded)),
            Cell(count_or_dash(counts.macs)),
            Cell(bytes_or_dash(counts.size_bytes_float32), _stored(counts.stored_as, "float32")),
            Cell(bytes_or_dash(counts.size_bytes_float16), _stored(counts.stored_as, "float16")),
        )
        if counts
        else (Cell(UNKNOWN),) * 5
    )
    times = run.latency_of(stage)
    note = "" if times is None or times[1] is stage else "as before"
    p50, p95 = (times[0].latency_ms_p50, times[0].latency_ms_p95) if times else (None, None)
    speed = realised_speed(run, before, stage) if before is not None else None
    if speed is not None and speed.mac_reduction == 1:
        speed = None  # nothing was cut, so there is nothing to realise
    return (
        *scores,
        *sizes,
        Cell(ms_text(p50), note),
        Cell(ms_text(p95)),
        Cell(bytes_or_dash(counts.peak_activation_bytes if counts else None)),
        Cell(f"{speed.ratio:.2f}", f"×{speed.speed_up:.2f} ÷ ×{speed.mac_reduction:.2f}") if speed else Cell(UNKNOWN),
    )


def _stored(stored_as: str | None, column: str) -> str:
    return "stored so" if stored_as == column else ""


def _footnotes(run: RunRecord) -> tuple[str, ...]:
    tests = [stage.test for stage in run.stages if stage.test]
    counts = [stage.complexity for stage in run.stages if stage.complexity]
    notes = []
    if tests:
        test = tests[0]
        over = f" of {test.recordings} recordings" if test.recordings else ""
        notes.append(f"All scores: {test.clips} test clips{over}, never used to choose anything.")
        notes.append(f"Small figures below a score: {test.interval or '95 % bootstrap interval'}.")
        notes.append("Macro accuracy: mean of the accuracies of the classes, each class counting the same.")
        eps = f", probabilities clipped at {test.log_loss_eps:g}" if test.log_loss_eps else ""
        notes.append(f"Log-loss: mean negative log of the probability given to the right class, in nats{eps}.")
    if counts:
        shape = counts[0].input_shape
        clip = f" (input {'×'.join(map(str, shape))})" if shape else ""
        notes.append(
            "Parameters: all of them, the running statistics of batch normalisation included; “BN folded”: "
            "after batch normalisation is folded into the convolutions, as it runs on a device."
        )
        notes.append(f"MACs: {counts[0].macs_convention or 'multiply-accumulates'}{clip}. A count of work.")
        notes.append("Sizes: parameters alone at 4 or 2 bytes each; 1 kB = 1000 B. “Stored so”: as in the file.")
        notes.append("Peak activations: the most memory that intermediate results need at any one moment, in float32.")
    if run.latency is not None:
        parts = [
            f"{run.latency.threads} thread{'s' if run.latency.threads != 1 else ''}" if run.latency.threads else "",
            f"batch of {run.latency.batch}" if run.latency.batch else "",
            f"{run.latency.repeats} repeats" if run.latency.repeats else "",
            run.latency.runtime or "",
            run.latency.processor or "",
            run.latency.how or "",
        ]
        notes.append("Latency: median (p50) and 95th percentile (p95); " + ", ".join(p for p in parts if p) + ".")
        notes.append("“As before”: numbers are only stored in fewer bits; arithmetic stays float32 and takes as long.")
        notes.append("Speed-up ÷ MAC reduction: how much of the saved work arrives as saved time; 1 is all of it.")
    return tuple(notes)


def _warnings(run: RunRecord, before: StageRecord | None) -> tuple[str, ...]:
    if before is None:
        return ()
    short = []
    for system in run.systems:
        timed = [s for s in run.of_system(system) if s.latency is not None]
        speed = realised_speed(run, before, timed[-1]) if timed else None
        if speed is not None and speed.ratio < 1:
            pace = f"{speed.speed_up:.2f} times as fast" + (" (slower)" if speed.speed_up < 1 else "")
            short.append(f"{system}: {speed.mac_reduction:.2f} times fewer MACs, but only {pace}")
    if not short:
        return ()
    return (
        "The clock does not follow the count. " + "; ".join(short) + ". Engines work on channels in blocks, so "
        "a filter less is not always time less: choose by measured latency, not by MACs.",
    )
