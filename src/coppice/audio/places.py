"""Files and folders that a user names, as sound files."""

from pathlib import Path

from coppice.audio.decode import EXTENSIONS
from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors


def sound_files(place: str | Path) -> list[Path]:
    """Return the file itself, or the sound files in a folder and those below it, in the order of their names.

    Parameters
    ----------
    place : str or Path
        A file of any name, or a folder whose files are known by their extensions.

    Returns
    -------
    list of Path

    Raises
    ------
    CoppiceError
        If there is no such place, or the folder holds no sound files.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("b.wav", "a.FLAC", "notes.txt"):
    ...     (folder / name).touch()
    >>> [file.name for file in sound_files(folder)]
    ['a.FLAC', 'b.wav']
    """
    place = Path(place)
    with plain_os_errors("read", place):
        place.stat()
        if not place.is_dir():
            return [place]
        found = sorted(file for file in place.rglob("*") if file.suffix.lower() in EXTENSIONS and file.is_file())
    if not found:
        raise CoppiceError(f"{place} holds no sound files ({', '.join(EXTENSIONS)}); give another folder.")
    return found
