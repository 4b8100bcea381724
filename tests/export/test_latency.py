"""Latency per runtime: what is measured, how it is set in relation, what is refused before any work."""

import importlib.util

import numpy as np
import pytest
import torch

from coppice.complexity.macs import count_macs
from coppice.core.errors import CoppiceError
from coppice.export import latency, runtimes
from coppice.export.latency import RuntimeLatency, advice, runtime_latency
from coppice.export.runtimes import check_runtimes, openvino_call
from coppice.pruning.planning.decide import plan
from coppice.pruning.surgery.prune import prune

INSTALLED = [name for name, (module, _) in runtimes.RUNTIMES.items() if importlib.util.find_spec(module)]


@pytest.fixture(scope="module")
def small(classifier):
    return prune(classifier, plan(classifier, "l1", ratios=0.5))


def row(realised, runtime="torch", ms=1.0):
    return RuntimeLatency("model", runtime, 1, ms, ms, 10, 2 * realised, 2.0, realised)


def test_each_network_is_timed_in_each_runtime(classifier, small):
    rows = runtime_latency(small, before=classifier, runtimes=INSTALLED, repeats=4, warmup=1)
    assert [(one.runtime, one.model) for one in rows] == [(r, m) for r in INSTALLED for m in ("before", "model")]
    macs = [count_macs(net.network, torch.zeros(1, 1, 40, 25)).total for net in (classifier, small)]
    for before, after in zip(rows[::2], rows[1::2], strict=True):
        assert (before.macs, after.macs) == tuple(macs)
        assert 0 < after.latency_ms_p50 <= after.latency_ms_p95
        assert before.speed_up is before.realised is None
        assert after.speed_up == pytest.approx(before.latency_ms_p50 / after.latency_ms_p50)
        assert after.mac_reduction == pytest.approx(macs[0] / macs[1])
        assert after.realised == pytest.approx(after.speed_up / after.mac_reduction)


def test_the_networks_take_turns(classifier, small, monkeypatch):
    seen = []
    monkeypatch.setattr(latency, "torch_call", lambda network, _: lambda: seen.append(network))
    runtime_latency(small, before=classifier, runtimes=["torch"], repeats=2, warmup=1)
    assert seen == [classifier.network, small.network] * 3


def test_threads_and_modes_are_restored(classifier):
    classifier.network.train()
    threads = torch.get_num_threads()
    runtime_latency(classifier, runtimes=["torch"], repeats=2, warmup=0)
    assert classifier.network.training
    assert torch.get_num_threads() == threads
    classifier.network.eval()


def test_a_file_is_timed_where_it_runs(model, whole_model):
    rows = runtime_latency(whole_model, before=model, runtimes=["onnxruntime"], repeats=3, warmup=0)
    assert [one.macs for one in rows] == [None, None]
    assert rows[1].speed_up is not None
    assert rows[1].realised is None
    assert advice(rows) == ()


def test_a_file_cannot_run_in_torch(model):
    with pytest.raises(CoppiceError, match="cannot run in torch; give the checkpoint"):
        runtime_latency(model, runtimes=["torch", "onnxruntime"])


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"runtimes": ["torch", "onnxrutime"]}, "no runtime 'onnxrutime'. Did you mean 'onnxruntime'"),
        ({"runtimes": []}, "no runtime is given"),
        ({"threads": 0}, "threads is 0; give 1 to"),
        ({"threads": 10_000}, "threads is 10000; give 1 to"),
        ({"repeats": 0}, "repeats is 0"),
    ],
)
def test_impossible_settings_are_refused(classifier, settings, sentence):
    with pytest.raises(CoppiceError, match=sentence):
        runtime_latency(classifier, **settings)


def test_a_runtime_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(runtimes.RUNTIMES, "openvino", ("a_module_that_nobody_has", "openvino"))
    with pytest.raises(CoppiceError, match=r"'openvino' is not installed.*pip install 'coppice\[openvino\]'"):
        check_runtimes(["torch", "openvino"])


def test_openvino_computes_the_same_in_float32(classifier, whole_model):
    openvino = pytest.importorskip("openvino", reason="the extra openvino is not installed")
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(whole_model.content), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    sounds = 0.1 * torch.randn(2, 22050)
    sounds[1] = 0
    from coppice.audio.log_mel import log_mel

    expected = classifier.posteriors(torch.stack([log_mel(sound, classifier.front_end) for sound in sounds]))
    np.testing.assert_allclose(compiled(sounds.numpy())["posteriors"], expected.numpy(), atol=1e-5)


def test_openvino_refuses_in_one_sentence(whole_model):
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    with pytest.raises(CoppiceError, match="OpenVINO cannot run the model"):
        openvino_call(whole_model, np.zeros((1, 7), np.float32), threads=1)


def test_advice_comes_where_less_time_was_saved_than_macs():
    assert advice([row(1.0), row(1.3, "onnxruntime")]) == ()
    sentences = advice([row(0.5, ms=3.0), row(1.1, "onnxruntime", ms=2.0)])
    assert sentences[0] == "torch: 2.0 times fewer MACs, but 1.00 times as fast (0.50 realised)."
    assert "multiples" in sentences[1]
    assert sentences[2] == "The fastest of these runtimes is onnxruntime, with 2.00 ms."
