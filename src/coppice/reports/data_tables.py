"""What the data of a run were, as small tables."""

from collections import Counter
from dataclasses import dataclass

from coppice.reports.run_records import RunRecord
from coppice.reports.wording import UNKNOWN, percent_or_dash, points_text

SIDES = ("train", "validation", "test", "unused")


@dataclass(frozen=True)
class PlainTable:
    """A caption, column headings, and rows whose first cell is the row's heading."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def data_tables(run: RunRecord) -> tuple[PlainTable, ...]:
    """Count clips and recordings by side, class and fold, from what the run kept."""
    tables = []
    if run.data is not None:
        clips, recordings = run.data.clips, run.data.recordings
        rows = [
            (side, f"{getattr(clips, side):,}", f"{getattr(recordings, side):,}" if recordings else UNKNOWN)
            for side in SIDES
            if side != "unused" or clips.unused
        ]
        tables.append(PlainTable("Clips and recordings per side", ("side", "clips", "recordings"), tuple(rows)))
    if run.clips:
        order = list(run.data.labels) if run.data else []
        labels = list(dict.fromkeys([*order, *sorted({clip.label for clip in run.clips})]))
        tables.append(_by_side(run, "Clips per class", "class", labels, [clip.label for clip in run.clips]))
        folds = [clip.fold for clip in run.clips]
        if any(folds):
            names = sorted({fold for fold in folds if fold}, key=lambda name: (len(name), name))
            tables.append(_by_side(run, "Clips per fold", "fold", names, [fold or "" for fold in folds]))
    return tuple(tables)


def _by_side(run: RunRecord, caption: str, heading: str, names: list[str], keys: list[str]) -> PlainTable:
    counts = Counter(zip(keys, (clip.side for clip in run.clips), strict=True))
    sides = [side for side in SIDES if any(clip.side == side for clip in run.clips)]
    rows = [(name, *(f"{counts[name, side]:,}" if counts[name, side] else UNKNOWN for side in sides)) for name in names]
    return PlainTable(caption, (heading, *sides), tuple(rows))


def device_table(run: RunRecord) -> PlainTable | None:
    """Compare accuracy per recording device before and after; None where no device is known."""
    after = run.last_stage(run.systems[0]) if run.systems else None
    if run.unpruned is None or run.unpruned.test is None or not run.unpruned.test.per_device:
        return None
    rows = []
    for device, old in run.unpruned.test.per_device.items():
        new = (after.test.per_device or {}).get(device) if after and after.test else None
        known = new is not None and new.accuracy is not None and old.accuracy is not None
        change = points_text(new.accuracy - old.accuracy) if known else UNKNOWN  # type: ignore[union-attr,operator]
        now = percent_or_dash(new.accuracy) if new else UNKNOWN
        rows.append((device, f"{old.clips:,}", percent_or_dash(old.accuracy), now, change))
    columns = ("device", "test clips", "unpruned", "pruned", "change (points)")
    return PlainTable("Accuracy per recording device", columns, tuple(rows))
