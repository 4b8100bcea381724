"""Checkpoints of the DCASE 2024 and 2025 Task 1 baselines, trained with Lightning."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coppice.audio.front_end import FrontEnd, front_end
from coppice.audio.windows import window
from coppice.core.errors import CoppiceError
from coppice.networks.cp_mobile import CPMobile
from coppice.networks.foreign.imported import Imported
from coppice.networks.sizes import is_whole

SCENES = (
    "airport",
    "bus",
    "metro",
    "metro_station",
    "park",
    "public_square",
    "shopping_mall",
    "street_pedestrian",
    "street_traffic",
    "tram",
)

# The baselines' names for what a front end holds.
_CONSTANTS = {
    "sample_rate": "sample_rate",
    "window_length": "win_length",
    "hop_length": "hop_length",
    "n_fft": "n_fft",
    "n_mels": "n_mels",
    "f_min": "fmin_hz",
    "f_max": "fmax_hz",
}
FROZEN_TOLERANCE = 1e-4  # a filterbank computed in float32 is within 2e-5
_FIRST = "in_c.0.0.weight"
_ROOT = re.compile(r"(?:(?:model|multi_device_model)\.)?(?:base_model\.|device_models\.(?P<device>[^.]+)\.)?")
_BLOCK = re.compile(r"stages\.s([0-9]{1,3})\.b([0-9]{1,4})\.")
_SUPPORTED = "what can be imported is the network of the DCASE 2024 and 2025 Task 1 baselines, at any widths"


def from_lightning(state: Mapping[str, Tensor], *, hyper: Mapping[str, Any], device: str | None = None) -> Imported:
    """Import a checkpoint of the DCASE 2024 or 2025 Task 1 baseline, pruned or not.

    In a 2024 checkpoint, and a general one of 2025, the network stands under ``model.``. A device-specific one of
    2025 holds seven under ``multi_device_model.``: a base network, and for each training device a copy that was
    fine-tuned on it. Without ``device`` the base network is imported, which the baseline itself uses wherever
    the recording device is not known; the notes name the others. The bare state dict that the 2024 baseline writes
    beside its predictions works too.

    All widths follow from the shapes of the tensors. Strides are not in the file; they are the published ones
    unless ``hyper`` has an entry ``strides``.

    Parameters
    ----------
    state : mapping of str to Tensor
        The checkpoint's ``state_dict``, on the CPU.
    hyper : mapping
        Its ``hyper_parameters``; empty where it has none, as in 2024. What is no mapping says nothing.
    device : str, optional
        ``"a"``, ``"b"``, ``"c"``, ``"s1"``, ``"s2"`` or ``"s3"``: the network for recordings of one device.

    Returns
    -------
    Imported
        A :class:`~coppice.networks.cp_mobile.CPMobile`. ``format`` is ``"dcase2025-lightning"`` where the file holds
        networks for devices, else ``"dcase2024-lightning"``. ``stored_bytes`` counts its parameters without the running
        statistics, as the rules do. The front end is ``dcase2024``, unless the file's own hyper-parameters, window
        or filterbank contradict it; then it is None and a note says which.

    Raises
    ------
    CoppiceError
        If this is no such network, a tensor is missing, unknown, of the wrong shape or kind, or holds NaN, or there
        is no network for ``device``.

    Examples
    --------
    >>> trained = CPMobile(base_channels=8).half().state_dict()
    >>> imported = from_lightning({f"model.{name}": tensor for name, tensor in trained.items()}, hyper={})
    >>> imported.network.config()["widths"], imported.stored_bytes
    ([8, 8, 8, 16, 16, 24], {'float16': 11444})
    """
    hyper = hyper if isinstance(hyper, Mapping) else {}
    roots = _roots(state)
    root = _chosen(roots, device)
    tensors = {str(name).removeprefix(root): tensor for name, tensor in state.items() if str(name).startswith(root)}
    if not root:  # a bare state dict may stand beside its front end
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("mel.")}
    for name, tensor in tensors.items():
        _check_tensor(f"{root}{name}", tensor)
    network = _network(tensors, root, hyper)
    differing = _differing(state, hyper)
    stored: dict[str, int] = {}
    for name, _ in network.named_parameters():
        kind = str(tensors[name].dtype).removeprefix("torch.")
        stored[kind] = stored.get(kind, 0) + tensors[name].numel() * tensors[name].element_size()
    return Imported(
        network=network,
        format="dcase2025-lightning" if len(roots) > 1 else "dcase2024-lightning",
        score="softmax",
        stored_bytes=stored,
        layer_names={name.rpartition(".")[0]: root + name.rpartition(".")[0] for name in network.state_dict()},
        front_end=None if differing else _published(),
        normalised=not differing,
        labels=SCENES if network.config()["classes"] == len(SCENES) else None,
        notes=tuple(_notes(state, roots, device, network, hyper, differing)),
    )


def _roots(state: Mapping[str, Tensor]) -> dict[str | None, str]:
    """Return where the networks stand: device, or None for the base network -> beginning of its tensors' names."""
    found: dict[str | None, str] = {}
    for name in state:
        if not isinstance(name, str) or not name.endswith(_FIRST):
            continue
        match = _ROOT.fullmatch(name.removesuffix(_FIRST))
        if match is None:
            continue
        twice = found.setdefault(match["device"], match[0])
        if twice != match[0]:
            raise CoppiceError(
                f"the checkpoint holds the same network under {twice!r} and {match[0]!r}; save only one of them."
            )
    if not found:
        first = ", ".join(repr(str(name)[:60]) for name in list(state)[:3])
        raise CoppiceError(
            f"the checkpoint has no tensor {_FIRST!r} under 'model.' or 'multi_device_model.' (it begins with "
            f"{first or 'nothing'}); {_SUPPORTED}."
        )
    return found


def _chosen(roots: Mapping[str | None, str], device: str | None) -> str:
    devices = sorted(name for name in roots if name is not None)
    if device is not None and not devices:
        raise CoppiceError(f"the checkpoint has one network for all devices and none for {device!r}; leave device out.")
    if device in roots:
        return roots[device]
    if device is None:
        raise CoppiceError(
            f"the checkpoint has no base network, only one for each of {_listed(devices)}; give device={devices[0]!r}."
        )
    base = "; leave device out for the base network, which serves all other devices" if None in roots else ""
    raise CoppiceError(f"the checkpoint has networks for {_listed(devices)} but none for {device!r}{base}.")


def _check_tensor(name: str, tensor: object) -> None:
    if not isinstance(tensor, Tensor):
        raise CoppiceError(f"{name!r} in the checkpoint is a {type(tensor).__name__}, not a tensor; {_SUPPORTED}.")
    counts = name.endswith(".num_batches_tracked")
    kinds = (torch.int64,) if counts else (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.dtype not in kinds:
        kind = f"{tensor.dtype}, {tensor.layout}, on {tensor.device}".replace("torch.", "")
        raise CoppiceError(f"{name!r} in the checkpoint is {kind}; give weights as float32 or float16 on the CPU.")
    # A view can claim any shape over one stored number; a copy of it would fill the memory.
    if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        raise CoppiceError(
            f"{name!r} in the checkpoint claims a shape of {tuple(tensor.shape)} but stores "
            f"{tensor.untyped_storage().nbytes()} bytes; save it again as a contiguous tensor."
        )
    if not counts and not torch.isfinite(tensor).all():
        raise CoppiceError(f"{name!r} in the checkpoint holds NaN or infinity; the training it is from diverged.")


def _network(tensors: Mapping[str, Tensor], root: str, hyper: Mapping[str, Any]) -> CPMobile:
    """Build the network whose tensors have these names and shapes, and fill it."""
    blocks = _blocks(tensors, root)
    names = [f"stages.s{stage}.b{block}.block." for block, stage in blocks.items()]
    strides = hyper.get("strides")
    bands, frames = _shape(hyper)
    with torch.device("meta"):  # nothing is allocated before the shapes are known to fit
        network = CPMobile(
            blocks=[list(blocks.values()).count(stage) for stage in sorted(set(blocks.values()))],
            strides={name: value for name, value in strides.items() if name in {f"b{block}" for block in blocks}}
            if isinstance(strides, Mapping)
            else None,
            stem=[_filters(tensors, root, f"in_c.{number}.0.weight") for number in (0, 1)],
            widths=[_filters(tensors, root, f"{name}2.0.weight") for name in names],
            expanded=[_filters(tensors, root, f"{name}0.0.weight") for name in names],
            classes=_filters(tensors, root, "feed_forward.0.weight"),
            bands=bands,
            frames=frames,
        )
    own = network.state_dict()
    for name in tensors.keys() - own.keys():
        raise CoppiceError(f"{root + name!r} in the checkpoint belongs to no known layer; {_SUPPORTED}.")
    for name, tensor in own.items():
        if name not in tensors:
            raise CoppiceError(f"the checkpoint has no tensor {root + name!r}; {_SUPPORTED}.")
        if tensors[name].shape != tensor.shape:
            raise CoppiceError(
                f"{root + name!r} in the checkpoint has shape {tuple(tensors[name].shape)} where its neighbours need "
                f"{tuple(tensor.shape)}; {_SUPPORTED}."
            )
    ours = {name: tensors[name].to(tensor.dtype).contiguous().clone() for name, tensor in own.items()}
    network.load_state_dict(ours, assign=True)
    return network.eval()


def _blocks(tensors: Mapping[str, Tensor], root: str) -> dict[int, int]:
    """Return block number -> stage number, as the names of the tensors say."""
    found: dict[int, int] = {}
    for name in tensors:
        match = _BLOCK.match(name)
        if match is None:
            continue
        stage, block = int(match[1]), int(match[2])
        if found.setdefault(block, stage) != stage:
            raise CoppiceError(f"block b{block} stands in two stages under {root!r} of the checkpoint; {_SUPPORTED}.")
    blocks = dict(sorted(found.items()))
    stages = list(blocks.values())
    in_order = stages == sorted(stages) and sorted(set(stages)) == list(range(1, len(set(stages)) + 1))
    if not blocks or list(blocks) != list(range(1, len(blocks) + 1)) or not in_order:
        listed = ", ".join(f"s{stage}.b{block}" for block, stage in blocks.items()) or "none"
        raise CoppiceError(
            f"the blocks under {root + 'stages'!r} of the checkpoint are {listed[:200]}, not numbered through from "
            f"s1.b1; {_SUPPORTED}."
        )
    return blocks


def _filters(tensors: Mapping[str, Tensor], root: str, name: str) -> int:
    if name not in tensors:
        raise CoppiceError(f"the checkpoint has no tensor {root + name!r}; {_SUPPORTED}.")
    if tensors[name].ndim != 4:
        raise CoppiceError(
            f"{root + name!r} in the checkpoint has shape {tuple(tensors[name].shape)}, which is no 2-D convolution; "
            f"{_SUPPORTED}."
        )
    return tensors[name].shape[0]


def _shape(hyper: Mapping[str, Any]) -> tuple[int, int]:
    """Return bands and frames of one second, the published ones where the file does not say."""
    bands, frames = _published().shape
    if is_whole(hyper.get("n_mels"), 1, 4096):
        bands = hyper["n_mels"]
    if is_whole(hyper.get("sample_rate"), 1000, 192_000) and is_whole(hyper.get("hop_length"), 10, 192_000):
        frames = 1 + hyper["sample_rate"] // hyper["hop_length"]
    return bands, frames


def _published() -> FrontEnd:
    return front_end("dcase2024", duration_s=1.0)


def _differing(state: Mapping[str, Tensor], hyper: Mapping[str, Any]) -> list[str]:
    """Name every constant of the file's own front end that is not the published one."""
    published = _published()
    found = []
    for theirs, ours in _CONSTANTS.items():
        value, expected = hyper.get(theirs), getattr(published, ours)
        if value is not None and not (isinstance(value, int | float) and value == expected):
            found.append(f"{theirs} {str(value)[:20]}, not {expected:g}")
    frozen = {
        "spectrogram.window": window("hann", published.win_length),
        "mel_scale.fb": published.filterbank().T,
    }
    for name, tensor in state.items():
        for suffix, expected in frozen.items():
            if re.fullmatch(rf"mel\.(?:[0-9]+\.)?{re.escape(suffix)}", str(name)):
                _check_tensor(name, tensor)
                if tuple(tensor.shape) != expected.shape:
                    found.append(f"{name} of shape {tuple(tensor.shape)}, not {expected.shape}")
                elif np.abs(tensor.double().numpy() - expected).max() > FROZEN_TOLERANCE:
                    found.append(f"other values in {name}")
    return found


def _notes(
    state: Mapping[str, Tensor],
    roots: Mapping[str | None, str],
    device: str | None,
    network: CPMobile,
    hyper: Mapping[str, Any],
    differing: Iterable[str],
) -> list[str]:
    notes = []
    others = sorted(name for name in roots if name is not None and name != device)
    if device is not None:
        notes.append(f"This is the network for recordings of device {device}.")
    elif others:
        notes.append(
            f"This is the base network, for any recording device; there is one more for each of {_listed(others)}: "
            f"load with device={others[0]!r}."
        )
    if differing:
        notes.append(f"It was trained on other features than the published ones ({'; '.join(differing)}).")
    if network.config()["blocks"] != [3, 2, 1] and "strides" not in hyper:
        notes.append("The file does not hold the strides of its blocks; those of the published network are used.")
    known = (*roots.values(), "mel.")
    aside = sorted({str(name).partition(".")[0] for name in state if not str(name).startswith(known)})
    if aside:
        notes.append(f"Left aside: the tensors under {_listed(aside)[:200]}.")
    return notes


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
