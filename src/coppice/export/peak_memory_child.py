"""The process that :mod:`coppice.export.peak_memory` measures: it imports one runtime, and little else."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from coppice.export import runtimes

_RUNS = 3


def main(runtime: str, threads: int, place: Path, shape: tuple[int, ...]) -> int:
    """Return the bytes that a model takes beyond what is resident before it is read."""
    clip = np.random.default_rng(0).standard_normal((1, *shape), dtype=np.float32)
    module = runtimes.runtime(runtime)
    if runtime == "torch":
        from coppice.networks.loading import load

        module.set_num_threads(threads)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
    before = _resident("VmRSS")
    if runtime == "torch":
        call = runtimes.torch_call(load(place).network.eval(), clip)
    else:
        beside = place.with_suffix(".bin")
        weights = beside.read_bytes() if beside.exists() else None
        model = SimpleNamespace(name=str(place), content=place.read_bytes(), weights=weights)
        makers: dict[str, Callable[..., runtimes.Call]] = {
            "onnxruntime": runtimes.onnxruntime_call,
            "openvino": runtimes.openvino_call,
            "litert": runtimes.litert_call,
            "c": runtimes.c_call,
        }
        call = makers[runtime](model, clip, threads=threads)
    for _ in range(_RUNS):
        call()
    return max(_resident("VmHWM") - before, 0)


def _resident(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {name}")


if __name__ == "__main__":
    print(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), tuple(map(int, sys.argv[4:]))))
