"""One safetensors file holds a classifier: tensors, and a versioned JSON in the header. No pickle."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from coppice.audio.front_end import FrontEnd
from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors, whole_file
from coppice.networks.classifier import SCORES, Classifier
from coppice.networks.number_formats import FORMATS, packed, unpacked
from coppice.networks.registry import build_network, network_identity
from coppice.networks.shapes import grouped_layers, take_shapes_

VERSION = 1
_KEY = "coppice"


def save(classifier: Classifier, path: str | Path) -> Path:
    """Store a classifier in one ``.safetensors`` file.

    Parameters
    ----------
    classifier : Classifier
        ``classifier.stored_as`` chooses the number format of the parameters in the file.
    path : str or Path
        The file; it appears complete or not at all.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    CoppiceError
        If the disk refuses, or a parameter does not fit the number format.

    See Also
    --------
    load : the way back.
    """
    path = Path(path)
    data = serialise(classifier)
    with whole_file(path) as temporary:
        temporary.write_bytes(data)
    return path


def serialise(classifier: Classifier) -> bytes:
    """Return the bytes that :func:`save` writes, which is how a size in bytes is measured."""
    _check_fit(classifier.network, classifier.front_end, classifier.labels)
    bands = {"band_mean": classifier.band_mean, "band_std": classifier.band_std}
    tensors: dict[str, Tensor] = {name: tensor for name, tensor in bands.items() if tensor is not None}
    for name, tensor in packed(classifier.network, classifier.stored_as).items():
        tensors[f"network.{name}"] = tensor.contiguous().clone()  # the format takes no tied tensors
    header = {
        "version": VERSION,
        "network": dict(network_identity(classifier.network)),
        "groups": grouped_layers(classifier.network),
        "front_end": classifier.front_end.to_dict() if classifier.front_end is not None else None,
        "labels": list(classifier.labels),
        "score": classifier.score,
        "stored_as": classifier.stored_as,
        "lineage": list(classifier.lineage),
        "metrics": classifier.metrics,
    }
    text = json.dumps(header, ensure_ascii=True, allow_nan=False, sort_keys=True)
    return to_safetensors(tensors, metadata={_KEY: text})


def load(path: str | Path, *, network: Callable[[], nn.Module] | None = None) -> Classifier:
    """Read a classifier from a checkpoint.

    Parameters
    ----------
    path : str or Path
        A file that :func:`save` wrote.
    network : callable, optional
        Returns a network of your own class at any widths, such as the class itself; needed when the checkpoint
        holds an architecture that Coppice does not know. The file's name for the class is never imported:
        a checkpoint is data and cannot choose what code runs.

    Returns
    -------
    Classifier
        In eval mode, on the CPU, in float32. Its logits equal those before saving, bit for bit, when it was
        stored as float32.

    Raises
    ------
    CoppiceError
        If the file is missing, cut short, not a Coppice checkpoint, from a newer version, or does not fit.
    """
    path = Path(path)
    tensors, header = _read(path)
    try:
        front_end = None if header["front_end"] is None else FrontEnd.from_dict(header["front_end"])
        _check_entries(header)
        _check_bands(tensors, front_end)
        state = unpacked(
            {name.removeprefix("network."): t for name, t in tensors.items() if name.startswith("network.")}
        )
        module = _rebuild(header, state, network)
        module.load_state_dict(state, assign=True)
        _check_fit(module, front_end, header["labels"])
        classifier = Classifier(
            network=module.eval(),
            front_end=front_end,
            labels=tuple(header["labels"]),
            band_mean=tensors["band_mean"].float() if "band_mean" in tensors else None,
            band_std=tensors["band_std"].float() if "band_std" in tensors else None,
            lineage=tuple(header["lineage"]),
            metrics=header["metrics"],
            stored_as=header["stored_as"],
            score=header["score"],
        )
    except CoppiceError as error:
        raise CoppiceError(f"cannot load {path}: {error}") from error
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError, ArithmeticError) as error:
        reason = re.sub(r"\s+", " ", str(error))[:200]
        raise CoppiceError(f"cannot load {path}: its header and its tensors do not agree ({reason}).") from error
    return classifier


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with plain_os_errors("read the checkpoint", path):
        size = path.stat().st_size
        with path.open("rb") as handle:
            start = handle.read(8)
    if len(start) < 8 or int.from_bytes(start, "little") > size - 8:
        raise CoppiceError(
            f"{path} is not a whole checkpoint: it is {size} bytes long and its header says more; it was probably "
            "cut short or is another kind of file. Copy or create it again."
        )
    try:
        with safe_open(path, framework="pt") as handle:
            metadata = handle.metadata() or {}
            if _KEY not in metadata:
                raise CoppiceError(
                    f"{path} is a safetensors file but not a Coppice checkpoint: its header has no entry {_KEY!r}."
                )
            # Copies begin where vectors do, as tensors that were computed: kernels for those that do not begin there
            # may add up in another order, and what was loaded would differ in the last bit from what was saved.
            tensors = {name: handle.get_tensor(name).clone() for name in handle.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise CoppiceError(
            f"{path} is not a whole checkpoint ({error}); it was probably cut short or is another kind of file. "
            "Copy or create it again."
        ) from error
    try:
        header = json.loads(metadata[_KEY])
    except (ValueError, RecursionError) as error:
        raise CoppiceError(f"{path} has a damaged header: {error}.") from error
    version = header.get("version") if isinstance(header, dict) else None
    if version != VERSION:
        raise CoppiceError(f"{path} has format version {version!r}; this Coppice reads version {VERSION}.")
    return tensors, header


def _rebuild(header: dict[str, Any], state: dict[str, Tensor], network: Callable[[], nn.Module] | None) -> nn.Module:
    identity = header["network"]
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn and thrown away
        if network is not None:
            if isinstance(network, nn.Module):
                raise CoppiceError(
                    f"network is a {type(network).__name__}; give the class, or a function that builds one."
                )
            module = network()
            if not isinstance(module, nn.Module):
                raise CoppiceError(f"network returned a {type(module).__name__}; it has to return a torch.nn.Module.")
            take_shapes_(module, state, header.get("groups", {}))
        elif "name" in identity:
            with torch.device("meta"):  # nothing is allocated before the shapes are known to fit
                _check_shapes(build_network(identity["name"], **identity["config"]), state)
            module = build_network(identity["name"], **identity["config"])
        else:
            raise CoppiceError(
                f"it holds a network of the class {identity.get('class')!r}, which Coppice does not know; give your "
                "class: load(path, network=YourClass)."
            )
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() != state[name].is_floating_point():
            raise CoppiceError(f"{name!r} should hold {tensor.dtype} but holds {state[name].dtype}.")
    return module


def _check_shapes(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    for name, tensor in module.state_dict().items():
        if name not in state or state[name].shape != tensor.shape:
            found = tuple(state[name].shape) if name in state else "missing"
            raise CoppiceError(f"{name!r} should have shape {tuple(tensor.shape)} but is {found}.")


def _check_entries(header: Mapping[str, Any]) -> None:
    labels, lineage = header["labels"], header["lineage"]
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise CoppiceError(f"its labels are {str(labels)[:60]!r}, not a list of names.")
    if len(set(labels)) < len(labels):
        raise CoppiceError("one of its labels occurs twice.")
    if not isinstance(lineage, list) or not all(isinstance(entry, dict) for entry in lineage):
        raise CoppiceError(f"its lineage is {str(lineage)[:60]!r}, not a list of tables.")
    if not isinstance(header["metrics"], dict):
        raise CoppiceError(f"its metrics are {str(header['metrics'])[:60]!r}, not a table.")
    if header["stored_as"] not in FORMATS:
        raise CoppiceError(f"it says that its parameters are stored as {header['stored_as']!r}.")
    if header["score"] not in SCORES:
        raise CoppiceError(f"it says that its logits become scores by {header['score']!r}.")


def _check_bands(tensors: Mapping[str, Tensor], front_end: FrontEnd | None) -> None:
    given = tensors.keys() & {"band_mean", "band_std"}
    if not given:
        return
    if front_end is None or len(given) == 1:
        raise CoppiceError("a normalisation needs band_mean, band_std and a front end; it has only a part of them.")
    bands = front_end.n_mels
    for name in ("band_mean", "band_std"):
        if tensors[name].shape != (bands,) or not torch.isfinite(tensors[name]).all():
            raise CoppiceError(f"its {name} is not one number for each of {bands} bands.")
    if not (tensors["band_std"] > 0).all():
        raise CoppiceError("its band_std is not above 0 in every band.")


def _check_fit(network: nn.Module, front_end: FrontEnd | None, labels: Sequence[str]) -> None:
    """Refuse a known architecture of other sizes than its front end and labels."""
    sizes = {"classes": len(labels)}
    if front_end is not None:
        sizes |= {"bands": front_end.n_mels, "frames": front_end.frames}
    for config in _configs(network_identity(network)):
        for key, size in sizes.items():
            if config.get(key, size) != size:
                raise CoppiceError(
                    f"the network is built for {config[key]} {key} but front end and labels give {size}."
                )


def _configs(identity: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the arguments that build a network, and those of the members of an ensemble."""
    config = identity.get("config", {})
    yield config
    for member in config.get("members", ()):
        yield from _configs(member["network"])
