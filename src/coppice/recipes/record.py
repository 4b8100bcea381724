"""What a stage leaves of a classifier: checkpoint, metrics and predictions."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from coppice.complexity.fit_macs import fit_macs
from coppice.complexity.profile import profile
from coppice.core.files import write_json
from coppice.datasets.prepare import Prepared
from coppice.evaluation.evaluate import Scored, evaluate, write_predictions
from coppice.networks.checkpoint import load, save
from coppice.networks.classifier import Classifier
from coppice.pruning.evidence.training_clips import training_clips

CALIBRATION = 100


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
    evaluations = _evaluations(stored, data, folder)
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
        metrics["training"] = {
            **{name: last[name] for name in names},
            "macs_spent": fit_macs(
                metrics["complexity"]["macs"],
                epochs=last["epochs"],
                clips=last["clips"],
                validation_clips=last["validation_clips"],
                teacher_macs=last.get("teacher_macs", 0),
            ),
        }
    write_json(folder / "metrics.json", metrics)


def record_int8(classifier: Classifier, data: Prepared, folder: Path, *, seed: int) -> None:
    """Write ``model.onnx`` in int8, with ``metrics.json`` and ``predictions.csv`` of what ONNX Runtime makes of it.

    The network in float32 lies beside it as ``checkpoint.safetensors``.

    Parameters
    ----------
    classifier : Classifier
        To be quantized.
    data : Prepared
        Training clips to calibrate on; validation and test clips.
    folder : Path
        Exists.
    seed : int
        Which training clips.
    """
    # They bring the ONNX packages, which runs without int8 need not wait for.
    from coppice.export.onnx_classifier import load_onnx
    from coppice.quantization.int8 import quantize_int8

    save(classifier, folder / "checkpoint.safetensors")
    clips, _ = training_clips(classifier, data, count=CALIBRATION, seed=seed)
    done = quantize_int8(classifier, folder / "model.onnx", clips=clips)
    evaluations = _evaluations(load_onnx(done.path), data, folder)
    cost = {**profile(classifier, latency=False).to_dict(), "stored_as": "int8", "file_bytes": done.size_bytes}
    quantized = {
        "calibration_clips": done.calibration_clips,
        "int8_layers": list(done.int8_layers),
        "float_layers": list(done.float_layers),
    }
    write_json(folder / "metrics.json", {"evaluation": evaluations, "complexity": cost, "quantization": quantized})


def _evaluations(classifier: Scored, data: Prepared, folder: Path) -> dict[str, Any]:
    evaluations: dict[str, Any] = {}
    for part in ("validation", "test") if len(data.split.validation) else ("test",):
        evaluations[part], predictions = evaluate(classifier, data.log_mel(part), data.clips(part))
    write_predictions(predictions, folder / "predictions.csv")
    return evaluations
