"""Runtimes by name: found, refused, loaded only when asked for."""

import subprocess
import sys
from importlib.metadata import version

import pytest

from coppice.complexity.latency_runtimes import RUNTIMES, check_runtime, latency_runtime
from coppice.core.errors import CoppiceError
from coppice.export import runtimes


@pytest.mark.parametrize("name", RUNTIMES)
def test_every_runtime_is_one_that_models_run_in(name):
    assert name in runtimes.RUNTIMES
    check_runtime(name)


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_times_are_kept_by_processor_version_and_threads(name):
    names = [latency_runtime(name, threads=threads).name for threads in (1, 2)]
    assert names[0].endswith("float32, 1 thread") and names[1].endswith("float32, 2 threads")
    assert f"{name} {version(name)}" in names[0]


@pytest.mark.parametrize(
    "given, meant", [("onnxrutime", "onnxruntime"), ("open vino", "openvino"), ("pytorch", "torch")]
)
def test_an_unknown_runtime_is_refused_with_what_was_meant(given, meant):
    with pytest.raises(CoppiceError, match=f"no runtime '{given}'. Did you mean '{meant}'"):
        latency_runtime(given)


def test_a_runtime_that_is_not_installed_is_refused_with_its_extra(monkeypatch):
    monkeypatch.setitem(runtimes.RUNTIMES, "openvino", ("a_module_that_nobody_has", "openvino"))
    with pytest.raises(CoppiceError, match=r"'openvino' is not installed.*pip install 'coppice\[openvino\]'"):
        latency_runtime("openvino")


@pytest.mark.parametrize("threads", [0, -1, 1.5])
def test_an_impossible_number_of_threads_is_refused(threads):
    with pytest.raises(CoppiceError, match=f"threads is {threads}; give a whole number from 1"):
        latency_runtime("onnxruntime", threads=threads)


def test_who_plans_loads_no_runtime_but_torch():
    code = (
        "import sys, coppice as cp; cp.Budget(latency_ms='50%', runtime='openvino'); cp.plan; "
        "print([name for name in ('onnx', 'onnxruntime', 'openvino', 'coppice.export') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
