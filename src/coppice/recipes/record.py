"""What a stage leaves of a classifier: checkpoint, metrics and predictions."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from coppice.complexity.profile import profile
from coppice.core.files import write_json
from coppice.datasets.prepare import Prepared
from coppice.evaluation.evaluate import evaluate, write_predictions
from coppice.networks.checkpoint import load, save
from coppice.networks.classifier import Classifier


def record(classifier: Classifier, data: Prepared, folder: Path) -> None:
    """Write ``checkpoint.safetensors``, ``metrics.json`` and ``predictions.csv`` (of the test clips).

    What is measured is what the file gives back, so rounding to float16 is in the numbers.

    Parameters
    ----------
    classifier : Classifier
        To be stored and measured.
    data : Prepared
        Validation and test clips.
    folder : Path
        Exists.
    """
    path = save(classifier, folder / "checkpoint.safetensors")
    stored = load(path)
    evaluations: dict[str, Any] = {}
    for part in ("validation", "test"):
        evaluations[part], predictions = evaluate(stored, data.log_mel(part), data.clips(part))
    write_predictions(predictions, folder / "predictions.csv")
    short = {
        part: {name: scores[name] for name in ("clips", "accuracy", "macro_accuracy", "log_loss")}
        for part, scores in evaluations.items()
    }
    save(replace(classifier, metrics=short), path)
    metrics: dict[str, Any] = {
        "evaluation": evaluations,
        "complexity": {**profile(stored, latency=False).to_dict(), "file_bytes": path.stat().st_size},
    }
    last = classifier.lineage[-1]
    if last["verb"] in ("train", "finetune"):
        names = ("best_epoch", "epochs", "stopped", "precision", "precision_reason", "fraction", "clips")
        metrics["training"] = {name: last[name] for name in names}
    write_json(folder / "metrics.json", metrics)
