"""State dicts of PANNs and E-PANNs: CNN6, CNN10 and CNN14 at any widths, with or without their frozen front end."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor, nn

from coppice.audio.front_end import FrontEnd, front_end
from coppice.audio.presets import PRESETS
from coppice.core.errors import CoppiceError
from coppice.networks.audioset import audioset_labels
from coppice.networks.foreign.imported import Imported
from coppice.networks.panns import PANN
from coppice.networks.registry import build_network

_ARCHITECTURES = {(6, 2, 3): "cnn14", (4, 2, 3): "cnn10", (4, 1, 5): "cnn6"}  # blocks, convolutions in each, kernel
_STFT, _MEL = "spectrogram_extractor.", "logmel_extractor."
_REAL, _IMAG = _STFT + "stft.conv_real.weight", _STFT + "stft.conv_imag.weight"
_MELW = _MEL + "melW"
_BATCHES = "num_batches_tracked"
# Other networks of the same repository, by how the names of their tensors begin.
_OTHERS = {
    "pre_conv0.": "Wavegram-CNN14 or Wavegram-Logmel-CNN14",
    "att_block.": "Cnn14_DecisionLevelAtt",
    "resnet.": "ResNet or Res1dNet",
    "features.": "MobileNetV1 or MobileNetV2",
    "fc_transfer.": "Transfer_Cnn14 (fine-tuned)",
}
_FORMATS = {torch.float64, torch.float32, torch.float16, torch.bfloat16}
# Published sample rates: FFT length -> what differs from 32 kHz.
_RATES = {
    1024: {},
    512: {"sample_rate": 16000, "n_fft": 512, "win_length": 512, "hop_length": 160, "fmax_hz": 8000.0},
    256: {"sample_rate": 8000, "n_fft": 256, "win_length": 256, "hop_length": 80, "fmax_hz": 4000.0},
}


def is_panns(state: Mapping[str, Tensor]) -> bool:
    """Say whether names of tensors are those of a network of the PANNs repository.

    Examples
    --------
    >>> is_panns({"fc_audioset.weight": torch.zeros(527, 2048)})
    True
    """
    return any(name.startswith(("fc_audioset.", "conv_block1.", "fc_transfer.")) for name in state)


def from_panns(state: Mapping[str, Tensor], *, file_name: str = "") -> Imported:
    """Import a CNN6, CNN10 or CNN14 of PANNs, pruned ones such as E-PANNs included.

    Every width is read from the shapes. The published files (repository qiuqiangkong/audioset_tagging_cnn; E-PANNs:
    Singh et al., arXiv 2305.18665) carry the Fourier kernels and the mel filterbank of their front end as frozen
    tensors. They tell the sample rate, are compared with ours, and are left out.

    Parameters
    ----------
    state : mapping of name to Tensor
        The state dict.
    file_name : str
        Name of its file, where there is one: nothing else tells a Cnn14_DecisionLevelMax from a CNN14.

    Returns
    -------
    Imported
        Score "sigmoid", as AudioSet tagging is multi-label. Normalised by the network's own ``bn0``. AudioSet's
        labels where there are 527 classes. ``stored_bytes`` counts the parameters, neither running statistics nor
        the front end.

    Raises
    ------
    CoppiceError
        If it is another network, tensors are missing, unknown, of wrong shape or not finite, or the frozen front end
        is not the published one.

    Examples
    --------
    >>> from coppice.networks.cnn6 import CNN6
    >>> state = CNN6(widths=(4, 5, 6, 7), dense=8, classes=3).state_dict()
    >>> from_panns(state).network.config()["widths"]
    [4, 5, 6, 7]
    """
    _refuse_others(state, file_name)
    frozen = {name: tensor for name, tensor in state.items() if name.startswith((_STFT, _MEL))}
    weights = {name: tensor for name, tensor in state.items() if name not in frozen}
    network = _network(weights)
    config = network.config()
    classes, bands = config["classes"], config["bands"]
    preset, notes = _front_end(frozen, bands)
    if _is_narrowed(network, config):
        notes.append(
            "Its widths are not the published ones of PANNs, so it was pruned or trained anew. The demo released with "
            "E-PANNs ends with a softmax; scores here are sigmoids, as the networks were trained."
        )
    if classes != len(audioset_labels()):
        notes.append(f"It tells {classes} classes apart, not AudioSet's 527; that its scores are sigmoids is assumed.")
    return Imported(
        network=network,
        format="panns",
        score="sigmoid",
        stored_bytes=_stored_bytes({name: weights[name] for name, _ in network.named_parameters()}),
        layer_names={name: name for name, module in network.named_modules() if list(module.parameters(recurse=False))},
        front_end=preset,
        front_end_assumed=not frozen,
        normalised=True,
        labels=audioset_labels() if classes == len(audioset_labels()) else None,
        notes=tuple(notes),
    )


def _refuse_others(state: Mapping[str, Tensor], file_name: str) -> None:
    supported = "CNN6, CNN10 and CNN14 can be imported."
    for prefix, name in _OTHERS.items():
        found = [tensor for tensor in state if tensor.startswith(prefix)]
        if found:
            raise CoppiceError(f"it is a {name}, as its tensor {found[0]!r} shows; {supported}")
    if "DecisionLevel" in file_name:
        raise CoppiceError(f"its name {file_name!r} says that it scores every frame for itself; {supported}")


def _network(weights: Mapping[str, Tensor]) -> PANN:
    blocks = 0
    while f"conv_block{blocks + 1}.conv1.weight" in weights:
        blocks += 1
    convs = [
        name
        for block in range(1, blocks + 1)
        for conv in (1, 2)
        if (name := f"conv_block{block}.conv{conv}.weight") in weights
    ]
    for name in (*convs, "bn0.weight", "fc1.weight", "fc_audioset.weight"):
        dimensions = 4 if name in convs else 1 if name == "bn0.weight" else 2
        if name not in weights or weights[name].ndim != dimensions:
            shape = tuple(weights[name].shape) if name in weights else "missing"
            raise CoppiceError(f"its tensor {name!r} should have {dimensions} dimensions but is {shape}.")
    kernel = weights[convs[0]].shape[-1] if convs else 0
    kind = _ARCHITECTURES.get((blocks, len(convs) // max(blocks, 1), kernel))
    if kind is None:
        raise CoppiceError(
            f"it has {blocks} blocks with {len(convs)} convolutions of {kernel}×{kernel}; CNN14 has 6 with 12 of 3×3, "
            "CNN10 4 with 8 of 3×3, CNN6 4 with 4 of 5×5."
        )
    with torch.device("meta"):  # nothing is allocated for a network that does not fit
        network = build_network(
            kind,
            widths=[weights[name].shape[0] for name in convs],
            dense=weights["fc1.weight"].shape[0],
            classes=weights["fc_audioset.weight"].shape[0],
            bands=weights["bn0.weight"].shape[0],
        )
    assert isinstance(network, PANN)
    _check_tensors(network, weights)
    network.load_state_dict(
        {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in weights.items()},
        assign=True,
    )
    return network.eval()


def _check_tensors(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    own = network.state_dict()
    for name, tensor in weights.items():
        if name not in own:
            raise CoppiceError(f"its tensor {name!r} belongs to none of CNN6, CNN10 and CNN14.")
        if tensor.shape != own[name].shape:
            raise CoppiceError(f"{name!r} should have shape {tuple(own[name].shape)} but is {tuple(tensor.shape)}.")
        if name.endswith(_BATCHES):
            if tensor.dtype != torch.int64:
                raise CoppiceError(f"{name!r} is stored as {tensor.dtype}; int64 can be read.")
            continue
        if tensor.dtype not in _FORMATS:
            raise CoppiceError(f"{name!r} is stored as {tensor.dtype}; float64, 32, 16 and bfloat16 can be read.")
        if not torch.isfinite(tensor).all():
            raise CoppiceError(f"{name!r} holds NaN or infinite values; the file is damaged or its training failed.")
        if name.endswith("running_var") and (tensor < 0).any():
            raise CoppiceError(f"{name!r} holds variances below 0; the file is damaged.")
    for name in own:
        if name not in weights and not name.endswith(_BATCHES):  # torch before 0.4.1 did not count batches
            raise CoppiceError(f"its tensor {name!r} is missing.")


def _front_end(frozen: Mapping[str, Tensor], bands: int) -> tuple[FrontEnd, list[str]]:
    """Return the front end that the frozen tensors are, and what to tell the user."""
    if not frozen:
        return _published(1024, bands), [
            "The file does not hold the front end; 32 kHz is assumed, as in most of PANNs and in E-PANNs."
        ]
    unknown = sorted(frozen.keys() - {_REAL, _IMAG, _MELW})
    if unknown or len(frozen) < 3:
        what = f"the unknown tensor {unknown[0]!r}" if unknown else f"only {', '.join(map(repr, frozen))}"
        raise CoppiceError(f"its frozen front end has {what}; {_REAL!r}, {_IMAG!r} and {_MELW!r} are expected.")
    n_fft = frozen[_REAL].shape[-1]
    if n_fft not in _RATES:
        raise CoppiceError(
            f"its frozen front end transforms {n_fft} samples at a time; PANNs use 1024 at 32 kHz, 512 at 16 kHz and "
            "256 at 8 kHz."
        )
    chosen = _published(n_fft, bands)
    kernels = _fourier_kernels(chosen)
    expected = {_REAL: kernels.real[:, None], _IMAG: kernels.imag[:, None], _MELW: chosen.filterbank().T}
    for name, ours in expected.items():
        _compare(name, frozen[name], ours, chosen)
    size = sum(tensor.numel() * tensor.element_size() for tensor in frozen.values())
    return chosen, [
        f"{size} bytes of frozen Fourier kernels and mel filterbank agree with the front end for "
        f"{chosen.sample_rate} Hz here and were left out."
    ]


def _published(n_fft: int, bands: int) -> FrontEnd:
    presets = {1024: "panns32k", 512: "panns16k"}
    if n_fft in presets and bands == PRESETS[presets[n_fft]]["n_mels"]:
        return front_end(presets[n_fft])
    return front_end("logmel", **{**PRESETS["panns32k"], **_RATES[n_fft], "n_mels": bands})


def _fourier_kernels(chosen: FrontEnd) -> np.ndarray:
    """Return the windowed kernels of the discrete Fourier transform, complex128, shape (bins, n_fft)."""
    n_fft = chosen.n_fft
    turns = np.outer(np.arange(n_fft // 2 + 1), np.arange(n_fft)) % n_fft / n_fft
    return np.exp(-2j * np.pi * turns) * chosen.shaping_window()


def _compare(name: str, stored: Tensor, ours: Float64[np.ndarray, "..."], chosen: FrontEnd) -> None:
    what = f"it is not the front end of PANNs at {chosen.sample_rate} Hz"
    if tuple(stored.shape) != ours.shape:
        raise CoppiceError(f"{name!r} has shape {tuple(stored.shape)}, not {ours.shape}: {what}.")
    if stored.dtype not in _FORMATS:
        raise CoppiceError(f"{name!r} is stored as {stored.dtype}; float64, 32, 16 and bfloat16 can be read.")
    exact = stored.dtype in (torch.float32, torch.float64)
    difference = float(np.abs(stored.double().numpy() - ours).max() / np.abs(ours).max())
    if not difference <= (1e-4 if exact else 5e-3):
        raise CoppiceError(f"{name!r} differs from ours by {100 * difference:.3g} % of its largest value: {what}.")


def _is_narrowed(network: PANN, config: Mapping[str, object]) -> bool:
    with torch.device("meta"):
        standard = build_network(network.name)
    assert isinstance(standard, PANN)
    return config["widths"] != standard.config()["widths"]


def _stored_bytes(weights: Mapping[str, Tensor]) -> dict[str, int]:
    stored: dict[str, int] = {}
    for tensor in weights.values():
        key = str(tensor.dtype).removeprefix("torch.")
        stored[key] = stored.get(key, 0) + tensor.numel() * tensor.element_size()
    return stored
