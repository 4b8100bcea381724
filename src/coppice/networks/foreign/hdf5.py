"""HDF5 files of unknown origin: every claimed size is checked before it is believed, and no second file is opened."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5l, h5o, h5t
from jaxtyping import Float

from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors

SIGNATURE = b"\x89HDF\r\n\x1a\n"

_HARMLESS_FILTERS = {1, 2, 3}  # deflate, shuffle, checksum; HDF5 would look for others among the machine's plug-ins
_LARGEST_RATIO = 100  # claimed bytes of an array to bytes of the file
_MOST_NAMES = 10_000


class Hdf5:
    """An open HDF5 file, of which only plain groups, arrays of floats and texts can be had.

    Parameters
    ----------
    path : Path
        For messages.
    root : h5py.Group
        Its root group.
    size : int
        Of the file, in bytes.
    """

    def __init__(self, path: Path, root: h5py.Group, size: int) -> None:
        self.path, self.root, self.size = path, root, size
        self._left = _LARGEST_RATIO * size

    def group(self, parent: h5py.Group, path: str) -> h5py.Group | None:
        """Return a group below another, or None when there is none of that name."""
        found = self._walk(parent, path)
        return h5py.Group(found) if isinstance(found, h5py.h5g.GroupID) else None

    def text(self, group: h5py.Group, name: str) -> str | None:
        """Return an attribute that holds one text, or None when there is none of that name."""
        values = self._strings(group, name)
        if values is None:
            return None
        if len(values) != 1:
            raise self.damaged(f"its attribute {name!r} holds {len(values)} texts, not one")
        return values[0]

    def names(self, group: h5py.Group, name: str) -> list[str] | None:
        """Return an attribute that holds a list of names; Keras splits long ones into name0, name1, ..."""
        values = self._strings(group, name)
        if values is not None:
            return values
        parts: list[str] = []
        for number in range(_MOST_NAMES):
            part = self._strings(group, f"{name}{number}")
            if part is None:
                return parts if number else None
            parts += part
        raise self.damaged(f"its attribute {name!r} has too many parts")

    def array(self, group: h5py.Group, path: str) -> tuple[Float[np.ndarray, "*shape"], str]:
        """Return an array below a group as float32, and the number format that it is stored in.

        Raises
        ------
        CoppiceError
            If there is none, it does not hold real numbers, its data stand in another file, or it claims more than
            the file can hold.
        """
        found = self._walk(group, path)
        if not isinstance(found, h5py.h5d.DatasetID):
            raise CoppiceError(f"{self.path} has no array {path!r} where its layer says so; the file is damaged.")
        data = h5py.Dataset(found)
        dtype, plist = data.dtype, found.get_create_plist()
        if dtype.kind != "f" or dtype.itemsize not in (2, 4, 8):
            raise CoppiceError(f"the array {path!r} in {self.path} holds {dtype}; float16, float32 or float64 can be.")
        if data.is_virtual or plist.get_external_count():
            raise CoppiceError(f"the array {path!r} in {self.path} stands in another file; save the model as one file.")
        filters = [plist.get_filter(index)[0] for index in range(plist.get_nfilters())]
        if set(filters) - _HARMLESS_FILTERS:
            raise CoppiceError(f"the array {path!r} in {self.path} is packed by filter {filters}; save it unpacked.")
        claimed = math.prod(data.shape) * dtype.itemsize
        stored = found.get_storage_size()
        chunk = math.prod(data.chunks) * dtype.itemsize if data.chunks else 0
        if stored > self.size or (claimed > stored and not filters) or max(claimed, chunk) > _LARGEST_RATIO * stored:
            raise self.damaged(f"the array {path!r} claims {claimed} bytes but {stored} are there")
        self._left -= claimed
        if self._left < 0:
            raise self.damaged("its arrays together claim far more than the file can hold")
        return np.asarray(data[()], dtype=np.float32), f"float{8 * dtype.itemsize}"

    def damaged(self, what: str) -> CoppiceError:
        """Return the error for a file that contradicts itself."""
        return CoppiceError(f"{self.path} is damaged: {what}. Copy or save it again.")

    def _walk(self, group: h5py.Group, path: str) -> Any:
        """Follow hard links only: others may lead into other files, or round in circles."""
        found: Any = group.id
        for part in path.split("/"):
            if part in ("", "."):
                continue
            name = part.encode()
            if not isinstance(found, h5py.h5g.GroupID) or not found.links.exists(name):
                return None
            if found.links.get_info(name).type != h5l.TYPE_HARD:
                raise CoppiceError(f"{path!r} in {self.path} is a link to elsewhere; save the model as one plain file.")
            found = h5o.open(found, name)
        return found

    def _strings(self, group: h5py.Group, name: str) -> list[str] | None:
        if not h5a.exists(group.id, name.encode()):
            return None
        attribute = h5a.open(group.id, name.encode())
        count, kind = math.prod(attribute.shape), attribute.get_type()
        if count == 0:  # an empty list has no type worth looking at
            return []
        if kind.get_class() != h5t.STRING or count > _MOST_NAMES:
            raise self.damaged(f"its attribute {name!r} is no list of names")
        # Texts of variable length may all be the same one, so that few bytes claim much memory.
        if count * (self.size if kind.is_variable_str() else kind.get_size()) > max(self.size, 2**30):
            raise self.damaged(f"its attribute {name!r} claims more than the file can hold")
        values = group.attrs[name]
        flat = [values] if isinstance(values, str | bytes) else np.asarray(values).ravel().tolist()
        return [
            printable(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)) for value in flat
        ]


def printable(text: str) -> str:
    r"""Replace half characters, which a damaged file may hold and no terminal can write.

    Examples
    --------
    >>> printable("conv\udcff")
    'conv?'
    """
    return text.encode("utf-8", "replace").decode("utf-8")


@contextmanager
def open_hdf5(path: Path) -> Iterator[Hdf5]:
    """Open an HDF5 file for reading; whatever the library finds wrong becomes one plain error.

    Raises
    ------
    CoppiceError
        If the file is missing, no HDF5 file, cut short or damaged.
    """
    with plain_os_errors("read the model", path):
        size = path.stat().st_size
        handle = path.open("rb")
    with handle:
        if handle.read(len(SIGNATURE)) != SIGNATURE:
            raise CoppiceError(f"{path} is not an HDF5 file; a Keras model saved as .h5 begins with {SIGNATURE!r}.")
        handle.seek(0)
        try:
            # Through the open handle the library cannot reach any other file.
            with h5py.File(handle, "r") as file:
                yield Hdf5(path, file, size)
        except CoppiceError:
            raise
        except Exception as error:
            reason = printable(str(error).splitlines()[0][:120]) if str(error) else type(error).__name__
            raise CoppiceError(f"{path} is not a whole HDF5 file ({reason}); copy or save it again.") from error
