"""The runtimes that a latency can be measured in, by name."""

from importlib import import_module
from typing import TYPE_CHECKING

from coppice.core.errors import CoppiceError, did_you_mean

if TYPE_CHECKING:
    from coppice.complexity.latency_table import Runtime

# All but torch run exported models. What does so lives floors above and needs packages of its own: it is loaded when
# asked for by name, so that whoever plans depends on none of it.
RUNTIMES = ("torch", "onnxruntime", "openvino", "litert", "c")
_EXPORTED = "coppice.export.latency_runtime"


def check_runtime(name: str) -> None:
    """Refuse a runtime that does not exist; whether it is installed is not looked at.

    Raises
    ------
    CoppiceError
        With the name that was probably meant.

    Examples
    --------
    >>> check_runtime("openvinno")
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: there is no runtime 'openvinno'. Did you mean 'openvino'?
    """
    if name not in RUNTIMES:
        raise CoppiceError(f"there is no runtime {name!r}. {did_you_mean(str(name), RUNTIMES)}")


def latency_runtime(name: str = "torch", *, threads: int = 1) -> "Runtime":
    """Return a runtime by its name, to measure latencies in.

    Parameters
    ----------
    name : {"torch", "onnxruntime", "openvino", "litert", "c"}
        ``torch`` is eager PyTorch; the others run what the network is exported to, ``c`` Coppice's own C. All compute
        in float32.
    threads : int >= 1

    Raises
    ------
    CoppiceError
        If it does not exist or is not installed, or ``threads`` is no whole number from 1.

    Examples
    --------
    >>> latency_runtime("torch", threads=2).name.endswith("2 threads")
    True
    """
    check_runtime(name)
    if not isinstance(threads, int) or threads < 1:
        raise CoppiceError(f"threads is {threads!r}; give a whole number from 1, such as 2.")
    if name == "torch":
        from coppice.complexity.latency_table import TorchRuntime  # budgets are read before torch is there

        return TorchRuntime(threads=threads)
    runtime: Runtime = import_module(_EXPORTED).ExportedRuntime(name, threads=threads)
    return runtime
