"""ONNX files from anybody: checked as data before a runtime sees them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors
from coppice.export.runtimes import first_line

_MOST_BYTES = 2_000_000_000
_MOST_VALUES = 1 << 28  # of one input: 1 GiB as float32


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """An ONNX model that a runtime may read.

    Attributes
    ----------
    name : str
        Of the file.
    content : bytes
        The model itself.
    clip_shape : tuple of int
        Shape of its one input without the first axis, which is the clips.
    metadata : dict of str to str
        What whoever wrote it said of it; of our own files see :func:`coppice.export.onnx.export_onnx`.
    """

    name: str
    content: bytes
    clip_shape: tuple[int, ...]
    metadata: dict[str, str]


def read_onnx(path: str | Path) -> OnnxFile:
    """Read an ONNX file and check that it is whole and says what it computes.

    Parameters
    ----------
    path : str or Path
        A model in one file, with one input of floating-point numbers whose first axis is the clips.

    Raises
    ------
    CoppiceError
        If the file is missing, cut off or damaged, keeps its weights in other files, or has other inputs.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "half.onnx"
    >>> _ = file.write_bytes(b"ONNX, or not")
    >>> read_onnx(file)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: ...half.onnx is not a whole ONNX model: ...
    """
    path = Path(path)
    with plain_os_errors("read the model", path):
        if path.stat().st_size > _MOST_BYTES:
            raise CoppiceError(f"{path} has more than 2 GB, which no ONNX model in one file has.")
        content = path.read_bytes()
    return parse_onnx(content, str(path))


def parse_onnx(content: bytes, name: str) -> OnnxFile:
    """Check the content of an ONNX file (see :func:`read_onnx`); ``name`` is for messages."""
    if not content:
        raise CoppiceError(f"{name} is empty; export or copy it again.")
    try:
        model = onnx.load_model_from_string(content)
        if any(onnx.external_data_helper.uses_external_data(tensor) for tensor in _tensors(model.graph)):
            raise CoppiceError(f"{name} keeps weights in other files, which are not read; save it as one file.")
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError, RecursionError, UnicodeDecodeError) as error:
        raise CoppiceError(
            f"{name} is not a whole ONNX model: {first_line(error)}; it may be cut off or damaged, so export or copy "
            "it again."
        ) from error
    return OnnxFile(
        name=name,
        content=content,
        clip_shape=_clip_shape(model, name),
        metadata={entry.key: entry.value for entry in model.metadata_props},
    )


def _clip_shape(model: Any, name: str) -> tuple[int, ...]:
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        raise CoppiceError(f"{name} has {len(inputs)} inputs; a model with one input of float32 can be measured.")
    sizes = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim]
    values = 1
    for size in sizes[1:]:
        values *= size
    if len(sizes) < 2 or sizes[0] > 1 or min(sizes[1:]) < 1 or values > _MOST_VALUES:
        said = " × ".join(dim.dim_param or str(dim.dim_value) for dim in inputs[0].type.tensor_type.shape.dim)
        raise CoppiceError(f"{name} takes an input of {said or 'no'} values; the first axis may be free, or 1, only.")
    return tuple(sizes[1:])


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield every tensor in a graph and in the graphs within it."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from _tensors(inner)
