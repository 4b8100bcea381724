"""Programs that run exported models as latency budgets ask for them: single products and whole networks, timed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from coppice.complexity.latency_table import fastest_ms, medians_ms, runtime_name
from coppice.complexity.product import Product
from coppice.core.seeds import numpy_stream
from coppice.export.latency_engines import ENGINES, Shape
from coppice.export.runtimes import Call, runtime

MORE = 3  # copies of a product beside one


@dataclass(frozen=True, eq=False)
class ExportedRuntime:
    """A program that runs exported models, on the CPU in float32.

    Networks are timed by the median, products by the shortest time, after a warm-up.

    Attributes
    ----------
    engine : {"onnxruntime", "openvino", "litert"}
    threads : int >= 1
    seconds : float
        About how long each of the two models of one product, and at most five times as long networks, are timed.

    Raises
    ------
    CoppiceError
        If it is not installed; from its methods if it cannot run a model, or the export lacks an operator.

    Examples
    --------
    >>> ExportedRuntime("onnxruntime", seconds=0.01).product_ms(Product("matrix", (1, 8), (8, 4))) >= 0
    True
    """

    engine: str
    threads: int = 1
    seconds: float = 0.1
    # Translating a network takes longer than timing it. Shapes are kept beside the call, for networks cut in place.
    _ready: WeakKeyDictionary[nn.Module, tuple[object, Call]] = field(
        default_factory=WeakKeyDictionary, init=False, repr=False
    )

    def __post_init__(self) -> None:
        runtime(self.engine)

    @property
    def name(self) -> str:
        """Processor, engine with version, number format and threads."""
        return runtime_name(f"{self.engine} {ENGINES[self.engine].version} float32", threads=self.threads)

    def product_ms(self, product: Product) -> float:
        """Return the time that one more such product takes in a network, in milliseconds.

        Runtimes keep values in blocks of channels inside a network. A model of one product would be timed with the
        change into blocks and back, and with all that a call takes; so models of one and of three are compared.
        """
        product_model = ENGINES[self.engine].product
        calls = {str(copies): self._call(product_model(product, copies), product.input) for copies in (1, MORE)}
        times = fastest_ms(calls, seconds=2 * self.seconds)
        return max(0.0, (times[str(MORE)] - times["1"]) / (MORE - 1))

    def networks_ms(self, networks: Mapping[str, nn.Module], example: Float[Tensor, "1 *shape"]) -> dict[str, float]:
        """Return the median times of whole networks in milliseconds, measured in turn."""
        calls = {name: self._network_call(network, tuple(example.shape)) for name, network in networks.items()}
        return medians_ms(calls, seconds=5 * self.seconds)

    def _network_call(self, network: nn.Module, shape: Shape) -> Call:
        shapes = (shape, [(name, tensor.shape) for name, tensor in network.state_dict().items()])
        if network not in self._ready or self._ready[network][0] != shapes:
            self._ready[network] = shapes, self._call(ENGINES[self.engine].network(network, shape), shape)
        return self._ready[network][1]

    def _call(self, model: Any, shape: Shape) -> Call:
        """Return a call of a model on standard normal values; zeros would let a runtime skip work."""
        noise = numpy_stream(0, "latency").standard_normal(shape, dtype=np.float32)
        return ENGINES[self.engine].call(model, noise, threads=self.threads)
