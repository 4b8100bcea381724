"""The folder of one feature store: filled row by row, resumable after a kill, visible only when complete."""

import io
import itertools
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from jaxtyping import Float32, Int

from coppice.core.errors import CoppiceError
from coppice.core.files import make_folder, plain_os_errors, read_json, whole_file, write_json

# Marks of a row: not there yet, there (kept, cut, padded), not usable.
MISSING, KEPT, CUT, PADDED, BAD = 0, 1, 2, 3, 4


class FeatureFile:
    """A feature store under construction. Use it as a context manager, under a lock.

    The rows lie in ``.partial-<name>/features.npy``, with a byte per row in ``done`` that is written after
    the row has reached the disk. :meth:`complete` renames the folder to its final name.

    Parameters
    ----------
    store : Path
        Final folder.
    shape : (clips, mels, frames)
        Of the array.

    Raises
    ------
    CoppiceError
        If the disk is full or refuses. Space for all rows is claimed at once.
    """

    def __init__(self, store: Path, shape: tuple[int, int, int]) -> None:
        self._store = store
        self._shape = shape
        self._row_bytes = shape[1] * shape[2] * 4
        self._folder = store.with_name(".partial-" + store.name)
        self._problems: dict[str, str] = {}

    @property
    def bad(self) -> int:
        """Rows that cannot be used, so far."""
        return len(self._problems)

    def __enter__(self) -> Self:
        make_folder(self._folder)
        header = _npy_header(self._shape)
        self._start = len(header)
        size = self._start + self._shape[0] * self._row_bytes
        data = self._folder / "features.npy"
        self._marks_path = self._folder / "done"
        with plain_os_errors("write the feature store", self._store):
            if not data.exists() or data.stat().st_size != size:
                self._claim(data, size)
            marks = bytearray(self._marks_path.read_bytes())
            self._data = data.open("r+b", buffering=0)
            self._write_at(0, memoryview(header))
        if len(marks) != self._shape[0]:
            self._data.close()
            raise CoppiceError(f"{self._folder} does not belong to this store; remove it.")
        self._marks = np.frombuffer(marks, dtype=np.uint8)
        # Clips that failed are tried again: their sentences were not kept, and a file may have been repaired.
        self._marks[self._marks == BAD] = MISSING
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._data.close()

    def _claim(self, data: Path, size: int) -> None:
        """Claim the space now: a full disk is an error here, not a crash when a mapped page is touched."""
        self._marks_path.write_bytes(bytes(self._shape[0]))
        try:
            with data.open("wb") as handle:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(handle.fileno(), 0, size)
                else:  # macOS, Windows: a full disk shows when the rows are written
                    handle.truncate(size)
        except OSError:
            shutil.rmtree(self._folder, ignore_errors=True)  # gives back what was claimed
            raise

    def _write_at(self, place: int, data: memoryview) -> None:
        self._data.seek(place)
        while data:
            data = data[self._data.write(data) :]

    def missing_rows(self) -> list[int]:
        """Return the rows that are still to be computed."""
        return [int(row) for row in np.flatnonzero(self._marks == MISSING)]

    def write(self, row: int, picture: Float32[np.ndarray, "mels frames"], change: int) -> None:
        """Write one row; ``change`` is 0 for kept, 1 for cut, 2 for padded."""
        if picture.shape != self._shape[1:]:
            raise CoppiceError(f"features have shape {picture.shape}, the store rows of {self._shape[1:]}.")
        self._write_row(row, np.ascontiguousarray(picture, dtype=np.float32))
        self._marks[row] = KEPT + change

    def mark_bad(self, row: int, sentence: str) -> None:
        """Note that a clip cannot be used; its row is NaN."""
        self._write_row(row, np.full(self._shape[1:], np.nan, dtype=np.float32))
        self._problems[str(row)] = sentence
        self._marks[row] = BAD

    def _write_row(self, row: int, picture: np.ndarray) -> None:
        with plain_os_errors("write the feature store", self._store):
            self._write_at(self._start + row * self._row_bytes, memoryview(picture.tobytes()))

    def checkpoint(self) -> None:
        """Bring the rows to the disk, then mark them as done."""
        with plain_os_errors("write the feature store", self._store):
            os.fsync(self._data.fileno())
            with whole_file(self._marks_path) as temporary:
                temporary.write_bytes(self._marks.tobytes())

    def complete(self) -> None:
        """Make the store visible under its final name."""
        self.checkpoint()
        self._data.close()
        state = {
            "shape": list(self._shape),
            "cut": int((self._marks == CUT).sum()),
            "padded": int((self._marks == PADDED).sum()),
            "problems": dict(sorted(self._problems.items(), key=lambda item: int(item[0]))),
        }
        write_json(self._folder / "store.json", state)
        with plain_os_errors("write the feature store", self._store):
            self._marks_path.unlink()
            self._folder.rename(self._store)


def open_complete(
    store: Path, shape: tuple[int, int, int]
) -> tuple[Float32[np.ndarray, "clips mels frames"], dict[str, Any]]:
    """Map a complete store.

    Parameters
    ----------
    store : Path
        Its folder.
    shape : (clips, mels, frames)
        What it must hold.

    Returns
    -------
    memmap of float32 and dict
        The rows, read-only, and ``cut``, ``padded`` and ``problems`` (row → sentence).

    Raises
    ------
    CoppiceError
        If the store is damaged.
    """
    state = read_json(store / "store.json", "feature store")
    try:
        array = np.load(store / "features.npy", mmap_mode="r", allow_pickle=False)
        fits = array.shape == shape and array.dtype == np.float32 and {"cut", "padded", "problems"} <= state.keys()
    except (OSError, ValueError, AttributeError):
        fits = False
    if not fits:
        raise CoppiceError(f"the feature store {store} is damaged; remove the folder, and it is computed again.")
    return array, state


def read_rows(
    array: Float32[np.ndarray, "clips mels frames"], rows: Int[np.ndarray, " rows"]
) -> Float32[np.ndarray, "rows mels frames"]:
    """Copy rows of a store, or of any array, into memory.

    The rows of a mapped file are read, not touched through the map: pages that were touched count as memory of this
    process, and stay after the copy is made.

    Parameters
    ----------
    array : ndarray of float32, shape (clips, mels, frames)
        As :func:`open_complete` returns it, or in memory.
    rows : ndarray of int, shape (rows,)
        In any order.

    Returns
    -------
    ndarray of float32, shape (rows, mels, frames)
        Of its own memory.

    Raises
    ------
    CoppiceError
        If the file cannot be read.

    Examples
    --------
    >>> read_rows(np.arange(6, dtype=np.float32).reshape(3, 1, 2), np.array([2, 0])).tolist()
    [[[4.0, 5.0]], [[0.0, 1.0]]]
    """
    mapped: Any = array
    # Only a map of all that lies behind the header, in order: a part of one does not say where it begins.
    if not isinstance(array, np.memmap) or not len(rows) or not _is_whole(mapped):
        return np.asarray(array[rows])
    file, start = Path(mapped.filename), int(mapped.offset)
    wanted = np.asarray(rows, dtype=np.int64)
    if wanted.min() < 0 or wanted.max() >= len(array):
        raise IndexError(f"rows {wanted.min()} to {wanted.max()} of a store with {len(array)}")
    read = np.empty((len(wanted), *array.shape[1:]), dtype=array.dtype)
    row_bytes = array.strides[0]
    memory = memoryview(read.reshape(-1)).cast("B")  # type: ignore[arg-type]
    # Neighbours at one go.
    begins = np.concatenate([[0], np.flatnonzero(np.diff(wanted) != 1) + 1, [len(wanted)]])
    with plain_os_errors("read the feature store", file), file.open("rb", buffering=0) as handle:
        for begin, end in itertools.pairwise(begins.tolist()):
            handle.seek(start + int(wanted[begin]) * row_bytes)
            gap = memory[begin * row_bytes : end * row_bytes]
            while gap:
                came = handle.readinto(gap)
                if not came:
                    raise CoppiceError(f"the feature store {file} is cut short; remove its folder.")
                gap = gap[came:]
    return read


def _is_whole(mapped: Any) -> bool:
    return (
        mapped.filename is not None
        and mapped.flags.c_contiguous
        and mapped.offset + mapped.nbytes == Path(mapped.filename).stat().st_size
    )


def _npy_header(shape: tuple[int, int, int]) -> bytes:

    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return buffer.getvalue()
