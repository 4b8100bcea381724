"""Posteriors in files: ``.npy`` arrays and tables with a column for each class."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float64

from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors, whole_file
from coppice.datasets.csv_table import USUAL_NAMES, read_table

SUM_TOLERANCE = 1e-3
SUFFIXES = (".npy", ".csv", ".tsv")
_NAMES = (*USUAL_NAMES["clip_id"], *USUAL_NAMES["file"])
_NO_CLASS = (*_NAMES, "label", "predicted", "scene_label", "recording", "device", "fold")
_MOST_BYTES = 4 << 30


@dataclass(frozen=True, eq=False)
class StoredPosteriors:
    """Posteriors of one network as a file has them.

    Attributes
    ----------
    values : ndarray of float64, shape (clips, classes)
        Rows that sum to 1.
    labels : tuple of str or None
        The classes in the order of the columns; an array does not say.
    clips : tuple of str or None
        Names of the clips, where the file has them.
    truth : tuple of str or None
        The right label of each clip, where the file has a column ``label``.
    """

    values: Float64[np.ndarray, "clips classes"]
    labels: tuple[str, ...] | None = None
    clips: tuple[str, ...] | None = None
    truth: tuple[str, ...] | None = None


def read_stored(path: str | Path) -> StoredPosteriors:
    r"""Read posteriors from a file.

    Parameters
    ----------
    path : str or Path
        A ``.npy`` array of shape (clips, classes), or a CSV or TSV table with a column for each class: those that begin
        with ``p_`` where there are any, such as ``coppice evaluate --predictions`` writes, else all that hold nothing
        else. ``clip_id`` or ``filename`` names clips, ``label`` says what is right.

    Raises
    ------
    CoppiceError
        If it cannot be read, or the rows are no posteriors but, for example, logits.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "p.csv"
    >>> _ = file.write_text("clip_id,label,p_bus,p_tram\na,bus,0.75,0.25\n")
    >>> read_stored(file).labels
    ('bus', 'tram')
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        return StoredPosteriors(checked(_array(path), str(path)))
    if path.suffix.lower() not in SUFFIXES:
        raise CoppiceError(f"{path} is no file of posteriors; give {', '.join(SUFFIXES)}.")
    table = read_table(path)
    names = [str(name) for name in table]
    columns = [name for name in names if name.startswith("p_")] or [name for name in names if name not in _NO_CLASS]
    labels = tuple(name.removeprefix("p_") for name in columns)
    values = np.empty((len(table), len(columns)))
    for index, name in enumerate(columns):
        values[:, index] = pd.to_numeric(table[name], errors="coerce")
        if np.isnan(values[:, index]).any():
            row = int(np.isnan(values[:, index]).argmax())
            raise CoppiceError(
                f"{path}: {table[name].iloc[row]!r} on line {row + 2} is no posterior of {labels[index]!r}; write "
                "numbers, and call columns of something else clip_id or label."
            )
    clips = next((tuple(table[name]) for name in _NAMES if name in names), None)
    truth = tuple(table["label"]) if "label" in names else None
    return StoredPosteriors(checked(values, str(path)), labels, clips, truth)


def checked(values: np.ndarray, name: str) -> Float64[np.ndarray, "clips classes"]:
    """Return posteriors in float64, once they are found to be posteriors.

    Raises
    ------
    CoppiceError
        If there are fewer than two classes or no clips, a value is no number, or a row does not sum to 1.

    Examples
    --------
    >>> checked(np.array([[2.0, -1.0]]), "C1")
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: C1: row 1 looks like logits (from -1 to 2), not posteriors; give their softmax.
    """
    if values.ndim != 2 or values.dtype.kind not in "fiu" or not len(values) or values.shape[1] < 2:
        raise CoppiceError(
            f"{name} holds an array of shape {values.shape} and type {values.dtype}; posteriors are numbers of shape "
            "(clips, classes), with two classes or more."
        )
    values = values.astype(np.float64)
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise CoppiceError(f"{name}: row {int(bad.argmax()) + 1} holds a value that is not a number; compute it again.")
    outside = ((values < 0) | (values > 1 + SUM_TOLERANCE)).any(axis=1)
    if outside.any():
        row = int(outside.argmax())
        low, high = values[row].min(), values[row].max()
        raise CoppiceError(
            f"{name}: row {row + 1} looks like logits (from {low:.4g} to {high:.4g}), not posteriors; give their "
            "softmax."
        )
    sums = values.sum(axis=1)
    off = np.abs(sums - 1) > SUM_TOLERANCE
    if off.any():
        row = int(off.argmax())
        raise CoppiceError(f"{name}: row {row + 1} sums to {sums[row]:.4g}, and posteriors of a clip sum to 1.")
    return values


def write_stored(path: str | Path, values: Float64[np.ndarray, "clips classes"], like: StoredPosteriors) -> Path:
    """Write posteriors of the clips and classes that ``like`` has, as ``.npy`` or as a table with 17 digits.

    Raises
    ------
    CoppiceError
        If the name ends otherwise, or the disk refuses.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        with whole_file(path) as temporary, temporary.open("wb") as handle:
            np.save(handle, values, allow_pickle=False)
        return path
    if path.suffix.lower() not in SUFFIXES:
        raise CoppiceError(f"posteriors cannot be written to {path}; give a name that ends in {', '.join(SUFFIXES)}.")
    labels = like.labels or tuple(f"class_{index}" for index in range(values.shape[1]))
    table = pd.DataFrame(values, columns=[f"p_{label}" for label in labels])
    for name, column in (("label", like.truth), ("clip_id", like.clips)):
        if column is not None:
            table.insert(0, name, column)
    with whole_file(path) as temporary:
        table.to_csv(
            temporary,
            index=False,
            float_format="%.17g",
            sep="\t" if path.suffix.lower() == ".tsv" else ",",
        )
    return path


def _array(path: Path) -> np.ndarray:
    with plain_os_errors("read the posteriors", path):
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise CoppiceError(f"{path} is larger than 4 GiB; that is no array of posteriors.")
        try:
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        except (ValueError, EOFError, SyntaxError) as error:
            raise CoppiceError(
                f"{path} is not a whole array of numbers ({' '.join(str(error).split())[:120]}); save it with "
                "numpy.save."
            ) from error
