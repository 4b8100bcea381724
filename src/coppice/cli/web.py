"""The page that hears, as a target of ``coppice export``."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from coppice.cli.output import print_json, print_line
from coppice.core.units import bytes_text, percent_text

if TYPE_CHECKING:
    from coppice.export.onnx_classifier import OnnxClassifier
    from coppice.networks.classifier import Classifier


def write_page(
    model: Path,
    folder: Path,
    *,
    compare: Path | None,
    title: str | None,
    runtime: Path | None,
    clips: Sequence[Path] | None,
    json: bool,
) -> None:
    """Write the folder, and print what is in it and how to look at it."""
    from coppice.export.sound_clips import sound_clips
    from coppice.export.web.folder import TITLE, export_web

    classifier = _opened(model)
    page = export_web(
        classifier,
        folder,
        compare=None if compare is None else _opened(compare),
        title=TITLE if title is None else title,
        runtime=runtime,
        clips=sound_clips(clips, classifier.known_front_end()) if clips else None,
    )
    if json:
        print_json({**asdict(page), "folder": str(page.folder)})
        return
    print_line(f"{page.folder}: a page of {bytes_text(page.size_bytes)}, ONNX Runtime Web included")
    for one in page.models:
        alone = f" ({bytes_text(one.network_size_bytes)} without its front end)" if one.network_size_bytes else ""
        print_line(f"{one.name}: {one.file}, {bytes_text(one.size_bytes)}{alone}")
        if one.agreement is not None:
            print_line(
                f"ONNX Runtime against PyTorch on {one.agreement.clips} {one.agreement.material}: largest difference "
                f"of a posterior {one.agreement.max_delta:.1e} (allowed: {one.agreement.tolerance:g}), same class for "
                f"{percent_text(one.agreement.top1)}"
            )
    print_line(f"look at it: python -m http.server --directory {page.folder}, then open http://localhost:8000")


def _opened(path: Path) -> "Classifier | OnnxClassifier":
    if path.suffix.lower() == ".onnx":
        from coppice.export.onnx_classifier import load_onnx

        return load_onnx(path)
    from coppice.networks.loading import load

    return load(path)
