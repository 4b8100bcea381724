"""DCASE 2022, networks of Singh and Plumbley: stored posteriors, ensembles, and real audio to a published posterior."""

import csv
from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from coppice.audio.decode import decode
from coppice.audio.front_end import front_end
from coppice.audio.log_mel import log_mel
from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors
from coppice.ensembles.average import average_posteriors
from coppice.evaluation.metrics import log_loss, macro_accuracy
from coppice.networks.loading import load
from coppice.reproduction.claim import PRINTED, RECOMPUTED, Claim
from coppice.reproduction.dcase2022 import PAPER

MEMBERS = ("C1", "C2", "C3", "C12", "C23", "C123")

# The released posteriors stand in blocks of one class, in this order, which is also that of the columns.
CLASSES = (
    "airport",
    "bus",
    "shopping_mall",
    "metro",
    "street_pedestrian",
    "public_square",
    "street_traffic",
    "tram",
    "metro_station",
    "park",
)
STARTS = (0, 2960, 5930, 8900, 11870, 14840, 17810, 20780, 23740, 26710, 29680)

# Macro accuracy in % and log-loss in nats on the 29,680 development-test clips.
_SCORES: dict[str, dict[str, tuple[float, float]]] = {
    "float32": {
        "C1": (46.11, 1.4660),
        "C2": (46.57, 1.4488),
        "C3": (45.33, 1.4857),
        "C12": (45.74, 1.4409),
        "C23": (44.98, 1.4702),
        "C123": (44.82, 1.4691),
        "all": (47.61, 1.3895),
        "without-C1": (47.29, 1.3938),
        "without-C2": (47.26, 1.3943),
        "without-C3": (47.47, 1.3915),
        "without-C12": (47.52, 1.3941),
        "without-C23": (47.70, 1.3893),
        "without-C123": (47.59, 1.3916),
    },
    "int8_dynamic": {
        "C1": (45.94, 1.4822),
        "C2": (46.59, 1.4498),
        "C3": (44.93, 1.5088),
        "C12": (44.16, 1.4723),
        "C23": (44.61, 1.4813),
        "C123": (44.47, 1.4749),
        "all": (47.45, 1.3898),
        "without-C1": (47.15, 1.3945),
        "without-C2": (47.10, 1.3962),
        "without-C3": (47.27, 1.3927),
        "without-C12": (47.45, 1.3949),
        "without-C23": (47.52, 1.3899),
        "without-C123": (47.35, 1.3921),
    },
}
# The confusion matrices of the report, read off their diagonals: recall per class in %, of the 8-bit networks.
_RECALLS = {
    "C2": (30.4, 49.4, 59.5, 44.2, 34.8, 28.9, 70.5, 43.0, 37.0, 68.2),
    "without-C3": (36.0, 37.7, 60.1, 40.3, 33.9, 32.8, 68.8, 53.4, 39.1, 70.8),
    "without-C23": (38.8, 42.0, 57.4, 39.1, 33.3, 33.7, 69.4, 54.0, 39.1, 68.6),
}


def claims() -> Iterator[Claim]:
    """Yield one claim for each score of each member and ensemble, and for each network that hears real clips."""
    for stored, table in _SCORES.items():
        for system, (accuracy, loss) in table.items():
            needs = tuple(f"surrey2022/{member}/posteriors_{stored}.npy" for member in _members(system))
            who = system if system in MEMBERS else f"ensemble of {'all six' if system == 'all' else system}"
            yield Claim(
                PAPER,
                f"scores.{stored}.{system}.accuracy",
                f"macro accuracy of {who}, {stored}",
                accuracy,
                partial(_accuracy, system=system, stored=stored),
                f"{RECOMPUTED} from the released posteriors",
                "mean of the ten recalls; ensembles: unweighted mean of posteriors",
                unit="%",
                tolerance=0.005,
                needs=needs,
            )
            yield Claim(
                PAPER,
                f"scores.{stored}.{system}.log-loss",
                f"log-loss of {who}, {stored}",
                loss,
                partial(_log_loss, system=system, stored=stored),
                f"{RECOMPUTED} from the released posteriors",
                "mean over all clips, natural logarithm, float64, probabilities clipped at 1e-15",
                unit="nats",
                tolerance=0.5e-4,
                needs=needs,
            )
    for system, recalls in _RECALLS.items():
        yield Claim(
            PAPER,
            f"recalls.{system}",
            f"recall per class of {system}, int8_dynamic, in the order {', '.join(CLASSES)}",
            " ".join(f"{recall:.1f}" for recall in recalls),
            partial(_recalls, system=system),
            f"{PRINTED} (rounded to whole percent) in the released confusion matrices; first decimal {RECOMPUTED}",
            "share of the clips of a class that are called so",
            unit="%",
            needs=tuple(f"surrey2022/{member}/posteriors_int8_dynamic.npy" for member in _members(system)),
        )
    for member in MEMBERS:
        yield Claim(
            PAPER,
            f"audio.{member}",
            f"ten test clips through our reader, front end and {member}: largest distance to a released posterior",
            0.0,
            partial(_audio_distance, member=member),
            f"released posteriors of {member}, nearest row within the class block",
            "max |Δ| over clips and classes; front end surrey2022, no normalisation",
            tolerance=1e-5,
            needs=(*_AUDIO, f"surrey2022/{member}/float32.tflite", f"surrey2022/{member}/posteriors_float32.npy"),
        )
    yield Claim(
        PAPER,
        "audio.same-row",
        "test clips whose nearest released posterior is the same row for all six networks",
        10,
        _same_rows,
        "the released arrays list the same clips in the same order",
        "count of clips, of ten",
        needs=(*_AUDIO, *(f"surrey2022/{member}" for member in MEMBERS)),
    )


_AUDIO = ("tau2022_sample/meta.csv", "tau2022_sample/audio")


def _members(system: str) -> tuple[str, ...]:
    if system in MEMBERS:
        return (system,)
    left_out = system.removeprefix("without-")
    return tuple(member for member in MEMBERS if member != left_out)


def _targets() -> Int[np.ndarray, " clips"]:
    return np.repeat(np.arange(len(CLASSES)), np.diff(STARTS))


@lru_cache(maxsize=12)
def _stored(file: Path) -> Float[np.ndarray, "clips classes"]:
    with plain_os_errors("read the posteriors", file):
        try:
            array = np.load(file, allow_pickle=False)
        except ValueError as error:
            raise CoppiceError(f"{file} is not a whole NumPy file; copy it again.") from error
    if array.shape != (STARTS[-1], len(CLASSES)):
        raise CoppiceError(f"{file} has shape {array.shape}, not {(STARTS[-1], len(CLASSES))}.")
    return array


def _posteriors(data: Path, system: str, stored: str) -> Float[np.ndarray, "clips classes"]:
    folder = data / "surrey2022"
    return average_posteriors([_stored(folder / member / f"posteriors_{stored}.npy") for member in _members(system)])


def _accuracy(data: Path, *, system: str, stored: str) -> float:
    return 100 * macro_accuracy(_posteriors(data, system, stored), _targets())


def _log_loss(data: Path, *, system: str, stored: str) -> float:
    return log_loss(_posteriors(data, system, stored), _targets())


def _recalls(data: Path, *, system: str) -> str:
    decided = _posteriors(data, system, "int8_dynamic").argmax(axis=1)
    blocks = pairwise(STARTS)
    recalls = [100 * (decided[start:end] == index).mean() for index, (start, end) in enumerate(blocks)]
    return " ".join(f"{recall:.1f}" for recall in recalls)


@lru_cache(maxsize=2)
def _clips(data: Path) -> tuple[tuple[int, torch.Tensor], ...]:
    """Return class and log-mel of the clips whose posteriors were released."""
    folder = data / "tau2022_sample"
    with (folder / "meta.csv").open(encoding="utf-8", newline="") as table:
        rows = [row for row in csv.DictReader(table, delimiter="\t") if row["official_split"] == "test"]
    ear = front_end("surrey2022")
    return tuple(
        (
            CLASSES.index(row["scene_label"]),
            log_mel(decode(folder / row["filename"], sample_rate=ear.sample_rate), ear),
        )
        for row in rows
    )


@lru_cache(maxsize=12)
def _nearest(data: Path, member: str) -> tuple[tuple[int, float], ...]:
    """Return for each clip the nearest row of its class block, and how far it is."""
    folder = data / "surrey2022" / member
    classifier = load(folder / "float32.tflite", front_end="surrey2022", labels=CLASSES)
    released = _stored(folder / "posteriors_float32.npy")
    ours = classifier.posteriors(torch.stack([features for _, features in _clips(data)])).numpy()
    found = []
    for (index, _), posterior in zip(_clips(data), ours, strict=True):
        distances = np.abs(released[STARTS[index] : STARTS[index + 1]] - posterior).max(axis=1)
        found.append((STARTS[index] + int(distances.argmin()), float(distances.min())))
    return tuple(found)


def _audio_distance(data: Path, *, member: str) -> float:
    return max(distance for _, distance in _nearest(data, member))


def _same_rows(data: Path) -> int:
    rows = zip(*([row for row, _ in _nearest(data, member)] for member in MEMBERS), strict=True)
    return sum(len(set(found)) == 1 for found in rows)
