"""TAU Urban Acoustic Scenes 2020 and 2022 Mobile, the datasets of DCASE Task 1 (Heittola, Mesaros and Virtanen, 2020).

Every zip file of these datasets unpacks into one folder with ``audio/``, ``meta.csv`` (filename, scene_label,
identifier, source_label) and ``evaluation_setup/`` (``fold1_train.csv``, ``fold1_test.csv``, ``fold1_evaluate.csv``);
all tables are separated by tabs. The identifier is the city and the number of a location.
"""

import os
from dataclasses import replace
from pathlib import Path

import pandas as pd

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.files import plain_os_errors
from coppice.core.progress import say
from coppice.core.units import percent_text
from coppice.datasets.archive import Collection
from coppice.datasets.cache import cache_folder
from coppice.datasets.clips import Dataset, make_dataset
from coppice.datasets.csv_table import read_table
from coppice.datasets.download import download
from coppice.datasets.fetch import DOWNLOADS, RECORDS, absent_archives, fetch_collection, tidy_downloads
from coppice.datasets.tau_archives import DEVELOPMENT, NAMES, SCENES, SUBSETS, SUBSETS_URL, collection, record_of
from coppice.datasets.zenodo import ZENODO, listed_archives

_META = ("filename", "scene_label", "identifier", "source_label")
# Fewer missing files than this are holes, which bad_clips is for; more are a download that is not complete.
_HOLES = 0.01


def open_tau(name: str, *, root: str | Path | None = None, subset: int | None = None) -> Dataset:
    """Read a development dataset of TAU Urban Acoustic Scenes Mobile, or an excerpt of it.

    Parameters
    ----------
    name : {"tau2020-mobile", "tau2022-mobile"}
        23,035 clips of ten seconds, or the same in 230,350 clips of one second.
    root : str, Path or None
        The dataset's folder, which holds ``meta.csv`` and ``audio/``, or the one above it; None: the cache folder.
    subset : {5, 10, 25, 50, 100} or None
        Per cent of the training clips, as drawn for DCASE 2024 and 2025 (``tau2022-mobile`` only); the others are not
        used. None: all.

    Returns
    -------
    Dataset
        In the order of ``meta.csv``, with device and city; ``recording`` and ``location`` are the identifier, so that
        what is drawn from the training part is whole locations. ``split`` is the official one; a folder with a part
        of the dataset and without ``evaluation_setup/`` has none. Single files that are missing stay in the table, for
        ``bad_clips`` to refuse or to list.

    Raises
    ------
    CoppiceError
        If the folder is another one, the download is not complete, a table names clips that are not there, a label is
        none of the ten scenes, or the subset has no clip of a scene.
    """
    published = _development(name)
    place = _find(published, Path(root).resolve() if root is not None else cache_folder())
    absent = absent_archives(published, place)
    if absent:
        raise CoppiceError(
            f"{place} is half downloaded: {len(absent)} of {len(published.archives)} archives are not unpacked "
            f"({_some(absent)}); {_finish(published, place)}."
        )
    meta = read_table(place / "meta.csv")
    _check_meta(meta, place / "meta.csv", name)
    files = meta["filename"].str.strip()
    _check_files(published, place, files)
    split, excerpt = _official(published, place, files, subset)
    if subset is not None:
        _check_classes(split, meta["scene_label"].str.strip(), _subset_table(place, subset))
    clips = pd.DataFrame(
        {
            "clip_id": files,
            "file": [f"{place}/{file}" for file in files],
            "label": meta["scene_label"],
            "recording": meta["identifier"],
            "location": meta["identifier"],
            "city": meta["identifier"].str.strip().str.rsplit("-", n=1).str[0],
            "device": meta["source_label"],
            "split": split,
        }
    )
    part = f" An excerpt: {len(clips)} of its {published.clips} clips." if excerpt else ""
    return make_dataset(name, clips, root=place, labels=SCENES, note=published.note + part)


def fetch_tau(name: str, root: str | Path | None = None, *, record: int | None = None) -> tuple[Path, int]:
    """Download and unpack a TAU dataset (:func:`coppice.datasets.fetch.fetch_collection`); resumes where it stopped.

    Parameters
    ----------
    name : str
        One of :data:`coppice.datasets.tau_archives.NAMES`.
    root : str, Path or None
        The folder that gets the dataset's folder; None: the cache folder.
    record : int or None
        The Zenodo record to take it from; None: the one that is known. What is not known of a record's archives
        beforehand (for 2024 nothing is) is asked of Zenodo.

    Returns
    -------
    folder : Path
        The dataset's folder.
    clips : int
        Sound files that its tables list.

    Raises
    ------
    CoppiceError
        As there; if the record is not known, or holds something else; and if files that the tables list are in none
        of the archives.
    """
    if name not in NAMES:
        raise CoppiceError(f"there is no dataset {name!r} to download. {did_you_mean(name, NAMES)}")
    published = collection(name)
    place = Path(root).resolve() if root is not None else cache_folder()
    listed = _complete_by_hand(published, place / published.folder)
    if listed:
        say(f"{name} is there, at {place / published.folder}: all of the {listed} files that its tables list")
    else:
        fetch_collection(_with_archives(published, record, place), place)
    place = place / published.folder
    if name == "tau2022-mobile":
        for per_cent in SUBSETS:
            _fetch_subset(place, per_cent)
        tidy_downloads(place.parent)
    files = _listed(place)
    missing = _missing(place, files)
    if len(missing) > _HOLES * len(files):
        raise CoppiceError(f"{len(missing)} files that {place} lists came in none of its archives: {_some(missing)}.")
    return place, len(files)


def _with_archives(published: Collection, record: int | None, root: Path) -> Collection:
    """Return a dataset with all that can be known of its archives."""
    known = record_of(published.name)
    if record is None and all(archive.size_bytes and archive.md5 for archive in published.archives) and known:
        return published
    number = record or known
    if number is None:
        raise CoppiceError(
            f"the Zenodo record of {published.name} is not known here; {published.page} leads to it, and "
            f"`coppice data get {published.name} --record NUMBER` fetches it."
        )
    try:
        archives = listed_archives(number, published.folder, root / DOWNLOADS)
    except CoppiceError as error:
        if record is not None or not published.archives:
            raise
        reason = str(error).rstrip(".")
        say(f"Zenodo does not say what its record {number} holds ({reason}); going on with what is known of it")
        return published
    return replace(published, archives=archives, page=f"{ZENODO}/records/{number}")


def _development(name: str) -> Collection:
    if name not in DEVELOPMENT:
        if name in NAMES:
            raise CoppiceError(f"{name!r} has no labels to learn or measure with; `coppice classify` its audio folder.")
        raise CoppiceError(
            f"there is no dataset {name!r} of TAU Urban Acoustic Scenes. {did_you_mean(name, DEVELOPMENT)}"
        )
    return collection(name)


def _finish(published: Collection, place: Path) -> str:
    # Under another name the folder would not be found, and all of it fetched again.
    if place.name != published.folder:
        return f"call the folder {published.folder} and finish with `coppice data get {published.name}` above it"
    return f"finish with `coppice data get {published.name} --root {place.parent}`"


def _find(published: Collection, root: Path) -> Path:
    with plain_os_errors("open the dataset", root):
        for place in (root, root / published.folder):
            if (place / "meta.csv").is_file():
                return place
        begun = (root / DOWNLOADS).is_dir() or (root / published.folder).is_dir()
    inside = root / published.folder
    if begun:
        raise CoppiceError(
            f"{inside} is half downloaded: there is no {inside / 'meta.csv'}; {_finish(published, inside)}."
        )
    raise CoppiceError(
        f"{root} does not hold {published.name}: there is neither {root / 'meta.csv'} nor {inside / 'meta.csv'}; "
        f"give the folder {published.folder} or the one above it as root, or fetch it with "
        f"`coppice data get {published.name} --root {root}`."
    )


def _check_meta(meta: pd.DataFrame, table: Path, name: str) -> None:
    for column in _META:
        if column not in meta.columns:
            raise CoppiceError(f"{table} has no column {column!r}; it is not the table of {name}.")
        empty = meta[column].str.strip() == ""
        if empty.any():
            raise CoppiceError(f"{table}: line {int(empty.to_numpy().argmax()) + 2} has no {column}.")
    labels = meta["scene_label"].str.strip()
    strange = ~labels.isin(SCENES)
    if strange.any():
        row = int(strange.to_numpy().argmax())
        label = labels.iloc[row]
        raise CoppiceError(
            f"{table}: line {row + 2} has the label {label!r}, none of the ten scenes. {did_you_mean(label, SCENES)}"
        )


def _check_files(published: Collection, place: Path, files: pd.Series) -> None:
    missing = _missing(place, files)
    if len(missing) > _HOLES * len(files):
        raise CoppiceError(
            f"{place} holds {len(files) - len(missing)} of the {len(files)} clips that its meta.csv lists; "
            f"{len(missing)} are not there: {_some(missing)}; {_finish(published, place)}."
        )
    if missing:
        say(f"{published.name}: {len(missing)} of {len(files)} clips are not there: {_some(missing)}")


def _missing(place: Path, files: pd.Series) -> list[str]:
    """Return the files that are not there, in the order of the table; one listing instead of a look at each."""
    with plain_os_errors("read the folder", place):
        audio = place / "audio"
        there: set[str] = set()
        if audio.is_dir():
            with os.scandir(audio) as entries:
                there = {f"audio/{entry.name}" for entry in entries}
    return [file for file in files if file not in there and not (place / file).is_file()]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _official(
    published: Collection, place: Path, files: pd.Series, subset: int | None
) -> tuple[pd.Series | None, bool]:
    """Return "train", "test" or NA for every clip; None for an excerpt, which may come without the official lists."""
    tables = {part: place / "evaluation_setup" / f"fold1_{part}.csv" for part in ("train", "test")}
    if subset is not None and subset not in SUBSETS:
        raise CoppiceError(f"subset is {subset}; the official ones are {', '.join(map(str, SUBSETS))} per cent.")
    if subset is not None and published.name != "tau2022-mobile":
        raise CoppiceError(f"subset is {subset}, and {published.name} has none; leave it out.")
    excerpt = published.clips is not None and len(files) < published.clips
    absent = [str(table) for table in tables.values() if not table.is_file()]
    if absent and excerpt and subset is None:
        say(f"{published.name}: an excerpt without {absent[0]}, so it has no official split")
        return None, True
    if absent:
        raise CoppiceError(f"there is no {absent[0]}; {_finish(published, place)}.")
    known = set(files)
    train, test = (_names(table, known, place) for table in tables.values())
    if train & test:
        raise CoppiceError(f"{min(train & test)} is in both {tables['train']} and {tables['test']}; fetch them again.")
    if subset is not None:
        table = _subset_table(place, subset)
        if not table.is_file():
            raise CoppiceError(
                f"subset {subset} needs {table}, which is not there; {_finish(published, place)}, "
                f"or put {SUBSETS_URL}/{table.name} there."
            )
        kept = _names(table, known, place)
        if kept - train:
            raise CoppiceError(
                f"{table} names {len(kept - train)} clips outside the training part: {min(kept - train)}."
            )
        train = kept
    split = pd.Series(pd.NA, index=files.index, dtype="string")
    split[files.isin(train)] = "train"
    split[files.isin(test)] = "test"
    return split, excerpt


def _names(table: Path, known: set[str], place: Path) -> set[str]:
    rows = read_table(table)
    if "filename" not in rows.columns:
        raise CoppiceError(f"{table} has no column 'filename'; it is no list of clips.")
    names = set(rows["filename"].str.strip())
    strange = sorted(names - known)
    if strange:
        raise CoppiceError(
            f"{table} names {len(strange)} clips that {place / 'meta.csv'} does not list: {_some(strange)}."
        )
    return names


def _check_classes(split: pd.Series | None, labels: pd.Series, table: Path) -> None:
    there = set(labels[split == "train"]) if split is not None else set()
    for scene in SCENES:
        if scene not in there:
            raise CoppiceError(f"{table} leaves {scene!r} without a training clip; take a larger subset.")


def _subset_table(place: Path, subset: int) -> Path:
    return place / "evaluation_setup" / f"split{subset}.csv"


def _fetch_subset(place: Path, per_cent: int) -> None:
    """Fetch one list of training clips; no size or checksum of it is published, so its content is checked."""
    table = _subset_table(place, per_cent)
    if table.is_file():
        return
    arrived = place.parent / DOWNLOADS / table.name
    hint = f"only subset {per_cent} needs it; fetch it by hand and put it at {table}"
    download(f"{SUBSETS_URL}/{table.name}", arrived, by_hand=hint)
    try:
        train = len(_names(place / "evaluation_setup" / "fold1_train.csv", set(_listed(place)), place))
        share = len(_names(arrived, set(_listed(place)), place)) / train
        if not 0.5 < 100 * share / per_cent < 1.5:
            raise CoppiceError(f"{arrived} lists {percent_text(share)} of the training clips instead of {per_cent} %.")
    except CoppiceError:
        arrived.unlink()
        raise
    arrived.replace(table)


def _listed(place: Path) -> pd.Series:
    """Return the sound files that a dataset's own table lists: meta.csv, or that of an evaluation set without one."""
    for table in (place / "meta.csv", place / "evaluation_setup" / "fold1_test.csv"):
        if table.is_file():
            rows = read_table(table)
            if "filename" in rows.columns:
                return rows["filename"].str.strip()
    raise CoppiceError(f"there is no {place / 'meta.csv'} with the names of the clips.")


def _complete_by_hand(published: Collection, place: Path) -> int:
    """Return the number of clips where somebody unpacked all archives without Coppice, else 0."""
    if not (place / "meta.csv").is_file() or (place / RECORDS).is_dir():
        return 0
    files = _listed(place)
    if published.clips is None or len(files) < published.clips or _missing(place, files):
        return 0
    return len(files)
