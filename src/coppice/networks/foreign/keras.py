"""Keras models saved whole as ``.h5`` (Keras 1 to 3), without Keras."""

from dataclasses import replace
from pathlib import Path

from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors
from coppice.networks.foreign.chain_builder import ChainBuilder
from coppice.networks.foreign.imported import Imported
from coppice.networks.foreign.keras_config import read_config
from coppice.networks.foreign.keras_file import KerasFile, read_file
from coppice.networks.foreign.keras_layers import convert


def read_keras(path: Path) -> Imported:
    """Import a Keras model of one layer after another from an ``.h5`` file.

    Layers are found by the file's own lists (``layer_names``, ``weight_names``), never by the order of its keys;
    a final softmax or sigmoid is dropped and named as the score; dense rows behind a flatten change places, because
    Keras flattens (height, width, channels).

    Parameters
    ----------
    path : Path
        Written by ``model.save("name.h5")``.

    Returns
    -------
    Imported
        Its network is a :class:`~coppice.networks.chain.Chain`.

    Raises
    ------
    CoppiceError
        If the file is damaged, is not a whole Keras model, or holds a layer that is not supported (named).
    """
    with plain_os_errors("read the model", path), path.open("rb") as handle:
        if handle.read(4) == b"PK\x03\x04":
            raise CoppiceError(
                f"{path} is a zip archive, as Keras 3 writes for .keras; save the model once more as one HDF5 file: "
                'model.save("name.h5").'
            )
    return import_model(read_file(path), str(path))


def import_model(file: KerasFile, path: str) -> Imported:
    """Import what a Keras file holds (see :func:`read_keras`).

    Parameters
    ----------
    file : KerasFile
        As plain data.
    path : str
        For messages.
    """
    keras = 3 if file.version.startswith("3") else 2
    try:
        input_shape, layers = read_config(file.config, path, keras=keras)
        builder = ChainBuilder(path, input_shape)
        for layer in layers:
            if layer.name not in file.weights:
                raise layer.refused("the file's list of layers with weights does not name it")
            convert(replace(layer, weights=file.weights[layer.name]), builder)
        network, score = builder.finish()
    except RecursionError as error:
        raise CoppiceError(f"{path} is damaged: its model_config is nested too deeply.") from error
    return Imported(
        network=network,
        format="keras-h5",
        score=score,
        stored_bytes=file.stored_bytes,
        layer_names=builder.layer_names,
        notes=tuple(builder.notes),
    )
