"""Builds a chain layer by layer from channels-last weights, as Keras and TensorFlow store them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from coppice.core.errors import CoppiceError
from coppice.networks.chain import Chain
from coppice.networks.chain_specs import MOST_LAYERS, Shape, Spec, check_input_shape, complete, layer_name

Array = Float[np.ndarray, "*shape"]


class ChainBuilder:
    """Collects layers and weights; keeps track of the order in which a flattened map is stored.

    Keras and TensorFlow flatten (height, width, channels), torch (channels, height, width): the rows of what follows
    have to change places.

    Parameters
    ----------
    file : str
        For messages.
    input_shape : tuple of int
        Channels first, without the batch.

    Attributes
    ----------
    shape : tuple of int
        What the layers so far give, channels first, without the batch.
    kind : str
        What the file calls the kind of the layer that is being appended, for messages.
    layer_names : dict
        Name of a layer with or without weights in the chain -> its name in the file.
    notes : list of str
        What a user should know.

    Examples
    --------
    >>> builder = ChainBuilder("tiny", (2, 1, 3))
    >>> builder.flatten("flatten")
    >>> builder.dense("dense", np.arange(12.0).reshape(2, 6), None)
    >>> chain, score = builder.finish()
    >>> chain.dense1.weight[0].tolist()
    [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]
    """

    def __init__(self, file: str, input_shape: Shape) -> None:
        self.file, self.kind = file, "layer"
        try:
            self.input_shape = self.shape = check_input_shape(input_shape)
        except CoppiceError as error:
            raise CoppiceError(f"{file} cannot be imported: {error}") from error
        self.layer_names: dict[str, str] = {}
        self.notes: list[str] = []
        self._specs: list[Spec] = []
        self._state: dict[str, Tensor] = {}
        self._order: Int64[np.ndarray, " features"] | None = None
        self._softmax = ""
        self._affine: tuple[Array, Array] | None = None

    def add(self, source: str, spec: Mapping[str, Any], tensors: Mapping[str, Array] | None = None) -> None:
        """Append one layer.

        Parameters
        ----------
        source : str
            Its name in the file.
        spec : mapping
            See :class:`coppice.networks.chain.Chain`.
        tensors : mapping, optional
            ``weight``, ``bias``, ... laid out as torch does.

        Raises
        ------
        CoppiceError
            If it does not fit onto the layers so far, or a weight is not finite.
        """
        if self._softmax:
            raise self.refused(
                source, f"it comes after the softmax {self._softmax!r}; that is supported at the end only"
            )
        if len(self._specs) == MOST_LAYERS:
            raise self.refused(source, f"it is beyond the {MOST_LAYERS} layers that a chain may have")
        try:
            full, after = complete(spec, self.shape)
        except CoppiceError as error:
            raise self.refused(source, str(error).rstrip(".")) from error
        name = layer_name(full["kind"], list(self.layer_names))
        for key, values in (tensors or {}).items():
            if not np.isfinite(values).all():
                raise self.refused(source, f"its {key} holds values that are not finite")
            self._state[f"{name}.{key}"] = torch.from_numpy(np.array(values, dtype=np.float32, order="C"))
        self.layer_names[name] = source
        self._specs.append(full)
        self.shape, self._affine = after, None

    def conv(self, source: str, spec: Mapping[str, Any], weight: Array, bias: Array | None) -> None:
        """Append a convolution whose weight is (filters, channels / groups, *kernel)."""
        filters, kernel = weight.shape[0], list(weight.shape[2:])
        whole = {"kind": "conv", "filters": filters, "kernel": kernel, "bias": bias is not None, **spec}
        groups = spec.get("groups", 1)
        channels = self.shape[0] // groups if isinstance(groups, int) and groups > 0 else 0
        if weight.ndim != len(self.shape) + 1 or weight.shape[1] != channels:
            raise self.refused(source, f"its kernel of shape {weight.shape} does not fit an input of {self.shape}")
        self._check_vectors(source, filters, bias=bias)
        self.add(source, whole, {"weight": weight} | ({} if bias is None else {"bias": bias}))

    def batch_norm(
        self, source: str, *, eps: float, momentum: float, scale: Array, shift: Array, mean: Array, variance: Array
    ) -> None:
        """Append a batch normalisation; behind a flatten its vectors change places."""
        vectors = {"weight": scale, "bias": shift, "running_mean": mean, "running_var": variance}
        self._check_vectors(source, self.shape[0], **vectors)
        if not (variance + eps > 0).all():
            raise self.refused(source, "its variance is not above 0")
        if self._order is not None:
            vectors = {key: vector[self._order] for key, vector in vectors.items()}
        self.add(source, {"kind": "batch_norm", "eps": eps, "momentum": momentum}, vectors)
        self._state[f"{list(self.layer_names)[-1]}.num_batches_tracked"] = torch.tensor(0)

    def affine(self, source: str, scale: Array, shift: Array) -> None:
        """Multiply every channel by a number and add one, as a batch normalisation that changes nothing else.

        What follows another such layer is merged into it.
        """
        if self._affine:
            with np.errstate(all="ignore"):  # what is not finite is refused by name
                scale, shift = self._affine[0] * scale, self._affine[1] * scale + shift
            source = self.layer_names.popitem()[1]
            self._specs.pop()
        zeros, ones = np.zeros(self.shape[0], np.float32), np.ones(self.shape[0], np.float32)
        self.batch_norm(source, eps=0.0, momentum=0.01, scale=scale, shift=shift, mean=zeros, variance=ones)
        self._affine = (scale, shift)

    def reshape(self, source: str, target: Sequence[int]) -> None:
        """Do what a reshape to a channels-last shape (without the batch) does, where a chain can.

        Raises
        ------
        CoppiceError
            If it is not a flatten, the way back to a map of 1 × 1, or a channel axis added to the input.
        """
        sizes, shape = tuple(target), (*self.shape[1:], self.shape[0])
        if sizes == shape:
            return None
        if sizes == (math.prod(shape),):
            return self.flatten(source)
        if not self._specs and sizes == (*shape, 1) and len(sizes) <= 3:
            self.input_shape = self.shape = (1, *shape)
            return None
        last = self._specs[-1] if self._specs else {}
        axes = len(self.input_shape) - 1
        if last.get("keep_axes") is False and sizes == (*[1] * axes, *shape):
            last["keep_axes"] = True
            self.shape = (*shape, *[1] * axes)
            return None
        raise self.refused(source, f"it reshapes {shape} to {sizes}; only a flatten is supported")

    def flatten(self, source: str) -> None:
        """Append a flatten, unless there is nothing left to flatten."""
        if len(self.shape) == 1:
            return
        channels, *axes = self.shape
        self.add(source, {"kind": "flatten"})
        stored = np.arange(self.shape[0]).reshape(*axes, channels)
        self._order = np.moveaxis(stored, -1, 0).ravel()

    def dense(self, source: str, weight: Array, bias: Array | None) -> None:
        """Append a dense layer whose weight is (units, features), with features in the file's order."""
        if weight.ndim != 2 or weight.shape[1:] != self.shape:
            raise self.refused(source, f"its weight of shape {weight.shape} does not fit an input of {self.shape}")
        self._check_vectors(source, weight.shape[0], bias=bias)
        if self._order is not None:
            weight, self._order = weight[:, self._order], None
        spec = {"kind": "dense", "units": weight.shape[0], "bias": bias is not None}
        self.add(source, spec, {"weight": weight} | ({} if bias is None else {"bias": bias}))

    def softmax(self, source: str) -> None:
        """Note a softmax, which has to be the end."""
        if len(self.shape) != 1:
            raise self.refused(source, f"a softmax over a map of {self.shape} is not supported")
        self._softmax = source

    def finish(self) -> tuple[Chain, str]:
        """Return the network, in eval mode, and how its logits become scores.

        Raises
        ------
        CoppiceError
            If the layers do not end in one number per class.
        """
        if not self._specs:
            raise CoppiceError(f"{self.file} cannot be imported: it holds no layers.")
        score = "softmax"
        if not self._softmax:
            score = self._dropped_sigmoid()
        if self._order is not None and (np.diff(self._order) != 1).any():
            raise self.refused(list(self.layer_names.values())[-1], "its output is a flattened map, not classes")
        try:
            with torch.device("meta"):  # nothing is allocated: the weights are there already
                network = Chain(layers=self._specs, input_shape=self.input_shape)
        except CoppiceError as error:
            raise CoppiceError(f"{self.file} cannot be imported: {error}") from error
        # As in checkpoints, copies: arrays from a file begin anywhere.
        network.load_state_dict({name: tensor.clone() for name, tensor in self._state.items()}, assign=True)
        return network.eval(), score

    def refused(self, source: str, why: str) -> CoppiceError:
        """Return the error for a layer that cannot be imported."""
        return CoppiceError(f"layer {source!r} ({self.kind}) of {self.file} cannot be imported: {why}.")

    def _dropped_sigmoid(self) -> str:
        last = self._specs[-1]
        if last["kind"] != "activation":
            self.notes.append("The file ends without softmax or sigmoid; its outputs are taken as logits.")
            return "softmax"
        if last["function"] != "sigmoid":
            self.notes.append(f"The file ends in {last['function']!r}; its outputs are taken as logits.")
            return "softmax"
        self._specs.pop()
        self.layer_names.popitem()
        return "sigmoid"

    def _check_vectors(self, source: str, size: int, **vectors: Array | None) -> None:
        for key, vector in vectors.items():
            if vector is not None and vector.shape != (size,):
                raise self.refused(source, f"its {key} of shape {vector.shape} does not fit {size} channels")
