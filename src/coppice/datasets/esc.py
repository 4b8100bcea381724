"""ESC-10 and ESC-50 (Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015)."""

from pathlib import Path

import pandas as pd

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.progress import say
from coppice.datasets.cache import cache_folder
from coppice.datasets.clips import Dataset, make_dataset
from coppice.datasets.csv_table import check_present, read_table
from coppice.datasets.download import download
from coppice.datasets.extract import extract_zip

URL = "https://github.com/karoldvl/ESC-50/archive/master.zip"
# An archive that is made anew for each release of the compressor: a hint, not a proof.
MD5_HINT = "7771e4b9d86d0945acce719c7a59305a"
NOTES = {
    "esc10": "ESC-10 by K. J. Piczak, Creative Commons Attribution 3.0.",
    "esc50": "ESC-50 by K. J. Piczak, Creative Commons Attribution-NonCommercial 3.0.",
}
_COLUMNS = ("filename", "fold", "category", "src_file")
_FULL = {"esc10": (400, 10), "esc50": (2000, 50)}


def open_esc(name: str, *, root: str | Path | None = None) -> Dataset:
    """Read ESC-10 or ESC-50.

    Parameters
    ----------
    name : {"esc10", "esc50"}
        ESC-10: 400 clips of 10 classes; ESC-50: 2000 of 50. Five folds; ``src_file`` is the recording.
    root : str, Path or None
        A folder with ``meta/esc50.csv`` and ``audio/`` (as ESC-50 is published), ``<name>.csv`` and
        ``audio/``, or ``<name>.csv`` beside the sounds. None: the cache folder; ESC-50 (600 MB) is
        downloaded where it is not there.

    Returns
    -------
    Dataset
        In the order of the table.

    Raises
    ------
    CoppiceError
        If the folder has another layout, files are missing, or the download fails.
    """
    if name not in NOTES:
        raise CoppiceError(f"{name!r} is no ESC dataset. {did_you_mean(name, NOTES)}")
    if root is not None:
        return _read(name, Path(root).resolve())
    place = cache_folder() / "ESC-50-master"
    if not place.exists():
        fetch_esc50(place)
    return _read(name, place)


def fetch_esc50(place: Path, *, url: str = URL) -> None:
    """Download ESC-50 and unpack it; check that all 2000 clips are there.

    Parameters
    ----------
    place : Path
        Folder to appear, with ``meta/`` and ``audio/``.
    url : str
        Of the zip file.

    Raises
    ------
    CoppiceError
        If there is no network, the archive is damaged, or clips are missing.
    """
    by_hand = f"fetch {url} by hand, unpack it, and give its folder as root"
    archive = download(url, place.parent / "ESC-50-master.zip", md5_hint=MD5_HINT, by_hand=by_hand)
    say(f"unpacking {archive}")
    extract_zip(archive, place, check=_check_published)
    archive.unlink()


def _check_published(folder: Path) -> None:
    dataset = _read("esc50", folder)
    found = len(dataset), len(dataset.labels)
    if found != _FULL["esc50"]:
        raise CoppiceError(f"the archive holds {found[0]} clips of {found[1]} classes instead of 2000 of 50.")


def _read(name: str, root: Path) -> Dataset:
    table_path, audio = _layout(name, root)
    table = read_table(table_path)
    for column in _COLUMNS:
        if column not in table.columns:
            raise CoppiceError(f"{table_path} has no column {column!r}; it is not the table of {name}.")
    if name == "esc10" and "esc10" in table.columns:
        table = table[table["esc10"].str.strip().str.lower() == "true"].reset_index(drop=True)
    files = [str(audio / filename) for filename in table["filename"]]
    check_present(files, of=str(table_path), root=audio)
    clips = pd.DataFrame(
        {
            "clip_id": table["filename"],
            "file": files,
            "label": table["category"],
            "fold": table["fold"],
            "recording": table["src_file"],
        }
    )
    return make_dataset(name, clips, root=root, note=NOTES[name])


def _layout(name: str, root: Path) -> tuple[Path, Path]:
    """Find the table and the folder of the sounds."""
    for table in (
        root / f"{name}.csv",
        root / "meta" / f"{name}.csv",
        root / "meta" / "esc50.csv",
        root / "esc50.csv",
    ):
        if table.is_file():
            return table, (root / "audio" if (root / "audio").is_dir() else root)
    raise CoppiceError(
        f"{root} does not hold {name}: give a folder with meta/esc50.csv and audio/, "
        f"with {name}.csv and audio/, or with {name}.csv beside the sounds."
    )
