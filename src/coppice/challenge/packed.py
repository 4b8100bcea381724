"""Layers of torch.ao int8 networks, whose packed weights are no parameters and escape every ordinary counter."""

from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.errors import CoppiceError
from coppice.core.modes import eval_mode


@dataclass(frozen=True, eq=False)
class PackedLayer:
    """The unpacked weight of one layer and its bias, as they are stored.

    Attributes
    ----------
    weight : Tensor
        Quantized; one byte for each value of an int8 one.
    bias : Tensor or None
        Float.
    """

    weight: Tensor
    bias: Tensor | None

    @property
    def values(self) -> int:
        """Number of weights and biases."""
        return self.weight.numel() + (0 if self.bias is None else self.bias.numel())


def packed_layers(network: nn.Module) -> dict[str, PackedLayer]:
    """Return the layers of a network whose weights are packed: name -> weight and bias.

    Networks that ``torch.ao.quantization.convert`` made have such layers. The complexity function of the DCASE 2025
    inference package sees none of them and returns (0, 0).

    Raises
    ------
    CoppiceError
        If a module packs its weights in a way that cannot be looked into, such as TorchScript.

    Examples
    --------
    >>> packed_layers(nn.Linear(4, 2))
    {}
    """
    found: dict[str, PackedLayer] = {}
    for name, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise CoppiceError(
                f"the module {name!r} is TorchScript, which may hide packed weights; give the network before scripting."
            )
        if any(name.startswith(f"{outer}.") for outer in found):
            continue  # what a packed layer keeps its weights in
        weight: Any = getattr(module, "weight", None)
        if callable(weight) and not isinstance(weight, Tensor):
            bias: Any = getattr(module, "bias", None)
            found[name] = PackedLayer(weight(), bias() if callable(bias) else None)
        elif hasattr(module, "_packed_params") or hasattr(module, "_all_weight_values"):
            raise CoppiceError(
                f"the module {name!r} ({type(module).__name__}) packs its weights where they cannot be counted; "
                "convolutions and dense layers can be."
            )
    return found


def packed_mult_adds(network: nn.Module, example: Float[Tensor, "1 *shape"]) -> tuple[int, int]:
    """Return the mult-adds of the packed layers: as torchinfo counts float layers, and in full.

    A convolution counts its weights and biases for each position of its output. A dense layer counts once for
    each clip with torchinfo 1.8.0, and for each vector in full.

    Parameters
    ----------
    network : nn.Module
        Left as it is; it is called once.
    example : Tensor
        One input, batch of 1.

    Examples
    --------
    >>> packed_mult_adds(nn.Linear(4, 2), torch.zeros(1, 4))
    (0, 0)
    """
    layers = packed_layers(network)
    if not layers:
        return 0, 0
    totals = {"torchinfo": 0, "full": 0}

    def counter(layer: PackedLayer) -> Any:
        def hook(_module: nn.Module, _inputs: Any, out: Tensor) -> None:
            if layer.weight.ndim > 2:
                positions = out.shape[0] * prod(out.shape[2:])
                totals["torchinfo"] += layer.values * positions
                totals["full"] += layer.values * positions
            else:
                totals["torchinfo"] += layer.values * out.shape[0]
                totals["full"] += layer.values * prod(out.shape[:-1])

        return hook

    with ExitStack() as hooks, eval_mode(network), torch.no_grad():
        for name, layer in layers.items():
            hooks.callback(network.get_submodule(name).register_forward_hook(counter(layer)).remove)
        network(example)
    return totals["torchinfo"], totals["full"]
