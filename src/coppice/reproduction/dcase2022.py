"""Singh and Plumbley, DCASE 2022: seven low-complexity networks, their kept filters, sizes and MACs."""

from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

from coppice.complexity.conventions import count
from coppice.criteria.registry import rank
from coppice.networks.classifier import Classifier
from coppice.networks.loading import load
from coppice.pruning.planning.index_files import plan_from_indices
from coppice.pruning.surgery.prune import prune
from coppice.reproduction.claim import PRINTED, RECOMPUTED, Claim, Paper

PAPER = Paper(
    "dcase2022",
    "Low-complexity CNNs, pruned and ensembled",
    "A. Singh and M. D. Plumbley, DCASE 2022 workshop, arXiv 2207.11529, and technical report, arXiv 2208.01555; "
    "networks: repository DCASE2022_Challenge",
)

_KEPT = {
    "conv1": "0 1 2 3 4 5 6 8 9 10 12 13",
    "conv2": "0 1 2 3 4 5 6 7 8 10 13 14",
    "conv3": "0 1 2 3 9 10 11 12 13 14 16 18 19 22 24 25 26 27 28 29 30 31",
}
_LAYERS = {
    "unpruned": (),
    "C1": ("conv1",),
    "C2": ("conv2",),
    "C3": ("conv3",),
    "C12": ("conv1", "conv2"),
    "C23": ("conv2", "conv3"),
    "C123": ("conv1", "conv2", "conv3"),
}
# name -> (parameters, MACs, MACs of NeSsi, bytes of NeSsi)
_COUNTS = {
    "unpruned": (14_630, 5_369_960, 5_404_520, 15_152),
    "C1": (14_014, 4_121_480, 4_156_040, 14_524),
    "C2": (12_898, 4_102_760, 4_129_320, 13_408),
    "C3": (11_180, 5_252_760, 5_286_520, 11_672),
    "C12": (12_426, 3_148_040, 3_174_600, 12_924),
    "C23": (9_808, 4_014_360, 4_040_120, 10_288),
    "C123": (9_336, 3_059_640, 3_085_400, 9_804),
}
_SUMS = {"all": (69_662, 23_872_000), "without-C3": (58_482, 18_585_480), "without-C23": (59_854, 19_831_880)}
_COLUMNS = (
    ("params", "bn_folded", "params", "parameters with batch normalisation folded (the file has it folded)"),
    ("macs", "macs", "macs", "MACs of convolutions and dense layers, without biases"),
    ("nessi-macs", "nessi_tflite_reshape", "macs", "NeSsi on TFLite: pools counted, no biases"),
    ("nessi-bytes", "nessi_tflite_reshape", "size_bytes", "NeSsi on TFLite: int8 weights and int32 biases"),
)
_FILES = f"{RECOMPUTED} from the released files"


def claims() -> Iterator[Claim]:
    """Yield the kept sets, the counts of the released files and of what pruning makes here, and the abstract's sums."""
    unpruned = "surrey2022/unpruned/float32.tflite"
    for layer, kept in _KEPT.items():
        yield Claim(
            PAPER,
            f"kept.{layer}",
            f"filters of {layer} that similarity pruning keeps",
            kept,
            partial(_kept, layer=layer),
            "released pruned networks, matched filter by filter with the unpruned one",
            "criterion cosine_similarity_2022: ties as in NumPy's quicksort of the time",
            needs=(unpruned,),
        )
    for name, numbers in _COUNTS.items():
        file = f"surrey2022/{name}/float32.tflite"
        for (key, convention, measure, how), published in zip(_COLUMNS, numbers, strict=True):
            yield Claim(
                PAPER,
                f"{name}.{key}",
                f"{name}: {key.replace('-', ' ')} of the released network",
                published,
                partial(_of_file, name=name, convention=convention, measure=measure),
                _FILES,
                how,
                needs=(file,),
            )
            if name == "unpruned" or key.startswith("nessi"):
                continue
            yield Claim(
                PAPER,
                f"{name}.pruned.{key}",
                f"{name}: {key} of the unpruned network cut here",
                published,
                partial(_of_pruned, name=name, convention=convention, measure=measure),
                _FILES,
                how,
                needs=(unpruned,),
            )
    for name, (params, macs) in _SUMS.items():
        files = tuple(f"surrey2022/{member}/float32.tflite" for member in _members(name))
        yield Claim(
            PAPER,
            f"ensemble.{name}.params",
            f"parameters of the ensemble {name}",
            params,
            partial(_sum, name=name, convention="bn_folded", measure="params"),
            _FILES if name != "without-C3" else f'{_FILES}; {PRINTED} as "60K" in the abstract',
            "sum over members, nothing shared; batch normalisation folded",
            needs=files,
        )
        yield Claim(
            PAPER,
            f"ensemble.{name}.nessi-macs",
            f"MACs of the ensemble {name}",
            macs,
            partial(_sum, name=name, convention="nessi_tflite_reshape", measure="macs"),
            _FILES if name != "without-C3" else f'{_FILES}; {PRINTED} as "19M" in the abstract',
            "sum over members; NeSsi on TFLite: pools counted, no biases",
            needs=files,
        )


def _members(name: str) -> tuple[str, ...]:
    return tuple(m for m in _COUNTS if m not in ("unpruned", name.removeprefix("without-")))


@lru_cache(maxsize=8)
def _loaded(data: Path, name: str) -> Classifier:
    return load(data / "surrey2022" / name / "float32.tflite")


def _kept(data: Path, *, layer: str) -> str:
    weight = _loaded(data, "unpruned").network.get_submodule(layer).weight
    keep = rank(weight, "cosine_similarity_2022").keep  # type: ignore[arg-type]  # a convolution's
    return " ".join(map(str, keep or ()))


def _measured(classifier: Classifier, convention: str, measure: str) -> int:
    return int(getattr(count(classifier, convention), measure))


def _of_file(data: Path, *, name: str, convention: str, measure: str) -> int:
    return _measured(_loaded(data, name), convention, measure)


@lru_cache(maxsize=8)
def _pruned(data: Path, name: str) -> Classifier:
    """Cut the unpruned network by the criterion's own sets of the layers."""
    whole = _loaded(data, "unpruned")
    sets = {layer: [int(index) for index in _kept(data, layer=layer).split()] for layer in _LAYERS[name]}
    return prune(whole, plan_from_indices(whole, sets))


def _of_pruned(data: Path, *, name: str, convention: str, measure: str) -> int:
    return _measured(_pruned(data, name), convention, measure)


def _sum(data: Path, *, name: str, convention: str, measure: str) -> int:
    return sum(_of_file(data, name=m, convention=convention, measure=measure) for m in _members(name))
