"""OpenVINO's own format: a graph in an ``.xml`` file, its numbers in a ``.bin`` file of the same name beside it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors
from coppice.export.runtimes import first_line, runtime


@dataclass(frozen=True, eq=False)
class OpenVINOFile:
    """A model that OpenVINO may read.

    Attributes
    ----------
    name : str
        Of the ``.xml`` file.
    content, weights : bytes
        Of the ``.xml`` and the ``.bin`` file.
    clip_shape : tuple of int
        Shape of its one input without the first axis, which is the clips.
    metadata : dict of str to str
        What whoever wrote it said of it.
    """

    name: str
    content: bytes
    weights: bytes
    clip_shape: tuple[int, ...]
    metadata: dict[str, str]


def read_openvino(path: str | Path) -> OpenVINOFile:
    """Read both files of a model and check that they are whole.

    Parameters
    ----------
    path : str or Path
        The ``.xml`` file.

    Raises
    ------
    CoppiceError
        If OpenVINO is not installed, a file is missing, cut off or damaged, or the model has other inputs than one of
        float32 whose first axis is the clips.

    Examples
    --------
    >>> read_openvino("nowhere.xml")
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: cannot read the model nowhere.xml: no such file or folder.
    """
    path = Path(path)
    with plain_os_errors("read the model", path):
        content = path.read_bytes()
    beside = path.with_suffix(".bin")
    with plain_os_errors("read the weights of the model", beside):
        weights = beside.read_bytes()
    return parse_openvino(content, weights, str(path))


def parse_openvino(content: bytes, weights: bytes, name: str) -> OpenVINOFile:
    """Check the content of both files (see :func:`read_openvino`); ``name`` is for messages."""
    openvino = runtime("openvino")
    if not content or not weights:
        raise CoppiceError(f"{name} or the .bin file beside it is empty; export or copy both again.")
    try:
        model = openvino.Core().read_model(content, openvino.Tensor(np.frombuffer(weights, np.uint8)))
        inputs = [(given.get_element_type().to_string(), given.get_partial_shape()) for given in model.inputs]
        # Where an ONNX file said something of itself, OpenVINO keeps it under this name.
        place = ["framework"]
        said = model.get_rt_info(place).value if model.has_rt_info(place) else {}
        metadata = {str(key): str(getattr(value, "value", value)) for key, value in dict(said).items()}
    except Exception as error:  # its exceptions have no common class of their own
        raise CoppiceError(
            f"{name} and the .bin file beside it are not a whole OpenVINO model: {first_line(error)}; they may be cut "
            "off or damaged, so export or copy both again."
        ) from error
    if len(inputs) != 1 or inputs[0][0] != "f32" or inputs[0][1].rank.is_dynamic:
        raise CoppiceError(f"{name} has {len(inputs)} inputs; a model with one input of float32 can be measured.")
    clips, *sizes = inputs[0][1]
    if not sizes or any(size.is_dynamic for size in sizes) or (clips.is_static and clips.get_length() != 1):
        raise CoppiceError(f"{name} takes an input of shape {inputs[0][1]}; the first axis may be free, or 1, only.")
    return OpenVINOFile(
        name=name,
        content=content,
        weights=weights,
        clip_shape=tuple(size.get_length() for size in sizes),
        metadata=metadata,
    )
