"""The meta file of a submission: every key of the year, read off the runs or given by a person."""

from collections.abc import Mapping
from typing import Any

import yaml

from coppice.challenge.figures import Figures, memory_use_bytes
from coppice.challenge.labels import Label
from coppice.challenge.people import People
from coppice.challenge.rules import Rules
from coppice.networks.classifier import Classifier

_WORDS = {"train": "training", "finetune": "fine-tuning", "prune": "pruning", "dense": "dense layer shrunk"}


def meta_text(
    rules: Rules,
    label: Label,
    people: People,
    classifier: Classifier,
    figures: Figures,
    results: Mapping[str, Any],
    *,
    described: Mapping[str, Any] | None = None,
) -> str:
    """Return the meta file of a system.

    Parameters
    ----------
    rules : Rules
        Of the year, which say which keys there are.
    label : Label
    people : People
        What only a person knows; its descriptions and complexities override what is read off the classifier.
    classifier : Classifier
        The system; of several, the most complex one.
    figures : Figures
        What was counted of it.
    results : mapping
        Scores on the development set; in 2024 for each split, in 2025 of the general and of the devices' models.
    described : mapping, optional
        Further descriptions, which a person's override.

    Returns
    -------
    str
        YAML.
    """
    described = {**description(classifier), **(described or {}), **people.description}
    counted = {**complexity(rules, classifier, figures), **people.complexity}
    if described["external_data_usage"] is None and people.external_datasets:
        described["external_data_usage"] = ", ".join(str(one.get("name")) for one in people.external_datasets)
    system: dict[str, Any] = {name: getattr(people, name) for name in rules.system}
    system |= {
        "description": {key: described.get(key) for key in rules.description},
        "complexity": {key: counted[key] for key in rules.complexity},
    }
    if rules.energy:
        system["energy_consumption"] = {key: people.energy_consumption[key] for key in rules.energy}
    system |= {"external_datasets": people.external_datasets, "source_code": people.source_code}
    document = {
        "submission": {
            "label": str(label),
            "name": people.name,
            "abbreviation": people.abbreviation,
            "authors": people.authors,
        },
        "system": system,
        "results": {"development_dataset": dict(results)},
    }
    return yaml.dump(document, Dumper=_Plain, sort_keys=False, allow_unicode=True)


def description(classifier: Classifier) -> dict[str, Any]:
    """Return what a classifier says of itself under the keys of ``system.description``; null where it does not.

    Examples
    --------
    >>> import torch
    >>> from coppice.audio.front_end import front_end
    >>> net = torch.nn.Flatten()
    >>> description(Classifier(net, front_end("dcase2024"), ("a",), None, None))["input_sampling_rate"]
    '32kHz'
    """
    front_end = classifier.front_end
    members = next((found for entry in classifier.lineage if (found := _members(entry))), [])
    how = next((str(entry.get("how")) for entry in classifier.lineage if _members(entry)), "")
    done = [*classifier.lineage, *(entry for lineage in members for entry in lineage)]
    verbs = [str(entry.get("verb")) for entry in done]
    steps = [_WORDS[verb] for verb in verbs if verb in _WORDS]
    steps = list(dict.fromkeys(steps)) if members else steps
    mixup = any(isinstance(entry.get("settings"), dict) and entry["settings"].get("mixup") for entry in done)
    smaller = ["pruning"] if "prune" in verbs else []
    if classifier.stored_as != "float32":
        smaller.append(f"weight quantization ({classifier.stored_as})")
    return {
        "input_sampling_rate": None if front_end is None else f"{front_end.sample_rate / 1000:g}kHz",
        "acoustic_features": "log-mel energies",
        "embeddings": None,
        "data_augmentation": "mixup" if mixup else None,
        "machine_learning_method": "CNN",
        "ensemble_method_subsystem_count": len(members) if members else None,
        "decision_making": f"{how} mean of posteriors" if members else None,
        "external_data_usage": None,
        "complexity_management": ", ".join(smaller) or None,
        "pipeline": ", ".join(steps) or None,
        "framework": "pytorch",
        "split_adaptations": None,
        "system_adaptations": None,
    }


def _members(entry: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
    """Return the lineages of an ensemble's members; a file may say anything."""
    members = entry.get("members") if entry.get("verb") == "ensemble" else None
    lineages = (
        [member.get("lineage") for member in members if isinstance(member, dict)] if isinstance(members, list) else []
    )
    return [
        [one for one in lineage if isinstance(one, dict)] if isinstance(lineage, list) else [] for lineage in lineages
    ]


def complexity(rules: Rules, classifier: Classifier, figures: Figures) -> dict[str, Any]:
    """Return the figures under the keys of ``system.complexity``, as the year counts them.

    ``total_parameters``: in 2021 all values, running statistics included; in 2022 NeSsi's bytes, as the baseline
    does; later the parameters. ``total_model_size`` is in bytes, ``model_size`` in KB of 1,000 bytes.
    """
    storage = figures.storage
    found: dict[str, Any] = {
        "total_parameters": storage.params,
        "total_parameters_non_zero": storage.nonzero_params,
        "total_model_size": storage.params_bytes,
        "model_size": round(storage.nonzero_bytes / 1000, 3),
    }
    if rules.year == 2021:
        found |= {"total_parameters": storage.params + storage.statistics, "total_parameters_non_zero": storage.nonzero}
    if "params" in figures.limits:
        found["total_parameters"] = figures.limits["params"].strict
    if "macs" in figures.limits:
        found["macs"] = figures.limits["macs"].value
    if "memory_use" in rules.complexity:
        found["memory_use"] = memory_use_bytes(classifier)
    return found


class _Plain(yaml.SafeDumper):
    """Writes values out, where YAML would refer to an equal one above."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
