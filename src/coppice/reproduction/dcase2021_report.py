"""Singh et al., DCASE 2021 Task 1A technical report: Table 1 and the four submitted networks."""

from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

from coppice.complexity.conventions import count
from coppice.networks.classifier import Classifier
from coppice.networks.loading import load
from coppice.networks.registry import build_network
from coppice.pruning.planning.decide import plan
from coppice.pruning.surgery.dense import shrink_dense
from coppice.pruning.surgery.prune import prune
from coppice.reproduction.claim import PRINTED, RECOMPUTED, Claim, Paper

PAPER = Paper(
    "dcase2021",
    "Pruning and 16-bit quantization, four submissions",
    "Singh et al., DCASE 2021 Challenge, Task 1A, technical report; networks: repository DCASE2021_codes",
)
_TABLE = f"{PRINTED} in Table 1 of the report"

# name -> (steps, parameters printed, in which convention, KB printed, parameters folded, parameters in Keras' total)
_ENTRIES: dict[str, tuple[tuple[tuple[str, Any], ...], int, str, float, int, int]] = {
    "entry1": (
        (("l1", {"conv2": 0.5}), ("l1", {"conv3": 0.5}), ("dense", {"dense1": 32})),
        14_754,
        "bn_folded",
        28.82,
        14_754,
        14_914,
    ),
    "entry2": ((("geometric_median", {"conv2": 0.5}),), 27_166, "bn_folded", 53.06, 27_166, 27_390),
    "entry3": ((("geometric_median", {"conv3": 0.25}),), 38_110, "bn_folded", 74.43, 38_110, 38_334),
    "entry4": ((("geometric_median", {"conv2": 0.25}),), 36_818, "keras_total", 71.44, 36_578, 36_818),
}
_KB = "2 bytes for each parameter with batch normalisation folded, 1 KB = 1024 B"
_CONVENTIONS = {
    "bn_folded": "parameters with batch normalisation folded",
    "keras_total": "Keras' total: running statistics of batch normalisation counted",
}


def claims() -> Iterator[Claim]:
    """Yield the rows of Table 1 in the report's own conventions and in one, and the counts of the released files."""
    yield Claim(
        PAPER,
        "unpruned.params",
        "unpruned: parameters",
        46_246,
        partial(_params, steps=(), convention="keras_total"),
        _TABLE,
        _CONVENTIONS["keras_total"],
    )
    yield Claim(
        PAPER,
        "unpruned.kb",
        "unpruned: size at 16 bit",
        90.3,
        partial(_kilobytes, steps=(), convention="keras_total"),
        f"{PRINTED} in the text of the report (its table rounds to 90.1)",
        "2 bytes for each parameter of Keras' total, 1 KB = 1024 B",
        unit="KB",
        tolerance=0.05,
    )
    yield Claim(
        PAPER,
        "unpruned.params-folded",
        "unpruned: parameters, in the convention of the entries",
        45_990,
        partial(_params, steps=(), convention="bn_folded"),
        f"{RECOMPUTED} from the architecture",
        _CONVENTIONS["bn_folded"],
    )
    yield Claim(
        PAPER,
        "unpruned.kb-folded",
        "unpruned: size at 16 bit, in the convention of the entries",
        89.82,
        partial(_kilobytes, steps=(), convention="bn_folded"),
        f"{PRINTED} by the official baseline for its TFLite file",
        _KB,
        unit="KB",
        tolerance=0.005,
    )
    for name, (steps, printed, convention, kilobytes, folded, total) in _ENTRIES.items():
        file = f"iitmandi2021/{name}.float16.h5"
        yield Claim(
            PAPER,
            f"{name}.params",
            f"{name}: parameters, built and pruned here",
            printed,
            partial(_params, steps=steps, convention=convention),
            _TABLE,
            _CONVENTIONS[convention],
        )
        yield Claim(
            PAPER,
            f"{name}.kb",
            f"{name}: size at 16 bit, built and pruned here",
            kilobytes,
            partial(_kilobytes, steps=steps, convention="bn_folded"),
            _TABLE,
            _KB,
            unit="KB",
            tolerance=0.005,
        )
        yield Claim(
            PAPER,
            f"{name}.file.params",
            f"{name}: parameters of the submitted network",
            folded,
            partial(_file_params, file=file, convention="bn_folded"),
            _TABLE if convention == "bn_folded" else f"{PRINTED} in the README of the released code",
            _CONVENTIONS["bn_folded"],
            needs=(file,),
        )
        yield Claim(
            PAPER,
            f"{name}.file.params-total",
            f"{name}: parameters of the submitted network",
            total,
            partial(_file_params, file=file, convention="keras_total"),
            _TABLE if convention == "keras_total" else f"{RECOMPUTED} from the released file",
            _CONVENTIONS["keras_total"],
            needs=(file,),
        )
        yield Claim(
            PAPER,
            f"{name}.file.bytes",
            f"{name}: bytes of the weights in the submitted file",
            2 * total,
            partial(_file_bytes, file=file),
            f"{RECOMPUTED}: float16 throughout, batch normalisation too",
            "bytes at the stored number format, optimiser left out",
            unit="B",
            needs=(file,),
        )


def _built(steps: tuple[tuple[str, Any], ...]) -> tuple[torch.nn.Module, torch.Tensor]:
    """Build the baseline and cut it as the report says; which filters go does not matter for the counts."""
    example = torch.zeros(1, 1, 40, 500)
    torch.manual_seed(0)
    network: Any = build_network("dcase2021")
    for kind, numbers in steps:
        if kind == "dense":
            network = shrink_dense(network, numbers, seed=0, example=example)
        else:
            network = prune(network, plan(network, kind, ratios=numbers, example=example), example=example)
    return network, example


@lru_cache(maxsize=8)
def _counts(key: str, convention: str) -> int:
    network, example = _built(_ENTRIES[key][0] if key else ())
    return int(count(network, convention, example=example).params or 0)


def _params(data: Path, *, steps: tuple[tuple[str, Any], ...], convention: str) -> int:
    key = next((name for name, entry in _ENTRIES.items() if entry[0] == steps), "")
    return _counts(key, convention)


def _kilobytes(data: Path, *, steps: tuple[tuple[str, Any], ...], convention: str) -> float:
    return _params(data, steps=steps, convention=convention) * 2 / 1024


@lru_cache(maxsize=8)
def _loaded(path: Path) -> Classifier:
    return load(path)


def _file_params(data: Path, *, file: str, convention: str) -> int:
    return int(count(_loaded(data / file), convention).params or 0)


def _file_bytes(data: Path, *, file: str) -> int:
    return sum(_loaded(data / file).lineage[0]["stored_bytes"].values())
