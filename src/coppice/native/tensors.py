"""C that works on tensors in vectors and with PyTorch's threads."""

from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files

import torch
from torch import Tensor

from coppice.core.errors import CoppiceError
from coppice.native.library import Library
from coppice.native.toolchain import FLAGS, shared_library

_LINE = 64
# Vectors are passed between inlined functions alone, and NaN is asked for by comparing, not by flags.
_FLAGS = (*FLAGS, "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi")


def tensor_library(sources: Mapping[str, str], declarations: str, *, half: bool, **constants: int) -> Library:
    r"""Compile C that includes ``vectors.h``.

    Parameters
    ----------
    sources : mapping of str to str
        Files by name.
    declarations : str
        As :class:`coppice.native.library.Library` takes them.
    half : bool
        Whether numbers are bfloat16 in place of float32.
    **constants : int
        What the C finds defined, besides ``HALF`` and ``LANES``.

    Raises
    ------
    CoppiceError
        If there is no C compiler, or its library cannot use PyTorch's threads.

    Examples
    --------
    >>> code = '#include "vectors.h"\nint lanes(void) { return LANES / WIDTH; }'
    >>> tensor_library({"lanes.c": code}, "int lanes(void);", half=False, WIDTH=lanes()).functions.lanes()
    1
    """
    said = {"HALF": int(half), "LANES": lanes()} | constants
    head = "".join(f"#define {name} {value}\n" for name, value in said.items())
    given = {name: head + text if name.endswith(".c") else text for name, text in sources.items()}
    given["vectors.h"] = files(__package__).joinpath("vectors.h").read_text(encoding="utf-8")
    return Library(shared_library(given, flags=_FLAGS), declarations)


@lru_cache(maxsize=1)
def compiles() -> bool:
    """Say whether this machine has a C compiler whose libraries use PyTorch's threads; tried once in a process."""
    code = '#include "vectors.h"\nvoid all(void (*function)(void *)) { GOMP_parallel(function, 0, 0, 0); }'
    try:
        tensor_library({"threads.c": code}, "void all(void (*function)(void *));", half=True)
    except CoppiceError:
        return False
    return True


def lanes() -> int:
    """Return how many float32 numbers a vector of this processor holds, as far as PyTorch uses it; at least 8."""
    return 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8


def aligned_memory(size: int) -> Tensor:
    """Return so many bytes that begin where a line of the cache does."""
    memory = torch.empty(size + _LINE, dtype=torch.uint8, device="cpu")
    return memory[-memory.data_ptr() % _LINE :][:size]
