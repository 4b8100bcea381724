"""A shared library as functions and arrays of Python."""

import re
from pathlib import Path
from typing import Any

from cffi import FFI

from coppice.core.errors import CoppiceError

# Where the numbers of an array begin: an unsigned integer that C reads as a pointer.
ADDRESS = "uintptr_t"


class Library:
    """What a shared library offers, called without Python's lock.

    Parameters
    ----------
    file : Path
        Of :func:`coppice.native.toolchain.shared_library`.
    declarations : str
        The C declarations of what is used. Pointers to arrays may be declared as ``uintptr_t``, and are then given as
        the numbers that ``array.ctypes.data`` and ``tensor.data_ptr()`` are.

    Attributes
    ----------
    ffi : cffi.FFI
        Makes what C wants of what Python has.
    functions : object
        The functions and variables by name.

    Raises
    ------
    CoppiceError
        If the library cannot be loaded, as when what it takes from other libraries is not there.

    Examples
    --------
    >>> from coppice.native.toolchain import shared_library
    >>> file = shared_library({"twice.c": "int twice(int number) { return 2 * number; }"})
    >>> Library(file, "int twice(int number);").functions.twice(21)
    42
    """

    def __init__(self, file: Path, declarations: str) -> None:
        self.ffi = FFI()
        self.ffi.cdef(declarations)
        try:
            self.functions: Any = self.ffi.dlopen(str(file), self.ffi.RTLD_NOW)
        except OSError as error:
            raise CoppiceError(f"the compiled {file.name} cannot be loaded: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    return re.sub(r"^cannot load library .*?: ", "", str(error))
