"""The verb ``export_web``: one classifier, or two side by side, as a folder with a page that hears."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from jaxtyping import Float
from torch import Tensor

from coppice import __version__
from coppice.core.errors import CoppiceError
from coppice.core.files import make_folder, whole_file, write_json, write_text
from coppice.export.onnx import onnx_model
from coppice.export.onnx_classifier import OnnxClassifier
from coppice.export.onnx_file import OnnxFile
from coppice.export.posterior_graph import WAVEFORM
from coppice.export.runtimes import onnxruntime_posteriors
from coppice.export.verify import TOLERANCE, Agreement, verify
from coppice.export.web.runtime_files import runtime_files
from coppice.networks.classifier import Classifier

TITLE = "What does it hear?"


@dataclass(frozen=True)
class WebModel:
    """One network of a page.

    Attributes
    ----------
    name : str
        What the page calls it.
    file : str
        Its ONNX file in the folder: waveform in, posteriors out.
    size_bytes : int
        Of that file, measured.
    network_size_bytes : int or None
        Of the same network's ONNX file without the front end; None where only the former is there.
    agreement : Agreement or None
        With the classifier in PyTorch; None for a model that was an ONNX file already, and verified then.
    """

    name: str
    file: str
    size_bytes: int
    network_size_bytes: int | None
    agreement: Agreement | None


@dataclass(frozen=True)
class WebPage:
    """What was written.

    Attributes
    ----------
    folder : Path
        Where: ``index.html`` and all it needs.
    size_bytes : int
        Of all files that were written, measured.
    models : tuple of WebModel
        In the order in which the page shows them.
    """

    folder: Path
    size_bytes: int
    models: tuple[WebModel, ...]


def export_web(
    model: Classifier | OnnxClassifier,
    folder: str | Path,
    *,
    compare: Classifier | OnnxClassifier | None = None,
    names: Sequence[str] | None = None,
    title: str = TITLE,
    runtime: str | Path | None = None,
    clips: Float[Tensor, "clips samples"] | None = None,
    tolerance: float = TOLERANCE,
) -> WebPage:
    """Write a static page that classifies files and the microphone in the browser, with one network or two.

    Every network goes in as an ONNX file with its front end inside, once it has given the same posteriors in ONNX
    Runtime as in PyTorch.

    Parameters
    ----------
    model : Classifier or OnnxClassifier
        The network; as an :class:`OnnxClassifier` one that takes waveforms, such as int8 with the front end inside.
    folder : str or Path
        Where the page goes; created where it is not there.
    compare : Classifier or OnnxClassifier, optional
        The one that it is compared with, such as the unpruned one. It hears the same clips and has the same classes.
    names : sequence of str, optional
        What the page calls them, ``compare`` first. Without it: what their lineages say, ``pruned`` or ``unpruned``.
    title : str
        The headline.
    runtime : str or Path, optional
        The package of ONNX Runtime Web (:func:`coppice.export.web.runtime_files.runtime_files`).
    clips : Tensor, shape (clips, samples), optional
        Waveforms to verify with; seeded noise without.
    tolerance : float
        Largest absolute difference of a posterior allowed.

    Returns
    -------
    WebPage

    Raises
    ------
    CoppiceError
        If a network cannot be exported or differs, has no front end, or the two do not hear the same; if ONNX
        Runtime Web can neither be read nor fetched; or if the disk refuses.

    Examples
    --------
    >>> page = export_web(pruned, "page", compare=unpruned)  # doctest: +SKIP
    >>> [one.name for one in page.models]  # doctest: +SKIP
    ['unpruned', 'pruned']
    """
    folder = Path(folder)
    classifiers = [model] if compare is None else [compare, model]
    called = _names(classifiers, names)
    for classifier in classifiers:
        _check_waveform(classifier)
    _check_alike(classifiers, called)
    program = runtime_files(runtime)
    contents: dict[str, bytes] = {f"runtime/{name}": content for name, content in program.items()}
    models = []
    for number, (classifier, name) in enumerate(zip(classifiers, called, strict=True), start=1):
        whole, alone, agreement = _graphs(classifier, name, clips, tolerance)
        file = f"network-{number}.onnx"
        contents[file] = whole.content
        models.append(
            WebModel(
                name=name,
                file=file,
                size_bytes=len(whole.content),
                network_size_bytes=None if alone is None else len(alone.content),
                agreement=agreement,
            )
        )
    make_folder(folder)
    for place, content in contents.items():
        with whole_file(folder / place) as temporary:
            temporary.write_bytes(content)
    pages = _write_page(folder, title)
    write_json(folder / "model.json", _said(model, models))
    written = [*contents, *pages, "model.json"]
    return WebPage(folder, sum((folder / place).stat().st_size for place in written), tuple(models))


def _graphs(
    classifier: Classifier | OnnxClassifier, name: str, clips: Float[Tensor, "clips samples"] | None, tolerance: float
) -> tuple[OnnxFile, OnnxFile | None, Agreement | None]:
    """Return the file with the front end inside, the one without, and how the former was checked."""
    if isinstance(classifier, OnnxClassifier):
        return classifier.file, None, None
    whole = onnx_model(classifier, with_front_end=True, name=name)
    run = onnxruntime_posteriors(whole, threads=1)
    agreement = verify(run, classifier, with_front_end=True, clips=clips, tolerance=tolerance)
    return whole, onnx_model(classifier, name=name), agreement


def _write_page(folder: Path, title: str) -> list[str]:
    """Write what is the same for every page but the title; return its names."""
    written = []
    for source, place in _page_files(files("coppice.export.web") / "page"):
        text = source.read_text(encoding="utf-8")
        write_text(folder / place, Template(text).substitute(title=escape(title)) if place == "index.html" else text)
        written.append(place)
    return written


def _page_files(folder: Traversable, prefix: str = "") -> list[tuple[Traversable, str]]:
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        inside = _page_files(entry, f"{entry.name}/") if entry.is_dir() else [(entry, prefix + entry.name)]
        found += inside
    return found


def _said(model: Classifier | OnnxClassifier, models: Sequence[WebModel]) -> dict[str, object]:
    """Return what the page must know beside the networks."""
    front_end = model.known_front_end()
    return {
        "format": "coppice-web",
        "version": 1,
        "coppice_version": __version__,
        "labels": list(model.labels),
        "score": model.score,
        "sample_rate_hz": front_end.sample_rate,
        "samples": front_end.samples,
        "duration_s": front_end.duration_s,
        "pad": front_end.pad,
        "resampler": front_end.resampler,
        "models": [
            {
                "name": one.name,
                "file": one.file,
                "size_bytes": one.size_bytes,
                "network_size_bytes": one.network_size_bytes,
            }
            for one in models
        ],
    }


def _names(classifiers: Sequence[Classifier | OnnxClassifier], names: Sequence[str] | None) -> list[str]:
    if names is None:
        found = [_name(classifier) for classifier in classifiers]
        return found if len(set(found)) == len(found) else [f"{name} {i}" for i, name in enumerate(found, start=1)]
    if len(names) != len(classifiers) or not all(name.strip() for name in names):
        raise CoppiceError(f"names are {list(names)} for {len(classifiers)} networks; give one for each.")
    return list(names)


def _name(classifier: Classifier | OnnxClassifier) -> str:
    if isinstance(classifier, OnnxClassifier):
        return Path(classifier.file.name).stem
    return "pruned" if any(done.get("verb") == "prune" for done in classifier.lineage) else "unpruned"


def _check_waveform(classifier: Classifier | OnnxClassifier) -> None:
    classifier.known_front_end()
    if isinstance(classifier, OnnxClassifier) and classifier.takes != WAVEFORM:
        raise CoppiceError(
            f"{classifier.file.name} takes {classifier.takes}, and a page has the waveform only; export it with the "
            "front end inside."
        )


def _check_alike(classifiers: Sequence[Classifier | OnnxClassifier], names: Sequence[str]) -> None:
    """Refuse two networks that cannot hear one sound side by side."""
    first, last = classifiers[0], classifiers[-1]
    if first.labels != last.labels or first.score != last.score:
        raise CoppiceError(f"{names[0]!r} and {names[-1]!r} have other classes; a page compares networks of the same.")
    one, other = first.known_front_end(), last.known_front_end()
    for what, unit in (("sample_rate", " Hz"), ("samples", " samples"), ("pad", ""), ("resampler", "")):
        if getattr(one, what) != getattr(other, what):
            raise CoppiceError(
                f"{names[0]!r} and {names[-1]!r} hear other clips ({what}: {getattr(one, what)}{unit} and "
                f"{getattr(other, what)}{unit}); a page compares networks that hear the same."
            )
