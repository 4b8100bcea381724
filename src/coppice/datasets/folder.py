"""A folder of recordings, one sub-folder per class."""

import os
from pathlib import Path

import pandas as pd

from coppice.audio.decode import EXTENSIONS
from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors
from coppice.datasets.clips import Dataset, make_dataset


def open_folder(root: str | Path) -> Dataset:
    """Read a folder whose sub-folders are the classes.

    Parameters
    ----------
    root : str or Path
        ``root/<class>/…/<recording>.wav``; sub-folders of a class are searched, too. Hidden files are left
        alone; files without the extension of a sound file are counted in ``ignored``.

    Returns
    -------
    Dataset
        Each file is one clip and one recording; the clips stand in the order of their paths.

    Raises
    ------
    CoppiceError
        If the folder cannot be read, holds no class folders, a class folder holds no sound, or there is one
        class.

    Examples
    --------
    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> for label in ("dog", "rain"):
    ...     (root / label).mkdir()
    ...     (root / label / "a.wav").touch()
    >>> open_folder(root).clips[["clip_id", "label"]].values.tolist()
    [['dog/a.wav', 'dog'], ['rain/a.wav', 'rain']]
    """
    root = Path(root).resolve()
    with plain_os_errors("read the folder", root):
        entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
        classes = [entry for entry in entries if entry.is_dir()]
    if not classes:
        what = f"it holds {len(entries)} files and no folders" if entries else "it is empty"
        raise CoppiceError(f"{root} has no class folders: {what}; make one sub-folder per class.")
    rows: list[tuple[str, str]] = []
    ignored = len(entries) - len(classes)
    for folder in classes:
        files = _files_below(folder)
        sounds = [file for file in files if file.suffix.lower() in EXTENSIONS]
        ignored += len(files) - len(sounds)
        rows += [(str(file), folder.name) for file in sounds]
        if not sounds:
            raise CoppiceError(
                f"class folder {folder} holds no sound files ({', '.join(EXTENSIONS)}); fill or remove it."
            )
    return make_dataset(root.name, pd.DataFrame(rows, columns=["file", "label"]), root=root, ignored=ignored)


def _files_below(folder: Path) -> list[Path]:
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        with plain_os_errors("read the folder", Path(error.filename or folder)):
            raise error

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(found)
