"""Run folders that go between the machines of a cluster which share no folder, through any store that fsspec opens."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from coppice.core.errors import CoppiceError
from coppice.core.files import make_folder, plain_os_errors

_LAST = "outcome.json"  # a folder is there once this is: it goes last, and nothing is read before it


@dataclass(frozen=True)
class Exchange:
    """A place that all machines reach: ``s3://bucket/study``, ``gs://…``, ``sftp://host/path``, ``file:///mnt/study``.

    Parameters
    ----------
    url : str
        Whatever fsspec opens; the package for its protocol must be installed on all machines.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> here, there = Path(mkdtemp()), Path(mkdtemp())
    >>> _ = (here / "outcome.json").write_text("{}")
    >>> exchange = Exchange("memory://a-study")
    >>> exchange.holds("runs/1")
    False
    >>> exchange.deliver(here, "runs/1")
    >>> exchange.fetch("runs/1", there / "1"), [path.name for path in (there / "1").iterdir()]
    (True, ['outcome.json'])
    """

    url: str

    def check(self) -> None:
        """Look whether the place can be reached.

        Raises
        ------
        CoppiceError
            If its protocol is not known or it does not answer.
        """
        self.holds(".")

    def holds(self, name: str) -> bool:
        """Say whether a folder has been delivered whole."""
        with self._plain_errors("look into"):
            return bool(self._store[0].exists(self._path(name, _LAST)))

    def is_same(self, name: str, folder: Path) -> bool:
        """Say whether a folder here ended as the one there did."""
        outcome = folder / _LAST
        if not outcome.is_file() or not self.holds(name):
            return False
        with self._plain_errors("read from"):
            return bool(self._store[0].cat_file(self._path(name, _LAST)) == outcome.read_bytes())

    def deliver(self, folder: Path, name: str) -> None:
        """Copy a run folder there, its outcome last.

        Parameters
        ----------
        folder : Path
            Here.
        name : str
            There, below the place, with ``/``.
        """
        files = sorted(
            (path for path in folder.rglob("*") if path.is_file() and not _is_work(path.relative_to(folder))),
            key=lambda path: (path.relative_to(folder).as_posix() == _LAST, path),
        )
        with self._plain_errors("write to"):
            store = self._store[0]
            for file in files:
                there = self._path(name, file.relative_to(folder).as_posix())
                store.makedirs(there.rpartition("/")[0], exist_ok=True)
                store.put_file(str(file), there)

    def fetch(self, name: str, folder: Path) -> bool:
        """Copy a run folder here, whole or not at all; return whether it was there.

        Parameters
        ----------
        name : str
            There, below the place, with ``/``.
        folder : Path
            Here; what stands there is replaced.

        Raises
        ------
        CoppiceError
            If a file's name would lie outside the folder.
        """
        if not self.holds(name):
            return False
        arriving = make_folder(folder.parent) / f".arriving-{folder.name}-{os.getpid()}"
        shutil.rmtree(arriving, ignore_errors=True)
        with self._plain_errors("read from"):
            store, root = self._store[0], self._path(name)
            found = [(path, path.partition(f"{root}/")[2]) for path in store.find(root)]
        try:
            for there, inside in found:
                parts = PurePosixPath(inside).parts
                if not parts or ".." in parts or PurePosixPath(inside).is_absolute() or "\\" in inside:
                    raise CoppiceError(
                        f"{self.url} holds {there!r}, no file of a run; give the study a place of its own."
                    )
                make_folder((arriving / inside).parent)
                with self._plain_errors("read from"):
                    store.get_file(there, str(arriving / inside))
            with plain_os_errors("write the run", folder):
                shutil.rmtree(folder, ignore_errors=True)
                arriving.replace(folder)
        finally:
            shutil.rmtree(arriving, ignore_errors=True)
        return True

    def _path(self, *parts: str) -> str:
        return "/".join([self._store[1].rstrip("/"), *parts])

    @cached_property
    def _store(self) -> tuple[Any, str]:
        with self._plain_errors("open"):
            store, path = fsspec.core.url_to_fs(self.url)
        return store, path

    @contextmanager
    def _plain_errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except CoppiceError:
            raise
        except Exception as error:  # each store has its own
            said = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
            raise CoppiceError(
                f"cannot {doing} {self.url!r} ({said}); give a URL that fsspec opens on all machines, such as "
                "s3://bucket/study, or a folder that they share."
            ) from error


def _is_work(path: Path) -> bool:
    """Say whether a file is of work in progress: a lock, a half-done stage."""
    return any(part.startswith(".") for part in path.parts)
