"""A run folder and a cross-validation folder with generated numbers and a real small checkpoint."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

LABELS = ("chainsaw", "clock tick", "crackling fire", "crying baby", "dog", "helicopter", "rain", "rooster",
          "sea waves", "sneezing")  # fmt: skip
SYSTEMS = {"cosine_similarity": (11, 11, 22), "l1": (11, 11, 22), "random": (11, 11, 22)}
WIDTHS = (16, 16, 32)


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_checkpoint(path: Path, labels: Sequence[str]) -> None:
    from coppice.audio.front_end import front_end
    from coppice.networks import checkpoint
    from coppice.networks.classifier import Classifier
    from coppice.networks.dcase2021 import DCASE2021

    torch.manual_seed(0)
    settings = front_end("dcase2021", duration_s=5.0)
    network = DCASE2021(frames=settings.frames, classes=len(labels))
    bands = torch.zeros(settings.n_mels)
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(
        Classifier(network=network, front_end=settings, labels=tuple(labels), band_mean=bands, band_std=bands + 1),
        path,
    )


def predictions(labels: Sequence[str], skill: float, seed: int) -> list[dict[str, Any]]:
    # The same clips get the same luck at every skill, so that networks agree as real ones do.
    luck = np.random.default_rng(1).random(8 * len(labels))
    shift = np.random.default_rng(seed).normal(0, 0.06, 8 * len(labels))
    rows = []
    for index in range(8 * len(labels)):
        true = index % len(labels)
        right = luck[index] + shift[index] < skill
        predicted = true if right else (true + 1 + index % 3) % len(labels)
        posterior = np.full(len(labels), 0.2 / (len(labels) - 1))
        posterior[predicted] = 0.8
        named = {f"p_{label}": value for label, value in zip(labels, posterior, strict=True)}
        rows.append({"clip_id": f"clip-{index:03d}", "label": labels[true], "predicted": labels[predicted], **named})
    return rows


def evaluation(labels: Sequence[str], rows: list[dict[str, Any]], devices: bool) -> dict[str, Any]:
    confusion = np.zeros((len(labels), len(labels)), dtype=int)
    for row in rows:
        confusion[labels.index(row["label"]), labels.index(row["predicted"])] += 1
    accuracy = float(confusion.trace() / confusion.sum())
    shares = confusion.diagonal() / confusion.sum(axis=1)
    loss = float(-np.mean([np.log(row[f"p_{row['label']}"]) for row in rows]))
    half = 1.96 * (accuracy * (1 - accuracy) / 40) ** 0.5
    return {
        "clips": len(rows), "recordings": 40, "accuracy": accuracy,
        "accuracy_interval": [max(accuracy - half, 0), min(accuracy + half, 1)],
        "macro_accuracy": float(shares.mean()),
        "macro_accuracy_interval": [max(accuracy - half, 0), min(accuracy + half, 1)],
        "log_loss": loss, "log_loss_interval": [loss * 0.7, loss * 1.4], "log_loss_eps": 1e-15,
        "labels": list(labels), "confusion": confusion.tolist(),
        "per_class": {
            label: {"clips": int(confusion[i].sum()), "accuracy": float(shares[i]), "log_loss": 0.5}
            for i, label in enumerate(labels)
        },
        "per_device": {"a": {"clips": 50, "accuracy": accuracy, "log_loss": loss},
                       "b": {"clips": 30, "accuracy": accuracy - 0.05, "log_loss": 1.0}} if devices else None,
        "interval": "95 % bootstrap over recordings, 1000 resamples",
    }  # fmt: skip


def complexity(widths: Sequence[int], stored_as: str) -> dict[str, Any]:
    a, b, c = widths
    folded = 50 * a + a * b * 49 + b + b * c * 49 + c + 200 * c + 100 + 1010
    total = folded + 4 * (a + b + c)
    return {
        "params_total": total, "params_trainable": total - 2 * (a + b + c), "params_bn_folded": folded,
        "macs": 49 * a * 10_000 + 49 * a * b * 10_000 + 49 * b * c * 400 + 200 * c + 1000,
        "macs_convention": "convolutions and dense layers, no bias, one clip",
        "size_bytes_float32": 4 * total, "size_bytes_float16": 2 * total, "stored_as": stored_as,
        "file_bytes": (2 if stored_as == "float16" else 4) * total + 3000,
        "peak_activation_bytes": 8 * 10_000 * max(a, b), "input_shape": [1, 1, 40, 250],
        "layers": [{"name": "conv1", "kind": "Conv2d", "filters": a, "params": 50 * a, "macs": 490_000 * a,
                    "output_shape": [1, a, 40, 250]}],
    }  # fmt: skip


def history(epochs: int, start: float, end: float) -> list[dict[str, Any]]:
    rows = []
    for epoch in range(1, epochs + 1):
        train = end + (start - end) * 0.85**epoch
        wobble = 0.03 * np.sin(3 * epoch)
        validation = end + 0.25 + (start - end) * 0.82**epoch + 0.006 * epoch + wobble
        rows.append({
            "epoch": epoch, "train_log_loss": train, "validation_log_loss": validation,
            "validation_accuracy": 0.9 - 0.3 * 0.85**epoch, "learning_rate": 1e-3, "seconds": 1.5,
        })  # fmt: skip
    return rows


def write_run(
    folder: Path, *, systems: Sequence[str] = tuple(SYSTEMS), labels: Sequence[str] = LABELS,
    devices: bool = True, latency: bool = True, synthetic: bool = False,
    problems: Sequence[tuple[str, str]] = (), seed: int = 0,
) -> Path:  # fmt: skip
    stages = [{"id": "train", "title": "unpruned", "system": None, "kind": "train", "folder": "train",
               "parent": None},
              {"id": "unpruned/float16", "title": "unpruned, float16", "system": None, "kind": "float16",
               "folder": "unpruned/float16", "parent": "train"}]  # fmt: skip
    titles = {"1-prune": "pruned", "1-finetune": "fine-tuned", "float16": "float16"}
    for system in systems:
        parent = "train"
        for step, title in titles.items():
            stage = f"{system}/{step}"
            stages.append({
                "id": stage, "title": f"{system} · {title}", "system": system, "kind": step.split("-")[-1],
                "folder": f"systems/{stage}", "parent": parent,
            })  # fmt: skip
            parent = stage
    times = {}
    for number, stage in enumerate(stages):
        place, kind, system = folder / stage["folder"], stage["kind"], stage["system"]
        widths = WIDTHS if system is None else SYSTEMS[system]
        skill = 0.33 if kind == "prune" else 0.88 if system is None else 0.86 - 0.02 * systems.index(system)
        rows = predictions(labels, skill, seed + (number - 1 if kind == "float16" else number))
        metrics = {
            "evaluation": {side: evaluation(labels, rows, devices) for side in ("validation", "test")},
            "complexity": complexity(widths, "float16" if kind == "float16" else "float32"),
        }
        if kind in ("train", "finetune"):
            epochs = 40 if kind == "train" else 24
            losses = history(epochs, 2.3 if kind == "train" else 1.4, 0.25)
            write_csv(place / "history.csv", losses)
            best = min(losses, key=lambda row: row["validation_log_loss"])["epoch"]
            metrics["training"] = {
                "best_epoch": best, "epochs": epochs, "stopped": "no progress for 10 epochs",
                "precision": "float32", "precision_reason": "no bfloat16 here",
                "macs_spent": 1_250_000_000_000,
            }  # fmt: skip
        if kind == "prune":
            random = np.random.default_rng(number)
            keeps = [sorted(random.choice(n, k, replace=False).tolist()) for n, k in zip(WIDTHS, widths, strict=True)]
            write_json(place / "plan.json", {
                "version": 1, "criterion": system,
                "layers": [{"name": f"conv{i + 1}", "filters": n, "keep": keep, "coupled": []}
                           for i, (n, keep) in enumerate(zip(WIDTHS, keeps, strict=True))],
            })  # fmt: skip
        write_json(place / "metrics.json", metrics)
        write_json(place / "stage.json", {"seconds": 61.0})
        write_csv(place / "predictions.csv", rows)
        if kind != "float16":
            ms = 3.08 if system is None else 1.9
            times[stage["id"]] = {"latency_ms_p50": ms + 0.01 * number, "latency_ms_p95": ms + 0.3}
    write_checkpoint(folder / "train" / "checkpoint.safetensors", labels)
    if latency:
        write_json(folder / "latency.json", {
            "threads": 1, "batch": 1, "repeats": 60, "runtime": "torch 2.13.0", "processor": "AMD EPYC 9B14",
            "how": "the networks in turn, after 8 untimed passes", "stages": times,
        })  # fmt: skip
    write_json(folder / "summary.json", {
        "version": 1, "kind": "run", "name": "esc10-demo", "title": "ESC-10, three criteria", "seed": seed,
        "test_fold": 1, "seconds": 812.0, "headline_system": systems[0] if systems else None,
        "stages": stages,
    })  # fmt: skip
    counts = {"train": 240, "validation": 80, "test": 80, "unused": 0}
    write_json(folder / "data" / "data.json", {
        "name": "ESC-10", "synthetic": synthetic, "labels": list(labels), "clips": counts,
        "recordings": {"train": 120, "validation": 40, "test": 40, "unused": 0}, "cut": 3, "padded": 7,
        "problems": [{"file": file, "reason": reason} for file, reason in problems],
        "note": "Validation is grouped by recording.",
    })  # fmt: skip
    clips = [
        {"clip_id": f"clip-{i:03d}", "file": f"audio/{i}.ogg", "label": labels[i % len(labels)],
         "fold": 1 + i // 80, "recording": f"rec-{i // (2 * len(labels))}-{i % len(labels)}",
         "device": "ab"[i % 2], "side": "test" if i < 80 else "validation" if i < 160 else "train"}
        for i in range(400)
    ]  # fmt: skip
    write_csv(folder / "data" / "clips.csv", clips)
    write_json(folder / "environment.json", {"coppice": "0.1.0", "python": "3.11.9", "torch": "2.13.0+cpu",
                                             "processor": "AMD EPYC 9B14", "cores": 2})  # fmt: skip
    recipe = "data:\n  name: esc10\n  folds: [1, 2, 3, 4, 5]\nprune:\n" + "".join(f"  - {s}\n" for s in systems)
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    return folder


def write_cross_validation(folder: Path, *, folds: int = 5, seeds: int = 2, sub_reports: Sequence[str] = ()) -> Path:
    random = np.random.default_rng(0)
    fold_ease = random.normal(0, 0.04, folds)
    runs = [(fold, seed) for fold in range(1, folds + 1) for seed in range(seeds)]
    stages = []
    rows = [("train", "unpruned", None, "train", 0.86, WIDTHS)]
    for number, (system, widths) in enumerate(SYSTEMS.items()):
        rows.append((f"{system}/1-prune", f"{system} · pruned", system, "prune", 0.3, widths))
        rows.append(
            (
                f"{system}/1-finetune",
                f"{system} · fine-tuned",
                system,
                "finetune",
                0.85 - 0.01 * number,
                widths,
            )
        )
    for name, title, system, kind, level, widths in rows:
        accuracies = [level + fold_ease[fold - 1] + random.normal(0, 0.012) for fold, _ in runs]
        mean = float(np.mean(accuracies))
        unpruned = mean if system is None else stages[0]["accuracy"]["mean"]
        counts = complexity(widths, "float32")
        keys = ("params_total", "params_bn_folded", "macs", "size_bytes_float32", "size_bytes_float16")
        change = {
            "mean": mean - unpruned,
            "interval": [mean - unpruned - 0.02, mean - unpruned + 0.018],
            "n": len(runs),
        }
        stages.append({
            "id": name, "title": title, "system": system, "kind": kind, "parent": "train" if system else None,
            "accuracy": {"mean": mean, "interval": [mean - 0.03, mean + 0.03], "n": len(runs)},
            "macro_accuracy": {"mean": mean, "interval": [mean - 0.03, mean + 0.03], "n": len(runs)},
            "log_loss": {"mean": 0.5, "interval": [0.42, 0.6], "n": len(runs)},
            "accuracy_change": change if system else None,
            "log_loss_change": {"mean": 0.02, "interval": [-0.01, 0.05], "n": len(runs)} if system else None,
            **{key: {"mean": counts[key], "min": counts[key] * (0.95 if system else 1), "max": counts[key]}
               for key in keys},
            "per_run": [{"fold": fold, "seed": seed, "accuracy": float(value), "log_loss": 0.5}
                        for (fold, seed), value in zip(runs, accuracies, strict=True)],
        })  # fmt: skip
    write_json(folder / "summary.json", {
        "version": 1, "kind": "cross_validation", "name": "esc10-cv", "title": "ESC-10, five folds",
        "seconds": 7000.0, "headline_system": "cosine_similarity",
        "runs": [{"folder": f"fold{fold}-seed{seed}", "fold": fold, "seed": seed} for fold, seed in runs],
        "stages": stages, "interval": "95 % bootstrap over folds and seeds, 1000 resamples",
    })  # fmt: skip
    write_json(folder / "environment.json", {"coppice": "0.1.0"})
    (folder / "recipe.yaml").write_text("cross_validation: 5\n", encoding="utf-8")
    for fold, seed in runs:
        write_json(folder / f"fold{fold}-seed{seed}" / "summary.json", {"version": 1, "kind": "run"})
    for name in sub_reports:
        (folder / name / "report.html").write_text("<!doctype html>", encoding="utf-8")
    return folder


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    return lambda **options: write_run(tmp_path / "run", **options)


@pytest.fixture
def make_cross_validation(tmp_path: Path) -> Callable[..., Path]:
    return lambda **options: write_cross_validation(tmp_path / "cross", **options)


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whole run folder for tests that only read it."""
    return write_run(tmp_path_factory.mktemp("whole") / "run", problems=[("audio/9.ogg", "it is cut short")])
