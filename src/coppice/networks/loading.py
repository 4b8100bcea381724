"""The verb ``load``: a classifier from any file that holds one, ours or foreign."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from coppice.audio.front_end import FrontEnd
from coppice.audio.front_end import front_end as make_front_end
from coppice.audio.presets import TAKEN_AS_IS
from coppice.core.errors import CoppiceError
from coppice.core.files import file_digest, plain_os_errors
from coppice.networks import checkpoint
from coppice.networks.classifier import Classifier
from coppice.networks.foreign.imported import Imported
from coppice.networks.registry import network_identity

FORMATS = (
    "Coppice checkpoints (.safetensors)",
    "Keras models (.h5)",
    "TensorFlow Lite (.tflite)",
    "PANNs and E-PANNs (.pth, .pt)",
    "DCASE 2024/2025 baseline checkpoints (.ckpt)",
)


def load(
    path: str | Path,
    *,
    network: Callable[[], nn.Module] | None = None,
    front_end: FrontEnd | str | None = None,
    labels: Sequence[str] | None = None,
    device: str | None = None,
) -> Classifier:
    """Read a classifier from a checkpoint or from a published file of another framework.

    The format is recognised by the file's first bytes, not by its name. No TensorFlow is needed, and nothing is
    unpickled but what ``torch.load(weights_only=True)`` allows.

    Parameters
    ----------
    path : str or Path
        A Coppice checkpoint; a Keras ``.h5`` model; a ``.tflite`` model; a PANNs or E-PANNs state dict; or a
        Lightning checkpoint of the DCASE 2024/2025 Task 1 baselines.
    network : callable, optional
        For checkpoints of your own architecture: see :func:`coppice.networks.checkpoint.load`.
    front_end : FrontEnd or str, optional
        What turns a waveform into the network's input, or the name of a preset, for foreign files that do not say:
        ``"dcase2021"`` for the networks of the Interspeech 2022 paper, ``"surrey2022"`` for those of the DCASE 2022
        report. Without it the network can be ranked, cut and counted, but not listen. Where the file does say, only
        the length of a clip may differ.
    labels : sequence of str, optional
        The classes in the order of the outputs, for foreign files that do not say; ``class_0``, ``class_1``, ...
        without.
    device : str, optional
        Which of the networks in a DCASE 2025 checkpoint: a recording device such as ``"a"``.

    Returns
    -------
    Classifier
        In eval mode, on the CPU, in float32. The lineage of an imported one says what the file held.

    Raises
    ------
    CoppiceError
        If the file is missing, damaged, of an unknown kind or holds what cannot be imported (with layer and type),
        or if front end or labels do not fit.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "song.mp3"
    >>> _ = file.write_bytes(b"ID3 not a network")
    >>> load(file)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: ...song.mp3 is none of the files that can be loaded: Coppice checkpoints...
    """
    path = Path(path)
    kind = _kind(path)
    if kind == "coppice":
        if front_end is not None or labels is not None or device is not None:
            raise CoppiceError(f"{path} is a checkpoint and knows its front end and labels; give neither.")
        return checkpoint.load(path, network=network)
    if network is not None:
        raise CoppiceError(f"{path} is not a Coppice checkpoint; leave network out.")
    if device is not None and kind != "torch":
        raise CoppiceError(f"{path} does not hold one network for each device; leave device out.")
    return classifier_of(_import(path, kind, device), path, front_end=front_end, labels=labels)


def classifier_of(
    imported: Imported, path: Path, *, front_end: FrontEnd | str | None, labels: Sequence[str] | None
) -> Classifier:
    """Return what an importer found as a classifier, with a lineage that says where it is from.

    Parameters
    ----------
    imported : Imported
        From an importer.
    path : Path
        The file.
    front_end, labels
        See :func:`load`.

    Raises
    ------
    CoppiceError
        If front end or labels do not fit the network or contradict the file.
    """
    chosen = make_front_end(front_end) if isinstance(front_end, str) else front_end
    settled = imported.front_end
    if settled and chosen and not imported.front_end_assumed and not _same_frames(chosen, settled):
        raise CoppiceError(f"{path} settles its front end ({settled.preset}); leave front_end out.")
    chosen = chosen or settled
    classes = _classes(imported.network)
    names = tuple(labels) if labels is not None else imported.labels or tuple(f"class_{i}" for i in range(classes))
    if len(names) != classes or len(set(names)) != classes:
        raise CoppiceError(f"{path} tells {classes} classes apart; give {classes} different labels, not {len(names)}.")
    if chosen is not None:
        _check_shape(imported.network, chosen, path)
    # Whoever published networks for such a preset fed them its output; elsewhere the file lacks the statistics.
    as_is = chosen is not None and (imported.normalised or chosen.preset in TAKEN_AS_IS)
    bands = chosen.n_mels if chosen is not None else 0
    return Classifier(
        network=imported.network,
        front_end=chosen,
        labels=names,
        band_mean=torch.zeros(bands) if as_is else None,
        band_std=torch.ones(bands) if as_is else None,
        lineage=(
            {
                "verb": "import",
                "file": path.name,
                "sha256": file_digest(path),
                "format": imported.format,
                "stored_bytes": dict(imported.stored_bytes),
                "layer_names": dict(imported.layer_names),
                "notes": list(imported.notes),
            },
        ),
        stored_as="float16" if set(imported.stored_bytes) == {"float16"} else "float32",
        score=imported.score,
    )


def _same_frames(one: FrontEnd, other: FrontEnd) -> bool:
    """Say whether two front ends differ at most in how long a clip is, which changes no frame."""
    return replace(one, duration_s=other.duration_s, pad=other.pad) == other


def _check_shape(network: nn.Module, front_end: FrontEnd, path: Path) -> None:
    config = network_identity(network).get("config", {})
    expected = getattr(network, "input_shape", (1, config.get("bands"), config.get("frames")))
    given = (1, *front_end.shape)
    if len(expected) != 3 or any(size not in (None, got) for size, got in zip(expected, given, strict=True)):
        sizes = " × ".join("any" if size is None else str(size) for size in expected)
        raise CoppiceError(
            f"{path} takes an input of {sizes} but front end {front_end.preset!r} gives "
            f"{' × '.join(map(str, given))} for {front_end.duration_s:g} s; give another preset or duration_s."
        )


def _kind(path: Path) -> str:
    with plain_os_errors("read the model", path):
        size = path.stat().st_size
        with path.open("rb") as handle:
            start = handle.read(16)
    if not size:
        raise CoppiceError(f"{path} is empty; copy or download it again.")
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size - 8:  # whatever byte the length begins with
        return "coppice"
    if start[:8] == b"\x89HDF\r\n\x1a\n" or path.suffix == ".keras":  # that archive is refused with advice
        return "keras"
    if start[4:8] == b"TFL3":
        return "tflite"
    if start[:4] == b"PK\x03\x04" or start[:1] == b"\x80":
        return "torch"
    if start[8:9] == b"{" or path.suffix == ".safetensors":
        return "coppice"
    raise CoppiceError(f"{path} is none of the files that can be loaded: {', '.join(FORMATS)}.")


def _import(path: Path, kind: str, device: str | None) -> Imported:
    # Each importer brings its own reader of files; they load when used.
    if kind == "keras":
        from coppice.networks.foreign.keras import read_keras

        return read_keras(path)
    if kind == "tflite":
        from coppice.networks.foreign.tflite import read_tflite

        return read_tflite(path)
    from coppice.networks.foreign.torch_files import import_torch

    return import_torch(path, device=device)


def _classes(network: nn.Module) -> int:
    config = network_identity(network).get("config", {})
    if "classes" in config:
        return int(config["classes"])
    sizes = [getattr(module, "out_features", getattr(module, "out_channels", None)) for module in network.modules()]
    return int([size for size in sizes if size][-1])
