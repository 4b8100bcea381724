"""Fetch a dataset of several archives: say what it takes, go on where it stopped, unpack, note what is there."""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from coppice.core.errors import CoppiceError
from coppice.core.files import file_digest, make_folder, plain_os_errors, read_json, write_json
from coppice.core.progress import say
from coppice.core.units import bytes_text
from coppice.datasets.archive import Archive, Collection
from coppice.datasets.download import download, remote_size
from coppice.datasets.extract import extract_into

RECORDS = ".fetched"  # in the dataset's folder: one JSON file for each archive that is unpacked
DOWNLOADS = ".coppice-downloads"  # beside the dataset's folder
_ATTEMPTS = 8
_TIMEOUT_S = 30.0
# No archive of recordings unpacks to so much more than it has; one of tables may, but is small.
_MOST_RATIO, _LEAST_BOUND_BYTES = 4, 10**9


def fetch_collection(published: Collection, root: Path, *, timeout_s: float = _TIMEOUT_S) -> Path:
    """Download and unpack what is not there yet; say before how much that is.

    Archives are fetched one after the other, checked, unpacked into ``root/<folder>`` and removed. One that lies in
    ``root`` is taken from there, and left. A call after a kill goes on inside the file where it stopped.

    Parameters
    ----------
    published : Collection
        What to fetch.
    root : Path
        The folder that gets the dataset's folder; created.
    timeout_s : float
        How long a server may be silent.

    Returns
    -------
    Path
        The dataset's folder.

    Raises
    ------
    CoppiceError
        If the disk has not enough space, another process is fetching the same, a download fails, or an archive is not
        what was published.
    """
    place = root / published.folder
    make_folder(root)
    lock = FileLock(root / f".{published.folder}.lock")
    with plain_os_errors("lock", root):
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise CoppiceError(f"another process is fetching {published.name} into {root}; wait for it.") from error
    try:
        todo = [archive for archive in published.archives if not is_unpacked(place, archive)]
        if todo:
            _announce(published, root, todo, timeout_s)
            for archive in todo:
                _fetch_one(published, archive, root, timeout_s)
        say(f"{published.name}: {len(published.archives)} archives are unpacked and verified at {place}")
    finally:
        with suppress(OSError):  # before the release: whoever comes after it must not lock a name that then goes away
            Path(lock.lock_file).unlink()
        lock.release()
    tidy_downloads(root)
    return place


def absent_archives(published: Collection, place: Path) -> list[str]:
    """Return the archives that a fetch has not unpacked yet; none where nothing was ever fetched into the folder.

    This looks at the notes that :func:`fetch_collection` leaves, not at the files.
    """
    begun = (place / RECORDS).is_dir() or any((place.parent / DOWNLOADS).glob(f"{published.folder}.*"))
    if not begun:
        return []
    return [archive.name for archive in published.archives if not _record(place, archive).is_file()]


def is_unpacked(place: Path, archive: Archive) -> bool:
    """Say whether an archive was verified and unpacked, and all of its files still lie there with their sizes."""
    try:
        record = read_json(_record(place, archive))
        files = record["files"]
        # Where no MD5 was known when it came, the checksums of its members were checked, and the size is.
        if archive.md5 is not None and record["md5"] not in (None, archive.md5):
            return False
        if archive.size_bytes is not None and record["bytes"] != archive.size_bytes:
            return False
        return all((place / name).stat().st_size == size for name, size in files.items())
    except (CoppiceError, OSError, KeyError, TypeError, AttributeError):
        return False


def _record(place: Path, archive: Archive) -> Path:
    return place / RECORDS / f"{archive.name}.json"


def _announce(published: Collection, root: Path, todo: list[Archive], timeout_s: float) -> None:
    sizes = {
        archive.name: archive.size_bytes if archive.size_bytes is not None else _asked(archive, timeout_s)
        for archive in published.archives
    }
    there = {archive.name: _there(root, archive) for archive in todo}
    left = sum(max(0, sizes[archive.name] - there[archive.name]) for archive in todo)
    # At the most when an archive lies there beside what it and those before it unpacked to.
    peak = unpacked = 0
    for archive in todo:
        unpacked += published.unpacked_bytes(sizes, {archive.name})
        peak = max(peak, unpacked + max(0, sizes[archive.name] - there[archive.name]))
    with plain_os_errors("look at the disk of", root):
        free = shutil.disk_usage(root).free
    say(f"{published.title}, {published.page}")
    say(
        f"to fetch: {len(todo)} of {len(published.archives)} archives, {bytes_text(left)}; unpacked they take "
        f"about {bytes_text(unpacked)}. At most {bytes_text(peak)} of disk are needed at {root}, as each archive "
        f"goes once it is unpacked; {bytes_text(free)} are free"
    )
    say(published.note)
    if peak > free:
        raise CoppiceError(
            f"{published.name} needs {bytes_text(peak)} of disk at {root} and {bytes_text(free)} are free; "
            "free some space or choose another folder with --root."
        )


def _asked(archive: Archive, timeout_s: float) -> int:
    return remote_size(archive.url, timeout_s=timeout_s) or 0


def _there(root: Path, archive: Archive) -> int:
    """Bytes of an archive that need not be fetched."""
    places = (root / archive.name, root / DOWNLOADS / archive.name, root / DOWNLOADS / f"{archive.name}.part")
    return next((place.stat().st_size for place in places if place.is_file()), 0)


def _fetch_one(published: Collection, archive: Archive, root: Path, timeout_s: float) -> None:
    place, own = root / published.folder, root / archive.name
    if own.is_file():
        wrong = _difference(own, archive)
        if wrong:
            raise CoppiceError(f"{own} is not the published archive: {wrong}; remove it, and it is fetched.")
        file = own
    else:
        file = root / DOWNLOADS / archive.name
        if file.is_file() and _difference(file, archive):  # whole once, but not any more
            file.unlink()
        had, begun = _there(root, archive), time.monotonic()
        download(
            archive.url,
            file,
            md5=archive.md5,
            size_bytes=archive.size_bytes,
            by_hand=f"go on later with the same command, or fetch it by hand and put it at {own}",
            attempts=_ATTEMPTS,
            timeout_s=timeout_s,
        )
        _say_rate(archive, file.stat().st_size - had, time.monotonic() - begun)
    size = file.stat().st_size
    files = extract_into(file, place, top=published.folder, max_total_bytes=max(_LEAST_BOUND_BYTES, _MOST_RATIO * size))
    with plain_os_errors("unpack", file):
        if hasattr(os, "sync"):
            os.sync()  # the note says that the files are there, so they reach the disk before it
        write_json(_record(place, archive), {"md5": archive.md5, "bytes": size, "files": files})
        if file != own:
            file.unlink()


def _say_rate(archive: Archive, came: int, seconds: float) -> None:
    if came > 0:
        checked = "its MD5 is right" if archive.md5 else "no MD5 of it is known; its members are checked"
        say(f"{archive.name}: {bytes_text(came)} in {seconds:.0f} s, {bytes_text(came / seconds)}/s; {checked}")


def _difference(file: Path, archive: Archive) -> str:
    """Say how a file differs from what was published; empty where it does not."""
    size = file.stat().st_size
    if archive.size_bytes is not None and size != archive.size_bytes:
        return f"it has {size} bytes instead of {archive.size_bytes}"
    if archive.md5 is not None and (found := file_digest(file, "md5")) != archive.md5:
        return f"its MD5 is {found} instead of {archive.md5}"
    return ""


def tidy_downloads(root: Path) -> None:
    """Remove the folder of downloads where nothing but locks is left in it."""
    folder = root / DOWNLOADS
    if folder.is_dir() and all(file.suffix == ".lock" for file in folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)
