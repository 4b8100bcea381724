"""What a system's file holds: values and bytes, at the number formats in which they are stored."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from coppice.challenge.packed import packed_layers
from coppice.complexity.stored import stored_bytes
from coppice.networks.classifier import Classifier
from coppice.networks.number_formats import format_of, int8_names

_WIDTHS = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int8": 1, "uint8": 1, "int16": 2, "int32": 4}


@dataclass(frozen=True)
class Storage:
    """Values and bytes of a network.

    Attributes
    ----------
    params, params_bytes : int
        Weights, biases and the factors and summands of batch normalisation.
    statistics, statistics_bytes : int
        Running means and variances, and other floating-point buffers.
    nonzero, nonzero_bytes : int
        Of both together, what is not exactly 0.
    nonzero_params : int
        Of the parameters, what is not exactly 0.
    weight_formats : dict
        Number format -> bytes of the weights of convolutions and dense layers, stored so.
    note : str
        What a reader should know; may be empty.
    """

    params: int
    params_bytes: int
    statistics: int
    statistics_bytes: int
    nonzero: int
    nonzero_bytes: int
    nonzero_params: int
    weight_formats: dict[str, int] = field(default_factory=dict)
    note: str = ""


class _Stored(NamedTuple):
    tensor: Tensor
    format: str
    is_param: bool


def storage_of(model: Classifier | nn.Module) -> Storage:
    """Count values and bytes of a classifier or a network as they are stored.

    A bare network is counted at the number format of each of its tensors, int8 layers of torch.ao included, whose
    weights are no parameters. A classifier is counted at the format of its checkpoint, or of the file that it was
    imported from; where such a file mixes formats, its bytes are known but not which of them are zeros, so that all
    count. The counter of batches in batch normalisation and pruning masks count nothing, but weights behind a mask
    that are 0 are zeros.

    Parameters
    ----------
    model : Classifier or nn.Module
        Left as it is.

    Raises
    ------
    CoppiceError
        If a layer packs its weights where they cannot be counted.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv1d(1, 8, 3).half(), nn.BatchNorm1d(8))
    >>> stored = storage_of(net)
    >>> stored.params, stored.params_bytes, stored.statistics_bytes
    (48, 128, 64)
    """
    if not isinstance(model, Classifier):
        return _summed(list(_tensors(model, None)))
    imported = stored_bytes(model)
    if imported is None or len(imported) == 1:
        return _summed(list(_tensors(model.network, next(iter(imported)) if imported else model.stored_as)))
    # Which tensor has which format the file said only in sum.
    plain = _summed(list(_tensors(model.network, "float32")))
    total = sum(imported.values())
    return Storage(
        params=plain.params,
        params_bytes=total,
        statistics=plain.statistics,
        statistics_bytes=0,
        nonzero=plain.nonzero,
        nonzero_bytes=total,
        nonzero_params=plain.nonzero_params,
        weight_formats={name: size for name, size in imported.items() if name != "int32"},
        note="the file mixes number formats; all its bytes count, zeros too",
    )


def _tensors(network: nn.Module, format_name: str | None) -> Iterator[_Stored]:
    buffers = dict(network.named_buffers())
    int8 = int8_names(network)

    def stored(name: str, tensor: Tensor, *, is_param: bool) -> _Stored:
        own = str(tensor.dtype).removeprefix("torch.").removeprefix("q")
        return _Stored(tensor, format_of(name, format_name, int8) if format_name else own, is_param)

    for name, parameter in network.named_parameters():
        mask = buffers.get(name.removesuffix("_orig") + "_mask") if name.endswith("_orig") else None
        plain = parameter.detach() if mask is None else parameter.detach() * mask.to(parameter.dtype)
        yield stored(name, plain, is_param=True)
    masks = {name.removesuffix("_orig") + "_mask" for name, _ in network.named_parameters() if name.endswith("_orig")}
    for name, buffer in buffers.items():
        if name not in masks and buffer.is_floating_point():
            yield stored(name, buffer, is_param=False)
    for layer in packed_layers(network).values():
        yield _Stored(layer.weight, str(layer.weight.dtype).removeprefix("torch.q"), True)
        if layer.bias is not None:
            yield _Stored(layer.bias.detach(), str(layer.bias.dtype).removeprefix("torch."), True)


def _summed(tensors: list[_Stored]) -> Storage:
    params = params_bytes = statistics = statistics_bytes = nonzero = nonzero_bytes = nonzero_params = 0
    formats: dict[str, int] = {}
    for tensor, name, is_param in tensors:
        values = tensor.numel()
        width = _WIDTHS.get(name, tensor.element_size())
        plain = tensor.dequantize() if tensor.is_quantized else tensor
        kept = int(torch.count_nonzero(plain))
        nonzero += kept
        nonzero_bytes += kept * width
        if is_param:
            params += values
            params_bytes += values * width
            nonzero_params += kept
            if tensor.ndim > 1:
                formats[name] = formats.get(name, 0) + values * width
        else:
            statistics += values
            statistics_bytes += values * width
    return Storage(params, params_bytes, statistics, statistics_bytes, nonzero, nonzero_bytes, nonzero_params, formats)
