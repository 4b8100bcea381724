"""Peak memory: measured in another process, larger where the model is."""

import importlib.util
from pathlib import Path

import pytest
from torch import nn

from coppice.core.errors import CoppiceError
from coppice.export import peak_memory
from coppice.export.litert.export import litert_model
from coppice.export.onnx import onnx_model
from coppice.export.openvino import openvino_model
from coppice.export.peak_memory import peak_memory_bytes
from coppice.networks.classifier import Classifier
from coppice.networks.dcase2021 import DCASE2021

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="this system does not tell the peak of resident memory"
)


@pytest.mark.proof
def large(classifier):
    network = DCASE2021(widths=(64, 64, 64), dense=1000, classes=3, frames=25)
    return Classifier(**{**vars(classifier), "network": network.eval()})


def test_a_larger_model_takes_more_in_onnx_runtime(classifier):
    small, more = (peak_memory_bytes(onnx_model(one), "onnxruntime") for one in (classifier, large(classifier)))
    weights = sum(4 * tensor.numel() for tensor in large(classifier).network.state_dict().values())
    assert 0 < small < more < small + 20 * weights


def test_torch_runs_the_network_itself(classifier):
    assert 100_000 < peak_memory_bytes(large(classifier), "torch") < 200_000_000


@pytest.mark.proof
@pytest.mark.parametrize("runtime, module, make", [
    ("openvino", "openvino", openvino_model), ("litert", "ai_edge_litert", litert_model),
])  # fmt: skip
def test_other_runtimes_run_their_own_files(classifier, runtime, module, make):
    if not importlib.util.find_spec(module):
        pytest.skip(f"the extra {runtime} is not installed")
    assert 0 < peak_memory_bytes(make(classifier), runtime) < 300_000_000


def test_a_network_of_ones_own_class_cannot_be_built_elsewhere(classifier):
    class Mine(nn.Sequential):
        pass

    own = Classifier(**{**vars(classifier), "network": Mine(nn.Flatten(), nn.Linear(1000, 3)).eval()})
    assert peak_memory_bytes(own, "torch") is None


def test_systems_that_do_not_tell_get_no_number(classifier, monkeypatch):
    monkeypatch.setattr(peak_memory.Path, "exists", lambda _: False)
    assert peak_memory_bytes(classifier, "torch") is None


def test_a_process_that_fails_is_told_in_one_sentence(model):
    broken = type(model)(name="a", content=b"no model", clip_shape=(3,), metadata={})
    with pytest.raises(CoppiceError, match="the memory of onnxruntime could not be measured") as caught:
        peak_memory_bytes(broken, "onnxruntime")
    assert "\n" not in str(caught.value)
