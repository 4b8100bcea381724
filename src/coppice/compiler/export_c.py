"""The verb ``export_c``: a classifier as a folder of C that needs no library, verified."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from coppice import __version__
from coppice.audio.log_mel import log_mel
from coppice.compiler.compiled import CompiledNetwork, compile_planned
from coppice.compiler.explain import explained
from coppice.compiler.front_end_source import front_end_source, listen_bytes
from coppice.compiler.packing import constants
from coppice.compiler.planned import planned
from coppice.compiler.programs import classifier_program
from coppice.compiler.source import model_sources, rendered
from coppice.compiler.toolchain import FLAGS
from coppice.core.errors import CoppiceError
from coppice.core.files import make_folder, plain_os_errors
from coppice.core.units import bytes_text
from coppice.export.verify import Agreement, noise_clips, verify
from coppice.networks.classifier import Classifier

TOLERANCES = {"float32": 1e-5}
WITH_FRONT_END = 1e-4
_TEST_CLIPS = 2
_PORTABLE_FLAGS = ("-std=c99", "-O2")


@dataclass(frozen=True)
class ExportedC:
    """A folder of C, and how it was checked.

    Attributes
    ----------
    path : Path
        The folder.
    target : {"simd", "portable"}
    precision : {"float32"}
    with_front_end : bool
    macs : int
        For one clip, of convolutions and dense layers.
    weight_bytes : int
        Of all constants of the network.
    work_bytes : int
        Memory that a caller gives.
    steps : tuple of str
        What is computed, as lines of a table.
    agreement : Agreement
        With the classifier in PyTorch.
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


def export_c(
    classifier: Classifier,
    path: str | Path,
    *,
    target: str = "simd",
    with_front_end: bool = False,
    most_bytes: int | None = None,
    clips: Float[Tensor, "clips samples"] | None = None,
    tolerance: float = TOLERANCES["float32"],
) -> ExportedC:
    """Write a classifier as C99 that needs nothing but libm, once compiled it has given the same posteriors.

    The folder holds ``model.h``, ``model.c``, ``weights.c``, an example ``main.c``, ``check.c`` with
    ``test_vector.h``, a ``Makefile`` (``make``, ``make check``) and ``README.txt`` with memory, MACs and tolerance.

    Parameters
    ----------
    classifier : Classifier
        Left as it is.
    path : str or Path
        The folder to write, new or empty; it appears whole or not at all.
    target : {"simd", "portable"}
        GCC's and Clang's vectors, along the frames of a clip: for processors with AVX, AVX-512 or NEON. Or plain C for
        microcontrollers, which takes less memory.
    with_front_end : bool
        Whether waveform to log-mel is in the folder, too.
    most_bytes : int, optional
        What the work memory may take.
    clips : Tensor, shape (clips, samples), optional
        Waveforms to verify with, of which the first two go into the folder; seeded noise without.
    tolerance : float
        Largest absolute difference of a posterior allowed, given the same features.

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
    front_end = classifier.known_front_end() if with_front_end else None
    listening = front_end_source(classifier) if with_front_end else None
    plan = planned(classifier_program(classifier), target=target, most_bytes=most_bytes)
    compiled = compile_planned(plan, tuple(classifier.input_shape[1:]))
    agreement = verify(compiled, classifier, with_front_end=False, clips=clips, tolerance=tolerance)
    flags = (*FLAGS, "-march=native") if target == "simd" else _PORTABLE_FLAGS
    numbers = constants(plan)
    heard = listen_bytes(front_end, plan.work_bytes) if front_end else 0
    kind = type(classifier.network).__name__
    context = {
        "title": f"{kind}: {len(classifier.labels)} classes, {target}, float32",
        "origin": f"Written by Coppice {__version__}.",
        "labels": classifier.labels,
        "front_end": front_end,
        "listen_bytes": heard,
    }
    given = "log-mel, normalised per band, band after band" if classifier.front_end else "as the network takes them"
    files = model_sources(plan, **context, given=given)
    if listening is not None:
        files["front_end.c"] = listening
    files["main.c"] = rendered("main.c.j2", **context, features=int(np.prod(classifier.input_shape)))
    files["check.c"] = rendered("check.c.j2", **context)
    files["test_vector.h"] = _test_vector(classifier, compiled, clips, agreement, with_front_end)
    files["Makefile"] = rendered("Makefile.j2", **context, flags=" ".join(flags))
    weight_bytes = sum(values.nbytes for _, _, values in numbers)
    macs = sum(map(plan.program.macs, plan.program.steps))
    files["README.txt"] = rendered(
        "README.txt.j2",
        **context,
        planned=plan,
        macs=macs,
        weight_bytes=weight_bytes,
        shape=" x ".join(map(str, classifier.input_shape[1:])),
        clips=agreement.clips,
        material=agreement.material,
        delta=agreement.max_delta,
        tolerance=tolerance,
        flags=" ".join(flags),
        explanation=explained(plan),
    )
    _write(path, files)
    return ExportedC(
        path=path,
        target=target,
        precision="float32",
        with_front_end=with_front_end,
        macs=macs,
        weight_bytes=weight_bytes,
        work_bytes=heard or plan.work_bytes,
        steps=tuple(explained(plan)),
        agreement=agreement,
    )


def summary(done: ExportedC) -> list[str]:
    """Return what was written, in two sentences for people."""
    agreement = done.agreement
    return [
        f"{done.path}: C99, {done.target}, {done.precision}, {bytes_text(done.weight_bytes)} of weights, "
        f"{bytes_text(done.work_bytes)} of work memory",
        f"compiled, against PyTorch on {agreement.clips} {agreement.material}: largest difference of a posterior "
        f"{agreement.max_delta:.1e} (allowed: {agreement.tolerance:g})",
    ]


def _test_vector(
    classifier: Classifier,
    compiled: CompiledNetwork,
    clips: Float[Tensor, "clips samples"] | None,
    agreement: Agreement,
    with_front_end: bool,
) -> str:
    """Return two clips as features with their posteriors, and the first as sound where that can be heard."""
    hears = classifier.front_end is not None and classifier.band_mean is not None
    waveform = posteriors_heard = None
    if hears:
        front_end = classifier.known_front_end()
        sounds = (noise_clips(front_end) if clips is None else torch.as_tensor(clips).float())[:_TEST_CLIPS]
        pictures = torch.stack([log_mel(sound, front_end) for sound in sounds])
        features, posteriors = classifier.normalise(pictures).numpy(), classifier.posteriors(pictures).numpy()
        if with_front_end:
            waveform = (sounds[0] * 32768).round().clamp(-32768, 32767).short()
            posteriors_heard = classifier.posteriors_of_waveforms(waveform[None].float() / 32768).numpy()[0]
    else:
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(_TEST_CLIPS, *classifier.input_shape[1:], generator=generator)
        features, posteriors = noise.numpy(), compiled(noise.numpy())
    return rendered(
        "test_vector.h.j2",
        clips=len(features),
        material=agreement.material,
        tolerance=WITH_FRONT_END if with_front_end else agreement.tolerance,
        features=features.ravel().astype(np.float32),
        posteriors=posteriors.ravel().astype(np.float32),
        waveform=None if waveform is None else waveform.tolist(),
        heard=None if posteriors_heard is None else posteriors_heard.astype(np.float32),
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
