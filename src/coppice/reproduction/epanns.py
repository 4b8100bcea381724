"""Singh et al., E-PANNs (Inter-Noise 2023): CNN14 with the filters of its last six convolutions cut."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from coppice.audio.front_end import front_end
from coppice.complexity.front_end_macs import front_end_macs
from coppice.reproduction.claim import PRINTED, RECOMPUTED, Claim, Paper
from coppice.reproduction.counted import counted

PAPER = Paper(
    "epanns",
    "E-PANNs: pruned audio tagging networks",
    "A. Singh, H. Liu and M. D. Plumbley, Inter-Noise 2023, arXiv 2305.18665; CNN14: Kong et al., IEEE/ACM TASLP 28, "
    "2020",
)

_WIDTHS = (64, 64, 128, 128, 256, 256, 512, 512, 1024, 1024, 2048, 2048)
_CLIP = (1, 64, 1001)  # 10 s at 32 kHz
# share of C7 to C12 that is cut -> parameters
_PARAMS = {0.0: 80_753_615, 0.25: 47_408_591, 0.5: 23_205_839, 0.75: 8_145_359}


def claims() -> Iterator[Claim]:
    """Yield parameters at the published ratios, the published size, and the MACs with and without the front end."""
    for ratio, params in _PARAMS.items():
        yield Claim(
            PAPER,
            f"cut-{round(100 * ratio)}.params",
            f"CNN14 with {ratio:.0%} of C7 to C12 cut: parameters",
            params,
            partial(_count, ratio=ratio, convention="keras_trainable", what="params"),
            f"{PRINTED} in the repository" if ratio == 0 else f"{RECOMPUTED} from the widths",
            "trainable parameters: the fixed front end and the running statistics are left out",
        )
    yield Claim(
        PAPER,
        "size",
        "size of E-PANNs (half of C7 to C12 cut)",
        92.5,
        _size_mib,
        f"{PRINTED} in the README",
        "trainable parameters and the fixed Fourier kernels at 4 bytes, 1 MB = 2^20 B",
        unit="MB",
        tolerance=0.05,
    )
    yield Claim(
        PAPER,
        "fewer-params",
        "E-PANNs: fewer parameters",
        70,
        _fewer_params,
        f'{PRINTED} in the abstract as "70 % less memory"',
        "Fourier kernels counted in the pruned network and not in CNN14, as the published numbers are",
        unit="%",
        tolerance=0.5,
    )
    yield Claim(
        PAPER,
        "unpruned.macs",
        "CNN14: MACs of convolutions and dense layers for 10 s",
        20_036_653_056 + 5_273_600,
        partial(_count, ratio=0.0, convention="macs", what="macs"),
        f"{RECOMPUTED} from the architecture",
        "MACs without biases; front end left out",
    )
    yield Claim(
        PAPER,
        "unpruned.macs-front-end",
        "CNN14: MACs for 10 s",
        21,
        partial(_giga_macs, ratio=0.0),
        f"{PRINTED} on the poster",
        "MACs without biases; front end counted as convolutions and a mel product",
        unit="G",
        tolerance=0.5,
    )
    yield Claim(
        PAPER,
        "fewer-macs",
        "E-PANNs: fewer computations",
        36,
        partial(_fewer_macs, with_front_end=True),
        f"{PRINTED} in the abstract",
        "MACs with the front end counted as convolutions",
        unit="%",
        tolerance=0.5,
    )
    yield Claim(
        PAPER,
        "fewer-macs-network",
        "E-PANNs: fewer computations in the network",
        38.1,
        partial(_fewer_macs, with_front_end=False),
        f"{RECOMPUTED} from the widths",
        "MACs of convolutions and dense layers",
        unit="%",
        tolerance=0.05,
    )


def _count(data: Path, *, ratio: float, convention: str, what: str) -> int:
    widths = tuple(width if layer < 6 else int((1 - ratio) * width) for layer, width in enumerate(_WIDTHS))
    config = (("widths", widths),)
    return counted(data, network="cnn14", shape=_CLIP, convention=convention, what=what, config=config)


def _fourier_values() -> int:
    ear = front_end("panns32k")
    return 2 * (ear.n_fft // 2 + 1) * ear.n_fft


def _size_mib(data: Path) -> float:
    return 4 * (_count(data, ratio=0.5, convention="keras_trainable", what="params") + _fourier_values()) / 2**20


def _fewer_params(data: Path) -> float:
    before, after = (_count(data, ratio=r, convention="keras_trainable", what="params") for r in (0.0, 0.5))
    return 100 * (1 - (after + _fourier_values()) / before)


def _macs(data: Path, ratio: float, *, with_front_end: bool) -> int:
    network = _count(data, ratio=ratio, convention="macs", what="macs")
    return network + (front_end_macs(front_end("panns32k")) if with_front_end else 0)


def _giga_macs(data: Path, *, ratio: float) -> float:
    return _macs(data, ratio, with_front_end=True) / 1e9


def _fewer_macs(data: Path, *, with_front_end: bool) -> float:
    before, after = (_macs(data, ratio, with_front_end=with_front_end) for ratio in (0.0, 0.5))
    return 100 * (1 - after / before)
