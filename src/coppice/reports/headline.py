"""The headline of a run in words and big numbers: what was cut, what it cost, what it saved."""

from dataclasses import dataclass

from coppice.core.units import bytes_text, change_text, count_text, percent_text
from coppice.reports.paired_change import PairedChange, paired_change
from coppice.reports.run_records import Prediction, RunRecord, StageRecord
from coppice.reports.wording import (
    less_text,
    ms_text,
    percent_interval_text,
    plural,
    points_interval_text,
    points_text,
    signed_interval_text,
    signed_text,
    whole_or_dash,
)


@dataclass(frozen=True)
class Tile:
    """One big number: what it is now, what it was, and the change."""

    name: str
    value: str
    before: str
    change: str
    detail: str = ""


@dataclass(frozen=True)
class Headline:
    """What stands at the top of a report.

    Attributes
    ----------
    sentence : str
        One sentence a stranger understands.
    remarks : tuple of str
        What must be said with it: what the interval allows, what the clock says.
    tiles : tuple of Tile
        The same in numbers.
    """

    sentence: str
    remarks: tuple[str, ...]
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Cut:
    """How many filters one plan (or several in a row) removed."""

    removed: int
    filters: int
    layers: int


def filters_cut(run: RunRecord, system: str) -> Cut | None:
    """Count the filters that a system removed, coupled layers included; None if it has no readable plan."""
    plans = [stage.plan for stage in run.of_system(system) if stage.plan is not None]
    if not plans:
        return None
    filters: dict[str, int] = {}
    removed: dict[str, int] = {}
    for plan in plans:
        for name, layer in plan.each_layer().items():
            filters.setdefault(name, layer.filters)
            removed[name] = removed.get(name, 0) + layer.filters - len(layer.keep)
    return Cut(
        removed=sum(removed.values()),
        filters=sum(filters.values()),
        layers=sum(count > 0 for count in removed.values()),
    )


def change_of_accuracy(run: RunRecord, before: StageRecord, after: StageRecord) -> PairedChange | None:
    """Compare two stages clip by clip on the test side; None if their predictions were not kept."""
    test_clips = {clip.clip_id for clip in run.clips if clip.side == "test"}
    recordings = {clip.clip_id: clip.recording for clip in run.clips if clip.recording}

    def on_test(stage: StageRecord) -> list[Prediction]:
        return [row for row in stage.predictions if not test_clips or row.clip_id in test_clips]

    change = paired_change(on_test(before), on_test(after), recordings)
    if change is None or after.test is None or change.clips != after.test.clips:
        return None
    return change


def run_headline(run: RunRecord) -> Headline:
    """Write the headline of a run.

    Parameters
    ----------
    run : RunRecord
        Finished or not.

    Returns
    -------
    Headline
        With as much as was measured.
    """
    before = run.unpruned
    system = run.summary.headline_system or next(iter(run.systems), None)
    after = run.last_stage(system) if system else None
    if before is None or before.test is None:
        return Headline("Nothing was evaluated on the test clips yet.", (), ())
    if system is None or after is None:
        return _unpruned_headline(run, before)
    change = change_of_accuracy(run, before, after)
    remarks = [_verdict(before, after, change)]
    remarks += _speed_remarks(run, before, after)
    return Headline(
        sentence=_sentence(run, before, after, system),
        remarks=tuple(remarks),
        tiles=_tiles(run, before, after, change),
    )


def _unpruned_headline(run: RunRecord, before: StageRecord) -> Headline:
    assert before.test is not None
    clips, correct = before.test.clips, before.test.correct
    sentence = f"The unpruned network gets {correct} of {clips} test clips right; nothing has been cut yet."
    return Headline(sentence, (), _tiles(run, before, before, None)[:1])


def _sentence(run: RunRecord, before: StageRecord, after: StageRecord, system: str) -> str:
    assert before.test is not None and after.test is not None
    cut = filters_cut(run, system)
    what = f"the {system} criterion" if cut is None else f"{cut.removed} of {cut.filters} filters ({system})"
    saved = ""
    if before.complexity and after.complexity:
        params = less_text(before.complexity.params_total, after.complexity.params_total)
        macs = less_text(before.complexity.macs, after.complexity.macs)
        saved = f" leaves a network with {params} parameters that does {macs} multiplications per clip, and it"
    else:
        saved = " leaves a smaller network that"
    b, a = before.test, after.test
    if a.clips == b.clips:
        result = f"gets {a.correct} of {a.clips} test clips right, where the unpruned one got {b.correct}"
    else:
        result = f"gets {a.correct} of {a.clips} test clips right"
    return f"Cutting {what}{saved} {result}."


def _verdict(before: StageRecord, after: StageRecord, change: PairedChange | None) -> str:
    assert before.test is not None and after.test is not None
    if change is None:
        return (
            f"Accuracy went from {percent_text(before.test.accuracy)} "
            f"(95 % interval {percent_interval_text(before.test.accuracy_interval)}) to "
            f"{percent_text(after.test.accuracy)} ({percent_interval_text(after.test.accuracy_interval)}); "
            "without the predictions of both, the interval of the change itself cannot be given."
        )
    said = (
        f"Accuracy changed by {points_text(change.accuracy_change)} percentage points "
        f"(95 % interval {points_interval_text(change.accuracy_interval)} over "
        f"{plural(change.recordings, 'recording')}; {plural(change.lost, 'clip')} lost, "
        f"{change.gained} gained)."
    )
    said += _loss_said(change)
    low, high = change.accuracy_interval
    if low <= 0 <= high:
        return said + " Zero is inside the interval of accuracy: these clips cannot tell the two networks apart."
    return said + f" Zero is outside: the {'loss' if high < 0 else 'gain'} is unlikely to be chance among recordings."


def _loss_said(change: PairedChange) -> str:
    if change.log_loss_change is None or change.log_loss_interval is None:
        return ""
    return (
        f" Log-loss changed by {signed_text(change.log_loss_change)} "
        f"({signed_interval_text(change.log_loss_interval)}; lower is better)."
    )


def _speed_remarks(run: RunRecord, before: StageRecord, after: StageRecord) -> list[str]:
    speed = realised_speed(run, before, after)
    if speed is None or run.latency is None:
        return []
    threads = run.latency.threads
    where = "" if threads is None else " on one thread" if threads == 1 else f" on {threads} threads"
    text = (
        f"Measured{where}, one clip takes {ms_text(speed.after_ms)} instead of {ms_text(speed.before_ms)} "
        f"(median): {speed.speed_up:.2f} times as fast, from {speed.mac_reduction:.2f} times fewer MACs."
    )
    if speed.speed_up < 1:
        text += " It has become slower: fewer MACs are not more speed on this engine."
    elif speed.ratio < 1:
        text += f" Speed-up ÷ MAC reduction is {speed.ratio:.2f}: this engine does not follow the MACs."
    return [text]


@dataclass(frozen=True)
class RealisedSpeed:
    """Measured speed-up beside the reduction of MACs.

    Attributes
    ----------
    speed_up : float
        Median latency before divided by after.
    mac_reduction : float
        MACs before divided by after.
    """

    before_ms: float
    after_ms: float
    speed_up: float
    mac_reduction: float

    @property
    def ratio(self) -> float:
        """Speed-up divided by MAC reduction: 1 where the time follows the MACs."""
        return self.speed_up / self.mac_reduction


def realised_speed(run: RunRecord, before: StageRecord, after: StageRecord) -> RealisedSpeed | None:
    """Compare the clock with the count; None where either was not measured."""
    old, new = run.latency_of(before), run.latency_of(after)
    if old is None or new is None or before.complexity is None or after.complexity is None:
        return None
    before_ms, after_ms = old[0].latency_ms_p50, new[0].latency_ms_p50
    if not (before_ms > 0 and after_ms > 0 and before.complexity.macs > 0 and after.complexity.macs > 0):
        return None
    return RealisedSpeed(
        before_ms=before_ms,
        after_ms=after_ms,
        speed_up=before_ms / after_ms,
        mac_reduction=before.complexity.macs / after.complexity.macs,
    )


def _tiles(run: RunRecord, before: StageRecord, after: StageRecord, change: PairedChange | None) -> tuple[Tile, ...]:
    assert before.test is not None and after.test is not None
    difference = after.test.accuracy - before.test.accuracy
    interval = change.accuracy_interval if change else None
    tiles = [
        Tile(
            name="Test accuracy",
            value=percent_text(after.test.accuracy),
            before=percent_text(before.test.accuracy),
            change=f"{points_text(difference)} points",
            detail=f"95 % interval {points_interval_text(interval)}"
            if interval
            else f"95 % interval {percent_interval_text(after.test.accuracy_interval)}",
        )
    ]
    old, new = before.complexity, after.complexity
    if old and new:
        tiles += [
            Tile(
                "Parameters",
                count_text(new.params_total),
                count_text(old.params_total),
                change_text(old.params_total, new.params_total),
                f"{whole_or_dash(new.params_total)} in all",
            ),
            Tile(
                "MACs per clip",
                count_text(new.macs),
                count_text(old.macs),
                change_text(old.macs, new.macs),
                "multiply-accumulates, a count and not a speed",
            ),
        ]
        if old.size_bytes_float16 and new.size_bytes_float16:
            tiles.append(
                Tile(
                    "Size as float16",
                    bytes_text(new.size_bytes_float16),
                    bytes_text(old.size_bytes_float16),
                    change_text(old.size_bytes_float16, new.size_bytes_float16),
                    "" if not old.size_bytes_float32 else f"unpruned in float32: {bytes_text(old.size_bytes_float32)}",
                )
            )
    speed = realised_speed(run, before, after)
    if speed:
        tiles.append(
            Tile(
                "Latency, median",
                ms_text(speed.after_ms),
                ms_text(speed.before_ms),
                change_text(speed.before_ms, speed.after_ms),
                f"{speed.speed_up:.2f} times as fast",
            )
        )
    return tuple(tiles)
