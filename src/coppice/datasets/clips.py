"""The clip table: one row per labelled stretch of sound, and what the dataset says of it."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int

from coppice.audio.decode import probe
from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.progress import progress_bar

REQUIRED = ("file", "label")
OPTIONAL_TEXT = ("device", "city", "location", "split")
COLUMNS = ("clip_id", "file", "start_s", "duration_s", "label", "fold", "recording", *OPTIONAL_TEXT)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A clip table with its name and where it comes from.

    Parameters
    ----------
    name : str
        Such as ``"esc10"``.
    clips : DataFrame
        One row per clip, index 0 … n-1, with the columns ``clip_id`` (str, unique), ``file`` (str, absolute
        path), ``start_s`` (float), ``duration_s`` (float; NaN: to the end of the file), ``label`` (str),
        ``fold`` (Int64 or NA), ``recording`` (str; pieces of one recording share it), ``device``, ``city``,
        ``location`` (str or NA) and ``split`` ("train", "test" or NA).
    labels : tuple of str
        The classes, sorted.
    root : Path
        The folder the files lie in.
    synthetic : bool
        True for computed sounds.
    note : str
        Licence and attribution, or how the sounds were made.
    ignored : int
        Files left out because their extension is not that of a sound file.
    problems : tuple of (file, sentence)
        Filled in by :func:`check_files`.
    """

    name: str
    clips: pd.DataFrame
    labels: tuple[str, ...]
    root: Path
    synthetic: bool = False
    note: str = ""
    ignored: int = 0
    problems: tuple[tuple[str, str], ...] = field(default=())

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def targets(self) -> Int[np.ndarray, "clips"]:
        """The class of every clip as an index into ``labels``."""
        return pd.Categorical(self.clips["label"], categories=list(self.labels)).codes.astype(np.int64)


def make_dataset(
    name: str,
    table: pd.DataFrame,
    *,
    root: Path,
    labels: Sequence[str] | None = None,
    synthetic: bool = False,
    note: str = "",
    ignored: int = 0,
) -> Dataset:
    """Complete and check a clip table.

    Parameters
    ----------
    name : str
        Name of the dataset.
    table : DataFrame
        At least ``file`` and ``label``; what is missing is filled in: ``clip_id`` from the path below
        ``root`` (and the start), ``start_s`` 0, ``duration_s`` NaN, ``recording`` the path without its
        extension, the others NA.
    root : Path
        Folder the files lie in.
    labels : sequence of str or None
        The classes allowed; None: those that occur.
    synthetic, note, ignored
        See :class:`Dataset`.

    Returns
    -------
    Dataset

    Raises
    ------
    CoppiceError
        If there are no clips or fewer than two classes, or a label, id, time, fold or split cannot be.

    Examples
    --------
    >>> table = pd.DataFrame({"file": ["/s/a.wav", "/s/b.wav"], "label": ["dog", "rain"]})
    >>> dataset = make_dataset("mine", table, root=Path("/s"))
    >>> dataset.labels, dataset.clips["recording"].tolist(), dataset.targets
    (('dog', 'rain'), ['a', 'b'], array([0, 1]))
    """
    if len(table) == 0:
        raise CoppiceError(f"dataset {name!r} at {root} holds no clips.")
    clips = pd.DataFrame(index=pd.RangeIndex(len(table)))
    given = table.reset_index(drop=True)
    clips["file"] = given["file"].astype(str)
    clips["start_s"] = _times(given, "start_s", 0.0)
    clips["duration_s"] = _times(given, "duration_s", math.nan)
    clips["label"] = _labels(given["label"], name, labels)
    clips["fold"] = _folds(given)
    start = f"{root.as_posix()}/"
    # As it mostly is, and quick; anything else is taken apart.
    plain = [file.startswith(start) and "//" not in file and "/." not in file for file in clips["file"]]
    below = [
        file[len(start) :] if is_plain else _below(file, root)
        for file, is_plain in zip(clips["file"], plain, strict=True)
    ]
    clips["clip_id"] = given["clip_id"].astype(str) if "clip_id" in given else _clip_ids(below, clips["start_s"])
    said = _text(given["recording"]) if "recording" in given else pd.Series(pd.NA, clips.index, dtype="string")
    stems = [str(Path(below[row]).with_suffix("")) if missing else "" for row, missing in enumerate(said.isna())]
    clips["recording"] = said.fillna(pd.Series(stems, index=clips.index, dtype="string")).astype(str)
    for column in OPTIONAL_TEXT:
        clips[column] = _text(given[column]) if column in given else pd.Series(pd.NA, clips.index, dtype="string")
    clips = clips[list(COLUMNS)]
    _check(clips, name)
    return Dataset(
        name=name,
        clips=clips,
        labels=tuple(sorted(set(labels or clips["label"]))),
        root=root,
        synthetic=synthetic,
        note=note,
        ignored=ignored,
    )


def check_files(dataset: Dataset, *, threads: int = 8) -> Dataset:
    """Read the header of every file; return the dataset with its ``problems``.

    Parameters
    ----------
    dataset : Dataset
        What to check.
    threads : int
        Files looked at at the same time.

    Returns
    -------
    Dataset
        The same, with one (file, sentence) for each file that cannot be used. Damage that only decoding
        shows (NaN, silence) is found when features are computed.
    """
    files = sorted(set(dataset.clips["file"]))

    def problem(file: str) -> tuple[str, str] | None:
        try:
            probe(file)
        except CoppiceError as error:
            return file, str(error)
        return None

    found = []
    with ThreadPoolExecutor(threads) as pool, progress_bar("checking files", len(files)) as advance:
        for result in pool.map(problem, files):
            found += [result] if result else []
            advance(1, f"{len(found)} unreadable" if found else "")
    return replace(dataset, problems=tuple(found))


def _text(column: pd.Series) -> pd.Series:
    """Strings without surrounding blanks; empty ones are NA, whole numbers have no decimal point."""
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    text = column.astype("string").str.strip()
    return text.mask(text == "", pd.NA)


def _labels(column: pd.Series, name: str, allowed: Sequence[str] | None) -> pd.Series:
    text = _text(column)
    if text.isna().any():
        row = int(np.flatnonzero(text.isna())[0])
        raise CoppiceError(f"dataset {name!r}: clip {row + 1} has no label; give every clip one.")
    if allowed is not None:
        for label in sorted(set(text)):
            if label not in allowed:
                raise CoppiceError(f"dataset {name!r}: label {label!r} is unknown. {did_you_mean(label, allowed)}")
    return text.astype(str)


def _times(given: pd.DataFrame, column: str, default: float) -> pd.Series:
    if column not in given:
        return pd.Series(default, index=given.index)
    values = pd.to_numeric(given[column], errors="coerce")
    # An empty cell is allowed, text is not; a stretch has a start from 0 and a length above 0.
    empty = _text(given[column]).isna()
    least = values >= 0 if column == "start_s" else values > 0
    bad = ~empty & ~(least & (values < math.inf))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise CoppiceError(f"{column} of clip {row + 1} is {given[column].iloc[row]!r}; give seconds.")
    return values.fillna(default).astype(float)


def _folds(given: pd.DataFrame) -> pd.Series:
    if "fold" not in given:
        return pd.Series(pd.NA, index=given.index, dtype="Int64")
    text = _text(given["fold"])
    values = pd.to_numeric(text, errors="coerce")
    bad = text.notna() & ~(values % 1 == 0).fillna(False)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise CoppiceError(f"fold of clip {row + 1} is {text.iloc[row]!r}; give a whole number or leave it empty.")
    return values.astype("Int64")


def _below(file: str, root: Path) -> str:
    path = Path(file)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _clip_ids(below: list[str], starts: pd.Series) -> list[str]:
    if len(set(below)) == len(below):
        return below
    return [f"{path}@{start:g}" for path, start in zip(below, starts, strict=True)]


def _check(clips: pd.DataFrame, name: str) -> None:
    twice = clips["clip_id"][clips["clip_id"].duplicated()]
    if len(twice):
        raise CoppiceError(f"dataset {name!r}: clip {twice.iloc[0]!r} is listed twice; list every clip once.")
    kinds = sorted(set(clips["label"]))
    if len(kinds) < 2:
        raise CoppiceError(f"dataset {name!r} has one class only, {kinds[0]!r}; a classifier needs at least 2.")
    strange = clips["split"].dropna()[~clips["split"].dropna().isin(["train", "test"])]
    if len(strange):
        raise CoppiceError(f"split is {strange.iloc[0]!r}; give 'train', 'test' or leave it empty.")
