"""The number formats in which a file stores a network's tensors: float32, 16-bit floats, and int8 with a scale."""

from collections.abc import Mapping

import torch
from jaxtyping import Int8
from torch import Tensor, nn

from coppice.core.errors import CoppiceError

FORMATS = ("float32", "float16", "bfloat16", "dynamic_int8")
SCALE = ".scale"

_FLOATS = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "dynamic_int8": torch.float32,
}
_FEWEST = 1024
_LARGEST = 127
_WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def int8_names(network: nn.Module) -> frozenset[str]:
    """Return the tensors that ``dynamic_int8`` stores as int8: weights of 1,024 values or more.

    Weights of convolutions and dense layers, as TensorFlow Lite's converter chooses them for dynamic-range
    quantization; smaller ones, biases and statistics stay float32.

    Examples
    --------
    >>> sorted(int8_names(nn.Sequential(nn.Conv2d(1, 16, 3), nn.Conv2d(16, 16, 3))))
    ['1.weight']
    """
    return frozenset(
        f"{name}.weight" if name else "weight"
        for name, module in network.named_modules()
        if isinstance(module, _WEIGHTED)
        and isinstance(module._parameters.get("weight"), nn.Parameter)
        and module.weight.numel() >= _FEWEST
    )


def format_of(name: str, stored_as: str, int8: frozenset[str]) -> str:
    """Return the number format of one tensor in a file: ``dynamic_int8`` mixes two."""
    if stored_as != "dynamic_int8":
        return stored_as
    return "int8" if name in int8 else "float32"


def packed(network: nn.Module, stored_as: str) -> dict[str, Tensor]:
    """Return a network's tensors in a number format, on the CPU.

    Parameters
    ----------
    network : nn.Module
        Left as it is.
    stored_as : {"float32", "float16", "bfloat16", "dynamic_int8"}
        The last one is symmetric with one scale per tensor, as in the published files of the DCASE 2022 system of
        Singh and Plumbley; the scale is a tensor of its own, the weight's name with ``.scale`` behind it.

    Raises
    ------
    CoppiceError
        If the format is unknown, or a value is not a number or too large for it (float16 ends at 65,504).

    Examples
    --------
    >>> tensors = packed(nn.Linear(64, 16), "dynamic_int8")
    >>> {name: tensor.dtype for name, tensor in tensors.items()}
    {'weight': torch.int8, 'weight.scale': torch.float32, 'bias': torch.float32}
    """
    if stored_as not in FORMATS:
        raise CoppiceError(f"parameters cannot be stored as {stored_as!r}; use {', '.join(FORMATS)}.")
    int8 = int8_names(network) if stored_as == "dynamic_int8" else frozenset()
    tensors: dict[str, Tensor] = {}
    for name, tensor in network.state_dict().items():
        stored = tensor.detach().to("cpu")
        if stored.is_floating_point():
            plain, stored = stored, stored.to(_FLOATS[stored_as])
            if not torch.isfinite(stored).all():
                raise CoppiceError(
                    f"{name!r} holds values that {stored_as} cannot ({plain.abs().max():.3g} at most); train again "
                    "with a smaller learning rate, or store as float32."
                )
            if name in int8:
                tensors[name], tensors[name + SCALE] = _as_int8(stored)
                continue
        tensors[name] = stored
    return tensors


def unpacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return stored tensors as the numbers they stand for, in float32; whole numbers stay what they are.

    Raises
    ------
    CoppiceError
        If a scale is not one positive number, or stands beside a tensor that is not int8.

    Examples
    --------
    >>> unpacked({"w": torch.tensor([2, -127], dtype=torch.int8), "w.scale": torch.tensor(0.5)})["w"]
    tensor([  1.0000, -63.5000])
    """
    scales = {name for name in tensors if name.endswith(SCALE) and name.removesuffix(SCALE) in tensors}
    plain: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name in scales:
            continue
        if name + SCALE not in scales:
            plain[name] = tensor.float() if tensor.is_floating_point() else tensor
            continue
        scale = tensors[name + SCALE]
        if (
            tensor.dtype != torch.int8
            or scale.dtype != torch.float32
            or scale.shape
            or not 0 < scale.item() < torch.inf
        ):
            raise CoppiceError(f"the scale of {name!r} is not one positive number beside int8 ones.")
        plain[name] = tensor.float() * scale
    return plain


def _as_int8(weight: Tensor) -> tuple[Int8[Tensor, "*shape"], Tensor]:
    """Return a tensor as whole numbers of -127 to 127 and their scale; rounded ones give exactly themselves back."""
    largest = weight.abs().max()
    first = largest / _LARGEST if largest > 0 else torch.ones(())
    if not first > 0:  # so small that its 127th part is 0
        first = torch.finfo(torch.float32).smallest_normal * torch.ones(())
    # What is rounded already has its largest value at 127 scales, from which the scale follows but for its last bit.
    for scale in (first, torch.nextafter(first, torch.zeros(())), torch.nextafter(first, torch.full((), torch.inf))):
        whole = _whole(weight, scale)
        if torch.equal(whole.float() * scale, weight):
            return whole, scale
    return _whole(weight, first), first


def _whole(weight: Tensor, scale: Tensor) -> Int8[Tensor, "*shape"]:
    return (weight / scale).round().clamp(-_LARGEST, _LARGEST).to(torch.int8)
