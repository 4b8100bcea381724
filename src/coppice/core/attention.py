"""Attention as products that can be counted and followed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def products_of_attention() -> Iterator[None]:
    """Keep ``nn.MultiheadAttention`` from running as one operator, in which its products cannot be seen.

    Examples
    --------
    >>> with products_of_attention():
    ...     torch.backends.mha.get_fastpath_enabled()
    False
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
