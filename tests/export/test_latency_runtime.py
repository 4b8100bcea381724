"""Runtimes of exported models under a latency budget, with a clock that is a formula: it never depends on real time."""

import gc
import math
from dataclasses import replace

import onnx
import pytest
import torch
from torch import nn

from coppice.complexity.latency_runtimes import RUNTIMES, latency_runtime
from coppice.complexity.latency_table import LatencyTable
from coppice.complexity.product import Product
from coppice.core.errors import CoppiceError
from coppice.export import latency_runtime as latency_runtime_module
from coppice.export import runtimes
from coppice.export.latency_runtime import ExportedRuntime
from coppice.networks.dcase2021 import DCASE2021
from coppice.pruning.planning.budget import Budget
from coppice.pruning.planning.decide import plan
from coppice.pruning.surgery.prune import prune
from quick import quick

OVERHEAD_MS = 0.5


@pytest.fixture
def by_weights(monkeypatch):
    """A runtime that takes a microsecond for each number that a model stores, and half a millisecond for each call."""
    monkeypatch.setattr(ExportedRuntime, "_call", lambda self, model, shape: lambda: stored(model))
    clock = lambda calls, *, seconds: {name: OVERHEAD_MS + 1e-3 * call() for name, call in calls.items()}  # noqa: E731
    monkeypatch.setattr(latency_runtime_module, "medians_ms", clock)
    monkeypatch.setattr(latency_runtime_module, "fastest_ms", clock)


def stored(model):
    graph = onnx.load_model_from_string(model.content).graph
    return sum(math.prod(tensor.dims) for tensor in graph.initializer if len(tensor.dims) > 1)


@pytest.mark.usefixtures("by_weights")
def test_a_product_takes_no_share_of_what_a_call_takes():
    assert latency_runtime("onnxruntime").product_ms(Product("matrix", (1, 30), (30, 20))) == pytest.approx(0.6)


def test_noise_never_makes_a_product_take_less_than_no_time(monkeypatch):
    monkeypatch.setattr(latency_runtime_module, "fastest_ms", lambda calls, *, seconds: {"1": 0.3, "3": 0.2})
    assert latency_runtime("onnxruntime").product_ms(Product("matrix", (1, 3), (3, 2))) == 0


@pytest.mark.parametrize("name", quick(RUNTIMES[1:], "onnxruntime", "openvino"))
def test_products_and_networks_are_timed_and_left_as_they_were(name):
    pytest.importorskip(runtimes.RUNTIMES[name][0], reason=f"the runtime {name} is not installed")
    runtime = ExportedRuntime(name, seconds=0.001)
    network = nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.Dropout()).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    times = runtime.networks_ms({"one": network, "other": nn.Conv1d(1, 2, 1)}, torch.zeros(1, 1, 8))
    assert set(times) == {"one", "other"} and all(ms > 0 for ms in times.values())
    assert all(part.training for part in network.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert math.isfinite(runtime.product_ms(Product("matrix", (2, 8), (8, 4), bias=True)))


@pytest.mark.usefixtures("by_weights")
def test_a_network_is_translated_once_as_long_as_it_keeps_its_shapes(monkeypatch):
    translated = []
    engine = latency_runtime_module.ENGINES["onnxruntime"]
    translate = lambda *given: translated.append(given) or engine.network(*given)  # noqa: E731
    monkeypatch.setitem(latency_runtime_module.ENGINES, "onnxruntime", replace(engine, network=translate))
    runtime, network, example = latency_runtime("onnxruntime"), nn.Sequential(nn.Conv1d(1, 4, 3)), torch.zeros(1, 1, 8)
    first = runtime.networks_ms({"it": network}, example)
    assert runtime.networks_ms({"again": network}, example) == {"again": first["it"]}
    assert len(translated) == 1
    network[0] = nn.Conv1d(1, 2, 3)
    assert runtime.networks_ms({"it": network}, example)["it"] < first["it"]
    assert len(translated) == 2
    translated.clear()
    del network
    gc.collect()
    assert not runtime._ready


@pytest.mark.proof
@pytest.mark.usefixtures("by_weights")
def test_a_budget_names_its_runtime_and_the_pruned_network_holds_it(tmp_path, monkeypatch):
    monkeypatch.setenv("COPPICE_CACHE", str(tmp_path))
    network, example = DCASE2021(frames=50), torch.zeros(1, 1, 40, 50)
    made = plan(network, "l1", budget=Budget(latency_ms="40%", runtime="onnxruntime"), example=example)
    small = prune(network, made, example=example)
    times = latency_runtime("onnxruntime").networks_ms({"before": network, "after": small}, example)
    assert 0.93 * 0.4 <= times["after"] / times["before"] <= 0.4
    assert made.decided_by.startswith("budget latency_ms 40% in onnxruntime; ")
    (said,) = [remark for remark in made.remarks if remark.startswith("latency_ms: ")]
    before, after = (f"{times[name]:.3g}" for name in ("before", "after"))
    assert f"{before} before, {after} after, both measured" in said and ", onnxruntime " in said
    (file,) = (tmp_path / "latency").iterdir()
    assert ", onnxruntime " in file.read_text()


@pytest.mark.proof  # the command does it in make test
def test_a_real_runtime_measures_layers_and_networks(tmp_path, monkeypatch):
    monkeypatch.setenv("COPPICE_CACHE", str(tmp_path))
    network, example = DCASE2021(widths=(4, 3, 5), dense=6, frames=25), torch.zeros(1, 1, 40, 25)
    made = plan(network, "l1", budget=Budget(latency_ms="10 s", runtime="onnxruntime"), example=example)
    assert all(len(layer.keep) == layer.filters for layer in made.layers)
    assert any("both measured" in remark and ", onnxruntime " in remark for remark in made.remarks)
    assert LatencyTable.on_disk(latency_runtime("onnxruntime")).times_ms


def test_what_the_runtime_cannot_compute_is_refused_before_layers_are_measured(monkeypatch, tmp_path):
    class Medians(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.out = nn.Conv1d(1, 4, 3), nn.Linear(4, 2)

        def forward(self, x):
            return self.out(self.conv(x).median(dim=2).values)

    monkeypatch.setenv("COPPICE_CACHE", str(tmp_path))
    monkeypatch.setattr(ExportedRuntime, "product_ms", lambda *_: pytest.fail("a layer was measured"))
    with pytest.raises(CoppiceError, match=r"ONNX .* has no operator for aten.median"):
        plan(Medians(), "l1", budget=Budget(latency_ms="50%", runtime="onnxruntime"), example=torch.zeros(1, 1, 8))


def test_a_runtime_that_is_not_installed_is_refused_before_any_work(monkeypatch):
    monkeypatch.setitem(runtimes.RUNTIMES, "openvino", ("a_module_that_nobody_has", "openvino"))
    network = nn.Sequential(nn.Conv1d(1, 4, 3))
    network.register_forward_pre_hook(lambda *_: pytest.fail("the network was run"))
    with pytest.raises(CoppiceError, match=r"'openvino' is not installed.*pip install 'coppice\[openvino\]'"):
        plan(network, "l1", budget=Budget(latency_ms="50%", runtime="openvino"), example=torch.zeros(1, 1, 8))
