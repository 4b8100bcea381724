"""Unpack a zip file that somebody else made, without letting it out of its folder."""

import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

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
            try:
                with zipfile.ZipFile(archive) as opened:
                    _extract(opened, archive, temporary, max_total_bytes)
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
                raise CoppiceError(f"{archive} is damaged or no zip file ({error}); fetch it again.") from error
            tops = list(temporary.iterdir())
            content = tops[0] if len(tops) == 1 and tops[0].is_dir() else temporary
            if check is not None:
                check(content)
            content.chmod(0o755)
            content.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _extract(opened: zipfile.ZipFile, archive: Path, folder: Path, max_total_bytes: int) -> None:
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
    remaining = max_total_bytes
    with progress_bar("unpacking", len(members)) as advance:
        for member in members:
            target = folder / PurePosixPath(member.filename)
            target.parent.mkdir(parents=True, exist_ok=True)
            with opened.open(member) as source, target.open("xb") as written:
                while block := source.read(_BLOCK_BYTES):
                    remaining -= len(block)
                    if remaining < 0:
                        raise CoppiceError(f"{archive} unpacks to more than {bytes_text(max_total_bytes)}.")
                    written.write(block)
            advance(1, "")


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
