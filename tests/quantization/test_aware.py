from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from coppice.core.errors import CoppiceError
from coppice.export.onnx import export_onnx, onnx_model
from coppice.export.runtimes import onnxruntime_posteriors
from coppice.networks.classifier import Classifier
from coppice.networks.dcase2021 import DCASE2021
from coppice.training.settings import TrainingSettings
from coppice.training.train import finetune

pytestmark = pytest.mark.proof
QUICK = TrainingSettings(epochs=2, batch_size=8, learning_rate=1e-3, precision="float32")


@pytest.fixture(scope="module")
def finetune_int8():
    """The function, imported here: torchao takes seconds to load, in every process that only collects these tests."""
    pytest.importorskip("torchao", reason="torchao is not installed; it comes with coppice[qat]")
    from coppice.quantization.aware import finetune_int8

    return finetune_int8


@pytest.fixture(scope="module")
def trained(prepared):
    torch.manual_seed(0)
    network = DCASE2021(widths=(3, 4, 4), dense=6, classes=3, frames=25)
    fresh = Classifier(network, prepared.front_end, prepared.dataset.labels, torch.full((40,), -5.0), torch.ones(40))
    return finetune(fresh, prepared, settings=replace(QUICK, epochs=12, learning_rate=1e-2))


@pytest.fixture(scope="module")
def tuned(finetune_int8, trained, prepared):
    return finetune_int8(trained, prepared, settings=QUICK)


def test_the_callers_network_is_left_as_it_is(finetune_int8, trained, prepared):
    before = {name: tensor.clone() for name, tensor in trained.network.state_dict().items()}
    finetune_int8(trained, prepared, settings=replace(QUICK, epochs=1))
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained.network.state_dict().items())
    assert not trained.network.training


def test_int8_fine_tuning_keeps_what_the_network_has_learnt(trained, tuned, prepared):
    log_mel = prepared.log_mel("validation")
    float32, int8 = trained.posteriors(log_mel), tuned.posteriors(log_mel)
    divergence = (float32 * (float32.log() - int8.log())).sum(1).mean()
    uniform = (float32 * (float32 * 3).log()).sum(1).mean()
    assert divergence < 0.2 * uniform


def test_weights_in_the_file_are_int8_per_filter(tuned, tmp_path):
    done = export_onnx(tuned, tmp_path / "int8.onnx", tolerance=0.05)
    model = onnx.load(done.path)
    kernels = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4]
    assert sorted(kernel.dims[0] for kernel in kernels) == [3, 4, 4]
    scales = {node.input[1] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    lengths = {tuple(t.dims) for t in model.graph.initializer if t.name in scales}
    assert (3,) in lengths and (4,) in lengths


def test_an_int8_runtime_computes_what_pytorch_says(tuned, prepared):
    log_mel = prepared.log_mel("validation")
    run = onnxruntime_posteriors(onnx_model(tuned), threads=1)
    found = run(tuned.normalise(log_mel).numpy())
    np.testing.assert_allclose(found, tuned.posteriors(log_mel).numpy(), atol=0.02)


def test_the_lineage_says_that_rounding_was_learnt(tuned):
    assert [entry["verb"] for entry in tuned.lineage[-2:]] == ["finetune", "quantize"]
    assert tuned.lineage[-1]["to"] == "int8" and tuned.lineage[-2]["precision"] == "float32"


def test_the_same_seed_gives_the_same_int8_network(finetune_int8, trained, tuned, prepared):
    again = finetune_int8(trained, prepared, settings=QUICK)
    log_mel = prepared.log_mel("validation")
    assert torch.equal(again.posteriors(log_mel), tuned.posteriors(log_mel))


class Odd(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, clips):
        return self.layer(clips).mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (nn.Conv2d(1, 3, 4, padding="same"), "layer 'layer' has an even kernel"),
        (nn.Softplus(), "no layer that can be rounded"),
    ],
)
def test_what_cannot_be_rounded_is_refused_by_name(finetune_int8, trained, prepared, layer, said):
    with pytest.raises(CoppiceError, match=said):
        finetune_int8(replace(trained, network=Odd(layer)), prepared, settings=QUICK)
