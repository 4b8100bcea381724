"""Singh and Plumbley, Interspeech 2022: six pruned networks of the DCASE 2021 baseline."""

from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from coppice.complexity.conventions import count
from coppice.complexity.layer_only import mac_reduction
from coppice.networks.classifier import Classifier
from coppice.networks.loading import load
from coppice.networks.registry import build_network
from coppice.pruning.planning.index_files import plan_from_indices
from coppice.pruning.surgery.prune import prune
from coppice.reproduction.claim import PRINTED, RECOMPUTED, Claim, Paper
from coppice.reproduction.numpy_reference import keras_logits

PAPER = Paper(
    "interspeech2022",
    "Passive similarity-based filter pruning",
    "A. Singh and M. D. Plumbley, Interspeech 2022, arXiv 2203.15751; networks and index files: repository "
    "passive-filter-pruning-Interspeech22",
)

# name -> (parameters, MACs saved in truth, as the paper counts, how far the printed digits reach), the latter in %
_NETWORKS = {
    "C1": (42_056, 29.06, 1.71, 0.005),
    "C2": (34_461, 29.54, 27.35, 0.005),
    "C3": (36_356, 2.19, 2.19, 0.005),
    "C12": (31_496, 50.05, 29.06, 0.005),
    "C23": (27_021, 31.04, 29.54, 0.005),
    "C123": (24_056, 51.56, 31.24, 0.01),
}
_SCRIPT = f"{PRINTED} in the released figure scripts"
_LAYER_ONLY_SOURCES = {
    "C1": f"{RECOMPUTED}; the scripts print 1.7 and 1.8",
    "C123": f"{_SCRIPT}, cut off after two digits and not rounded",
}


def claims() -> Iterator[Claim]:
    """Yield parameters, both MAC reductions and the agreement with NumPy of all six networks, and the headline."""
    for name, (params, saved, layer_only, tolerance) in _NETWORKS.items():
        file = f"surrey2021/nets/{name}.h5"
        yield Claim(
            PAPER,
            f"{name}.params",
            f"{name}: parameters of the released network",
            params,
            partial(_params, name=name),
            _SCRIPT if name != "C3" else f"{PRINTED} in the README (a figure script has 36,256, a typing error)",
            "Keras' total: running statistics of batch normalisation counted",
            needs=(file,),
        )
        yield Claim(
            PAPER,
            f"{name}.pruned.params",
            f"{name}: parameters when the baseline is cut here by the released index files",
            params,
            partial(_pruned_params, name=name),
            _SCRIPT,
            "Keras' total: running statistics of batch normalisation counted",
            needs=tuple(f"surrey2021/keep/{layer}.npy" for layer in _layers(name)),
        )
        yield Claim(
            PAPER,
            f"{name}.macs-layer-only",
            f"{name}: MACs saved, as the paper counts",
            layer_only,
            partial(_saved, name=name, layer_only=True),
            _LAYER_ONLY_SOURCES.get(name, _SCRIPT),
            "missing output maps of the pruned layers alone; the next layer's smaller input is left out",
            unit="%",
            tolerance=tolerance,
            needs=(file,),
        )
        yield Claim(
            PAPER,
            f"{name}.macs",
            f"{name}: MACs saved in truth",
            saved,
            partial(_saved, name=name, layer_only=False),
            f"{RECOMPUTED} from the released widths",
            "MACs of all convolutions and dense layers, without biases",
            unit="%",
            tolerance=0.005,
            needs=(file,),
        )
        yield Claim(
            PAPER,
            f"{name}.forward",
            f"{name}: largest difference of a logit to a forward pass in NumPy",
            0.0,
            partial(_difference, name=name),
            "a faithful import computes what the file says",
            "max |Δ| over three random inputs; float32 here, float64 there",
            tolerance=1e-5,
            needs=(file,),
        )
    yield Claim(
        PAPER,
        "abstract.params",
        "abstract: fewer parameters",
        25,
        partial(_fewer_params, name="C2"),
        f"{PRINTED} in the abstract",
        "C2 against the unpruned network, Keras' total",
        unit="%",
        tolerance=0.5,
        needs=("surrey2021/nets/C2.h5",),
    )
    yield Claim(
        PAPER,
        "abstract.macs",
        "abstract: fewer computations",
        27,
        partial(_saved, name="C2", layer_only=True),
        f"{PRINTED} in the abstract",
        "C2; missing output maps of the pruned layer alone (29.54 % in truth)",
        unit="%",
        tolerance=0.5,
        needs=("surrey2021/nets/C2.h5",),
    )


def _layers(name: str) -> tuple[str, ...]:
    return tuple(f"C{digit}" for digit in name.removeprefix("C"))


@lru_cache(maxsize=8)
def _loaded(data: Path, name: str) -> Classifier:
    return load(data / "surrey2021" / "nets" / f"{name}.h5")


def _params(data: Path, *, name: str) -> int:
    return int(count(_loaded(data, name), "keras_total").params or 0)


def _fewer_params(data: Path, *, name: str) -> float:
    return 100 * (1 - _params(data, name=name) / _unpruned_params())


def _unpruned_params() -> int:
    return int(count(build_network("dcase2021"), "keras_total", example=torch.zeros(1, 1, 40, 500)).params or 0)


def _pruned_params(data: Path, *, name: str) -> int:
    # A short clip: the parameters do not depend on its length.
    example = torch.zeros(1, 1, 40, 50)
    network = build_network("dcase2021", frames=50)
    files = {layer.replace("C", "conv"): data / "surrey2021" / "keep" / f"{layer}.npy" for layer in _layers(name)}
    small = prune(network, plan_from_indices(network, files, example=example), example=example)
    return int(count(small, "keras_total", example=example).params or 0)


def _saved(data: Path, *, name: str, layer_only: bool) -> float:
    example = torch.zeros(1, 1, 40, 500)
    reduction = mac_reduction(build_network("dcase2021"), _loaded(data, name).network, example=example)
    return 100 * float((reduction.layer_only_fraction if layer_only else reduction.fraction) or 0.0)


def _inputs() -> Float64[np.ndarray, "clips 40 500"]:
    return np.random.default_rng(0).standard_normal((3, 40, 500))


def _difference(data: Path, *, name: str) -> float:
    path = data / "surrey2021" / "nets" / f"{name}.h5"
    expected = np.stack([keras_logits(path, clip) for clip in _inputs()])
    with torch.inference_mode():
        ours = _loaded(data, name).network(torch.from_numpy(_inputs()).float().unsqueeze(1))
    return float(np.abs(ours.double().numpy() - expected).max())
