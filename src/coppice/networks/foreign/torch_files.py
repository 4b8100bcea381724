"""Files of torch.save (``.pth``, ``.pt``, ``.ckpt``): named tensors and plain values come out, no code runs."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from coppice.core.errors import CoppiceError
from coppice.networks.foreign.imported import Imported
from coppice.networks.foreign.torch_container import PLACEHOLDERS, Container, check_container

_WRAPPERS = ("state_dict", "model", "model_state_dict")
_HYPER = "hyper_parameters"
# Names in a file may share memory, as tied layers do, but not without limit: each one is copied.
_MOST_SHARING = 4
_MOST_DEPTH = 4


class TorchFile(NamedTuple):
    """What a file of torch.save held.

    Attributes
    ----------
    state : dict
        Name -> tensor, on the CPU, of the stored number format.
    rest : dict
        What stood beside a wrapped state dict: numbers and strings such as ``epoch``, and Lightning's
        ``hyper_parameters`` as far as they are plain.
    """

    state: dict[str, Tensor]
    rest: dict[str, Any]


def read_torch(path: str | Path) -> TorchFile:
    """Read the named tensors in a file of torch.save.

    Zip archives (torch 1.6 and later) and the format before. The file may hold a bare state dict, or one in a
    dictionary under ``state_dict`` (Lightning), ``model`` (PANNs) or ``model_state_dict``. What the file claims is
    checked against its size first, then it is loaded with ``torch.load(weights_only=True)``.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    TorchFile
        ``(state, rest)``.

    Raises
    ------
    CoppiceError
        If the file is missing, empty, cut short or damaged; no file of torch.save; TorchScript; a whole pickled
        network; names code; claims more than it holds; or holds anything but named tensors.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "weights.pth"
    >>> torch.save({"model": {"weight": torch.zeros(3)}, "iteration": 600000}, file)
    >>> read_torch(file)
    TorchFile(state={'weight': tensor([0., 0., 0.])}, rest={'iteration': 600000})
    """
    path = Path(path)
    container = check_container(path)
    size = path.stat().st_size
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = _load(path, size, container)
        found, rest = _unwrap(content, path)
        state = _copies(found, path, container, most_bytes=_MOST_SHARING * size)
    except CoppiceError:
        raise
    except Exception as error:  # whatever a damaged or crafted description makes torch stumble over
        reason = " ".join(str(error).split(". ")[0].split())[:120] or type(error).__name__
        raise CoppiceError(
            f"{path} cannot be loaded, its description and its tensors do not agree ({reason}); copy or download it "
            "again."
        ) from error
    return TorchFile(state, rest)


def import_torch(path: str | Path, *, device: str | None = None) -> Imported:
    """Import a network from a file of torch.save: PANNs, E-PANNs, or a DCASE 2024/2025 baseline.

    Parameters
    ----------
    path : str or Path
        The file; whose network it holds is seen from the names of its tensors.
    device : str, optional
        See :func:`coppice.networks.foreign.lightning.from_lightning`.

    Raises
    ------
    CoppiceError
        If the file cannot be read, or holds another network.
    """
    path = Path(path)
    state, rest = read_torch(path)
    from coppice.networks.foreign.panns import from_panns, is_panns

    try:
        if is_panns(state):
            if device is not None:
                raise CoppiceError("it does not hold one network for each device; leave device out.")
            return from_panns(state, file_name=path.name)
        if any(name.endswith("in_c.0.0.weight") for name in state):
            from coppice.networks.foreign.lightning import from_lightning

            hyper = rest.get(_HYPER)
            return from_lightning(state, hyper=hyper if isinstance(hyper, dict) else {}, device=device)
        raise CoppiceError(
            f"its tensors, {', '.join(map(repr, list(state)[:3]))}, ..., are those of no network known here. PANNs and "
            "E-PANNs (CNN6, CNN10, CNN14) and the DCASE 2024/2025 baselines can be imported."
        )
    except CoppiceError as error:
        raise CoppiceError(f"cannot import {path}: {error}") from error


class _Placeholder:
    """Stands for an object that is not loaded; takes what its constructor would have taken and forgets it."""

    def __new__(cls, *_arguments: Any) -> "_Placeholder":
        return super().__new__(cls)

    def __init__(self, *_arguments: Any) -> None: ...

    def __setstate__(self, _state: Any) -> None: ...


# torch finds a class by its full name, so each bears the name of the class that it stands for.
_PLACEHOLDERS: list[Any] = [
    type(name, (_Placeholder,), {"__module__": module})
    for module, _, name in (full.rpartition(".") for full in sorted(PLACEHOLDERS))
]


def _load(path: Path, size: int, container: Container) -> Any:
    with torch.serialization.safe_globals(_PLACEHOLDERS):
        if container.begin is None:
            # Mapped, a tensor that claims more than the file has gets what there is, and then does not fit;
            # without, torch takes the claim for true and reads beyond.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        claimed = container.begin

        def on_cpu(storage: Any, _location: str) -> Any:
            nonlocal claimed
            claimed += 8 + storage.nbytes()
            if claimed > size:
                raise CoppiceError(
                    f"{path} is cut short: its description promises {claimed} bytes or more, it has {size}; copy or "
                    "download it again."
                )
            return storage

        return torch.load(path, map_location=on_cpu, weights_only=True)


def _unwrap(content: Any, path: Path) -> tuple[Mapping[Any, Any], dict[str, Any]]:
    if not isinstance(content, Mapping):
        raise CoppiceError(f"{path} holds a {type(content).__name__}, not named tensors; save network.state_dict().")
    for key in _WRAPPERS:
        if isinstance(content.get(key), Mapping):
            rest = {name: value for name, value in content.items() if name == _HYPER or _is_scalar(value)}
            return content[key], _plain(rest, 0)
    return content, {}


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _plain(value: Any, depth: int) -> Any:
    """Return a value without what is not plain inside it, and without what stands too deep."""
    nested = dict | list | tuple if depth < _MOST_DEPTH else ()
    if isinstance(value, dict):
        return {
            str(name): _plain(inner, depth + 1)
            for name, inner in value.items()
            if _is_scalar(inner) or isinstance(inner, nested)
        }
    if isinstance(value, list | tuple):
        return type(value)(
            _plain(inner, depth + 1) for inner in value if _is_scalar(inner) or isinstance(inner, nested)
        )
    return value


def _copies(found: Mapping[Any, Any], path: Path, container: Container, *, most_bytes: int) -> dict[str, Tensor]:
    """Return copies that do not hang on the file, after a look at every tensor."""
    total = 0
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            what = "a placeholder for an object" if isinstance(tensor, _Placeholder) else f"a {type(tensor).__name__}"
            raise CoppiceError(f"{path} holds {what} under {name!r} among its tensors; save network.state_dict().")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise CoppiceError(
                f"{path} holds {name!r} as a {tensor.device.type} tensor of type {tensor.dtype} and layout "
                f"{tensor.layout}; ordinary dense tensors can be read."
            )
        needed = tensor.numel() * tensor.element_size()
        total += needed
        held = tensor.untyped_storage().nbytes()
        torn = container.begin is None and held not in container.record_bytes
        if torn or needed > held or total > most_bytes:
            raise CoppiceError(
                f"{path} holds other sizes than it claims, first for {name!r} of shape {tuple(tensor.shape)}; copy or "
                "download it again."
            )
    if not found:
        raise CoppiceError(f"{path} holds no tensors.")
    return {name: tensor.detach().clone().contiguous() for name, tensor in found.items()}
