"""Latency in the runtimes that run exported models, unpruned beside pruned, and what of the saved MACs is realised."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from joblib import cpu_count

from coppice.complexity.latency import Latency, time_in_turn
from coppice.complexity.macs import count_macs
from coppice.core.errors import CoppiceError
from coppice.core.modes import eval_mode
from coppice.core.seeds import numpy_stream
from coppice.export.onnx import onnx_model
from coppice.export.onnx_file import OnnxFile
from coppice.export.runtimes import Call, check_runtimes, onnxruntime_call, openvino_call, torch_call
from coppice.networks.classifier import Classifier

BEFORE, AFTER = "before", "model"


@dataclass(frozen=True)
class RuntimeLatency:
    """Time of one clip through one model in one runtime.

    Attributes
    ----------
    model : {"model", "before"}
        Which of the two networks.
    runtime : str
    threads : int
    latency_ms_p50, latency_ms_p95 : float
        Median and 95th percentile over the repeats; float32, batch of 1.
    macs : int or None
        For one clip, of convolutions and dense layers; None for a model that came as a file of a runtime.
    speed_up : float or None
        Median of the network before ÷ this median, in the same runtime; None without a network before.
    mac_reduction : float or None
        MACs of the network before ÷ these.
    realised : float or None
        ``speed_up / mac_reduction``: 1 where the time falls as the MACs do.
    """

    model: str
    runtime: str
    threads: int
    latency_ms_p50: float
    latency_ms_p95: float
    macs: int | None
    speed_up: float | None
    mac_reduction: float | None
    realised: float | None


def runtime_latency(
    model: Classifier | OnnxFile,
    *,
    before: Classifier | OnnxFile | None = None,
    runtimes: Sequence[str] = ("torch", "onnxruntime"),
    threads: int = 1,
    repeats: int = 60,
    warmup: int = 8,
) -> tuple[RuntimeLatency, ...]:
    """Time networks in runtimes, all in turn in one process, so that ratios hold when the machine's speed drifts.

    PyTorch runs the network eagerly; the other runtimes run its ONNX export, which ends in the posteriors.

    Parameters
    ----------
    model : Classifier or OnnxFile
        The network; what :func:`coppice.export.onnx_file.read_onnx` returns cannot run in torch.
    before : Classifier or OnnxFile, optional
        The network before pruning, to compare with.
    runtimes : sequence of str
        Of ``torch``, ``onnxruntime``, ``openvino``.
    threads : int >= 1
        Of each runtime, at most as many as there are processors.
    repeats, warmup : int >= 1, int >= 0
        Timed and untimed passes of each network in each runtime.

    Returns
    -------
    tuple of RuntimeLatency
        By runtime, the network before first.

    Raises
    ------
    CoppiceError
        If a runtime is unknown, not installed or lacks an operator, or ``threads`` or ``repeats`` are impossible.

    Examples
    --------
    >>> from coppice.audio.front_end import front_end
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> ear = front_end("dcase2021", duration_s=1.0)
    >>> one = Classifier(DCASE2021(widths=(2, 2, 2), frames=50), ear, tuple("abcdefghij"), None, None)
    >>> (row,) = runtime_latency(one, runtimes=["torch"], repeats=3)
    >>> row.runtime, row.macs, row.realised
    ('torch', 605080, None)
    """
    runtimes = list(dict.fromkeys(runtimes))
    check_runtimes(runtimes)
    processors = cpu_count()
    if not 1 <= threads <= processors:
        raise CoppiceError(f"threads is {threads}; give 1 to {processors}, the processors of this machine.")
    if repeats < 1 or warmup < 0:
        raise CoppiceError(f"repeats is {repeats} and warmup {warmup}; give at least 1 and at least 0.")
    models = {AFTER: model} if before is None else {BEFORE: before, AFTER: model}
    for one in models.values():
        if isinstance(one, OnnxFile) and "torch" in runtimes:
            raise CoppiceError(f"{one.name} cannot run in torch; give the checkpoint, or another runtime.")
    macs = {name: _macs(one) for name, one in models.items()}
    times = _measured(models, runtimes, threads=threads, repeats=repeats, warmup=warmup)
    return tuple(
        _row(name, runtime, threads, times, macs, compared=before is not None and name == AFTER)
        for runtime in runtimes
        for name in models
    )


def advice(rows: Sequence[RuntimeLatency]) -> tuple[str, ...]:
    """Say in which runtimes less time was saved than MACs, and what may help; nothing where none did.

    Parameters
    ----------
    rows : sequence of RuntimeLatency
        What :func:`runtime_latency` returns.

    Examples
    --------
    >>> row = RuntimeLatency("model", "torch", 1, 2.9, 3.0, 84_000_000, 1.04, 3.4, 0.306)
    >>> advice([row])[0]
    'torch: 3.4 times fewer MACs, but 1.04 times as fast (0.31 realised).'
    """
    compared = [row for row in rows if row.realised is not None]
    sentences = [
        f"{row.runtime}: {row.mac_reduction:.1f} times fewer MACs, but {row.speed_up:.2f} times as fast "
        f"({row.realised:.2f} realised)."
        for row in compared
        if row.realised is not None and row.realised < 1
    ]
    if not sentences:
        return ()
    sentences.append(
        "Runtimes work on filters in blocks of 8 or 16: keep multiples of these. Cut the first convolutions, too: "
        "fewer channels in save time where fewer filters out do not."
    )
    if len(compared) > 1:
        fastest = min(compared, key=lambda row: row.latency_ms_p50)
        sentences.append(f"The fastest of these runtimes is {fastest.runtime}, with {fastest.latency_ms_p50:.2f} ms.")
    return tuple(sentences)


def _measured(
    models: dict[str, Classifier | OnnxFile], runtimes: Sequence[str], *, threads: int, repeats: int, warmup: int
) -> dict[str, Latency]:
    files = {
        name: one if isinstance(one, OnnxFile) else onnx_model(one)
        for name, one in models.items()
        if set(runtimes) - {"torch"}
    }
    calls: dict[str, Call] = {}
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(threads)
        for runtime in runtimes:
            for name, one in models.items():
                if isinstance(one, Classifier) and runtime == "torch":
                    stack.enter_context(eval_mode(one.network))
                    calls[f"{runtime}/{name}"] = torch_call(one.network, _clip(one.input_shape[1:]))
                else:
                    run = onnxruntime_call if runtime == "onnxruntime" else openvino_call
                    calls[f"{runtime}/{name}"] = run(files[name], _clip(files[name].clip_shape), threads=threads)
        return time_in_turn(calls, repeats=repeats, warmup=warmup)


def _row(
    name: str,
    runtime: str,
    threads: int,
    times: dict[str, Latency],
    macs: dict[str, int | None],
    *,
    compared: bool,
) -> RuntimeLatency:
    mine, macs_here, macs_before = times[f"{runtime}/{name}"], macs[name], macs.get(BEFORE)
    speed_up = times[f"{runtime}/{BEFORE}"].latency_ms_p50 / mine.latency_ms_p50 if compared else None
    reduction = macs_before / macs_here if compared and macs_before and macs_here else None
    return RuntimeLatency(
        model=name,
        runtime=runtime,
        threads=threads,
        latency_ms_p50=mine.latency_ms_p50,
        latency_ms_p95=mine.latency_ms_p95,
        macs=macs_here,
        speed_up=speed_up,
        mac_reduction=reduction,
        realised=speed_up / reduction if speed_up and reduction else None,
    )


def _macs(model: Classifier | OnnxFile) -> int | None:
    if isinstance(model, OnnxFile):
        return None
    return count_macs(model.network, torch.from_numpy(_clip(model.input_shape[1:]))).total


def _clip(shape: tuple[int, ...]) -> np.ndarray:
    """Return one clip of standard normal values; zeros would let a runtime skip work."""
    return numpy_stream(0, "latency").standard_normal((1, *shape), dtype=np.float32)
