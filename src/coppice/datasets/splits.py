"""Train, validation and test: by folds, officially or drawn; a recording stands on one side only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from coppice.core.errors import CoppiceError
from coppice.core.seeds import numpy_stream
from coppice.datasets.clips import Dataset

STRATEGIES = ("auto", "folds", "official", "drawn")
PARTS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """Which clips are learnt from, which choose, and which are only measured.

    Parameters
    ----------
    train, validation, test : ndarray of int64
        Sorted row numbers of the clip table; no clip is in two of them.
    how : str
        One sentence: how it was made.
    unused : int
        Clips in none of them.
    """

    train: Int[np.ndarray, "train"]
    validation: Int[np.ndarray, "validation"]
    test: Int[np.ndarray, "test"]
    how: str
    unused: int = 0

    def describe(self) -> str:
        """Say the sizes and how the split was made, in one line."""
        sizes = ", ".join(f"{len(getattr(self, part))} {part}" for part in PARTS)
        return f"{sizes} clips" + (f", {self.unused} unused" if self.unused else "") + f"; {self.how}"


def split_dataset(
    dataset: Dataset,
    *,
    strategy: str = "auto",
    test_fold: int | None = None,
    validation_fold: int | None = None,
    test_fraction: float = 0.2,
    validation_fraction: float = 0.2,
    seed: int = 0,
) -> Split:
    """Divide the clips into train, validation and test.

    Parameters
    ----------
    dataset : Dataset
        What to divide.
    strategy : {"auto", "folds", "official", "drawn"}
        ``folds``: one fold tests, one validates. ``official``: the ``split`` column; validation is drawn
        from its train part. ``drawn``: stratified by class. ``auto``: folds where ``test_fold`` is given,
        else official where there is a ``split`` column, else folds where every clip has one, else drawn.
    test_fold : int or None
        The fold that tests; None: the last.
    validation_fold : int or None
        The fold that validates; None: the one before ``test_fold``, cyclically.
    test_fraction : float in (0, 1)
        Of all clips. Only for what is drawn.
    validation_fraction : float in [0, 1)
        Of what the test leaves, where it is drawn. 0, with every strategy: no clips validate and all of them train,
        so that nothing can be chosen any more.
    seed : int
        For what is drawn.

    Returns
    -------
    Split

    Raises
    ------
    CoppiceError
        If a recording would stand on two sides, a class would be missing on one, or a setting cannot be.

    Examples
    --------
    >>> import pandas as pd
    >>> from pathlib import Path
    >>> from coppice.datasets.clips import make_dataset
    >>> table = pd.DataFrame({"file": [f"/s/{n}.wav" for n in range(20)], "label": ["dog", "rain"] * 10})
    >>> split_dataset(make_dataset("mine", table, root=Path("/s"))).describe()
    '12 train, 4 validation, 4 test clips; drawn with seed 0, stratified by class, whole recordings'
    """
    if strategy not in STRATEGIES:
        raise CoppiceError(f"split strategy is {strategy!r}; give {', '.join(map(repr, STRATEGIES))}.")
    if not 0 < test_fraction < 1:
        raise CoppiceError(f"test_fraction is {test_fraction}; give a number between 0 and 1, such as 0.2.")
    if not 0 <= validation_fraction < 1:
        raise CoppiceError(
            f"validation_fraction is {validation_fraction}; give a number between 0 and 1, such as 0.2, or 0 to "
            "train on all clips but those of the test."
        )
    chosen = _strategy(dataset, test_fold) if strategy == "auto" else strategy
    if chosen == "folds":
        split = _by_folds(dataset, test_fold, validation_fold, validates=validation_fraction > 0)
    elif test_fold is not None or validation_fold is not None:
        raise CoppiceError(f"split strategy {chosen!r} uses no folds; leave out test_fold and validation_fold.")
    elif chosen == "official":
        split = _official(dataset, validation_fraction, seed)
    else:
        split = _drawn(dataset, test_fraction, validation_fraction, seed)
    _verify(dataset, split)
    return split


def subset(
    indices: Sequence[int] | Int[np.ndarray, "given"], dataset: Dataset, *, fraction: float, seed: int
) -> Int[np.ndarray, "kept"]:
    """Keep a fraction of some clips: stratified by class, whole recordings, at least one of each class.

    Parameters
    ----------
    indices : sequence of int
        Row numbers of the clip table, such as ``split.train``.
    dataset : Dataset
        Whose rows they are.
    fraction : float in (0, 1]
        How much of each class to keep.
    seed : int
        Which recordings. With the same seed a smaller subset lies within a larger one.

    Returns
    -------
    ndarray of int64
        Sorted.

    Raises
    ------
    CoppiceError
        If the fraction is outside (0, 1].

    Examples
    --------
    >>> import pandas as pd
    >>> from pathlib import Path
    >>> from coppice.datasets.clips import make_dataset
    >>> table = pd.DataFrame({"file": [f"/s/{n}.wav" for n in range(20)], "label": ["dog", "rain"] * 10})
    >>> len(subset(range(20), make_dataset("mine", table, root=Path("/s")), fraction=0.3, seed=0))
    6
    """
    if not 0 < fraction <= 1:
        raise CoppiceError(f"fraction is {fraction}; give a number above 0 and up to 1, such as 0.25.")
    rows = np.asarray(indices, dtype=np.int64)
    counts, groups = _counts(dataset, rows)
    order = numpy_stream(seed, "subset").permutation(len(counts))
    keep = np.zeros(len(counts), dtype=bool)
    for label in np.flatnonzero(counts.sum(axis=0)):
        of_class = order[counts[order, label] > 0]
        reached = np.cumsum(counts[of_class, label])
        keep[of_class[: 1 + int(np.argmin(np.abs(reached - fraction * reached[-1])))]] = True
    return np.sort(rows[keep[groups]])


def _strategy(dataset: Dataset, test_fold: int | None) -> str:
    if test_fold is not None:
        return "folds"
    if dataset.clips["split"].notna().any():
        return "official"
    return "folds" if dataset.clips["fold"].notna().all() else "drawn"


def _by_folds(dataset: Dataset, test_fold: int | None, validation_fold: int | None, *, validates: bool) -> Split:
    folds = sorted(int(fold) for fold in dataset.clips["fold"].dropna().unique())
    needed, what = (3, "train, validation and test") if validates else (2, "train and test")
    if len(folds) < needed:
        raise CoppiceError(
            f"dataset {dataset.name!r} has {len(folds)} folds; {what} need {needed}. "
            "Give a fold column, or strategy 'drawn'."
        )
    test = folds[-1] if test_fold is None else test_fold
    known = ", ".join(map(str, folds))
    if test not in folds:
        raise CoppiceError(f"test_fold is {test}; the folds of {dataset.name!r} are {known}.")
    validation = folds[folds.index(test) - 1] if validation_fold is None else validation_fold
    if not validates and validation_fold is not None:
        raise CoppiceError(
            f"validation_fraction is 0 but validation_fold is {validation_fold}; leave out one of the two."
        )
    if validation not in folds or validation == test:
        raise CoppiceError(f"validation_fold is {validation}; give a fold of {known} other than the test fold {test}.")
    numbers = dataset.clips["fold"].fillna(min(folds) - 1).to_numpy(dtype=np.int64)
    listed = dataset.clips["fold"].notna().to_numpy()
    held_back = listed & (numbers == validation) & validates
    return Split(
        train=np.flatnonzero(listed & (numbers != test) & ~held_back),
        validation=np.flatnonzero(held_back),
        test=np.flatnonzero(listed & (numbers == test)),
        how=f"fold {test} tests, {f'fold {validation}' if validates else 'none'} validates",
        unused=int((~listed).sum()),
    )


def _official(dataset: Dataset, validation_fraction: float, seed: int) -> Split:
    part = dataset.clips["split"].fillna("").to_numpy(dtype=str)
    rows = np.flatnonzero(part == "train")
    if not len(rows) or not (part == "test").any():
        raise CoppiceError(
            f"dataset {dataset.name!r} has {len(rows)} clips of split 'train' and "
            f"{(part == 'test').sum()} of 'test'; mark both, or use strategy 'drawn'."
        )
    counts, groups = _counts(dataset, rows)
    drawn, how = np.zeros(len(counts), dtype=bool), "none validates"
    if validation_fraction:
        _enough(dataset, counts, needed=2, where="in the train part, which gives train and validation")
        drawn = _draw(counts, ~drawn, validation_fraction, seed, "validation", leave=1)
        how = f"validation drawn from its train part with seed {seed}, grouped"
    return Split(
        train=rows[~drawn[groups]],
        validation=rows[drawn[groups]],
        test=np.flatnonzero(part == "test"),
        how=f"the dataset's own test part; {how}",
        unused=int((part == "").sum()),
    )


def _drawn(dataset: Dataset, test_fraction: float, validation_fraction: float, seed: int) -> Split:
    rows = np.arange(len(dataset))
    counts, groups = _counts(dataset, rows)
    needed, where = (3, "for train, validation and test") if validation_fraction else (2, "for train and test")
    _enough(dataset, counts, needed=needed, where=where)
    free = np.ones(len(counts), dtype=bool)
    test = _draw(counts, free, test_fraction, seed, "test", leave=needed - 1)
    validation = np.zeros(len(counts), dtype=bool)
    if validation_fraction:
        validation = _draw(counts, free & ~test, validation_fraction, seed, "validation", leave=1)
    return Split(
        train=rows[~(test | validation)[groups]],
        validation=rows[validation[groups]],
        test=rows[test[groups]],
        how=f"drawn with seed {seed}, stratified by class, whole recordings"
        + ("" if validation_fraction else "; none validates"),
    )


def _counts(
    dataset: Dataset, rows: Int[np.ndarray, "rows"]
) -> tuple[Int[np.ndarray, "recordings labels"], Int[np.ndarray, "rows"]]:
    """Count the clips of each recording and class; return also the recording of each row."""
    recordings = dataset.clips["recording"].to_numpy(dtype=str)[rows]
    names, groups = np.unique(recordings, return_inverse=True)
    counts = np.zeros((len(names), len(dataset.labels)), dtype=np.int64)
    np.add.at(counts, (groups, dataset.targets[rows]), 1)
    return counts, groups


def _enough(dataset: Dataset, counts: Int[np.ndarray, "recordings labels"], *, needed: int, where: str) -> None:
    for label, of_class in zip(dataset.labels, counts.T, strict=True):
        recordings, clips = int((of_class > 0).sum()), int(of_class.sum())
        if recordings < needed:
            raise CoppiceError(
                f"class {label!r} has {recordings} recording{'s' * (recordings != 1)} "
                f"({clips} clip{'s' * (clips != 1)}) {where}; it needs at least {needed}. "
                "Add recordings or remove the class."
            )


def _draw(
    counts: Int[np.ndarray, "recordings labels"],
    free: Bool[np.ndarray, "recordings"],
    fraction: float,
    seed: int,
    purpose: str,
    *,
    leave: int,
) -> Bool[np.ndarray, "recordings"]:
    """Draw whole recordings until each class has come as near to the fraction of its clips as they allow.

    Every class gets at least one recording and keeps ``leave`` recordings, where its recordings have no
    other class.
    """
    order = numpy_stream(seed, "split", purpose).permutation(len(counts))
    drawn = np.zeros(len(counts), dtype=bool)
    left = ((counts > 0) & free[:, None]).sum(axis=0)
    # Classes with few recordings first: they have the least choice.
    for label in np.argsort(left, kind="stable"):
        goal = fraction * counts[free, label].sum()
        of_class = [row for row in order if free[row] and counts[row, label]]
        smallest_last = sorted(of_class, key=lambda row: -counts[row, label])
        for row, forced in [(row, False) for row in of_class] + [(row, True) for row in reversed(smallest_last)]:
            got = counts[drawn, label].sum()
            nearer = abs(got + counts[row, label] - goal) < abs(got - goal)
            present = counts[row] > 0
            if drawn[row] or (left[present] <= leave).any() or not (nearer or (forced and got == 0)):
                continue
            drawn[row] = True
            left[present] -= 1
    return drawn


def _verify(dataset: Dataset, split: Split) -> None:
    side: dict[str, str] = {}
    recordings = dataset.clips["recording"].to_numpy(dtype=str)
    for part in PARTS:
        rows = getattr(split, part)
        if part == "validation" and not len(rows):
            continue
        for recording in np.unique(recordings[rows]).tolist():
            if side.setdefault(recording, part) != part:
                raise CoppiceError(
                    f"recording {recording!r} stands in both {side[recording]} and {part} ({split.how}); "
                    "give all clips of one recording the same fold or split."
                )
        present = np.bincount(dataset.targets[rows], minlength=len(dataset.labels))
        for label, number in zip(dataset.labels, present.tolist(), strict=True):
            if number == 0:
                total = int((dataset.clips["label"] == label).sum())
                raise CoppiceError(
                    f"class {label!r} ({total} clips in all) has none in {part} ({split.how}); "
                    "every class must be in train, validation and test."
                )
