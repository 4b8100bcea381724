"""Shared libraries of the C compiler, called from Python."""

import re

import numpy as np
import pytest

from coppice.core.errors import CoppiceError
from coppice.native.library import ADDRESS, Library
from coppice.native.toolchain import shared_library

pytestmark = pytest.mark.usefixtures("machine_code")


def test_arrays_are_given_by_where_they_begin():
    source = "void twice(float *numbers, int count) { for (int i = 0; i < count; i++) numbers[i] *= 2.0f; }"
    library = Library(shared_library({"twice.c": source}), f"void twice({ADDRESS} numbers, int count);")
    numbers = np.arange(5, dtype=np.float32)
    library.functions.twice(numbers.ctypes.data, len(numbers))
    assert numbers.tolist() == [0, 2, 4, 6, 8]


def test_a_library_that_lacks_what_it_calls_is_named_in_a_sentence():
    file = shared_library({"lost.c": "void nowhere_to_be_found(void); void lost(void) { nowhere_to_be_found(); }"})
    with pytest.raises(CoppiceError, match=rf"{re.escape(file.name)} cannot be loaded: .*nowhere_to_be_found"):
        Library(file, "void lost(void);")
