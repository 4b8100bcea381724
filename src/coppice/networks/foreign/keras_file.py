"""What a Keras ``.h5`` file holds, as plain data: its configuration as text, and its weights."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
from jaxtyping import Float
from numpy import ndarray
from safetensors.numpy import load as from_safetensors
from safetensors.numpy import save as to_safetensors

from coppice.core.errors import CoppiceError
from coppice.networks.foreign.hdf5 import Hdf5, open_hdf5
from coppice.networks.foreign.own_process import read_apart

Weights = dict[str, tuple[tuple[str, Float[ndarray, "*shape"]], ...]]


@dataclass(frozen=True, eq=False)
class KerasFile:
    """A Keras file.

    Attributes
    ----------
    config : str
        JSON that describes the model.
    version : str
        Of Keras, such as ``"2.3.1"``; empty where the file does not say.
    weights : dict
        Layer name -> last part of each weight's name and the weight in float32, in the file's order.
    stored_bytes : dict
        Number format in the file -> bytes of the weights stored so.
    """

    config: str
    version: str
    weights: Weights
    stored_bytes: dict[str, int]


def read_file(path: Path) -> KerasFile:
    """Read a Keras file in a process of its own, because HDF5's library does not end on some damaged files.

    Raises
    ------
    CoppiceError
        If the file is damaged or no whole Keras model.
    """
    packed = read_apart(f"{__name__}:packed_file", path)
    length = int.from_bytes(packed[:8], "little")
    header: dict[str, Any] = json.loads(packed[8 : 8 + length])
    arrays = from_safetensors(packed[8 + length :])
    weights = {
        layer: tuple((name, arrays[key]) for name, key in entries) for layer, entries in header["weights"].items()
    }
    return KerasFile(header["config"], header["version"], weights, header["stored_bytes"])


def packed_file(path: Path) -> bytes:
    """Read a Keras file in this process, and pack it: length of the header, header (JSON), arrays (safetensors)."""
    with open_hdf5(path) as file:
        config = file.text(file.root, "model_config")
        version = file.text(file.root, "keras_version") or ""
        group = file.group(file.root, "model_weights") or file.root
        if config is None:
            raise _not_a_model(file, group)
        weights, stored_bytes = _weights(file, group)
    arrays: dict[str, Float[ndarray, "*shape"]] = {}
    entries: dict[str, list[tuple[str, str]]] = {}
    for layer, found in weights.items():
        entries[layer] = []
        for name, array in found:
            entries[layer].append((name, str(len(arrays))))
            arrays[str(len(arrays))] = array
    header = {"config": config, "version": version, "weights": entries, "stored_bytes": stored_bytes}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + to_safetensors(arrays)


def _weights(file: Hdf5, group: h5py.Group) -> tuple[Weights, dict[str, int]]:
    layer_names = file.names(group, "layer_names")
    if layer_names is None:
        raise file.damaged("its weights have no list layer_names")
    weights: Weights = {}
    stored_bytes: dict[str, int] = {}
    for layer_name in layer_names:
        layer = file.group(group, layer_name)
        names = None if layer is None else file.names(layer, "weight_names")
        if layer is None or names is None:
            raise file.damaged(f"its layer {layer_name[:60]!r} has no group with a list weight_names")
        found = []
        for name in names:
            array, number_format = file.array(layer, name)
            size = array.size * int(number_format.removeprefix("float")) // 8
            stored_bytes[number_format] = stored_bytes.get(number_format, 0) + size
            found.append((name.rpartition("/")[2].partition(":")[0], array))
        weights[layer_name] = tuple(found)
    return weights, stored_bytes


def _not_a_model(file: Hdf5, group: h5py.Group) -> CoppiceError:
    if file.names(group, "layer_names") is not None:
        return CoppiceError(
            f"{file.path} holds weights without the network they belong to; load them into your model in Keras and "
            'save it whole: model.save("name.h5").'
        )
    return CoppiceError(f"{file.path} is an HDF5 file but no Keras model: it has no model_config.")
