"""What ranking costs: beside the published way, criterion by criterion, and as layers and networks grow.

``python benchmarks/bench_criteria.py`` prints the tables; ``--page docs`` writes them, with figures, into
``docs/benchmarks.md``.

Times are processor time of one thread (medians), which what else the machine does disturbs least: the published way
has no use for more, as its decompositions are too small. The column for all cores is the best wall-clock time.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from coppice.criteria.evidence import Evidence
from coppice.criteria.registry import rank
from coppice.networks.dcase2021 import DCASE2021
from coppice.pruning.evidence.rankings import rankings
from criteria_page import write_page
from published_similarity import published

BESIDE = [(d, d, 3, 3) for d in (64, 128, 256, 512, 1024, 2048)] + [(d, d, 7, 7) for d in (64, 128, 256, 512)]
PASSIVE = (
    "l1",
    "l2",
    "bn_scale",
    "geometric_mean_deviation",
    "geometric_median",
    "cosine_similarity",
    "cosine_similarity_2022",
    "nystrom",
    "nystrom_spread",
    "operator_norm",
    "operator_norm_order_free",
    "weighted_degree",
    "absolute_weighted_degree",
    "betweenness",
    "random",
)
ACTIVE = (
    "apoz",
    "mean_activation",
    "taylor",
    "feature_map_rank",
    "nuclear_norm",
    "feature_map_similarity",
    "reconstruction",
)
CLIPS = (64, 1, 40, 500)
SIZES = (128, 512, 2048)
GROWING = ("cosine_similarity", "nystrom", "weighted_degree", "operator_norm", "l1", "geometric_median", "betweenness")
FILTERS = [2**power for power in range(6, 15)]
DEPTHS = (1, 2, 4, 8, 16, 32, 64)
SLOW = {"betweenness": 512, "geometric_median": 8192}  # filters beyond which a criterion is not timed
CNN14 = [(64, 1), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256), (512, 256), (512, 512)]
CNN14 += [(1024, 512), (1024, 1024), (2048, 1024), (2048, 2048)]
CORES = os.cpu_count() or 1


def weights(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return random weights as a network stores them."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


def median_ms(function: Callable[[], object], *, budget_s: float = 0.6) -> float:
    """Return the median processor time of a call, after one that is not counted."""
    begin = time.process_time()
    function()
    times = [time.process_time() - begin]
    for _ in range(max(0, min(40, round(budget_s / max(times[0], 1e-4))))):
        begin = time.process_time()
        function()
        times.append(time.process_time() - begin)
    return 1e3 * statistics.median(times[1:] or times)


def on_all_cores(function: Callable[[], object], *, budget_s: float = 2.0) -> dict[str, float]:
    """Return the shortest wall-clock time of a call with torch on all cores, and the median processor time."""
    torch.set_num_threads(CORES)
    function()
    times: list[float] = []
    spent: list[float] = []
    while len(times) < 5 or (sum(times) < budget_s and len(times) < 200):
        begin, used = time.perf_counter(), time.process_time()
        function()
        times.append(time.perf_counter() - begin)
        spent.append(time.process_time() - used)
    torch.set_num_threads(1)
    return {"all_cores_ms": 1e3 * min(times), "all_cores_spent_ms": 1e3 * statistics.median(spent)}


def beside_the_published_way() -> list[dict]:
    """Compare cosine similarity and its Nyström form with the published way; the kept sets must be equal."""
    rows = []
    for shape in BESIDE:
        weight = weights(*shape)
        important, seconds, extrapolated = published(weight.double().numpy())
        ranking = rank(weight, "cosine_similarity")
        assert list(ranking.keep or ()) == important, f"{shape}: another set is kept"
        rows.append(
            {
                "shape": shape,
                "kept": len(important),
                "published_ms": 1e3 * seconds,
                "extrapolated": extrapolated,
                "exact_ms": median_ms(lambda weight=weight: rank(weight, "cosine_similarity")),
                "nystrom_ms": median_ms(lambda weight=weight: rank(weight, "nystrom")),
                "spread_ms": median_ms(lambda weight=weight: rank(weight, "nystrom_spread")),
                **on_all_cores(lambda weight=weight: rank(weight, "cosine_similarity")),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def criterion_by_criterion() -> list[dict]:
    """Time every criterion that looks at weights on layers of 3×3 kernels with as many channels as filters."""
    rows = []
    for name in PASSIVE:
        row: dict = {"criterion": name}
        for filters in SIZES:
            if filters <= SLOW.get(name, filters):
                weight, evidence = weights(filters, filters, 3, 3), Evidence(scale=torch.rand(filters))
                row[str(filters)] = median_ms(lambda w=weight, e=evidence, n=name: rank(w, n, evidence=e))
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def active() -> list[dict]:
    """Time the criteria that look at clips, with all that they look at, on the DCASE 2021 network."""
    network, clips = DCASE2021().eval(), weights(*CLIPS)
    targets = torch.arange(len(clips)) % 10
    with torch.inference_mode():
        forward_ms = median_ms(lambda: [network(clip[None]) for clip in clips])
    said = {"clips": CLIPS[0], "bands": CLIPS[2], "frames": CLIPS[3], "forward_ms": forward_ms}
    rows = []
    for name in ACTIVE:
        run = partial(rankings, network, name, example=clips[:1], clips=clips, targets=targets)
        rows.append({"criterion": name, "ms": median_ms(run), **said})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def growth() -> list[dict]:
    """Time criteria against the number of filters, of 64 channels and 3×3 kernels."""
    rows = []
    for name in GROWING:
        for filters in FILTERS:
            if filters <= SLOW.get(name, filters):
                weight = weights(filters, 64, 3, 3)
                ms = median_ms(lambda w=weight, n=name: rank(w, n), budget_s=0.3)
                rows.append({"criterion": name, "filters": filters, "ms": ms})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def depth() -> list[dict]:
    """Time criteria against the number of layers, of 128 filters, 128 channels and 3×3 kernels."""
    layers = [weights(128, 128, 3, 3, seed=layer) for layer in range(max(DEPTHS))]
    return [
        {"criterion": name, "layers": count, "ms": median_ms(lambda c=count, n=name: [rank(w, n) for w in layers[:c]])}
        for name in GROWING[:-1]
        for count in DEPTHS
    ]


def whole_network() -> list[dict]:
    """Time all twelve convolutions of CNN14, 75 million weights."""
    layers = [weights(*shape, 3, 3) for shape in CNN14]
    return [
        {"criterion": name, "ms": median_ms(lambda n=name: [rank(w, n) for w in layers], budget_s=1.0)}
        for name in ("cosine_similarity", "nystrom", "operator_norm", "l1")
    ]


def _resident_mib(which: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition(f"{which}:")[2].split()[0]) / 1024


def _peak(shape: tuple[int, ...], name: str, pipe: multiprocessing.connection.Connection) -> None:
    torch.set_num_threads(1)
    rank(weights(8, *shape[1:]), name)
    weight = weights(*shape)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts from here
    before = _resident_mib("VmRSS")
    rank(weight, name)
    pipe.send(_resident_mib("VmHWM") - before)


def memory() -> list[dict]:
    """Measure in a process of its own what ranking 16,384 filters takes beyond the weights."""
    rows = []
    for name in (
        "cosine_similarity",
        "nystrom",
        "nystrom_spread",
        "weighted_degree",
        "absolute_weighted_degree",
        "geometric_median",
        "operator_norm",
        "l1",
    ):
        for shape in ((16_384, 64, 3, 3), (16_384, 512, 3, 3)):
            context = multiprocessing.get_context("spawn")
            here, there = context.Pipe()
            process = context.Process(target=_peak, args=(shape, name, there))
            process.start()
            megabytes = here.recv()
            process.join()
            held = int(np.prod(shape)) * 4 / 2**20
            rows.append({"criterion": name, "shape": shape, "weights_mib": held, "mib": megabytes})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    """Measure everything on one thread; print, and write the page where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, help="folder of benchmarks.md, to be written")
    page = parser.parse_args().page
    torch.set_num_threads(1)
    with threadpool_limits(1):
        measured = {
            "cores": CORES,
            "load": os.getloadavg()[0],
            "beside": beside_the_published_way(),
            "criteria": criterion_by_criterion(),
            "active": active(),
            "growth": growth(),
            "depth": depth(),
            "cnn14": whole_network(),
            "memory": memory(),
        }
    if page:
        write_page(page, measured)


if __name__ == "__main__":
    main()
