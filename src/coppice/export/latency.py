"""Latency in the runtimes that run exported models, unpruned beside pruned, and what of the saved MACs is realised."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from joblib import cpu_count

from coppice.complexity.latency import Latency, time_in_turn
from coppice.complexity.macs import count_macs
from coppice.core.errors import CoppiceError
from coppice.core.modes import eval_mode
from coppice.core.seeds import numpy_stream
from coppice.export.litert.export import litert_model
from coppice.export.model_files import Runnable, runs_in
from coppice.export.onnx import onnx_model
from coppice.export.peak_memory import peak_memory_bytes
from coppice.export.posterior_graph import WAVEFORM
from coppice.export.runtimes import (
    Call,
    c_call,
    check_runtimes,
    litert_call,
    onnxruntime_call,
    openvino_call,
    torch_call,
)
from coppice.networks.classifier import Classifier

BEFORE, AFTER = "before", "model"


@dataclass(frozen=True)
class RuntimeLatency:
    """Time of one clip through one model in one runtime.

    Attributes
    ----------
    model : str
        Which model: its name in the mapping given, ``"model"`` if one was given, or ``"before"``.
    runtime : str
    threads : int
    latency_ms_p50, latency_ms_p95 : float
        Median and 95th percentile over the repeats; batch of 1.
    peak_memory_bytes : int or None
        What loading and running it takes beyond the runtime; None if not measured.
    macs : int or None
        For one clip, of the network's convolutions and dense layers; None where a file does not say, and where a front
        end inside computes as well.
    speed_up : float or None
        Median of the network before ÷ this median, in the same runtime; None without it.
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
    peak_memory_bytes: int | None = None


def runtime_latency(
    model: Runnable | Mapping[str, Runnable],
    *,
    before: Runnable | None = None,
    runtimes: Sequence[str] = ("torch", "onnxruntime"),
    threads: int = 1,
    repeats: int = 60,
    warmup: int = 8,
    memory: bool = False,
) -> tuple[RuntimeLatency, ...]:
    """Time models in runtimes, all in turn in one process, so that ratios hold when the machine's speed drifts.

    PyTorch runs a classifier eagerly; the other runtimes run its float32 export, which ends in the posteriors. Files
    run as they are, in the runtimes that read them; the others are left out.

    Parameters
    ----------
    model : Classifier or model file, or mapping of name to these
        Files are what :func:`coppice.export.model_files.read_model_file` returns, of any precision.
    before : Classifier or model file, optional
        The network before pruning, to compare with.
    runtimes : sequence of str
        Of ``torch``, ``onnxruntime``, ``openvino``, ``litert``, ``c``.
    threads : int >= 1
        Of each runtime, at most as many as there are processors.
    repeats, warmup : int >= 1, int >= 0
        Timed and untimed passes of each model in each runtime.
    memory : bool
        Measure the peak memory as well, in a process for each.

    Returns
    -------
    tuple of RuntimeLatency
        By runtime, the network before first.

    Raises
    ------
    CoppiceError
        If a runtime is unknown, not installed or lacks an operator, a file runs in none of them, or ``threads`` or
        ``repeats`` are impossible.

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
    given = dict(model) if isinstance(model, Mapping) else {AFTER: model}
    if not given or (before is not None and BEFORE in given):
        raise CoppiceError(f"give at least one model, and none that is called {BEFORE!r} beside the one before.")
    models: dict[str, Runnable] = given if before is None else {BEFORE: before, **given}
    for one in models.values():
        _check(one, runtimes)
    pairs = [(runtime, name) for runtime in runtimes for name, one in models.items() if runtime in runs_in(one)]
    ready = _ready(models, pairs)
    macs = {name: _macs(one) for name, one in models.items()}
    times = _measured(ready, threads=threads, repeats=repeats, warmup=warmup)
    peaks = {pair: peak_memory_bytes(ready[pair], pair[0], threads=threads) for pair in pairs} if memory else {}
    return tuple(_row(pair, threads, times, macs, peaks.get(pair)) for pair in pairs)


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
    compared = [row for row in rows if row.speed_up is not None]
    several = len({row.model for row in compared}) > 1
    names = [f"{row.model} in {row.runtime}" if several else row.runtime for row in compared]
    sentences = [f"{name}: {_lost(row)}." for name, row in zip(names, compared, strict=True) if _lost(row)]
    if not sentences:
        return ()
    sentences.append(
        "Runtimes work on filters in blocks of 8 or 16: keep multiples of these (round_to). Cut the first convolutions "
        "too: fewer channels in save time where fewer filters out do not. int8 saves time without a cut."
    )
    if len(compared) > 1:
        fastest = min(compared, key=lambda row: row.latency_ms_p50)
        what = f"{fastest.model} in {fastest.runtime}" if several else fastest.runtime
        sentences.append(f"The fastest here is {what}, with {fastest.latency_ms_p50:.2f} ms.")
    return tuple(sentences)


def _lost(row: RuntimeLatency) -> str:
    """Say what pruning or another format has not brought; empty if nothing."""
    if row.realised is not None and row.mac_reduction is not None and row.mac_reduction > 1.01:
        fewer = f"{row.mac_reduction:.1f} times fewer MACs, but {row.speed_up:.2f} times as fast"
        return f"{fewer} ({row.realised:.2f} realised)" if row.realised < 1 else ""
    return f"slower than before, {row.speed_up:.2f} times as fast" if row.speed_up and row.speed_up < 0.95 else ""


def _check(model: Runnable, runtimes: Sequence[str]) -> None:
    possible = runs_in(model)
    if isinstance(model, Classifier) or set(possible) & set(runtimes):
        return
    raise CoppiceError(
        f"{model.name} cannot run in {' or '.join(runtimes)}; give the checkpoint, or --runtime {','.join(possible)}."
    )


def _ready(models: Mapping[str, Runnable], pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Runnable]:
    """Return what each runtime runs: files as they are, networks exported once for each format."""
    exported: dict[tuple[str, str], Runnable] = {}
    ready: dict[tuple[str, str], Runnable] = {}
    for runtime, name in pairs:
        model = models[name]
        ready[runtime, name] = model
        if isinstance(model, Classifier) and runtime != "torch":
            form = "litert" if runtime == "litert" else "onnx"
            if (form, name) not in exported:
                exported[form, name] = litert_model(model) if form == "litert" else onnx_model(model)
            ready[runtime, name] = exported[form, name]
    return ready


def _measured(
    ready: Mapping[tuple[str, str], Any], *, threads: int, repeats: int, warmup: int
) -> dict[tuple[str, str], Latency]:
    makers: dict[str, Callable[..., Call]] = {
        "onnxruntime": onnxruntime_call,
        "openvino": openvino_call,
        "litert": litert_call,
        "c": c_call,
    }
    calls: dict[str, Call] = {}
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(threads)
        for (runtime, name), model in ready.items():
            if runtime == "torch":
                stack.enter_context(eval_mode(model.network))
                calls[f"{runtime}/{name}"] = torch_call(model.network, _clip(model.input_shape[1:]))
            else:
                calls[f"{runtime}/{name}"] = makers[runtime](model, _clip(model.clip_shape), threads=threads)
        times = time_in_turn(calls, repeats=repeats, warmup=warmup)
    return {(runtime, name): times[f"{runtime}/{name}"] for runtime, name in ready}


def _row(
    pair: tuple[str, str],
    threads: int,
    times: Mapping[tuple[str, str], Latency],
    macs: Mapping[str, int | None],
    peak: int | None,
) -> RuntimeLatency:
    runtime, name = pair
    mine, macs_here, macs_before = times[pair], macs[name], macs.get(BEFORE)
    former = times.get((runtime, BEFORE)) if name != BEFORE else None
    speed_up = former.latency_ms_p50 / mine.latency_ms_p50 if former else None
    reduction = macs_before / macs_here if name != BEFORE and macs_before and macs_here else None
    return RuntimeLatency(
        model=name,
        runtime=runtime,
        threads=threads,
        latency_ms_p50=mine.latency_ms_p50,
        latency_ms_p95=mine.latency_ms_p95,
        peak_memory_bytes=peak,
        macs=macs_here,
        speed_up=speed_up,
        mac_reduction=reduction,
        realised=speed_up / reduction if speed_up and reduction else None,
    )


def _macs(model: Runnable) -> int | None:
    if isinstance(model, Classifier):
        return count_macs(model.network, torch.from_numpy(_clip(model.input_shape[1:]))).total
    said = str(model.metadata.get("macs", ""))
    return int(said) if said.isdecimal() and int(said) and model.metadata.get("input") != WAVEFORM else None


def _clip(shape: tuple[int, ...]) -> np.ndarray:
    """Return one clip of standard normal values; zeros would let a runtime skip work."""
    return numpy_stream(0, "latency").standard_normal((1, *shape), dtype=np.float32)
