"""Everything that can be said of a network's cost, each number with its convention in its name."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.complexity.folding import fold_batch_norm
from coppice.complexity.latency import measure_latency
from coppice.complexity.macs import CONVENTION, count_macs
from coppice.complexity.memory import peak_activation_bytes
from coppice.complexity.params import count_params
from coppice.complexity.stored import stored_bytes
from coppice.networks.classifier import Classifier, as_network


@dataclass(frozen=True)
class LayerProfile:
    """One layer with weights: its name, kind, filters (or units), parameters, MACs and output shape."""

    name: str
    kind: str
    filters: int
    params: int
    macs: int
    output_shape: tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """The cost of a network on one clip.

    Attributes
    ----------
    params_total, params_trainable, params_bn_folded : int
        See :class:`coppice.complexity.params.ParamCount`.
    macs : int
        Under ``macs_convention``.
    size_bytes_float32, size_bytes_float16 : int
        Bytes of the network's tensors (batch normalisation included), read off tensors of that format.
    size_bytes_folded_float16 : int
        The same with batch normalisation folded: the "KB at 16 bit" of the DCASE 2021 reports.
    size_bytes_stored : int or None
        Bytes of the weights in the file that this classifier was imported from, at the number formats of that file;
        None for others, and once the network has changed.
    stored_formats : dict or None
        The same, number format -> bytes.
    stored_as : str or None
        Number format of this classifier's checkpoint; None for a bare module.
    peak_activation_bytes : int
        Measured in eager float32, batch of 1.
    latency_ms_p50, latency_ms_p95 : float or None
        Eager PyTorch, one thread, batch of 1; None when not asked for.
    input_shape : tuple of int
    layers : tuple of LayerProfile
    """

    params_total: int
    params_trainable: int
    params_bn_folded: int
    macs: int
    macs_convention: str
    size_bytes_float32: int
    size_bytes_float16: int
    size_bytes_folded_float16: int
    size_bytes_stored: int | None
    stored_formats: dict[str, int] | None
    stored_as: str | None
    peak_activation_bytes: int
    latency_ms_p50: float | None
    latency_ms_p95: float | None
    input_shape: tuple[int, ...]
    layers: tuple[LayerProfile, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-able data."""
        data = asdict(self)
        data["input_shape"] = list(self.input_shape)
        for layer in data["layers"]:
            layer["output_shape"] = list(layer["output_shape"])
        data["layers"] = list(data["layers"])
        return data


def profile(
    model: Classifier | nn.Module,
    *,
    example: Float[Tensor, "1 *shape"] | None = None,
    latency: bool = True,
) -> Profile:
    """Measure parameters, MACs, bytes, memory and latency of a network.

    Parameters
    ----------
    model : Classifier or nn.Module
        Left as it is.
    example : Tensor, optional
        One input, needed for a bare module.
    latency : bool
        Whether to time it, which takes about half a second.

    Returns
    -------
    Profile

    Raises
    ------
    CoppiceError
        If a bare module comes without an example.

    Examples
    --------
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> cost = profile(DCASE2021(frames=500), example=torch.zeros(1, 1, 40, 500), latency=False)
    >>> cost.params_total, cost.params_bn_folded, cost.macs
    (46246, 45990, 286637800)
    """
    network, example = as_network(model, example)
    params, macs = count_params(network, example), count_macs(network, example)
    stored = stored_bytes(model) if isinstance(model, Classifier) else None
    times = measure_latency({"it": network}, example)["it"] if latency else None
    return Profile(
        params_total=params.total,
        params_trainable=params.trainable,
        params_bn_folded=params.bn_folded,
        macs=macs.total,
        macs_convention=CONVENTION,
        size_bytes_float32=_tensor_bytes(network, torch.float32),
        size_bytes_float16=_tensor_bytes(network, torch.float16),
        size_bytes_folded_float16=_tensor_bytes(fold_batch_norm(network, example), torch.float16),
        size_bytes_stored=sum(stored.values()) if stored is not None else None,
        stored_formats=stored,
        stored_as=model.stored_as if isinstance(model, Classifier) else None,
        peak_activation_bytes=peak_activation_bytes(network, example),
        latency_ms_p50=times.latency_ms_p50 if times else None,
        latency_ms_p95=times.latency_ms_p95 if times else None,
        input_shape=tuple(example.shape),
        layers=tuple(_layers(network, macs.by_layer, macs.output_shapes)),
    )


def _tensor_bytes(network: nn.Module, dtype: torch.dtype) -> int:
    tensors = [t.to(dtype) for t in network.state_dict().values() if t.is_floating_point()]
    return sum(t.numel() * t.element_size() for t in tensors)


def _layers(network: nn.Module, macs: dict[str, int], shapes: dict[str, tuple[int, ...]]) -> list[LayerProfile]:
    return [
        LayerProfile(
            name=name,
            kind=type(module).__name__,
            filters=int(getattr(module, "out_channels", getattr(module, "out_features", 0))),
            params=sum(parameter.numel() for parameter in module.parameters(recurse=False)),
            macs=macs[name],
            output_shape=shapes[name],
        )
        for name, module in network.named_modules()
        if name in macs
    ]
