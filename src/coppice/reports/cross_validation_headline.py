"""The headline and the stage table of a cross-validation."""

from coppice.core.units import bytes_text, change_text, count_text, percent_text
from coppice.reports.cross_validation_records import CrossValidationRecord, Mean, MeanStage, Spread
from coppice.reports.headline import Headline, Tile
from coppice.reports.stage_table import Cell, Row, Table
from coppice.reports.wording import (
    UNKNOWN,
    bytes_or_dash,
    less_text,
    number_interval_text,
    number_or_dash,
    percent_interval_text,
    percent_or_dash,
    points_interval_text,
    points_text,
    signed_interval_text,
    signed_text,
    whole_or_dash,
)

COLUMNS = (
    "Test accuracy",
    "Change of accuracy (points)",
    "Macro accuracy",
    "Log-loss",
    "Change of log-loss",
    "Parameters",
    "Parameters, BN folded",
    "MACs",
    "Size, float32",
    "Size, float16",
    "KB at 16 bit, BN folded",
)


def cross_validation_headline(record: CrossValidationRecord) -> Headline:
    """Write the headline: the paired change over folds and seeds, with its interval."""
    before = record.unpruned
    system = record.summary.headline_system or next(iter(record.systems), None)
    after = record.last_stage(system)
    if before is None or before.accuracy is None:
        return Headline("Nothing was evaluated on the test clips yet.", (), ())
    runs = f"{len(record.summary.runs)} runs"
    if after is None or after.accuracy is None:
        return Headline(
            f"Over {runs} the unpruned network classifies {percent_text(before.accuracy.mean)} of the test "
            "clips correctly; nothing has been cut and measured yet.",
            (),
            (),
        )
    saved = "leaves a smaller network that"
    if before.params_total and after.params_total and before.macs and after.macs:
        params = less_text(before.params_total.mean, after.params_total.mean)
        macs = less_text(before.macs.mean, after.macs.mean)
        saved = f"leaves a network with {params} parameters that does {macs} multiplications per clip, and it"
    sentence = (
        f"Over {runs}, cutting filters ({system}) {saved} classifies {percent_text(after.accuracy.mean)} "
        f"of the test clips correctly, where the unpruned one reached {percent_text(before.accuracy.mean)}."
    )
    return Headline(sentence, (_verdict(after),), _tiles(before, after))


def _verdict(after: MeanStage) -> str:
    change = after.accuracy_change
    if change is None:
        return "The change on the same folds and seeds was not recorded, so nothing is said about its size."
    said = f"On the same folds and seeds, accuracy changed by {points_text(change.mean)} percentage points"
    if change.interval is None:
        return said + "; its interval is not known."
    said += f" (95 % interval {points_interval_text(change.interval)}"
    said += f", {change.n} pairs)." if change.n else ")."
    low, high = change.interval
    if low <= 0 <= high:
        return said + " Zero is inside the interval: these runs cannot tell the two networks apart."
    return said + f" Zero is outside: the {'loss' if high < 0 else 'gain'} is unlikely to be chance."


def _tiles(before: MeanStage, after: MeanStage) -> tuple[Tile, ...]:
    assert before.accuracy is not None and after.accuracy is not None
    change = after.accuracy_change
    detail = f"95 % interval {percent_interval_text(after.accuracy.interval)}"
    if change is not None and change.interval is not None:
        detail = f"95 % interval {points_interval_text(change.interval)}"
    difference = change.mean if change is not None else after.accuracy.mean - before.accuracy.mean
    tiles = [
        Tile(
            "Test accuracy, mean",
            percent_text(after.accuracy.mean),
            percent_text(before.accuracy.mean),
            f"{points_text(difference)} points",
            detail,
        )
    ]
    for name, old, new, write in (
        ("Parameters", before.params_total, after.params_total, count_text),
        ("MACs per clip", before.macs, after.macs, count_text),
        ("Size as float16", before.size_bytes_float16, after.size_bytes_float16, bytes_text),
    ):
        if old is not None and new is not None:
            span = (
                ""
                if new.min is None or new.max is None or new.min == new.max
                else f"{write(new.min)} to {write(new.max)}"
            )
            tiles.append(Tile(name, write(new.mean), write(old.mean), change_text(old.mean, new.mean), span))
    return tuple(tiles)


def cross_validation_table(record: CrossValidationRecord) -> Table:
    """Build the table of a cross-validation: one row per stage, means over folds and seeds."""
    last = record.last_stage(record.summary.headline_system)
    rows = tuple(
        Row(
            title=stage.title,
            cells=_cells(stage),
            system=stage.system,
            headline=last is not None and stage.id == last.id,
        )
        for stage in record.summary.stages
    )
    footnotes = (
        f"Every value is the mean over {len(record.summary.runs)} runs (folds and seeds).",
        f"Small figures: {record.summary.interval or '95 % interval'}; for counts, smallest and largest.",
        "Change: the same fold and seed with and without the cut, paired.",
        "Macro accuracy: mean of the accuracies of the classes. Log-loss in nats.",
        "Parameters: all of them; “BN folded”: after batch normalisation is folded into the convolutions.",
        "MACs: multiply-accumulates for one clip, a count of work and not of time.",
        "Sizes: parameters alone at 4 or 2 bytes each; 1 kB = 1000 B, but 1 KB = 1024 B in the last column, which is "
        "how the DCASE 2021 report counts.",
    )
    return Table(columns=COLUMNS, rows=rows, footnotes=footnotes)


def _cells(stage: MeanStage) -> tuple[Cell, ...]:
    def share(value: Mean | None) -> Cell:
        return Cell(percent_or_dash(value.mean), percent_interval_text(value.interval)) if value else Cell(UNKNOWN)

    def number(value: Mean | None) -> Cell:
        return Cell(number_or_dash(value.mean, 3), number_interval_text(value.interval)) if value else Cell(UNKNOWN)

    def signed(value: Mean | None) -> Cell:
        if value is None:
            return Cell(UNKNOWN)
        return Cell(signed_text(value.mean), signed_interval_text(value.interval) if value.interval else "")

    def count(value: Spread | None, *, write: str) -> Cell:
        if value is None:
            return Cell(UNKNOWN)
        text = {"whole": whole_or_dash, "bytes": bytes_or_dash, "kib": _kib}[write]
        same = value.min is None or value.max is None or value.min == value.max
        return Cell(text(value.mean), "" if same else f"{text(value.min)} to {text(value.max)}")

    change = stage.accuracy_change
    changed = Cell(UNKNOWN)
    if change is not None:
        interval = points_interval_text(change.interval) if change.interval else ""
        changed = Cell(points_text(change.mean), interval)
    return (
        share(stage.accuracy),
        changed,
        share(stage.macro_accuracy),
        number(stage.log_loss),
        signed(stage.log_loss_change),
        count(stage.params_total, write="whole"),
        count(stage.params_bn_folded, write="whole"),
        count(stage.macs, write="whole"),
        count(stage.size_bytes_float32, write="bytes"),
        count(stage.size_bytes_float16, write="bytes"),
        count(stage.size_bytes_folded_float16, write="kib"),
    )


def _kib(size_bytes: float | None) -> str:
    return UNKNOWN if size_bytes is None else f"{size_bytes / 1024:.2f}"
