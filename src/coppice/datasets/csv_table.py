"""A table of clips in a CSV or TSV file, beside a folder of sound files."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.files import plain_os_errors
from coppice.datasets.clips import COLUMNS, REQUIRED, Dataset, make_dataset

# Names under which published tables keep our columns. The first that occurs is taken.
USUAL_NAMES = {
    "clip_id": ("clip_id",),
    "file": ("file", "filename", "file_name", "path", "filepath"),
    "label": ("label", "category", "scene_label", "class"),
    "start_s": ("start_s", "onset"),
    "duration_s": ("duration_s",),
    "fold": ("fold",),
    "recording": ("recording", "src_file", "identifier"),
    "device": ("device", "source_label"),
    "city": ("city",),
    "location": ("location", "identifier"),
    "split": ("split",),
}
MAX_TABLE_BYTES = 1 << 30


def open_csv(table: str | Path, *, root: str | Path | None = None, columns: Mapping[str, str] | None = None) -> Dataset:
    r"""Read a CSV or TSV table of clips.

    Parameters
    ----------
    table : str or Path
        UTF-8 text with a header line; columns separated by tabs, commas or semicolons.
    root : str, Path or None
        Folder that the file names are relative to; None: the folder of the table, or its ``audio`` folder.
    columns : mapping or None
        Our column name → the table's, such as ``{"label": "category", "recording": "src_file"}``. Columns
        that are not mapped are found by their usual names.

    Returns
    -------
    Dataset
        In the order of the table.

    Raises
    ------
    CoppiceError
        If the table cannot be read, a column is missing, or files it names are.

    Examples
    --------
    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> for name in ("a.wav", "b.wav"):
    ...     (root / name).touch()
    >>> _ = (root / "clips.csv").write_text("filename;category\na.wav;dog\nb.wav;rain\n")
    >>> open_csv(root / "clips.csv").labels
    ('dog', 'rain')
    """
    table = Path(table).resolve()
    given = read_table(table)
    mapped = pd.DataFrame({ours: given[theirs] for ours, theirs in _match(given, table, columns or {}).items()})
    names = mapped["file"].str.strip()
    if (names == "").any():
        row = int((names == "").to_numpy().argmax())
        raise CoppiceError(f"{table}: line {row + 2} names no file.")
    folder = _audio_root(table, names.iloc[0]) if root is None else Path(root).resolve()
    mapped["file"] = [str(folder / name) for name in names]
    check_present(mapped["file"].tolist(), of=str(table), root=folder)
    return make_dataset(table.stem, mapped, root=folder)


def read_table(path: Path) -> pd.DataFrame:
    r"""Read a CSV or TSV file as text; the header says which separator it uses.

    Parameters
    ----------
    path : Path
        UTF-8, with or without a byte order mark.

    Returns
    -------
    DataFrame of str
        Empty cells are empty strings.

    Raises
    ------
    CoppiceError
        If it cannot be read, is not UTF-8, has no rows, or a line has more cells than the header.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "t.tsv"
    >>> _ = file.write_text("filename\tfold\na.wav\t1\n")
    >>> read_table(file).to_dict("records")
    [{'filename': 'a.wav', 'fold': '1'}]
    """
    with plain_os_errors("read the table", path):
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise CoppiceError(f"{path} is larger than 1 GiB; that is not a table of clips.")
        data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CoppiceError(f"{path} is not UTF-8 text; save the table as UTF-8 CSV.") from error
    header = text.split("\n", 1)[0]
    separator = max("\t,;", key=header.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except csv.Error as error:
        raise CoppiceError(f"{path} is not a table: {error}.") from error
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    if len(rows) < 2:
        raise CoppiceError(f"{path} has no rows below its header; list at least one clip.")
    names = [name.strip() for name in rows[0]]
    if len(set(names)) < len(names):
        raise CoppiceError(f"{path} has two columns of one name in its header: {', '.join(map(repr, names))}.")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) > len(names):
            raise CoppiceError(f"{path}: line {number} has {len(row)} cells, the header {len(names)}.")
    padded = [row + [""] * (len(names) - len(row)) for row in rows[1:]]
    return pd.DataFrame(padded, columns=names, dtype=str)


def check_present(files: list[str], *, of: str, root: Path) -> None:
    """Refuse a table that names files that are not there: the first few, and how many.

    Raises
    ------
    CoppiceError
        If a file is missing.
    """
    missing = [file for file in dict.fromkeys(files) if not Path(file).is_file()]
    if missing:
        shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise CoppiceError(
            f"{of} names {len(missing)} files that are not there: {shown}; they were looked for below {root}."
        )


def _match(given: pd.DataFrame, table: Path, columns: Mapping[str, str]) -> dict[str, str]:
    """Return our column name → the table's."""
    found = {}
    for ours, theirs in columns.items():
        if ours not in COLUMNS:
            raise CoppiceError(f"columns maps {ours!r}, which is no clip column. {did_you_mean(ours, COLUMNS)}")
        if theirs not in given.columns:
            raise CoppiceError(f"{table} has no column {theirs!r}. {did_you_mean(theirs, given.columns)}")
        found[ours] = theirs
    for ours, usual in USUAL_NAMES.items():
        names = [name for name in usual if name in given.columns]
        if ours not in found and names:
            found[ours] = names[0]
    for ours in REQUIRED:
        if ours not in found:
            raise CoppiceError(
                f"{table} has no column for the {ours}: "
                f"its columns are {', '.join(map(repr, given.columns))}; "
                f"say which one it is, as columns: {{{ours}: <its name>}}."
            )
    return found


def _audio_root(table: Path, first: str) -> Path:
    beside = table.parent
    return beside / "audio" if not (beside / first).exists() and (beside / "audio" / first).exists() else beside
