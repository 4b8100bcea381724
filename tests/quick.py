"""Which parameters of a slow test stay in ``make test``."""

from collections.abc import Iterable
from typing import Any

import pytest


def quick(every: Iterable[Any], *here: Any) -> list:
    """Give the parameters named here to ``make test``, and all others to ``make proofs``."""
    return [value if value in here else pytest.param(value, marks=pytest.mark.proof) for value in every]
