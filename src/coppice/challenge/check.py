"""The verb ``check``: whether a system is legal under the rules of a year."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from coppice.challenge.figures import Figures, figures_of, figures_of_onnx
from coppice.challenge.rules import Limit, Rules, rules_of
from coppice.core.errors import CoppiceError
from coppice.core.files import file_digest
from coppice.export.onnx_file import OnnxFile, read_onnx
from coppice.networks.classifier import Classifier
from coppice.networks.loading import load

Model = Classifier | nn.Module | str | Path
_MOST_DEVICES = 64


@dataclass(frozen=True)
class Finding:
    """What one limit says of one model.

    Attributes
    ----------
    model : str
        ``"model"``, or the recording device whose model it is.
    limit : Limit
    figure : int or str
        As the official counter has it.
    judged : int or str
        As strictly as the rule can be read.
    legal : bool
    why : str
        Why the two differ, and what a reader should know; may be empty.
    """

    model: str
    limit: Limit
    figure: int | str
    judged: int | str
    legal: bool
    why: str


@dataclass(frozen=True)
class Verdict:
    """Whether a system is legal.

    Attributes
    ----------
    rules : Rules
    findings : tuple of Finding
        One for each model and limit.
    figures : dict
        Model -> all that was counted of it.
    notes : tuple of str
        Sentences.
    """

    rules: Rules
    findings: tuple[Finding, ...]
    figures: dict[str, Figures]
    notes: tuple[str, ...]

    @property
    def legal(self) -> bool:
        """Whether every model keeps every limit."""
        return all(finding.legal for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-able data."""
        return {
            "rules": self.rules.name,
            "legal": self.legal,
            "findings": [
                {
                    "model": one.model,
                    "limit": one.limit.name,
                    "figure": one.figure,
                    "judged": one.judged,
                    "most": one.limit.most,
                    "verdict": "PASS" if one.legal else "FAIL",
                    "why": one.why,
                    "rule": one.limit.rule,
                    "counted": one.limit.counted,
                    "reading": one.limit.reading,
                    "source": one.limit.source,
                }
                for one in self.findings
            ],
            "stored": {name: asdict(found.storage) for name, found in self.figures.items()},
            "notes": list(self.notes),
        }


def check(
    model: Model,
    *,
    rules: str,
    devices: Mapping[str, Model] | None = None,
    front_end: str | None = None,
    example: Float[Tensor, "1 *shape"] | None = None,
) -> Verdict:
    """Judge a system by the complexity limits of a year of DCASE Task 1.

    Each limit is counted as the year's own counter does, and judged as strictly as the rule can be read: KB as 1,000
    bytes, the larger of two counts. No official validator checks these limits, and the official counter of 2025
    returns 0 for int8 networks of torch.ao, whose layers are counted here.

    Parameters
    ----------
    model : Classifier, nn.Module, str or Path
        A system, or a file that :func:`coppice.load` reads, or an ONNX file of the network alone. A checkpoint of the
        DCASE 2025 baseline holds a model for each of several devices: all of them are judged. A bare network is counted
        at the number formats of its own tensors.
    rules : str
        ``"dcase2021"`` to ``"dcase2025"``.
    devices : mapping, optional
        Recording device -> the model for its clips, where they are in objects or files of their own.
    front_end : str, optional
        For files that do not say what their network hears; see :func:`coppice.load`.
    example : Tensor, optional
        One input, needed for a bare network.

    Returns
    -------
    Verdict

    Raises
    ------
    CoppiceError
        If the rules are unknown, or a model cannot be read or counted.

    Examples
    --------
    >>> import torch
    >>> from coppice.networks.registry import build_network
    >>> net, example = build_network("cp_mobile"), torch.zeros(1, 1, 256, 65)
    >>> check(net, rules="dcase2024", example=example).legal  # 244,592 bytes in float32
    False
    >>> check(net.half(), rules="dcase2024", example=example).legal
    True
    """
    chosen = rules_of(rules)
    models, notes = _models(model, front_end)
    for name, one in (devices or {}).items():
        more, said = _models(one, front_end)
        if len(more) > 1:
            raise CoppiceError(
                f"the model for device {name!r} holds models for several devices itself; give one of them."
            )
        models[name] = next(iter(more.values()))
        notes += said
    figures = {
        name: figures_of_onnx(one, chosen) if isinstance(one, OnnxFile) else figures_of(one, chosen, example=example)
        for name, one in models.items()
    }
    findings = [
        Finding(name, limit, found.value, found.strict, _keeps(found.strict, limit), found.why)
        for name, counted in figures.items()
        for limit in chosen.limits
        for found in (counted.limits[limit.name],)
    ]
    return Verdict(chosen, tuple(findings), figures, tuple(dict.fromkeys(notes)))


def _keeps(figure: int | str, limit: Limit) -> bool:
    if limit.most is None:
        return figure == "int8"
    return int(figure) <= limit.most


def _models(model: Model, front_end: str | None) -> tuple[dict[str, Classifier | nn.Module | OnnxFile], list[str]]:
    """Return the models in a file or object by name, and what is to be said of them."""
    if not isinstance(model, str | Path):
        return {"model": model}, []
    path = Path(model)
    devices = _devices_in(path)
    found: dict[str, Classifier | nn.Module | OnnxFile] = {}
    if path.suffix.lower() == ".onnx":
        found["model"] = read_onnx(path)
    else:
        for device in devices or (None,):
            loaded = load(path, device=device, front_end=front_end)
            found["model" if device is None else device] = _as_in_file(loaded, path)
    notes = [f"{path} has {path.stat().st_size:,} bytes on disk; the rules count parameters, not files."]
    if len(devices) > 1:
        notes.append(f"{path} holds models for {', '.join(name or 'any other device (model)' for name in devices)}.")
    return found, notes


def _as_in_file(classifier: Classifier, path: Path) -> Classifier:
    """Forget what an imported file held when this is a checkpoint of it, which stores it otherwise."""
    last = classifier.lineage[-1] if classifier.lineage else {}
    if last.get("verb") == "import" and last.get("sha256") != file_digest(path):
        return replace(classifier, lineage=())
    return classifier


def _devices_in(path: Path) -> list[str | None]:
    """Return which networks a checkpoint of the DCASE 2025 baseline holds, None for the base; empty for others."""
    if path.suffix != ".ckpt":
        return []
    from coppice.networks.foreign.torch_files import read_torch

    found: list[str | None] = []
    for name in read_torch(path).state:
        root = name.removesuffix("in_c.0.0.weight") if name.endswith("in_c.0.0.weight") else ""
        parts = root.rstrip(".").split(".")
        if "device_models" in parts[:-1]:
            found.append(parts[-1])
        elif parts[-1] == "base_model":
            found.append(None)
    if len(found) > _MOST_DEVICES:
        raise CoppiceError(f"{path} holds {len(found)} networks; a DCASE 2025 checkpoint has one for each device.")
    return found
