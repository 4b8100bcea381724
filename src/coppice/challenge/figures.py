"""The figure of a system under each limit, as the year's rules count it and as strictly as they can be read."""

import copy
from contextlib import ExitStack
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.audio.front_end import FrontEnd
from coppice.challenge.onnx_count import count_onnx
from coppice.challenge.packed import packed_layers, packed_mult_adds
from coppice.challenge.rules import Rules
from coppice.challenge.storage import Storage, storage_of
from coppice.complexity.conventions import count
from coppice.complexity.torchinfo_count import count_torchinfo
from coppice.core.errors import CoppiceError
from coppice.core.modes import eval_mode
from coppice.export.onnx_file import OnnxFile
from coppice.networks.classifier import Classifier, as_network
from coppice.networks.ensemble import Ensemble

_BY_GRAPH = "convolutions and matrix products of the graph"


@dataclass(frozen=True)
class Figure:
    """A number, or a number format, under a limit.

    Attributes
    ----------
    value : int or str
        As the year's official counter has it.
    strict : int or str
        As strictly as the rule can be read; this is what is judged.
    why : str
        What the strict one is, where it differs; or what a reader should know.
    """

    value: int | str
    strict: int | str
    why: str = ""


@dataclass(frozen=True)
class Figures:
    """All that is counted of one model.

    Attributes
    ----------
    storage : Storage
    limits : dict
        Name of the limit -> :class:`Figure`.
    """

    storage: Storage
    limits: dict[str, Figure]


def figures_of(
    model: Classifier | nn.Module, rules: Rules, *, example: Float[Tensor, "1 *shape"] | None = None
) -> Figures:
    """Count a model as the rules of a year do.

    Parameters
    ----------
    model : Classifier or nn.Module
        Left as it is. A bare network is counted at the number formats of its tensors.
    rules : Rules
        Whose limits are asked for.
    example : Tensor, optional
        One input, needed for a bare network.

    Raises
    ------
    CoppiceError
        If the model cannot be counted.

    Examples
    --------
    >>> from coppice.challenge.rules import rules_of
    >>> from coppice.networks.registry import build_network
    >>> net = build_network("cp_mobile").half()
    >>> found = figures_of(net, rules_of("dcase2024"), example=torch.zeros(1, 1, 256, 65)).limits
    >>> found["size_bytes"].value, found["macs"].value
    (122296, 29419156)
    """
    storage = storage_of(model)
    front_end = model.front_end if isinstance(model, Classifier) else None
    limits: dict[str, Figure] = {}
    for limit in rules.limits:
        if limit.name == "nonzero_bytes":
            limits["nonzero_bytes"] = Figure(storage.nonzero_bytes, storage.nonzero_bytes, storage.note)
        elif limit.name == "size_bytes":
            limits["size_bytes"] = Figure(storage.params_bytes, storage.params_bytes, storage.note)
        elif limit.name == "number_format":
            limits["number_format"] = _formats(storage)
        elif limit.name == "params":
            limits["params"] = _params_2022(model, storage, example)
        else:
            found = _macs_nessi(model, example) if rules.year < 2024 else _macs_torchinfo(model, example)
            limits["macs"] = _for_every_window(_with_what_is_shared(found, model, example), front_end, rules)
    return Figures(storage, limits)


def figures_of_onnx(file: OnnxFile, rules: Rules) -> Figures:
    """Count an ONNX file as the rules of a year do: by its graph, since no official counter reads such files.

    Strictly read, scales and zero points of quantization are memory, too.

    Raises
    ------
    CoppiceError
        If the front end is inside, or an operator has no rule.
    """
    found = count_onnx(file)
    storage = found.storage
    limits: dict[str, Figure] = {}
    for limit in rules.limits:
        if limit.name == "number_format":
            limits[limit.name] = _formats(storage)
        elif limit.name == "macs":
            limits[limit.name] = _for_every_window(Figure(found.macs, found.macs, _BY_GRAPH), found.front_end, rules)
        else:
            size = storage.nonzero_bytes if limit.name == "nonzero_bytes" else storage.params_bytes
            with_scales = "with scales and zero points of quantization" if found.scale_bytes else ""
            limits[limit.name] = Figure(size, max(size + found.scale_bytes, storage.params), with_scales)
    return Figures(storage, limits)


def memory_use_bytes(model: Classifier | nn.Module, *, example: Float[Tensor, "1 *shape"] | None = None) -> int:
    """Return the most bytes that one operator reads and writes at one byte for each value, NeSsi's memory use.

    For a network whose layers follow one another; maps that wait for a later sum are not seen.

    Examples
    --------
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> memory_use_bytes(DCASE2021(frames=51), example=torch.zeros(1, 1, 40, 51))  # as the baseline's README
    65280
    """
    network, example = _float(model, example)
    most = 0

    def hook(_module: nn.Module, inputs: Any, out: Any) -> None:
        nonlocal most
        if isinstance(out, Tensor) and inputs and isinstance(inputs[0], Tensor):
            most = max(most, inputs[0].numel() + out.numel())

    with ExitStack() as hooks, eval_mode(network), torch.no_grad():
        for module in network.modules():
            if not any(module.children()):
                hooks.callback(module.register_forward_hook(hook).remove)
        network(example)
    return most


def _float(
    model: Classifier | nn.Module, example: Float[Tensor, "1 *shape"] | None
) -> tuple[nn.Module, Float[Tensor, "1 *shape"]]:
    """Return a network that computes in float32, since conventions count shapes, not number formats."""
    network, example = as_network(model, example)
    example = example.float()
    if all(
        tensor.dtype == torch.float32
        for tensor in [*network.parameters(), *network.buffers()]
        if tensor.is_floating_point()
    ):
        return network, example
    return copy.deepcopy(network).float(), example


def _formats(storage: Storage) -> Figure:
    formats = storage.weight_formats
    others = sum(size for name, size in formats.items() if name != "int8")
    text = ", ".join(sorted(formats)) or "no weights"
    why = ""
    if others:
        listed = ", ".join(f"{size:,} bytes as {name}" for name, size in sorted(formats.items()))
        why = f"the weights are {listed}; quantize all of them to int8"
    return Figure(text, text, why)


def _params_2022(model: Classifier | nn.Module, storage: Storage, example: Tensor | None) -> Figure:
    network, _ = as_network(model, example)
    if packed_layers(network):
        return Figure(storage.params_bytes, max(storage.params_bytes, storage.params), "read off the int8 layers")
    network, example = _float(model, example)
    found = count(network, "nessi_tflite", example=example).size_bytes
    assert found is not None
    return Figure(
        found, max(found, storage.params), "" if found >= storage.params else "there are more parameters than bytes"
    )


def _macs_nessi(model: Classifier | nn.Module, example: Tensor | None) -> Figure:
    network, _ = as_network(model, example)
    if packed_layers(network):
        return _macs_torchinfo(model, example)
    network, example = _float(model, example)
    torchinfo = _count(network, "torchinfo", example)
    try:
        folded, reshaped = (_count(network, name, example) for name in ("nessi_tflite", "nessi_tflite_reshape"))
    except CoppiceError:
        found = _macs_torchinfo(model, example)
        return Figure(found.value, found.strict, "torchinfo: NeSsi has no TFLite rule for a layer of it")
    strict = max(folded, reshaped, torchinfo)
    why = (
        ""
        if strict == folded
        else f"{'torchinfo' if strict == torchinfo else 'NeSsi with a RESHAPE'} counts {strict:,}"
    )
    return Figure(folded, strict, why)


def _macs_torchinfo(model: Classifier | nn.Module, example: Tensor | None) -> Figure:
    network, _ = as_network(model, example)
    if packed_layers(network):
        network, example = as_network(model, example)
        seen = count_torchinfo(network, example).mult_adds
        packed, in_full = packed_mult_adds(network, example)
        return Figure(seen + packed, seen + in_full, "int8 layers counted as the float layers that they were")
    network, example = _float(model, example)
    torchinfo, full = (_count(network, name, example) for name in ("torchinfo", "macs"))
    why = f"torchinfo misses {full - torchinfo:,} or more" if full > torchinfo else ""
    return Figure(torchinfo, max(torchinfo, full), why)


def _count(network: nn.Module, convention: str, example: Tensor) -> int:
    macs = count(network, convention, example=example).macs
    assert macs is not None
    return macs


def _with_what_is_shared(found: Figure, model: Classifier | nn.Module, example: Tensor | None) -> Figure:
    """Say what torchinfo makes of an ensemble whose members share layers: it counts every call of a layer."""
    network, _ = as_network(model, example)
    if not isinstance(network, Ensemble) or not network.shared:
        return found
    network, example = _float(model, example)
    once = _count(network, "macs", example)
    why = f"torchinfo counts layers that members share once for each member; {once:,} are computed"
    return Figure(found.value, found.strict, "; ".join(part for part in (found.why, why) if part))


def _for_every_window(found: Figure, front_end: FrontEnd | None, rules: Rules) -> Figure:
    """Multiply for a network that hears less than a clip at a time: it is called several times for one."""
    if front_end is None or abs(front_end.duration_s - rules.clip_s) < 0.02:
        return found
    windows = max(1, ceil(rules.clip_s / front_end.duration_s - 1e-9))
    why = f"the network hears {front_end.duration_s:g} s and the clips of {rules.year} have {rules.clip_s:g} s"
    if windows > 1:
        why += f"; it is called {windows} times"
    return Figure(found.value, int(found.strict) * windows, "; ".join(part for part in (found.why, why) if part))
