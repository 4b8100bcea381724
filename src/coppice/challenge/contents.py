"""The files of a submission package, in a folder or a zip file, read without trust."""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors
from coppice.core.units import bytes_text
from coppice.datasets.extract import refuse_unsafe

MOST_FILES = 2_000
MOST_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Contents:
    """What a package holds.

    Attributes
    ----------
    path : Path
        The package.
    names : tuple of str
        Paths of its files with ``/``, sorted.
    read : callable
        Name -> bytes.
    """

    path: Path
    names: tuple[str, ...]
    read: Callable[[str], bytes]


@contextmanager
def open_contents(path: str | Path) -> Iterator[Contents]:
    """List the files of a folder or zip file; nothing is unpacked.

    Parameters
    ----------
    path : str or Path
        A ``.zip``, or a folder with what would be in it.

    Yields
    ------
    Contents

    Raises
    ------
    CoppiceError
        If it is neither, is damaged, holds links or paths outside its folder or a name twice, or is too large: more
        than 2,000 files or 1 GB, by its own word or by count.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "note.txt").write_text("hello")
    >>> with open_contents(folder) as contents:
    ...     contents.names, contents.read("note.txt")
    (('note.txt',), b'hello')
    """
    path = Path(path)
    with plain_os_errors("open the package", path):
        is_folder = path.is_dir()
        if not is_folder:
            path.open("rb").close()
    if is_folder:
        yield _folder(path)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            yield _archive(path, archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise CoppiceError(f"{path} is damaged or no zip file ({error}); make it again.") from error


def _folder(path: Path) -> Contents:
    files: dict[str, Path] = {}
    total = 0
    with plain_os_errors("read the package", path):
        for file in sorted(path.rglob("*")):
            if file.is_symlink():
                raise CoppiceError(f"{file} is a link; a package holds files.")
            if file.is_file():
                files[file.relative_to(path).as_posix()] = file
                total += file.stat().st_size
                _check_size(path, len(files), total)

    def read(name: str) -> bytes:
        with plain_os_errors("read", files[name]):
            return files[name].read_bytes()

    return Contents(path, tuple(sorted(files)), read)


def _archive(path: Path, archive: zipfile.ZipFile) -> Contents:
    members = {}
    total = 0
    for member in archive.infolist():
        refuse_unsafe(member, path)
        if member.is_dir():
            continue
        if member.filename in members:
            raise CoppiceError(f"{path} holds {member.filename!r} twice; make it again.")
        members[member.filename] = member
        total += member.file_size
        _check_size(path, len(members), total)

    def read(name: str) -> bytes:
        member = members[name]
        with archive.open(member) as opened:
            data = opened.read(member.file_size + 1)
        if len(data) != member.file_size:
            raise CoppiceError(f"{path} holds another size of {name!r} than it says; do not trust it.")
        return data

    return Contents(path, tuple(sorted(members)), read)


def _check_size(path: Path, files: int, total: int) -> None:
    if files > MOST_FILES or total > MOST_BYTES:
        raise CoppiceError(
            f"{path} holds {files:,} files or more, {bytes_text(total)} or more; a submission package has at most "
            f"{MOST_FILES:,} and {bytes_text(MOST_BYTES)}."
        )
