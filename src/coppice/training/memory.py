"""Out of memory: one sentence that names the setting to turn."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from coppice.core.errors import CoppiceError


@contextmanager
def plain_out_of_memory(batch_size: int) -> Iterator[None]:
    """Turn an allocation that fails, on the CPU or a GPU, into a :class:`CoppiceError`.

    Examples
    --------
    >>> with plain_out_of_memory(32):
    ...     raise MemoryError
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: the memory does not suffice for training with batch_size 32; give a smaller
    batch_size, such as 16, and accumulate: 2 for steps as large as before.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # torch has a class for GPUs only; on the CPU it is a RuntimeError like any other.
        said = str(error).lower()
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not (known or "allocate memory" in said or "out of memory" in said):
            raise
        less = max(1, batch_size // 2)
        how = f"give a smaller batch_size, such as {less}, and accumulate: 2 for steps as large as before."
        if batch_size == 1:
            how = "it is one clip at a time already; use shorter clips or a smaller network."
        raise CoppiceError(f"the memory does not suffice for training with batch_size {batch_size}; {how}") from error
