"""Unpack a zip file that somebody else made, without letting it out of its folder."""

import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from coppice.core.errors import CoppiceError
from coppice.core.files import make_folder, plain_os_errors
from coppice.core.progress import progress_bar
from coppice.core.units import bytes_text

MAX_TOTAL_BYTES = 64 * 10**9
MAX_FILES = 1_000_000
_BLOCK_BYTES = 1 << 20


def extract_zip(
    archive: Path,
    folder: Path,
    *,
    max_total_bytes: int = MAX_TOTAL_BYTES,
    check: Callable[[Path], None] | None = None,
) -> Path:
    """Unpack a zip file into a folder that appears complete or not at all.

    Parameters
    ----------
    archive : Path
        The zip file. Where everything in it lies in one top folder, that one becomes ``folder``.
    folder : Path
        Must not be there yet.
    max_total_bytes : int
        Bound on what it unpacks to, by its own word and by count.
    check : callable or None
        Called with the unpacked folder before it gets its name; an error it raises leaves nothing behind.

    Returns
    -------
    Path
        ``folder``.

    Raises
    ------
    CoppiceError
        If it is no zip file, is damaged, holds a link or a path outside its folder, or is too large.

    Examples
    --------
    >>> place = Path(tempfile.mkdtemp())
    >>> with zipfile.ZipFile(place / "a.zip", "w") as made:
    ...     made.writestr("../evil.txt", "x")
    >>> extract_zip(place / "a.zip", place / "a")
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: ...a.zip holds '../evil.txt', which lies outside its folder; do not
    trust it.
    """
    if folder.exists():
        raise CoppiceError(f"{folder} is already there; remove it or choose another folder.")
    make_folder(folder.parent)
    with plain_os_errors("unpack", archive):
        temporary = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
        try:
            with _plain_damage(archive), zipfile.ZipFile(archive) as opened:
                _extract(opened, archive, temporary, max_total_bytes)
            tops = list(temporary.iterdir())
            content = tops[0] if len(tops) == 1 and tops[0].is_dir() else temporary
            if check is not None:
                check(content)
            content.chmod(0o755)
            content.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def extract_into(archive: Path, folder: Path, *, top: str, max_total_bytes: int = MAX_TOTAL_BYTES) -> dict[str, int]:
    """Unpack one of several zip files into a folder that they share; take up what a kill has interrupted.

    Parameters
    ----------
    archive : Path
        The zip file.
    folder : Path
        Where its files go; created. A file that lies there with the size and the checksum it has in the archive is
        left alone, another one of that name is replaced. Each file appears complete or not at all.
    top : str
        Name of the archive's top folder, which ``folder`` stands for.
    max_total_bytes : int
        Bound on what it unpacks to, by its own word and by count.

    Returns
    -------
    dict
        Path below ``folder`` → bytes, of all files in the archive.

    Raises
    ------
    CoppiceError
        If it is no zip file, is damaged, holds a link, a path outside its folder or a file twice, is too large, or
        the disk has not enough space.

    Examples
    --------
    >>> place = Path(tempfile.mkdtemp())
    >>> with zipfile.ZipFile(place / "a.zip", "w") as made:
    ...     made.writestr("sounds/audio/1.wav", "x")
    >>> extract_into(place / "a.zip", place / "mine", top="sounds")
    {'audio/1.wav': 1}
    """
    make_folder(folder)
    with plain_os_errors("unpack", archive), _plain_damage(archive), zipfile.ZipFile(archive) as opened:
        targets: dict[Path, zipfile.ZipInfo] = {}
        for member in _safe_members(opened, archive, max_total_bytes):
            parts = PurePosixPath(member.filename).parts
            below = Path(*(parts[1:] if parts[0] == top and len(parts) > 1 else parts))
            if below in targets:
                raise CoppiceError(f"{archive} holds {member.filename!r} twice; do not trust it.")
            targets[below] = member
        needed = sum(member.file_size for below, member in targets.items() if not (folder / below).is_file())
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise CoppiceError(
                f"{archive} unpacks to {bytes_text(needed)} and {bytes_text(free)} are free at {folder}; make room."
            )
        with progress_bar(f"unpacking {archive.name}", len(targets)) as advance:
            for below, member in targets.items():
                target = folder / below
                if not _is_the_same(target, member):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    partial = target.with_name(f".partial-{target.name}")
                    try:
                        with opened.open(member) as source, partial.open("wb") as written:
                            _copy(source, written, archive, member.file_size)
                        partial.replace(target)
                    finally:
                        partial.unlink(missing_ok=True)
                advance(1, "")
    return {below.as_posix(): member.file_size for below, member in targets.items()}


def _is_the_same(target: Path, member: zipfile.ZipInfo) -> bool:
    if not target.is_file() or target.stat().st_size != member.file_size:
        return False
    checksum = 0
    with target.open("rb") as lying:
        while block := lying.read(_BLOCK_BYTES):
            checksum = zlib.crc32(block, checksum)
    return checksum == member.CRC


@contextmanager
def _plain_damage(archive: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise CoppiceError(f"{archive} is damaged or no zip file ({error}); fetch it again.") from error


def _safe_members(opened: zipfile.ZipFile, archive: Path, max_total_bytes: int) -> list[zipfile.ZipInfo]:
    """Return the files in an archive after all that can be refused without unpacking has been refused."""
    members = [member for member in opened.infolist() if not member.is_dir()]
    if len(members) > MAX_FILES:
        raise CoppiceError(f"{archive} holds {len(members)} files; at most {MAX_FILES} are unpacked.")
    declared = sum(member.file_size for member in members)
    if declared > max_total_bytes:
        raise CoppiceError(
            f"{archive} unpacks to {bytes_text(declared)}; at most {bytes_text(max_total_bytes)} are allowed."
        )
    for member in members:
        refuse_unsafe(member, archive)
    return members


def _extract(opened: zipfile.ZipFile, archive: Path, folder: Path, max_total_bytes: int) -> None:
    members = _safe_members(opened, archive, max_total_bytes)
    remaining = max_total_bytes
    with progress_bar("unpacking", len(members)) as advance:
        for member in members:
            target = folder / PurePosixPath(member.filename)
            target.parent.mkdir(parents=True, exist_ok=True)
            with opened.open(member) as source, target.open("xb") as written:
                remaining -= _copy(source, written, archive, remaining)
            advance(1, "")


def _copy(source: IO[bytes], written: IO[bytes], archive: Path, most: int) -> int:
    copied = 0
    while block := source.read(_BLOCK_BYTES):
        copied += len(block)
        if copied > most:
            raise CoppiceError(f"{archive} unpacks to more than the {bytes_text(most)} that are allowed.")
        written.write(block)
    return copied


def refuse_unsafe(member: zipfile.ZipInfo, archive: Path) -> None:
    """Refuse a member of a zip file that is a link or device, or lies outside the archive's folder.

    Raises
    ------
    CoppiceError
        If it is; it names archive and member.

    Examples
    --------
    >>> refuse_unsafe(zipfile.ZipInfo("/etc/passwd"), Path("a.zip"))
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: a.zip holds '/etc/passwd', which lies outside its folder; do not trust it.
    """
    name = member.filename
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name or not path.parts:
        raise CoppiceError(f"{archive} holds {name!r}, which lies outside its folder; do not trust it.")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG) and not (member.is_dir() and kind == stat.S_IFDIR):
        raise CoppiceError(f"{archive} holds {name!r}, which is a link or device, not a file; do not trust it.")
