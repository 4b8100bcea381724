"""The verb ``export_openvino``: a classifier in OpenVINO's own format, two files, verified."""

import tempfile
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.files import plain_os_errors, whole_file
from coppice.export.exported import Exported
from coppice.export.onnx import onnx_model
from coppice.export.openvino_file import OpenVINOFile, parse_openvino
from coppice.export.runtimes import first_line, openvino_posteriors, runtime
from coppice.export.verify import TOLERANCES, verify
from coppice.networks.classifier import Classifier

PRECISIONS = ("float32", "float16")


def export_openvino(
    classifier: Classifier,
    path: str | Path,
    *,
    precision: str = "float32",
    with_front_end: bool = False,
    clips: Float[Tensor, "clips samples"] | None = None,
    tolerance: float | None = None,
) -> Exported:
    """Write a classifier as OpenVINO's ``.xml`` and ``.bin``, once OpenVINO has given the same posteriors from them.

    It is made from the ONNX model that :func:`coppice.export.onnx.export_onnx` writes, and says the same of itself,
    under ``rt_info/framework``.

    Parameters
    ----------
    classifier : Classifier
        Left as it is.
    path : str or Path
        The ``.xml`` file to write; the ``.bin`` file stands beside it. Both appear, or none.
    precision : {"float32", "float16"}
        Number format of the weights; arithmetic is for the device to choose.
    with_front_end : bool
        Whether it takes waveforms.
    clips : Tensor, shape (clips, samples), optional
        Waveforms to verify with; seeded noise without.
    tolerance : float, optional
        Largest absolute difference of a posterior allowed; by the precision if not given.

    Raises
    ------
    CoppiceError
        If OpenVINO is not installed or lacks an operator, ``path`` does not end in ``.xml``, the posteriors differ by
        more than allowed, or the disk refuses.
    """
    runtime("openvino")
    path = Path(path)
    if precision not in PRECISIONS:
        raise CoppiceError(f"OpenVINO files are not written as {precision!r}. {did_you_mean(precision, PRECISIONS)}")
    if path.suffix != ".xml":
        raise CoppiceError(f"an OpenVINO model is a .xml and a .bin file; write --out {path.with_suffix('.xml')}.")
    model = openvino_model(classifier, precision=precision, with_front_end=with_front_end, name=str(path))
    agreement = verify(
        openvino_posteriors(model, threads=1),
        classifier,
        with_front_end=with_front_end,
        clips=clips,
        tolerance=TOLERANCES[precision] if tolerance is None else tolerance,
    )
    write_pair(path, model)
    return Exported(
        path=path,
        format="OpenVINO IR",
        precision=precision,
        size_bytes=len(model.content) + len(model.weights),
        input_name=model.metadata["input"],
        clip_shape=model.clip_shape,
        checked_in="OpenVINO",
        agreement=agreement,
    )


def openvino_model(
    classifier: Classifier, *, precision: str = "float32", with_front_end: bool = False, name: str = "the model"
) -> OpenVINOFile:
    """Return the content of the files that :func:`export_openvino` writes, not verified yet."""
    openvino = runtime("openvino")
    model = onnx_model(classifier, with_front_end=with_front_end, name=name)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model.xml"
        try:
            network = openvino.Core().read_model(model.content)
            openvino.save_model(network, place, compress_to_fp16=precision == "float16")
        except Exception as error:  # its exceptions have no common class of their own
            raise CoppiceError(f"the network cannot become an OpenVINO model: {first_line(error)}.") from error
        return parse_openvino(place.read_bytes(), place.with_suffix(".bin").read_bytes(), name)


def write_pair(path: Path, model: OpenVINOFile) -> None:
    """Write both files of a model, or none.

    Readers start from the ``.xml`` file: it goes first and comes last, so that it never stands beside foreign numbers.
    """
    beside = path.with_suffix(".bin")
    with whole_file(path) as graph:
        graph.write_bytes(model.content)
        with whole_file(beside) as numbers:
            numbers.write_bytes(model.weights)
            with plain_os_errors("replace", path):
                path.unlink(missing_ok=True)
