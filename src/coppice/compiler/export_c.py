"""The verb ``export_c``: a classifier as a folder of C that needs no library, verified."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from coppice import __version__
from coppice.compiler.compiled import compile_planned
from coppice.compiler.explain import explained
from coppice.compiler.front_end_source import front_end_source, listen_bytes, table_bytes
from coppice.compiler.material import TEST_CLIPS, Material, material
from coppice.compiler.packing import constants
from coppice.compiler.planned import planned
from coppice.compiler.programs import classifier_program, file_program, precision_of
from coppice.compiler.source import model_sources, rendered, weights_source
from coppice.core.errors import CoppiceError
from coppice.core.files import make_folder, plain_os_errors
from coppice.export.onnx_classifier import OnnxClassifier
from coppice.export.verify import Agreement, compare
from coppice.native.toolchain import EXACT_FLAGS, FLAGS
from coppice.networks.classifier import Classifier

# Of a posterior, given the same features: with int8, numbers that lie between two steps go one way or the other.
TOLERANCES = {"float32": 1e-5, "int8": 0.05}
_WITH_FRONT_END = 1e-4


@dataclass(frozen=True)
class ExportedC:
    """A folder of C, and how it was checked.

    Attributes
    ----------
    path : Path
        The folder.
    target : {"simd", "portable"}
    precision : {"float32", "int8"}
    with_front_end : bool
    macs : int
        For one clip, of convolutions and dense layers.
    weight_bytes : int
        Of all constants of the network.
    work_bytes : int
        Memory that a caller gives, with the front end's where that is inside.
    steps : tuple of str
        What is computed, as lines of a table.
    agreement : Agreement
        With the classifier: in PyTorch, or of a file in ONNX Runtime.
    compared_with : str
    """

    path: Path
    target: str
    precision: str
    with_front_end: bool
    macs: int
    weight_bytes: int
    work_bytes: int
    steps: tuple[str, ...]
    agreement: Agreement
    compared_with: str


def export_c(
    classifier: Classifier | OnnxClassifier,
    path: str | Path,
    *,
    target: str = "simd",
    with_front_end: bool = False,
    most_bytes: int | None = None,
    clips: Float[Tensor, "clips samples"] | None = None,
    tolerance: float | None = None,
) -> ExportedC:
    """Write a classifier as C99 that needs nothing but libm, once compiled it has given the same posteriors.

    The folder holds ``model.h``, ``model.c``, ``weights.c``, an example ``main.c``, ``check.c`` with
    ``test_vector.h``, a ``Makefile`` (``make``, ``make check``) and ``README.txt`` with memory, MACs and tolerance.

    Parameters
    ----------
    classifier : Classifier or OnnxClassifier
        Left as it is. What :func:`coppice.quantization.int8.quantize_int8` wrote, read by
        :func:`coppice.export.onnx_classifier.load_onnx`, becomes C that computes in whole numbers.
    path : str or Path
        The folder to write, new or empty; it appears whole or not at all.
    target : {"simd", "portable"}
        GCC's and Clang's vectors, along the frames of a clip: for processors with AVX, AVX-512 or NEON. Or plain C for
        microcontrollers, which takes less memory.
    with_front_end : bool
        Whether waveform to log-mel is in the folder, too, in float32.
    most_bytes : int, optional
        What the work memory of the network may take.
    clips : Tensor, shape (clips, samples), optional
        Waveforms to verify with, of which the first two go into the folder; seeded noise without.
    tolerance : float, optional
        Largest absolute difference of a posterior allowed, given the same features; 1e-5, with int8 0.05.

    Returns
    -------
    ExportedC

    Raises
    ------
    CoppiceError
        If the folder is not empty, the network has an operator that has no C, the memory is not enough, there is no C
        compiler to verify with, or the posteriors differ by more than allowed.
    """
    path = Path(path)
    with plain_os_errors("write", path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise CoppiceError(f"{path} is there already and not an empty folder; give another one.")
    listening = front_end_source(classifier) if with_front_end else None
    front_end = classifier.known_front_end() if with_front_end else None
    if isinstance(classifier, OnnxClassifier):
        program, clip_shape = file_program(classifier.file), classifier.file.clip_shape
        name = Path(classifier.file.name).name
    else:
        program, clip_shape = classifier_program(classifier), tuple(classifier.input_shape[1:])
        name = type(classifier.network).__name__
    plan = planned(program, target=target, precision=precision_of(program), most_bytes=most_bytes)
    given = material(classifier, clips)
    tolerance = TOLERANCES[plan.precision] if tolerance is None else tolerance
    compiled = compile_planned(plan, clip_shape)
    agreement = compare(compiled(given.features), given.posteriors, material=given.name, tolerance=tolerance)
    flags = EXACT_FLAGS if plan.precision == "int8" else FLAGS
    heard = listen_bytes(front_end, plan.work_bytes) if front_end else 0
    weight_bytes = sum(values.nbytes for _, _, values in constants(plan))
    macs = sum(map(program.macs, program.steps))
    context: dict[str, Any] = {
        "title": f"{name}: {len(classifier.labels)} classes, {target}, {plan.precision}",
        "origin": f"Written by Coppice {__version__}.",
        "labels": classifier.labels,
        "front_end": front_end,
        "listen_bytes": heard,
    }
    said: dict[str, Any] = {
        "planned": plan,
        "macs": macs,
        "weight_bytes": weight_bytes,
        "shape": " x ".join(map(str, clip_shape)),
        "features": int(np.prod(clip_shape)),
        "agreement": agreement,
        "by": given.by,
        "front_end_bytes": table_bytes(front_end) if front_end else 0,
        "flags": " ".join((*flags, "-march=native") if target == "simd" else (flags[0], "-O2", flags[2])),
        "explanation": explained(plan),
    }
    log_mels = "log-mel, normalised per band, band after band"
    files = model_sources(plan, **context, given=log_mels if classifier.front_end else "as the network takes them")
    files["weights.c"] = weights_source(plan, title=context["title"])
    if listening is not None:
        files["front_end.c"] = listening
    for file in ("main.c", "check.c", "Makefile", "README.txt"):
        files[file] = rendered(f"{file}.j2", **context, **said)
    files["test_vector.h"] = _test_vector(given, compiled(given.features[:TEST_CLIPS]), agreement, with_front_end)
    _write(path, files)
    return ExportedC(
        path=path,
        target=target,
        precision=plan.precision,
        with_front_end=with_front_end,
        macs=macs,
        weight_bytes=weight_bytes,
        work_bytes=heard or plan.work_bytes,
        steps=tuple(explained(plan)),
        agreement=agreement,
        compared_with=given.by,
    )


def _test_vector(given: Material, found: np.ndarray, agreement: Agreement, with_front_end: bool) -> str:
    """Return two clips as features with their posteriors, and the first as sound where that can be heard."""
    return rendered(
        "test_vector.h.j2",
        clips=len(found),
        material=given.name,
        by=given.by,
        tolerance=max(agreement.tolerance, _WITH_FRONT_END) if with_front_end else agreement.tolerance,
        features=given.features[:TEST_CLIPS].ravel(),
        posteriors=given.posteriors[:TEST_CLIPS].ravel().astype(np.float32),
        found=found.ravel(),
        waveform=given.waveform if with_front_end else None,
        heard=None if given.heard is None else given.heard.astype(np.float32),
    )


def _write(path: Path, files: dict[str, str]) -> None:
    make_folder(path.absolute().parent)
    with plain_os_errors("write", path):
        folder = Path(tempfile.mkdtemp(prefix=".partial-", dir=path.absolute().parent))
        try:
            for name, text in files.items():
                (folder / name).write_text(text, encoding="utf-8")
            folder.chmod(0o755)
            if path.exists():
                path.rmdir()
            folder.rename(path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
