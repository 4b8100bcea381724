"""A study's folder with numbers made by a seeded procedure: nothing is trained, and nobody types a result."""

import csv
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

CLIPS = 80
WHOLE = {"macs": 286_000_000, "params_total": 46_246, "size_bytes": 184_984}
CRITERIA = ("random", "l1", "l2", "cosine_similarity", "taylor")
NUMBERS = ("accuracy", "macro_accuracy", "log_loss", "clips", "params_total", "params_bn_folded", "macs", "size_bytes",
           "latency_ms_p50", "energy_kwh", "seconds", "finetune_seconds", "finetune_clips",
           "validation_accuracy", "validation_log_loss")  # fmt: skip
LATER = ("finetune_epochs", "finetune_clips_seen", "finetune_macs")  # not in results of earlier days
BASE = ("accuracy", "log_loss", "macs", "params_total", "size_bytes")


def made_rows(
    axes: Mapping[str, Sequence[str]],
    *,
    folds: Sequence[int] = (1, 2, 3),
    seeds: Sequence[int] = (0, 1),
    failing: float = 0.0,
    version: str = "0.1.0",
) -> list[dict[str, Any]]:
    """One row per point, fold and seed; folds differ more than networks do, as on real clips."""
    random = np.random.default_rng(0)
    ease = random.normal(0, 0.04, len(folds))
    whole = {
        (fold, seed): (_rounded(0.86 + ease[place] + random.normal(0, 0.01)), 0.5 - 2 * ease[place])
        for place, fold in enumerate(folds)
        for seed in seeds
    }
    gains = dict(zip(axes.get("criterion", ()), random.normal(0, 0.01, len(axes.get("criterion", ()))), strict=True))
    rows = []
    for number, values in enumerate(itertools.product(*axes.values())):
        point = dict(zip(axes, values, strict=True))
        left = 1 - float(point.get("ratios", 0.5)) * random.uniform(0.97, 1.0)
        costs = {name: int(count * left ** (1.5 if name == "macs" else 1)) for name, count in WHOLE.items()}
        loss = 0.1 * (1 - left) ** 2 + 0.15 * (1 - float(point.get("fraction", 1))) ** 2 - gains.get(values[0], 0.0)
        for fold, seed in itertools.product(folds, seeds):
            accuracy, log_loss = whole[fold, seed]
            row: dict[str, Any] = {
                "run": f"runs/{number:05d}-{fold}-{seed}",
                "point": ", ".join(f"{name} {value}" for name, value in point.items()),
                "status": "done",
                "fold": fold,
                "seed": seed,
                "coppice_version": version,
                **{f"axis.{name}": value for name, value in point.items()},
                **dict(zip((f"base_{name}" for name in BASE), (accuracy, log_loss, *WHOLE.values()), strict=True)),
            }
            if random.random() < failing:
                row |= {"status": "failed", "reason": 'the log-loss is "nan", at epoch 3'}
            else:
                after = _rounded(accuracy - loss + random.normal(0, 0.01))
                row |= costs | {
                    "accuracy": after,
                    "macro_accuracy": after,
                    "log_loss": round(log_loss + 3 * loss + abs(random.normal(0, 0.02)), 6),
                    "clips": CLIPS,
                    "params_bn_folded": costs["params_total"] - 100,
                    "latency_ms_p50": round(1 + costs["macs"] / 1e8, 4),
                    "seconds": round(random.uniform(20, 40), 2),
                    "finetune_seconds": 20.0,
                    "finetune_clips": 240,
                }
            rows.append(row)
    return rows


def write_study(
    folder: Path, axes: Mapping[str, Sequence[str]], rows: Sequence[Mapping[str, Any]], **said: Any
) -> Path:
    """Write ``results.csv`` and ``study.json``."""
    head = ["run", "point", "status", "reason", "fold", "seed", *(f"axis.{name}" for name in axes), *NUMBERS]
    head += [name for name in LATER if any(name in row for row in rows)]
    head += ["coppice_version", *(f"base_{name}" for name in BASE)]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "results.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, head, restval="")
        writer.writeheader()
        writer.writerows(rows)
    summary = {
        "version": 1,
        "kind": "study",
        "name": "made",
        "title": "A made-up study",
        "axes": {name: list(values) for name, values in axes.items()},
        "combined": " × ".join(axes),
        "columns": {name: f"meaning of {name}" for name in head},
    }
    (folder / "study.json").write_text(json.dumps(summary | said), encoding="utf-8")
    return folder


def _rounded(accuracy: float) -> float:
    return round(CLIPS * min(max(accuracy, 0.0), 1.0)) / CLIPS
