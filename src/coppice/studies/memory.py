"""What a study has measured: one small file for each measurement, so that none is made twice."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coppice.core.errors import CoppiceError
from coppice.core.files import digest, plain_os_errors, read_json, write_json


class Memory:
    """Measurements by the digest of everything they depend on.

    Parameters
    ----------
    folder : Path or None
        Where the files lie, each written whole; None to remember nothing.

    Attributes
    ----------
    recalled : int
        How many measurements stood there already.

    Examples
    --------
    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp())
    >>> Memory(place).recall({"layer": "conv1"}, lambda: {"accuracy": 0.5})
    {'accuracy': 0.5}
    >>> memory = Memory(place)
    >>> memory.recall({"layer": "conv1"}, lambda: {"accuracy": 0.9}), memory.recalled
    ({'accuracy': 0.5}, 1)
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.recalled = 0
        self._used: set[Path] = set()

    def recall(self, key: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what was measured under a key; measure it if nothing was, or its file is damaged.

        Parameters
        ----------
        key : dict
            JSON-able: everything that the result depends on.
        measure : callable
            Returns a JSON-able dict.
        """
        if self.folder is None:
            return measure()
        name = digest(key)
        path = self.folder / f"{name}.json"
        self._used.add(path)
        found = _read(path, name)
        if found is not None:
            self.recalled += 1
            return found
        measured = measure()
        write_json(path, {"key": name, "digest": digest(measured), "measured": measured})
        return measured

    def tidy(self) -> None:
        """Remove the files of measurements that were not asked for since this memory was opened."""
        if self.folder is None:
            return
        with plain_os_errors("tidy", self.folder):
            for path in [*self.folder.glob("*.json"), *self.folder.glob(".partial-*")]:
                if path not in self._used:
                    path.unlink(missing_ok=True)


def content_digest(data: bytes) -> str:
    """Return a digest of bytes, for keys that depend on more than fits into them.

    Examples
    --------
    >>> content_digest(b"") == content_digest(b"")
    True
    """
    return hashlib.sha256(data).hexdigest()


def _read(path: Path, name: str) -> dict[str, Any] | None:
    try:
        found = read_json(path)
        whole = found["key"] == name and found["digest"] == digest(found["measured"])
        return found["measured"] if whole else None
    except (CoppiceError, LookupError, TypeError):
        return None
