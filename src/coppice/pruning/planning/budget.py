"""Upper bounds on what a pruned network may cost."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any

from coppice.complexity.latency_runtimes import check_runtime
from coppice.core.errors import CoppiceError, did_you_mean

_COUNT_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_BYTE_UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_TIME_UNITS = {"": 1, "ms": 1, "s": 1000}
_NUMBER_AND_UNIT = r"\s*(\d[\d_,]*(?:\.\d+)?(?:[eE][+-]?\d{1,3})?)\s*([A-Za-z%]*)\s*"
_UNITS = {
    "params": _COUNT_UNITS,
    "macs": _COUNT_UNITS,
    "bytes": _BYTE_UNITS,
    "latency_ms": _TIME_UNITS,
}
_EXAMPLES = {
    "params": '30_000, "30 k" or "50%"',
    "macs": '100_000_000, "100 M" or "50%"',
    "bytes": '128_000, "128 kB" or "50%"',
    "latency_ms": '2.5, "2.5 ms" or "50%"',
}
NUMBER_BYTES = {"float32": 4, "float16": 2}
Bound = int | float | str


@dataclass(frozen=True)
class Budget:
    """Upper bounds for the pruned network: all that are given must hold.

    A bound is a number; a text with a unit, such as ``"12.5 M"``, ``"128 kB"`` (1000 bytes), ``"128 KiB"`` (1024) or
    ``"2 ms"``; or a share of what the network costs before, such as ``"50%"``.

    Attributes
    ----------
    params : int or str, optional
        Parameters with running statistics: ``params_total`` of :func:`coppice.profile`.
    macs : int or str, optional
        Multiply-accumulates of one clip, counted as :func:`coppice.profile` does.
    bytes : int or str, optional
        Of the network's tensors in the number format ``stored_as``: ``size_bytes_float32`` or ``size_bytes_float16``.
    latency_ms : float or str, optional
        Median time of one clip on this machine.
    stored_as : {"float32", "float16"}
        See ``bytes``.
    runtime : {"torch", "onnxruntime", "openvino", "litert", "c"}, optional
        What runs the network when ``latency_ms`` is measured; torch if not given.

    Raises
    ------
    CoppiceError
        If no bound is given, one cannot be read or be held by any network, or there is no such runtime.

    Examples
    --------
    >>> Budget(macs="50%", bytes="128 kB").limits(macs=286_637_800, params=46_246, numbers=46_246)
    {'macs': 143318900, 'bytes': 128000}
    """

    params: Bound | None = None
    macs: Bound | None = None
    bytes: Bound | None = None
    latency_ms: Bound | None = None
    stored_as: str = "float32"
    runtime: str | None = None

    def __post_init__(self) -> None:
        for name, bound in self.bounds.items():
            limit, is_share = _read(name, bound)
            if limit <= 0:
                raise CoppiceError(
                    f"the budget's {name} is {bound!r}; give a number above 0, such as {_EXAMPLES[name]}."
                )
            if is_share and limit > 1:
                raise CoppiceError(
                    f"the budget's {name} is {bound!r}, more than the network has; give at most '100%', such as '50%'."
                )
        if self.stored_as not in NUMBER_BYTES:
            raise CoppiceError(
                f"the budget's stored_as is {self.stored_as!r}. {did_you_mean(str(self.stored_as), NUMBER_BYTES)}"
            )
        if self.runtime is not None:
            check_runtime(self.runtime)
            if self.latency_ms is None:
                raise CoppiceError(
                    f"the budget's runtime is {self.runtime!r} but no latency is bounded; give latency_ms as well, "
                    "such as '50%'."
                )
        if not self.bounds:
            raise CoppiceError('the budget has no bound; give params, macs, bytes or latency_ms, such as macs="50%".')

    @classmethod
    def from_mapping(cls, bounds: Mapping[str, Any]) -> "Budget":
        """Return a budget from names and values, such as a recipe or the command line gives.

        Raises
        ------
        CoppiceError
            If there is no bound of such a name, or a value cannot be used.

        Examples
        --------
        >>> Budget.from_mapping({"macs": "50%"})
        Budget(params=None, macs='50%', bytes=None, latency_ms=None, stored_as='float32', runtime=None)
        """
        known = [field.name for field in fields(cls)]
        for name in bounds:
            if name not in known:
                raise CoppiceError(f"a budget has no bound {name!r}. {did_you_mean(str(name), known)}")
        return cls(**bounds)

    def to_mapping(self) -> dict[str, Bound]:
        """Return names and values from which :meth:`from_mapping` makes an equal budget.

        Examples
        --------
        >>> Budget(latency_ms="50%", runtime="openvino").to_mapping()
        {'latency_ms': '50%', 'stored_as': 'float32', 'runtime': 'openvino'}
        """
        runtime: dict[str, Bound] = {} if self.runtime is None else {"runtime": self.runtime}
        return {**self.bounds, "stored_as": self.stored_as, **runtime}

    @property
    def bounds(self) -> dict[str, Bound]:
        """The bounds that are given, by name, as they were written."""
        given = {field.name: getattr(self, field.name) for field in fields(self) if field.name in _UNITS}
        return {name: bound for name, bound in given.items() if bound is not None}

    def limits(self, *, params: int, macs: int, numbers: int) -> dict[str, int]:
        """Return the largest whole number that each bound on a count allows, for a network of this size.

        Parameters
        ----------
        params, macs, numbers : int
            Of the network before, see :class:`coppice.pruning.planning.costs.Counts`.
        """
        before = {"params": params, "macs": macs, "bytes": numbers * NUMBER_BYTES[self.stored_as]}
        return {name: math.floor(self.limit(name, before[name])) for name in self.bounds if name in before}

    def limit(self, name: str, before: float) -> Fraction:
        """Return one bound as a number.

        Parameters
        ----------
        name : str
            Which one.
        before : float
            What the network costs before, in the same unit.

        Examples
        --------
        >>> float(Budget(latency_ms="50%").limit("latency_ms", 3.0))
        1.5
        """
        limit, is_share = _read(name, self.bounds[name])
        return limit * Fraction(before) if is_share else limit


def _read(name: str, bound: Any) -> tuple[Fraction, bool]:
    """Return a bound as a number, and whether it is a share of what the network costs before."""
    if isinstance(bound, int | float) and not isinstance(bound, bool) and math.isfinite(bound):
        return Fraction(bound), False
    found = re.fullmatch(_NUMBER_AND_UNIT, bound) if isinstance(bound, str) and len(bound) < 40 else None
    if found is None:
        raise CoppiceError(f"the budget's {name} is {bound!r}; give a number, such as {_EXAMPLES[name]}.")
    number, unit = found.groups()
    value = Fraction(number.replace("_", "").replace(",", ""))
    if unit == "%":
        return value / 100, True
    units = _UNITS[name]
    if unit == "KB" and name == "bytes":
        raise CoppiceError(f"the budget's bytes is {bound!r}: KB is 1000 or 1024 bytes; write kB or KiB.")
    if unit not in units:
        raise CoppiceError(
            f"the budget's {name} is {bound!r} with the unit {unit!r}; give for example {_EXAMPLES[name]}."
        )
    return value * units[unit], False
