"""Coppice: prune, fine-tune, quantize and honestly measure audio CNNs.

Examples
--------
>>> import coppice as cp
>>> net = cp.build_network("dcase2021", frames=250)
>>> import torch
>>> example = torch.zeros(1, 1, 40, 250)
>>> plan = cp.plan(net, "cosine_similarity", keep={"conv2": 11}, example=example)
>>> small = cp.prune(net, plan, example=example)
>>> cp.profile(small, example=example, latency=False).params_total
34461
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Name -> where it lives. Loaded when first used, so that `import coppice` costs nothing.
_HOMES = {
    "Budget": "coppice.pruning.planning.budget",
    "Classifier": "coppice.networks.classifier",
    "Combination": "coppice.ensembles.combination",
    "CoppiceError": "coppice.core.errors",
    "Evidence": "coppice.criteria.evidence",
    "FrontEnd": "coppice.audio.front_end",
    "Listener": "coppice.listening.listener",
    "Machines": "coppice.training.devices.machines",
    "PruningPlan": "coppice.pruning.plan",
    "Recipe": "coppice.recipes.recipe",
    "Schedule": "coppice.pruning.planning.schedule",
    "Teacher": "coppice.training.teacher",
    "TrainingSettings": "coppice.training.settings",
    "average_posteriors": "coppice.ensembles.average",
    "build_network": "coppice.networks.registry",
    "check": "coppice.challenge.check",
    "classify": "coppice.evaluation.classify",
    "co2": "coppice.energy.co2",
    "compensate": "coppice.pruning.compensation.compensate",
    "compile": "coppice.compiler.compiled",
    "count": "coppice.complexity.conventions",
    "criterion": "coppice.criteria.registry",
    "ensemble": "coppice.ensembles.build",
    "evaluate": "coppice.evaluation.evaluate",
    "export_litert": "coppice.export.litert.export",
    "export_c": "coppice.compiler.export_c",
    "export_onnx": "coppice.export.onnx",
    "export_openvino": "coppice.export.openvino",
    "export_torch": "coppice.export.pytorch",
    "export_web": "coppice.export.web.folder",
    "finetune": "coppice.training.train",
    "finetune_int8": "coppice.quantization.aware",
    "fold_batch_norm": "coppice.complexity.folding",
    "front_end": "coppice.audio.front_end",
    "front_end_macs": "coppice.complexity.front_end_macs",
    "inference_energy": "coppice.evaluation.inference_energy",
    "load": "coppice.networks.loading",
    "load_onnx": "coppice.export.onnx_classifier",
    "load_recipe": "coppice.recipes.recipe",
    "log_mel": "coppice.audio.log_mel",
    "mac_reduction": "coppice.complexity.layer_only",
    "mask": "coppice.pruning.surgery.masking",
    "metered": "coppice.energy.meter",
    "network": "coppice.networks.registry",
    "open_dataset": "coppice.datasets.sources",
    "plan": "coppice.pruning.planning.decide",
    "plan_from_indices": "coppice.pruning.planning.index_files",
    "prepare": "coppice.datasets.prepare",
    "profile": "coppice.complexity.profile",
    "prune": "coppice.pruning.surgery.prune",
    "quantize": "coppice.quantization.rounding",
    "quantize_int8": "coppice.quantization.int8",
    "rank": "coppice.criteria.registry",
    "rankings": "coppice.pruning.evidence.rankings",
    "read_model_file": "coppice.export.model_files",
    "read_onnx": "coppice.export.onnx_file",
    "rebind_": "coppice.pruning.surgery.optimizer",
    "reproduce": "coppice.reproduction.reproduce",
    "run": "coppice.studies.run",
    "run_study": "coppice.studies.engine",
    "runtime_latency": "coppice.export.latency",
    "save": "coppice.networks.checkpoint",
    "search_study": "coppice.studies.search",
    "sensitivity": "coppice.studies.sensitivity",
    "share_trunk": "coppice.ensembles.trunk",
    "shrink_dense": "coppice.pruning.surgery.dense",
    "submit": "coppice.challenge.submit",
    "summary": "coppice.criteria.summaries",
    "train": "coppice.training.train",
    "training_clips": "coppice.pruning.evidence.training_clips",
    "validate": "coppice.challenge.validate",
}

__all__ = [*sorted(_HOMES), "__version__"]

if TYPE_CHECKING:
    from coppice.audio.front_end import FrontEnd, front_end
    from coppice.audio.log_mel import log_mel
    from coppice.challenge.check import check
    from coppice.challenge.submit import submit
    from coppice.challenge.validate import validate
    from coppice.compiler.compiled import compile
    from coppice.compiler.export_c import export_c
    from coppice.complexity.conventions import count
    from coppice.complexity.folding import fold_batch_norm
    from coppice.complexity.front_end_macs import front_end_macs
    from coppice.complexity.layer_only import mac_reduction
    from coppice.complexity.profile import profile
    from coppice.core.errors import CoppiceError
    from coppice.criteria.evidence import Evidence
    from coppice.criteria.registry import criterion, rank
    from coppice.criteria.summaries import summary
    from coppice.datasets.prepare import prepare
    from coppice.datasets.sources import open_dataset
    from coppice.energy.co2 import co2
    from coppice.energy.meter import metered
    from coppice.ensembles.average import average_posteriors
    from coppice.ensembles.build import ensemble
    from coppice.ensembles.combination import Combination
    from coppice.ensembles.trunk import share_trunk
    from coppice.evaluation.classify import classify
    from coppice.evaluation.evaluate import evaluate
    from coppice.evaluation.inference_energy import inference_energy
    from coppice.export.latency import runtime_latency
    from coppice.export.litert.export import export_litert
    from coppice.export.model_files import read_model_file
    from coppice.export.onnx import export_onnx
    from coppice.export.onnx_classifier import load_onnx
    from coppice.export.onnx_file import read_onnx
    from coppice.export.openvino import export_openvino
    from coppice.export.pytorch import export_torch
    from coppice.export.web.folder import export_web
    from coppice.listening.listener import Listener
    from coppice.networks.checkpoint import save
    from coppice.networks.classifier import Classifier
    from coppice.networks.loading import load
    from coppice.networks.registry import build_network, network
    from coppice.pruning.compensation.compensate import compensate
    from coppice.pruning.evidence.rankings import rankings
    from coppice.pruning.evidence.training_clips import training_clips
    from coppice.pruning.plan import PruningPlan
    from coppice.pruning.planning.budget import Budget
    from coppice.pruning.planning.decide import plan
    from coppice.pruning.planning.index_files import plan_from_indices
    from coppice.pruning.planning.schedule import Schedule
    from coppice.pruning.surgery.dense import shrink_dense
    from coppice.pruning.surgery.masking import mask
    from coppice.pruning.surgery.optimizer import rebind_
    from coppice.pruning.surgery.prune import prune
    from coppice.quantization.aware import finetune_int8
    from coppice.quantization.int8 import quantize_int8
    from coppice.quantization.rounding import quantize
    from coppice.recipes.recipe import Recipe, load_recipe
    from coppice.reproduction.reproduce import reproduce
    from coppice.studies.engine import run_study
    from coppice.studies.run import run
    from coppice.studies.search import search_study
    from coppice.studies.sensitivity import sensitivity
    from coppice.training.devices.machines import Machines
    from coppice.training.settings import TrainingSettings
    from coppice.training.teacher import Teacher
    from coppice.training.train import finetune, train


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'coppice' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
