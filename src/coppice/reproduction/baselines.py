"""The official baselines of DCASE Task 1, each counted as its own year counts."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from coppice.reproduction.claim import PRINTED, RECOMPUTED, Claim, Paper
from coppice.reproduction.counted import counted

PAPER = Paper(
    "baselines",
    "Official baselines of DCASE Task 1",
    "repositories marmoi/dcase2021_task1a_baseline, marmoi/dcase2022_task1_baseline, CPJKU/dcase2024_task1_baseline",
)
_README = f"{PRINTED} in the repository's README"
_CODE = f"{RECOMPUTED} from the released code"
_LONG, _SHORT, _2024 = (1, 40, 500), (1, 40, 51), (1, 256, 65)

_ROWS = (
    ("2021.params", "2021: parameters", 46_246, "dcase2021", _LONG, "keras_total", "params", _README,
     "Keras' total: running statistics of batch normalisation counted"),
    ("2021.params-trainable", "2021: trainable parameters", 46_118, "dcase2021", _LONG, "keras_trainable", "params",
     _CODE, "Keras' trainable: running statistics left out"),
    ("2021.params-folded", "2021: parameters", 45_990, "dcase2021", _LONG, "bn_folded", "params", _CODE,
     "batch normalisation folded"),
    ("2021.macs", "2021: MACs for 10 s", 286_637_800, "dcase2021", _LONG, "macs", "macs", _CODE,
     "convolutions and dense layers, without biases"),
    ("2021.macs-biases", "2021: MACs for 10 s", 287_303_510, "dcase2021", _LONG, "macs_with_biases", "macs", _CODE,
     "convolutions and dense layers, with biases"),
    ("2022.bytes", '2022: "parameters", which are bytes', 46_512, "dcase2022", _SHORT, "nessi_tflite", "size_bytes",
     _README, "NeSsi on TFLite: int8 weights and int32 biases"),
    ("2022.macs-nessi", "2022: MACs for 1 s", 29_234_920, "dcase2022", _SHORT, "nessi_tflite", "macs", _README,
     "NeSsi on TFLite: pools counted, dense layer under-counted"),
    ("2022.macs-reshape", "2022: MACs for 1 s", 29_238_120, "dcase2022", _SHORT, "nessi_tflite_reshape", "macs", _CODE,
     "NeSsi on TFLite, with all inputs of the dense layer"),
    ("2022.macs-torchinfo", "2022: MACs for 1 s", 29_271_638, "dcase2022", _SHORT, "torchinfo", "macs", _CODE,
     "torchinfo: biases and batch normalisation counted"),
    ("2022.macs", "2022: MACs for 1 s", 29_203_560, "dcase2022", _SHORT, "macs", "macs", _CODE,
     "convolutions and dense layers, without biases"),
    ("2024.params", "2024 and 2025: parameters", 61_148, "cp_mobile", _2024, "torchinfo", "params", _README,
     "torchinfo: running statistics left out"),
    ("2024.macs", "2024 and 2025: MACs for 1 s", 29_419_156, "cp_mobile", _2024, "torchinfo", "macs", _README,
     "torchinfo: batch normalisation counted"),
    ("2024.macs-plain", "2024 and 2025: MACs for 1 s", 29_416_448, "cp_mobile", _2024, "macs", "macs", _CODE,
     "convolutions, without biases"),
)  # fmt: skip


def claims() -> Iterator[Claim]:
    """Yield the counts of the baselines of 2021, 2022 and 2024/2025, each in its conventions."""
    for name, words, published, network, shape, convention, what, source, how in _ROWS:
        compute = partial(counted, network=network, shape=shape, convention=convention, what=what)
        yield Claim(PAPER, name, words, published, compute, source, how, unit="B" if what == "size_bytes" else "")
    yield Claim(
        PAPER,
        "2021.kb",
        "2021: size at 16 bit",
        90.82,
        _official_kilobytes,
        _README,
        "convolutions and dense layers at 2 bytes, batch normalisation at 4, 1 KB = 1024 B",
        unit="KB",
        tolerance=0.005,
    )
    yield Claim(
        PAPER,
        "2024.bytes",
        "2024 and 2025: bytes at 16 bit",
        122_296,
        lambda data: 2 * counted(data, network="cp_mobile", shape=_2024, convention="torchinfo", what="params"),
        _README,
        "parameters × 2 bytes; running statistics left out",
        unit="B",
    )


def _official_kilobytes(data: Path) -> float:
    total, folded = (
        counted(data, network="dcase2021", shape=_LONG, convention=convention, what="params")
        for convention in ("keras_total", "bn_folded")
    )
    return (2 * folded + 4 * (total - folded)) / 1024
