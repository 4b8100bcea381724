"""How long single products take here at every width: measured once for each processor and runtime, kept on the disk."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.complexity.latency import durations_ms, measure_latency
from coppice.complexity.product import Product
from coppice.core.errors import CoppiceError
from coppice.core.files import digest, read_json, write_json
from coppice.core.processor import processor
from coppice.core.progress import say
from coppice.datasets.cache import cache_folder

VERSION = 2
SAVE_EVERY_S = 5.0


class Runtime(Protocol):
    """What runs networks, and can be timed."""

    @property
    def name(self) -> str:
        """Everything that times depend on besides shapes: processor, software with version, number format, threads."""

    def product_ms(self, product: Product) -> float:
        """Return the time of one product in milliseconds."""

    def networks_ms(self, networks: Mapping[str, nn.Module], example: Float[Tensor, "1 *shape"]) -> dict[str, float]:
        """Return the times of whole networks in milliseconds, measured in turn."""


@dataclass(frozen=True)
class TorchRuntime:
    """Eager PyTorch in float32, timed after a warm-up: networks by the median, products by the shortest time.

    Attributes
    ----------
    threads : int >= 1
    seconds : float
        About how long one product, and at most five times as long one network, is timed.

    Examples
    --------
    >>> TorchRuntime(seconds=0.01).product_ms(Product("matrix", (1, 8), (8, 4))) > 0
    True
    """

    threads: int = 1
    seconds: float = 0.1

    @property
    def name(self) -> str:
        """Processor, torch version and threads."""
        return runtime_name(f"torch {torch.__version__} eager float32", threads=self.threads)

    def product_ms(self, product: Product) -> float:
        """Return the shortest time of one product in milliseconds."""
        tensors = product.tensors()
        with _threads(self.threads), torch.inference_mode():
            return fastest_ms({"it": lambda: product.run(*tensors)}, seconds=self.seconds)["it"]

    def networks_ms(self, networks: Mapping[str, nn.Module], example: Float[Tensor, "1 *shape"]) -> dict[str, float]:
        """Return the median times of whole networks in milliseconds, measured in turn."""
        once = measure_latency(networks, example, repeats=1, warmup=1, threads=self.threads)
        repeats = _repeats(5 * self.seconds, sum(one.latency_ms_p50 for one in once.values()))
        times = measure_latency(networks, example, repeats=repeats, warmup=2, threads=self.threads)
        return {name: one.latency_ms_p50 for name, one in times.items()}


def runtime_name(software: str, *, threads: int) -> str:
    """Return the name under which a runtime's times are kept: with the processor that this runs on.

    Examples
    --------
    >>> runtime_name("an engine 1.2 float32", threads=1).endswith(", an engine 1.2 float32, 1 thread")
    True
    """
    return f"{processor()}, {software}, {threads} thread{'s' * (threads > 1)}"


def medians_ms(calls: Mapping[str, Callable[[], object]], *, seconds: float) -> dict[str, float]:
    """Time calls in turn and return their medians in milliseconds.

    Parameters
    ----------
    calls : mapping of name to callable
        Each does its work once.
    seconds : float
        About how long all of them together are timed; each at least 3 and at most 60 times, after a warm-up.

    Examples
    --------
    >>> medians_ms({"nothing": lambda: None}, seconds=0.01)["nothing"] < 1
    True
    """
    return {name: statistics.median(times) for name, times in _durations(calls, seconds).items()}


def fastest_ms(calls: Mapping[str, Callable[[], object]], *, seconds: float) -> dict[str, float]:
    """Time calls as :func:`medians_ms` does, and return the shortest times: what they take when nothing disturbs.

    Examples
    --------
    >>> fastest_ms({"nothing": lambda: None}, seconds=0.01)["nothing"] < 1
    True
    """
    return {name: min(times) for name, times in _durations(calls, seconds).items()}


def _durations(calls: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    once = durations_ms(calls, repeats=1, warmup=1)
    repeats = _repeats(seconds, sum(times[0] for times in once.values()))
    return durations_ms(calls, repeats=repeats, warmup=1)


def _repeats(seconds: float, once_ms: float) -> int:
    return max(3, min(60, math.ceil(1000 * seconds / max(once_ms, 1e-6))))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(eq=False)
class LatencyTable:
    """Times of products in one runtime; what is missing is measured when asked for.

    Attributes
    ----------
    runtime : Runtime
    path : Path or None
        JSON file that holds the times; None to forget them.
    times_ms : dict of str to float
        Key of a product -> milliseconds.

    Examples
    --------
    >>> table = LatencyTable(TorchRuntime(seconds=0.01))
    >>> product = Product("matrix", (1, 8), (8, 4))
    >>> table.ms(product) == table.ms(product)
    True
    """

    runtime: Runtime
    path: Path | None = None
    times_ms: dict[str, float] = field(default_factory=dict)
    _saved_at: float = field(default=0.0, init=False)
    _unsaved: bool = field(default=False, init=False)

    @classmethod
    def on_disk(cls, runtime: Runtime | None = None, *, folder: Path | None = None) -> "LatencyTable":
        """Return the table of a runtime, with the times that earlier calls left in a folder.

        Parameters
        ----------
        runtime : Runtime, optional
            Torch with one thread if not given.
        folder : Path, optional
            Coppice's cache folder if not given. A file in it that cannot be read is measured anew.
        """
        runtime = runtime or TorchRuntime()
        path = (folder or cache_folder() / "latency") / f"{digest(runtime.name)}.json"
        times: dict[str, float] = {}
        if path.exists():
            try:
                times = _times(read_json(path, "table of latencies"), runtime.name, path)
            except CoppiceError as error:
                say(f"{error} It is measured anew.")
        return cls(runtime, path, times)

    def ms(self, product: Product) -> float:
        """Return the time of one product in milliseconds, measured if it is not known."""
        key = product.key
        if key not in self.times_ms:
            self.times_ms[key] = self.runtime.product_ms(product)
            self._unsaved = True
            if time.monotonic() - self._saved_at > SAVE_EVERY_S:
                self.save()
        return self.times_ms[key]

    def save(self) -> None:
        """Write the times, if there are new ones and a file for them."""
        if self.path is not None and self._unsaved:
            write_json(self.path, {"version": VERSION, "runtime": self.runtime.name, "times_ms": self.times_ms})
            self._unsaved = False
        self._saved_at = time.monotonic()

    @contextmanager
    def saved(self) -> Iterator[None]:
        """Write the times when the block ends, however it ends: what was interrupted goes on from there."""
        try:
            yield
        finally:
            self.save()


def _times(value: Any, runtime: str, path: Path) -> dict[str, float]:
    times = value.get("times_ms") if isinstance(value, dict) else None
    if not isinstance(times, dict) or value.get("version") != VERSION or value.get("runtime") != runtime:
        raise CoppiceError(f"{path} is not a table of latencies for {runtime}.")
    if not all(isinstance(ms, int | float) and math.isfinite(ms) and ms >= 0 for ms in times.values()):
        raise CoppiceError(f"{path} holds times that are no numbers.")
    return times
