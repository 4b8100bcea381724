"""Files that appear complete or not at all, digests, and plain sentences for what the disk refuses."""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from coppice.core.errors import CoppiceError

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder",
    errno.EACCES: "permission denied; choose a folder you may write to",
    errno.EPERM: "permission denied; choose a folder you may write to",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EEXIST: "a file of that name is there already; choose another name",
    errno.EISDIR: "it is a folder; give a file",
    errno.ENAMETOOLONG: "the name is too long for this file system",
    errno.ENOENT: "no such file or folder",
}


@contextmanager
def plain_os_errors(doing: str, path: Path) -> Iterator[None]:
    """Turn an ``OSError`` about ``path`` into a :class:`CoppiceError` that says what would help.

    Examples
    --------
    >>> with plain_os_errors("read", Path("nowhere.txt")):
    ...     Path("nowhere.txt").read_text()
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: cannot read nowhere.txt: no such file or folder.
    """
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        raise CoppiceError(f"cannot {doing} {path}: {reason}.") from error


def make_folder(path: Path) -> Path:
    """Create a folder with its parents; return it."""
    with plain_os_errors("create the folder", path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it onto ``path`` when the block ends well.

    The content is on the disk (fsync) before the name appears, so a reader sees the old file, the new
    file or none, never a part of one. When the block fails, nothing is left behind.

    Parameters
    ----------
    path : Path
        Where the finished file is to stand. Its folder is created.

    Yields
    ------
    Path
        The temporary file to write to.

    Raises
    ------
    CoppiceError
        If the disk refuses (full, read-only, no permission).

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with whole_file(target) as temporary:
    ...     _ = temporary.write_text("all of it")
    >>> target.read_text()
    'all of it'
    """
    make_folder(path.parent)
    with plain_os_errors("write", path):
        handle, name = tempfile.mkstemp(prefix=".partial-", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
            with suppress(OSError):  # some file systems cannot sync a folder
                folder = os.open(path.parent, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file whole (see :func:`whole_file`)."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON whole; keys keep their order, NaN is refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, what: str = "JSON file") -> Any:
    """Read a JSON file.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        What it should be, for the error message, such as ``"plan"``.

    Raises
    ------
    CoppiceError
        If the file is missing, unreadable or not JSON.
    """
    with plain_os_errors(f"read the {what}", path):
        data = path.read_bytes()
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CoppiceError(f"{path} is not a {what}: it is not valid JSON ({error}).") from error


def digest(value: Any) -> str:
    """Return a short SHA-256 digest of any JSON-able value; equal values give equal digests.

    Examples
    --------
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the full digest of a file's bytes."""
    with plain_os_errors("read", path), path.open("rb") as handle:
        return hashlib.file_digest(handle, algorithm).hexdigest()
