"""The tables of a study's page, as texts: fronts, pairs, failed runs."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from coppice.core.units import bytes_text, percent_text
from coppice.reports.study_measures import Cost, Score
from coppice.reports.study_pairs import Comparison, Pair, p_text, verdict
from coppice.reports.study_points import StudyPoints
from coppice.reports.wording import (
    UNKNOWN,
    ms_text,
    number_interval_text,
    percent_interval_text,
    points_interval_text,
    points_text,
    signed_interval_text,
    signed_text,
    whole_or_dash,
)


@dataclass(frozen=True)
class FrontRow:
    """A point on a front; ``runs`` tells whether it has runs to look at."""

    point: str
    score: str
    interval: str
    cost: str
    share: str
    done: str
    runs: bool


@dataclass(frozen=True)
class FrontTable:
    """One front; ``key`` is its place among the choices."""

    key: str
    title: str
    score: str
    cost: str
    rows: tuple[FrontRow, ...]


@dataclass(frozen=True)
class PairRow:
    """Two values of an axis."""

    pair: str
    mean: str
    interval: str
    p: str
    corrected: str
    n: str
    runs: str
    verdict: str
    differ: bool


@dataclass(frozen=True)
class PairTable:
    """All pairs of an axis; ``key`` is its place among the choices."""

    key: str
    title: str
    verdict: str
    rows: tuple[PairRow, ...]


@dataclass(frozen=True)
class Failure:
    """A reason, and the runs that failed for it."""

    reason: str
    count: int
    runs: tuple[str, ...]


def front_table(points: StudyPoints, score: Score, cost: Cost, key: str) -> FrontTable:
    """List the points on one front, the cheapest first."""
    frame = points.frame
    own = frame.loc[frame["unpruned"].astype(bool), cost.field]
    unpruned = float(own.iloc[0]) if len(own) and pd.notna(own.iloc[0]) else None
    rows = []
    for row in points.on_front(score, cost).to_dict("records"):
        low, high = row[f"{score.field}_low"], row[f"{score.field}_high"]
        known = pd.notna(low) and not (row["unpruned"] and score.field.endswith("_change"))
        rows.append(
            FrontRow(
                point=row["point"],
                score=_score_text(score, row[score.field]),
                interval=_interval_text(score, (low, high)) if known else UNKNOWN,
                cost=_cost_text(cost, row[cost.field]),
                share=percent_text(row[cost.field] / unpruned) if unpruned else UNKNOWN,
                done=f"{row['done']}" if row["done"] == row["runs"] else f"{row['done']} of {row['runs']}",
                runs=not row["unpruned"],
            )
        )
    return FrontTable(key, f"{score.name} against {cost.name}", score.name, cost.name, tuple(rows))


def pair_table(comparison: Comparison, key: str) -> PairTable:
    """List the pairs of a comparison."""
    where = "" if comparison.where is None else f", at {' '.join(comparison.where)}"
    title = f"{comparison.axis}{where}: differences in {comparison.score.name}, first minus second"
    return PairTable(
        key, title, verdict(comparison), tuple(_pair_row(pair, comparison.score) for pair in comparison.pairs)
    )


def _pair_row(pair: Pair, score: Score) -> PairRow:
    share = score.scale == 100
    said = "no run of one has a partner" if not pair.runs else "not tested"
    if pair.p_corrected is not None:
        ahead = pair.first if (pair.test.mean > 0) == score.higher else pair.second
        said = f"{ahead} is better" if pair.differ else "no difference shown"
    interval = UNKNOWN
    if pair.test.interval is not None:
        interval = (points_interval_text if share else signed_interval_text)(pair.test.interval)
    return PairRow(
        pair=f"{pair.first} − {pair.second}",
        mean=UNKNOWN if not pair.runs else points_text(pair.test.mean) if share else signed_text(pair.test.mean),
        interval=interval,
        p=_p(pair.test.p_value),
        corrected=UNKNOWN if pair.p_corrected is None else p_text(pair).removeprefix("p").removeprefix(" = ").strip(),
        n=str(pair.test.n),
        runs=f"{pair.runs:,}",
        verdict=said,
        differ=pair.differ,
    )


def _p(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def failures(failed: pd.DataFrame) -> tuple[Failure, ...]:
    """Group failed runs by their reason, the most frequent first; none is left out."""
    found = []
    for reason, part in failed.groupby("reason", sort=False):
        names = (
            f"{point}, fold {fold or 'of the recipe'}, seed {seed}"
            for point, fold, seed in zip(part["point"], part["fold"], part["seed"], strict=True)
        )
        found.append(Failure(str(reason) or "no reason was recorded", len(part), tuple(names)))
    return tuple(sorted(found, key=lambda failure: -failure.count))


def pair_notes(unit: str, folds: int, overlap: float) -> Iterable[str]:
    """Say how pairs are tested, and what that takes for granted."""
    yield (
        f"Runs are partners if fold, seed and all other axes agree. Their differences are averaged within each {unit}, "
        f"and the n {unit}s are what is tested: seeds and points share the clips of a fold, and more of them make no "
        "new evidence about other clips."
        if unit == "fold"
        else "Runs are partners if seed and all other axes agree; the n seeds are what is tested. There is one fold "
        "only: what is shown holds for its clips."
    )
    if overlap:
        yield (
            "Test: the corrected resampled t-test (Nadeau & Bengio 2003), two-sided, n − 1 degrees of freedom, with "
            f"the variance of the mean taken as (1/n + 1/{folds - 1}) s², where 1/{folds - 1} is test clips to other "
            f"clips if the {folds} folds are all. It assumes differences between folds that are about normal. With few "
            "folds only large differences can be shown."
        )
    else:
        yield "Test: paired t-test over seeds, two-sided; it assumes differences that are about normal."
    yield (
        "Holm's correction (1979) over the pairs of one table: the chance that even one of its shown differences is "
        "false is at most 5 %. Tables are not corrected for each other; intervals are of single pairs, uncorrected."
    )
    yield "“No difference shown” does not say that there is none; the interval says how large it may still be."


def _score_text(score: Score, value: float) -> str:
    if score.field == "accuracy":
        return percent_text(value)
    if score.field == "accuracy_change":
        return points_text(value)
    return signed_text(value) if score.field.endswith("_change") else f"{value:.3f}"


def _interval_text(score: Score, ends: tuple[float, float]) -> str:
    if score.field == "accuracy":
        return percent_interval_text(ends)
    if score.field == "accuracy_change":
        return points_interval_text(ends)
    return signed_interval_text(ends) if score.field.endswith("_change") else number_interval_text(ends, 3)


def _cost_text(cost: Cost, value: float) -> str:
    if cost.field == "size_bytes":
        return bytes_text(value)
    if cost.field == "latency_ms_p50":
        return ms_text(value)
    return f"{value:.3g}" if cost.field == "energy_kwh" else whole_or_dash(value)
