"""One verb for every dataset: a known name, a folder or a table."""

from collections.abc import Mapping
from pathlib import Path

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.files import plain_os_errors
from coppice.datasets.clips import Dataset
from coppice.datasets.csv_table import open_csv
from coppice.datasets.esc import open_esc
from coppice.datasets.folder import open_folder
from coppice.datasets.synthetic import open_synthetic
from coppice.datasets.tau import open_tau
from coppice.datasets.tau_archives import DEVELOPMENT, NAMES

SOURCES = ("esc10", "esc50", *DEVELOPMENT, "synthetic", "folder", "csv")
TABLE_SUFFIXES = (".csv", ".tsv", ".txt")


def open_dataset(
    source: str | Path,
    *,
    root: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    clips_per_class: int = 40,
    duration_s: float = 2.0,
    seed: int = 0,
    subset: int | None = None,
) -> Dataset:
    """Open a dataset by its name or place.

    Parameters
    ----------
    source : str or Path
        ``"esc10"``, ``"esc50"``, ``"tau2020-mobile"``, ``"tau2022-mobile"``, ``"synthetic"``; ``"folder"`` or
        ``"csv"`` with ``root``; or a path: a folder is read by :func:`~coppice.datasets.folder.open_folder`, a
        table by :func:`~coppice.datasets.csv_table.open_csv`.
    root : str, Path or None
        Where the sounds are; for ``"csv"`` the table itself.
    columns : mapping or None
        For tables: our column name → the table's.
    clips_per_class, duration_s, seed
        For ``"synthetic"``: how many sounds, how long, which.
    subset : int or None
        For ``"tau2022-mobile"``: per cent of the training clips (:func:`~coppice.datasets.tau.open_tau`).

    Returns
    -------
    Dataset

    Raises
    ------
    CoppiceError
        If the name is unknown, the path is not there, or what stands there cannot be used.

    Examples
    --------
    >>> open_dataset("esc1O")
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: dataset 'esc1O' is unknown, and no file or folder has that name. Did
    you mean 'esc10'?
    """
    name = str(source)
    if columns and name in SOURCES and name != "csv":
        raise CoppiceError(f"columns is for tables; dataset {name!r} has its own.")
    if name in NAMES:
        return open_tau(name, root=root, subset=subset)
    if subset is not None:
        raise CoppiceError(f"subset is for tau2022-mobile; leave it out for {name!r}.")
    if name in ("esc10", "esc50"):
        return open_esc(name, root=root)
    if name == "synthetic":
        return open_synthetic(root=root, clips_per_class=clips_per_class, duration_s=duration_s, seed=seed)
    if name in ("folder", "csv"):
        if root is None:
            raise CoppiceError(f"dataset {name!r} needs root: the {'table' if name == 'csv' else 'folder'} to read.")
        return open_folder(root) if name == "folder" else open_csv(root, columns=columns)
    path = Path(source)
    with plain_os_errors("open the dataset", path):
        is_folder, is_file = path.is_dir(), path.is_file()
    if is_folder:
        if columns:
            raise CoppiceError(f"columns is for tables; {path} is a folder.")
        return open_folder(path)
    if is_file and path.suffix.lower() in TABLE_SUFFIXES:
        return open_csv(path, root=root, columns=columns)
    if is_file:
        raise CoppiceError(f"{path} is neither a folder nor a table ({', '.join(TABLE_SUFFIXES)}).")
    raise CoppiceError(
        f"dataset {name!r} is unknown, and no file or folder has that name. {did_you_mean(name, SOURCES)}"
    )
