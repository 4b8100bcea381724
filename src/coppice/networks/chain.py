"""A chain of layers, given as data: what networks from Keras and TFLite files become."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.errors import CoppiceError
from coppice.networks.chain_layers import modules_of
from coppice.networks.chain_specs import MOST_LAYERS, Spec, check_input_shape, complete, layer_name
from coppice.networks.registry import network


@network("chain")
class Chain(nn.Module):
    """Layers one after another, named by kind and order: conv1, bn1, act1, pool1, drop1, flatten, dense1, ...

    Kinds and what they take: ``conv`` (filters, kernel, stride, padding, dilation, groups, bias), ``batch_norm``
    (eps, momentum as torch counts it), ``activation`` (function; clip: low, high; leaky_relu: slope; elu: alpha),
    ``max_pool`` and ``avg_pool`` (kernel, stride, padding; an average does not count the padding),
    ``global_max_pool`` and ``global_avg_pool`` (keep_axes), ``pad`` (padding), ``dropout`` (rate, whole_channels),
    ``flatten``, ``dense`` (units, bias). A padding is ``"valid"``, ``"same"`` as Keras and TensorFlow understand
    it, or [before, after] for each axis. Convolutions and pools are 1-D or 2-D as the input is.

    Parameters
    ----------
    layers : sequence of mappings
        One per layer, with its ``kind``.
    input_shape : sequence of int
        Without the batch: channels, then one or two axes, such as (1, 40, 500).

    Raises
    ------
    CoppiceError
        If a kind or value is unknown, a layer does not fit onto the one before, or the last does not give features.

    Examples
    --------
    >>> import torch
    >>> layers = [
    ...     {"kind": "conv", "filters": 16, "kernel": 7, "padding": "same"},
    ...     {"kind": "activation", "function": "relu"},
    ...     {"kind": "global_avg_pool"},
    ...     {"kind": "dense", "units": 10},
    ... ]
    >>> net = Chain(layers=layers, input_shape=(1, 40, 50))
    >>> net(torch.zeros(2, 1, 40, 50)).shape
    torch.Size([2, 10])
    >>> [name for name, _ in net.named_children()]
    ['conv1', 'act1', 'pool1', 'dense1']
    """

    def __init__(self, *, layers: Sequence[Mapping[str, Any]], input_shape: Sequence[int]) -> None:
        super().__init__()
        self.input_shape = check_input_shape(input_shape)
        if not isinstance(layers, Sequence) or not 1 <= len(layers) <= MOST_LAYERS:
            raise CoppiceError(f"a chain takes a list of 1 to {MOST_LAYERS} layers, not {repr(layers)[:60]}.")
        self._specs: dict[str, Spec] = {}
        shape = self.input_shape
        for position, layer in enumerate(layers, start=1):
            try:
                spec, after = complete(layer, shape)
            except CoppiceError as error:
                raise CoppiceError(f"layer {position} of the chain: {error}") from error
            name = layer_name(spec["kind"], list(self._specs))
            for module_name, module in modules_of(name, spec, shape).items():
                self.add_module(module_name, module)
            self._specs[name] = spec
            shape = after
        if len(shape) != 1:
            raise CoppiceError(
                "the last layer of a chain gives one number per class; end it with a global pool, or a flatten and a "
                "dense layer."
            )

    def config(self) -> dict[str, Any]:
        """Return the arguments that build a chain of these shapes, read from the layers as they are now."""
        layers = copy.deepcopy(list(self._specs.values()))
        for name, spec in zip(self._specs, layers, strict=True):
            module = self.get_submodule(name)
            if isinstance(module, nn.Conv1d | nn.Conv2d):
                spec["filters"], spec["groups"] = module.out_channels, module.groups
            elif isinstance(module, nn.Linear):
                spec["units"] = module.out_features
        return {"layers": layers, "input_shape": list(self.input_shape)}

    def forward(self, features: Float[Tensor, "clips channels *axes"]) -> Float[Tensor, "clips classes"]:
        """Return one logit per class."""
        x = features
        for layer in self.children():
            x = layer(x)
        return x
