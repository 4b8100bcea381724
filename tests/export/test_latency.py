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


@pytest.mark.proof
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
    assert rows[0].macs > 0
    assert rows[1].macs is None  # the front end inside computes, too
    assert rows[1].speed_up is not None
    assert rows[1].realised is None


def test_a_file_is_left_out_where_it_does_not_run(classifier, model):
    rows = runtime_latency({"net": classifier, "file": model}, runtimes=["torch", "onnxruntime"], repeats=2, warmup=0)
    assert [(one.runtime, one.model) for one in rows] == [
        ("torch", "net"), ("onnxruntime", "net"), ("onnxruntime", "file"),
    ]  # fmt: skip
    assert rows[1].macs == rows[2].macs


def test_a_file_that_runs_nowhere_is_refused(model):
    with pytest.raises(CoppiceError, match=r"cannot run in torch; give the checkpoint, or --runtime onnxruntime,openv"):
        runtime_latency(model, runtimes=["torch"])


@pytest.mark.parametrize("given", [{}, {"before": None}])
def test_models_need_names_of_their_own(classifier, given):
    with pytest.raises(CoppiceError, match="at least one model, and none that is called 'before'"):
        runtime_latency(dict.fromkeys(given, classifier), before=classifier)


@pytest.mark.proof
def test_several_models_stand_beside_the_one_before(classifier, small, model):
    given = {"pruned": small, "file": model}
    rows = runtime_latency(given, before=classifier, runtimes=["onnxruntime"], repeats=3, warmup=0, memory=True)
    assert [one.model for one in rows] == ["before", "pruned", "file"]
    assert rows[1].mac_reduction > 1
    assert rows[2].mac_reduction == 1
    assert all(one.peak_memory_bytes is None or one.peak_memory_bytes > 0 for one in rows)


def test_litert_takes_its_own_files_alone(classifier):
    pytest.importorskip("ai_edge_litert", reason="the extra litert is not installed")
    from coppice.export.litert.export import litert_model

    half = litert_model(classifier, precision="float16")
    rows = runtime_latency({"half": half}, before=classifier, runtimes=["litert"], repeats=3, warmup=0)
    assert [(one.runtime, one.model) for one in rows] == [("litert", "before"), ("litert", "half")]
    with pytest.raises(CoppiceError, match="or --runtime litert"):
        runtime_latency(half, runtimes=["onnxruntime"])


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
    assert sentences[2] == "The fastest here is onnxruntime, with 2.00 ms."


def test_a_file_that_is_slower_than_before_is_named():
    rows = [row(0.4, ms=3.0), RuntimeLatency("int8", "torch", 1, 2.0, 2.0, 10, 0.8, 1.0, 0.8)]
    assert advice(rows)[1] == "int8 in torch: slower than before, 0.80 times as fast."
