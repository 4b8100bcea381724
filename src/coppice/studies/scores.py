"""What a run folder says in a row of the results."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from coppice.core.files import read_json
from coppice.energy.energy import sums_by_mode
from coppice.recipes.stages import stage_energy

Scores = dict[str, float | int | None]


def point_scores(folder: Path) -> Scores:
    """Return the scores of the last stage of a run's system, or of its training, and what its fits took.

    Parameters
    ----------
    folder : Path
        A finished run folder. ``seconds`` are those of the system's own stages; data and training are shared.
    """
    stages = read_json(folder / "summary.json")["stages"]
    own = [entry for entry in stages if entry["system"] is not None] or stages
    fits = [folder / entry["folder"] for entry in own if entry["kind"] == "finetune"]
    took = [read_json(fit / "metrics.json")["training"] for fit in fits]
    return {
        **_scores(folder / own[-1]["folder"]),
        **_validation_scores(folder / own[-1]["folder"]),
        "seconds": _seconds(folder / entry["folder"] for entry in own),
        "energy_kwh": _energy_kwh([folder / entry["folder"] for entry in own]),
        "finetune_seconds": _seconds(fits),
        "finetune_epochs": sum(fit["epochs"] for fit in took),
        "finetune_clips": max((fit["clips"] for fit in took), default=0),
        "finetune_clips_seen": sum(fit["epochs"] * fit["clips"] for fit in took),
        "finetune_macs": sum(fit["macs_spent"] for fit in took) if all("macs_spent" in fit for fit in took) else None,
    }


def base_scores(folder: Path) -> Scores:
    """Return the scores of the unpruned network in a finished run folder, as trained: in float32."""
    return {**_scores(folder / "train"), "seconds": _seconds([folder / "train"])}


def _scores(stage: Path) -> Scores:
    metrics = read_json(stage / "metrics.json")
    test, cost = metrics["evaluation"]["test"], metrics["complexity"]
    return {
        **{name: test[name] for name in ("accuracy", "macro_accuracy", "log_loss", "clips")},
        **{name: cost[name] for name in ("params_total", "params_bn_folded", "macs")},
        "size_bytes": _size_bytes(cost),
    }


def _validation_scores(stage: Path) -> dict[str, Any]:
    """Return what a stage scores on the clips that may be looked at to choose something; None where there are none."""
    found = read_json(stage / "metrics.json")["evaluation"].get("validation", {})
    return {f"validation_{name}": found.get(name) for name in ("accuracy", "log_loss")}


def _size_bytes(cost: dict[str, Any]) -> int:
    """Return the bytes of all tensors in the format they are stored in; of the file, where formats are mixed."""
    known = cost.get(f"size_bytes_{cost['stored_as']}")
    return int(cost["file_bytes"] if known is None else known)


def _seconds(stages: Iterable[Path]) -> float:
    return round(sum(map(_stage_seconds, stages)), 2)


def _stage_seconds(stage: Path) -> float:
    """Return how long a stage took, with the attempts that were interrupted, which only its energy knows of."""
    energy = stage_energy(stage)
    return max(float(read_json(stage / "stage.json")["seconds"]), 0.0 if energy is None else energy.seconds)


def _energy_kwh(stages: list[Path]) -> float | None:
    """Return the energy of some stages; None where it is not known of all, or was measured in different ways."""
    found = {str(stage): stage_energy(stage) for stage in stages}
    sums = sums_by_mode(found)
    return sums[0].energy_kwh if len(sums) == 1 and None not in found.values() else None
