"""What a Keras model's ``model_config`` says: one layer after another, whatever version wrote it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from numpy import ndarray

from coppice.core.errors import CoppiceError
from coppice.networks.chain_specs import MOST_LAYERS
from coppice.networks.foreign.hdf5 import printable

_KERAS1_KINDS = {"Convolution2D": "Conv2D"}
_KERAS1_KEYS = {
    "nb_filter": "filters",
    "border_mode": "padding",
    "subsample": "strides",
    "bias": "use_bias",
    "output_dim": "units",
    "p": "rate",
    "pool_length": "pool_size",
    "stride": "strides",
}


@dataclass(frozen=True)
class KerasLayer:
    """One layer as Keras wrote it.

    Attributes
    ----------
    kind : str
        Its class, such as ``"Conv2D"``.
    name : str
        Such as ``"conv2d_4"``.
    config : dict
        Its arguments.
    weights : tuple of (str, ndarray)
        Last part of each weight's name, such as ``"kernel"``, and the weight, in the file's order.
    keras : int
        Major version of Keras.
    file : str
        For messages.
    """

    kind: str
    name: str
    config: Mapping[str, Any]
    weights: tuple[tuple[str, Float[ndarray, "*shape"]], ...] = field(default=(), repr=False)
    keras: int = 2
    file: str = ""

    def flag(self, key: str, default: bool) -> bool:
        """Return an argument that is true or false."""
        value = self.config.get(key, default)
        if not isinstance(value, bool):
            raise self.refused(f"its {key} is {repr(value)[:40]}, neither true nor false")
        return value

    def number(self, key: str, default: float) -> float:
        """Return an argument that is a finite number; some versions wrap it in a table."""
        value = self.config.get(key, default)
        if isinstance(value, Mapping):
            value = value.get("value")
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e6:
            raise self.refused(f"its {key} is {repr(value)[:40]}, not a number")
        return float(value)

    def take(self, *expected: str) -> list[Float[ndarray, "*shape"]]:
        """Return the layer's weights in the order asked for: by name, or as they stand where names are others."""
        found = dict(self.weights)
        if len(self.weights) != len(expected):
            raise self.refused(f"it has {len(self.weights)} weights {list(found)} and not {list(expected)}")
        if set(found) == set(expected):
            return [found[name] for name in expected]
        return [weight for _, weight in self.weights]

    def refused(self, why: str) -> CoppiceError:
        """Return the error for a layer that cannot be imported."""
        return CoppiceError(f"layer {self.name!r} ({self.kind}) of {self.file} cannot be imported: {why}.")


def read_config(text: str, file: str, *, keras: int) -> tuple[tuple[int, ...], list[KerasLayer]]:
    """Read a model's layers, in the order in which they run, and the shape of its input.

    Parameters
    ----------
    text : str
        JSON, from the attribute ``model_config``.
    file : str
        For messages.
    keras : int
        Major version of Keras.

    Returns
    -------
    tuple
        Shape of the input, channels first and without the batch; and the layers without the input layer.

    Raises
    ------
    CoppiceError
        If it is not the configuration of a chain of layers, or a size of the input is left open.

    Examples
    --------
    >>> layer = {"class_name": "Flatten", "config": {"name": "flat", "batch_input_shape": [None, 4, 5, 1]}}
    >>> shape, layers = read_config(json.dumps({"class_name": "Sequential", "config": [layer]}), "a.h5", keras=2)
    >>> shape, layers[0].name
    ((1, 4, 5), 'flat')
    """
    try:
        model = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CoppiceError(f"{file} is damaged: its model_config is not JSON ({str(error)[:80]}).") from error
    kind, config = (model.get("class_name"), model.get("config")) if isinstance(model, dict) else (None, None)
    entries = config.get("layers") if isinstance(config, dict) else config
    if not isinstance(entries, list) or not entries:
        raise CoppiceError(f"{file} is damaged: its model_config has no list of layers.")
    if len(entries) > MOST_LAYERS:
        raise CoppiceError(f"{file} has {len(entries)} layers; up to {MOST_LAYERS} can be imported.")
    layers = {}
    for entry in entries:
        layer = _layer(entry, file, keras)
        if layer.name in layers:
            raise layer.refused("another layer has the same name")
        layers[layer.name] = layer
    if kind == "Sequential":
        chain = list(layers.values())
    elif kind in ("Model", "Functional"):
        chain = _followed(layers, entries, config, file)
    else:
        raise CoppiceError(f"{file} holds a {repr(kind)[:40]}; Sequential and functional models can be imported.")
    shape = _input_shape(chain[0], config, file)
    return shape, [layer for layer in chain if layer.kind != "InputLayer"]


def _layer(entry: Any, file: str, keras: int) -> KerasLayer:
    config = entry.get("config") if isinstance(entry, dict) else None
    if not isinstance(config, dict) or not isinstance(entry.get("class_name"), str):
        raise CoppiceError(f"{file} is damaged: {repr(entry)[:60]} in its model_config is not a layer.")
    name = config.get("name", entry.get("name"))
    if not isinstance(name, str) or len(name) > 200:
        raise CoppiceError(
            f"{file} is damaged: a {entry['class_name'][:40]!r} in its model_config has no name of at most 200 letters."
        )
    kind = "".join(letter if letter.isprintable() else "?" for letter in entry["class_name"][:60])
    return KerasLayer(_KERAS1_KINDS.get(kind, kind), printable(name), _modern(config), keras=keras, file=file)


def _modern(config: dict[str, Any]) -> dict[str, Any]:
    """Rename what Keras 1 called otherwise."""
    modern = {_KERAS1_KEYS.get(key, key): value for key, value in config.items()}
    if "nb_row" in modern and "nb_col" in modern:
        modern["kernel_size"] = [modern["nb_row"], modern["nb_col"]]
    if "dim_ordering" in modern:
        modern["data_format"] = "channels_last" if modern["dim_ordering"] == "tf" else "channels_first"
    return modern


def _followed(layers: dict[str, KerasLayer], entries: list[Any], config: Any, file: str) -> list[KerasLayer]:
    """Return the layers of a functional model in the order of its one path from input to output."""
    after: dict[str, str] = {}
    starts = []
    for layer, entry in zip(layers.values(), entries, strict=True):
        sources = _sources(entry.get("inbound_nodes", []), layer)
        if not sources:
            starts.append(layer)
            continue
        if len(sources) > 1 or sources[0] not in layers or sources[0] in after:
            why = f"the paths from {', '.join(map(repr, sources[:3]))} branch or meet here; only a chain is supported"
            raise layer.refused(why)
        after[sources[0]] = layer.name
    outputs = config.get("output_layers", [])
    many = isinstance(outputs, list) and len(outputs) > 1 and all(isinstance(output, list) for output in outputs)
    if len(starts) != 1 or many:
        raise CoppiceError(f"{file} has {len(starts)} inputs and {len(outputs)} outputs; one of each can be imported.")
    chain = [starts[0]]
    while chain[-1].name in after and len(chain) < len(layers):
        chain.append(layers[after[chain[-1].name]])
    if len(chain) < len(layers):
        raise CoppiceError(f"{file} is damaged: not all layers in its model_config are connected with its input.")
    return chain


def _sources(nodes: Any, layer: KerasLayer) -> list[str]:
    """Return the names of the layers that feed one, from any version's ``inbound_nodes``."""
    if not isinstance(nodes, list):
        raise layer.refused("its inbound_nodes are no list")
    if len(nodes) > 1:
        raise layer.refused("it is used more than once; only a chain is supported")
    sources: list[Any] = []
    for node in nodes:
        if isinstance(node, dict):  # Keras 3: tensors among the arguments
            arguments = node.get("args", [])
            while isinstance(arguments, list) and len(arguments) == 1 and isinstance(arguments[0], list):
                arguments = arguments[0]
            histories = [_history(argument) for argument in arguments] if isinstance(arguments, list) else [None]
            sources += [history[0] if isinstance(history, list) and history else None for history in histories]
        elif isinstance(node, list):
            pairs = [node] if node and isinstance(node[0], str) else node
            sources += [pair[0] if isinstance(pair, list) and pair else None for pair in pairs]
        else:
            sources.append(None)
    if not all(isinstance(source, str) for source in sources):
        raise layer.refused("its inbound_nodes cannot be read")
    return sources


def _history(argument: Any) -> Any:
    config = argument.get("config") if isinstance(argument, dict) else None
    return config.get("keras_history") if isinstance(config, dict) else None


def _input_shape(first: KerasLayer, config: Any, file: str) -> tuple[int, ...]:
    candidates = [first.config.get("batch_input_shape"), first.config.get("batch_shape")]
    if isinstance(config, dict):
        candidates.append(config.get("build_input_shape"))
    for shape in candidates:
        if isinstance(shape, list) and len(shape) >= 2:
            sizes = shape[1:]
            if not all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in sizes):
                text = ", ".join("?" if size is None else repr(size)[:20] for size in sizes)
                raise CoppiceError(
                    f"{file} takes an input of ({text}); build it with all sizes given, such as (40, 500, 1), and save "
                    "it again."
                )
            return (sizes[-1], *sizes[:-1])
    raise CoppiceError(f"{file} does not say the shape of its input; build the model before saving it.")
