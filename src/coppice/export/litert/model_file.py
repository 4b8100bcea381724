"""LiteRT files from anybody: checked as data before a runtime sees them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tflite

from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors
from coppice.networks.foreign.tflite_graph import parse_graph

METADATA = b"coppice"


@dataclass(frozen=True, eq=False)
class LiteRTFile:
    """A LiteRT model that a runtime may read.

    Attributes
    ----------
    name : str
        Of the file.
    content : bytes
        The model itself.
    clip_shape : tuple of int
        Shape of its one input without the first axis, which is one clip.
    metadata : dict
        What our own files say of themselves; empty for others.
    """

    name: str
    content: bytes
    clip_shape: tuple[int, ...]
    metadata: dict[str, Any]


def read_litert(path: str | Path) -> LiteRTFile:
    """Read a ``.tflite`` file and check that it is whole.

    Parameters
    ----------
    path : str or Path
        A model with one input of float32, one clip.

    Raises
    ------
    CoppiceError
        If the file is missing, cut off or damaged, or has other inputs.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "half.tflite"
    >>> _ = file.write_bytes(b"TFLite, or not")
    >>> read_litert(file)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: ...half.tflite is not a TFLite file (version 3): ...
    """
    path = Path(path)
    with plain_os_errors("read the model", path):
        content = path.read_bytes()
    return parse_litert(content, str(path))


def parse_litert(content: bytes, name: str) -> LiteRTFile:
    """Check the content of a LiteRT file (see :func:`read_litert`); ``name`` is for messages."""
    graph = parse_graph(content, name)
    inputs = [graph.tensors[number] for number in graph.inputs]
    if len(inputs) != 1 or inputs[0].format != "float32":
        raise CoppiceError(f"{name} has {len(inputs)} inputs; a model with one input of float32 can be measured.")
    shape = inputs[0].shape
    if inputs[0].open_axes or len(shape) < 2 or shape[0] != 1 or min(shape) < 1:
        raise CoppiceError(f"{name} takes an input of shape {shape}; one clip of a fixed size can be measured.")
    return LiteRTFile(name=name, content=content, clip_shape=tuple(shape[1:]), metadata=_metadata(content))


def _metadata(content: bytes) -> dict[str, Any]:
    model: Any = tflite.Model.GetRootAsModel(content, 0)
    for index in range(min(model.MetadataLength(), 100)):
        entry = model.Metadata(index)
        if entry.Name() == METADATA and 0 < entry.Buffer() < model.BuffersLength():
            try:
                said = json.loads(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
            except (ValueError, AttributeError, RecursionError):
                return {}
            return said if isinstance(said, dict) else {}
    return {}
