"""The inference package of 2025: an installable module with the four functions that the evaluation calls."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd
import soundfile

from coppice import __version__
from coppice.challenge.check import check
from coppice.challenge.device_models import device_description
from coppice.challenge.heard import hear, scene_order
from coppice.challenge.meta_file import meta_text
from coppice.challenge.people import read_people
from coppice.challenge.posteriors import Posteriors, read_posteriors, write_output
from coppice.challenge.results import no_results, results_of
from coppice.challenge.rules import DEVICES_2025, SCENES, rules_of
from coppice.challenge.submit import Source, Submission, refuse_illegal, write_zip
from coppice.challenge.validate import validate
from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.files import make_folder, whole_file, write_json, write_text
from coppice.core.seeds import numpy_stream
from coppice.networks.checkpoint import save
from coppice.networks.classifier import Classifier
from coppice.networks.loading import load

_RATE = 44_100


def write_inference_package(
    source: Source,
    *,
    authors: str | Path,
    out: str | Path,
    devices: Mapping[str, str | Path] | None = None,
    device_development: str | Path | None = None,
    index: int = 1,
    front_end: str | None = None,
    clips: str | Path | None = None,
) -> Submission:
    """Write an installable inference package for DCASE 2025 Task 1, and validate it.

    The package has ``<Team>_task1/<Team>_task1_<index>.py`` with ``predict``, ``load_model``, ``load_inputs`` and
    ``get_model_for_device``, the checkpoints, ``resources/dummy.wav`` (noise) and ``test.csv`` (the names of the
    predicted development clips), and in ``predictions/<label>/`` the files ``<label>.meta.yaml``, ``complexity.json``,
    ``test_accuracy.json`` and, where there are predictions of the evaluation clips, ``output.csv``. It needs Coppice
    installed.

    Parameters
    ----------
    source : Source
        The base model, which serves every device without a model of its own.
    authors : str or Path
        What only a person knows; see :func:`coppice.challenge.people.read_people`.
    out : str or Path
        The package's folder; the zip file stands beside it.
    devices : mapping, optional
        Recording device -> file of its model.
    device_development : str or Path, optional
        Predictions of the development test clips by the models of their devices; those of ``source`` are the base
        model's.
    index : int
        Which of up to four systems.
    front_end : str, optional
        For models that do not say what they hear.
    clips : str or Path, optional
        The evaluation set's list of files, to validate ``output.csv`` against.

    Returns
    -------
    Submission

    Raises
    ------
    CoppiceError
        If a model breaks a limit, cannot listen, or hears other scenes, or the authors file lacks something.
    """
    rules = rules_of("dcase2025")
    for device in devices or {}:
        if device not in DEVICES_2025:
            raise CoppiceError(f"there is no recording device {device!r}. {did_you_mean(device, DEVICES_2025)}")
    if device_development is not None and not devices:
        raise CoppiceError(f"{device_development} has predictions of devices' models, and there are no such models.")
    people = read_people(authors, rules)
    label = people.label(index, rules)
    if not (str(label).isidentifier() and str(label).isascii()):
        raise CoppiceError(f"label {str(label)!r} names a Python module in 2025; use the letters a to z and digits.")
    verdict = check(source.model, rules=rules.name, devices=devices, front_end=front_end)
    refuse_illegal(verdict)
    files = {"base": source.model, **{name: Path(file) for name, file in (devices or {}).items()}}
    models = {name: _listener(load(file, front_end=front_end), file) for name, file in files.items()}
    described = device_description(models, people)
    general, specific = _results(source.development), _results(device_development)

    folder = Path(out)
    package = folder / f"{label.team}_{label.task}"
    write_text(package / "__init__.py", '"""Inference package for DCASE 2025 Task 1."""\n')
    template = Path(__file__).with_name("inference_module.txt").read_text(encoding="utf-8")
    scenes = "(" + ", ".join(f'"{scene}"' for scene in SCENES) + ")"
    write_text(package / f"{label}.py", Template(template).substitute(label=str(label), scenes=scenes))
    for name, classifier in models.items():
        save(classifier, package / "ckpts" / f"{label}.{name}.safetensors")
    _write_resources(source, package / "resources")
    write_text(folder / "pyproject.toml", _project(package.name))

    place = folder / "predictions" / str(label)
    per_device = {}
    for device in DEVICES_2025:
        counted = verdict.figures.get(device, verdict.figures["model"])
        per_device[device] = {
            "MACs": int(counted.limits["macs"].value),
            "Params": int(counted.limits["size_bytes"].value),
        }
    most = {f"max_{key}": max(one[key] for one in per_device.values()) for key in ("MACs", "Params")}
    write_json(place / "complexity.json", {"per_device": per_device, **most})
    accuracy = (general if device_development is None else specific)["overall"]["accuracy"]
    if accuracy is not None:
        write_json(place / "test_accuracy.json", {"Test Accuracy": round(accuracy, 2)})
    largest = max(verdict.figures, key=lambda name: int(verdict.figures[name].limits["macs"].strict))
    meta = meta_text(
        rules,
        label,
        people,
        models["base" if largest == "model" else largest],
        verdict.figures[largest],
        {"general": general, "device_specific": specific},
        described=described,
    )
    write_text(place / f"{label}.meta.yaml", meta)
    if source.evaluation is not None:
        write_output(_heard(source.evaluation, models), place / "output.csv")
    archive = write_zip(folder)
    return Submission(label, folder, archive, validate(archive, rules=rules.name, clips=clips))


def _results(development: str | Path | None) -> dict[str, Any]:
    """Score predictions, if there are any and their clips' scenes are known: in 2025 results may be left out."""
    if development is None or read_posteriors(development).targets is None:
        return no_results()
    return results_of(Path(development))


def _heard(evaluation: Path, models: Mapping[str, Classifier]) -> Posteriors:
    if not evaluation.is_dir():
        return read_posteriors(evaluation)
    if len(models) > 1:
        raise CoppiceError(
            "with models for several devices the evaluation clips have to be predicted by the package's own predict, "
            "which gets the device of each; give the CSV file of those predictions."
        )
    return hear(models["base"], evaluation)


def _listener(classifier: Classifier, file: Path) -> Classifier:
    """Return a classifier that can stand in the package: it hears the scenes and is stored without its history."""
    scene_order(classifier.labels)
    classifier.known_front_end()
    if classifier.band_mean is None:
        raise CoppiceError(f"{file} does not hold its normalisation; fine-tune it, which measures it.")
    return replace(classifier, lineage=(), metrics={})


def _write_resources(source: Source, folder: Path) -> None:
    make_folder(folder)
    noise = 0.1 * numpy_stream(0, "dummy.wav").standard_normal(_RATE)
    with whole_file(folder / "dummy.wav") as temporary:
        soundfile.write(temporary, np.clip(noise, -1, 1), _RATE, format="WAV", subtype="PCM_16")
    found = read_posteriors(source.development)
    table = pd.DataFrame({"filename": [f"audio/{Path(name).stem}.wav" for name in found.names]})
    if found.targets is not None:
        table["scene_label"] = [SCENES[target] for target in found.targets]
    with whole_file(folder / "test.csv") as temporary:
        table.to_csv(temporary, sep="\t", index=False)


def _project(package: str) -> str:
    return "\n".join(
        [
            "[build-system]",
            'requires = ["setuptools>=61"]',
            'build-backend = "setuptools.build_meta"',
            "",
            "[project]",
            f"name = {json.dumps(package)}",
            'version = "1.0"',
            f'dependencies = ["coppice>={__version__}"]',
            "",
            "[tool.setuptools]",
            f"packages = [{json.dumps(package)}]",
            "",
            "[tool.setuptools.package-data]",
            f'{json.dumps(package)} = ["ckpts/*", "resources/*"]',
            "",
        ]
    )
