"""Plan the DCASE 2021 network (40×500) for shares of its time, and of its MACs, and measure both in every runtime.

``python benchmarks/bench_latency_budget.py`` prints; ``--page docs`` writes into ``docs/benchmarks.md``.
"""

import argparse
import os
import re
import time
from pathlib import Path
from typing import Any

import torch

from coppice.complexity.latency_runtimes import RUNTIMES, latency_runtime
from coppice.complexity.latency_table import LatencyTable
from coppice.complexity.macs import count_macs
from coppice.core.errors import CoppiceError
from coppice.networks.dcase2021 import DCASE2021
from coppice.pruning.plan import PruningPlan
from coppice.pruning.planning.budget import Budget
from coppice.pruning.planning.decide import plan
from coppice.pruning.surgery.prune import prune
from page import machine, ms, table, write_section

SHARES = (70, 50, 30)
EXAMPLE = torch.zeros(1, 1, 40, 500)


def measure(network: DCASE2021, runtime: str, latencies: LatencyTable) -> list[dict[str, Any]]:
    """Plan for each share of the time and of the MACs; time what is left beside the whole network, all in turn."""
    rows = []
    for share in SHARES:
        begin = time.perf_counter()
        timed = plan(network, "l1", budget=Budget(latency_ms=f"{share}%"), example=EXAMPLE, latencies=latencies)
        seconds = time.perf_counter() - begin
        counted = plan(network, "l1", budget=Budget(macs=f"{share}%"), example=EXAMPLE)
        networks = {name: prune(network, one, example=EXAMPLE) for name, one in (("time", timed), ("macs", counted))}
        times = latencies.runtime.networks_ms({"before": network, **networks}, EXAMPLE)
        macs = {name: count_macs(one, EXAMPLE).total for name, one in (("before", network), *networks.items())}
        said = next(remark for remark in timed.remarks if remark.startswith("latency_ms: "))
        predicted = re.search(r"([\d.e+-]+) predicted", said)
        assert predicted is not None
        row = {"runtime": runtime, "share": share, "seconds": seconds, "predicted": float(predicted[1])}
        row |= {"times": times, "macs": {name: count / macs["before"] for name, count in macs.items()}}
        row |= {"kept": {"time": widths(timed), "macs": widths(counted)}}
        row["remarks"] = [remark for remark in timed.remarks if " here: " in remark or "other programs" in remark]
        print(row, flush=True)
        rows.append(row)
    return rows


def widths(decided: PruningPlan) -> str:
    """Write how many filters stay, such as ``8-16-32``."""
    return "-".join(str(len(layer.keep)) for layer in decided.layers)


def section(rows: list[dict[str, Any]], load: float) -> str:
    """Write everything between the markers."""
    lines = [
        [
            row["runtime"],
            f"{row['share']} %",
            row["kept"]["time"],
            f"{100 * row['macs']['time']:.0f} %",
            ms(row["times"]["before"]),
            ms(row["predicted"]),
            ms(row["times"]["time"]),
            share_text(row["times"], "time"),
            row["kept"]["macs"],
            ms(row["times"]["macs"]),
            share_text(row["times"], "macs"),
            f"{row['seconds']:.0f}",
        ]
        for row in rows
    ]
    head = ["runtime", "budget", "kept", "MACs left", "before", "predicted", "measured", ""]
    head += ["kept for MACs", "measured", "", "planning, s"]
    busy = f" Other programs kept the cores busy meanwhile (load average {load:.1f})." if load > 0.5 else ""
    said = {row["runtime"]: row["remarks"] for row in rows if row["share"] == min(SHARES)}
    remarks = [f"* {runtime}: {' '.join(sentences) or 'nothing.'}" for runtime, sentences in said.items()]
    return (
        "## Latency budgets\n\n"
        f"{machine()}. The network of the DCASE 2021 systems, 16-16-32 filters on 40×500 log-mel, random weights, "
        "planned with `l1` for a share of its time in each runtime, one thread, float32; milliseconds, medians. "
        "*Predicted* is what the planner expected of the widths it chose, *measured* was measured again afterwards, "
        "beside the whole network and beside what a budget of the same share of the **MACs** leaves. The first plan of "
        f"a runtime measures the layers, the others know their times.{busy}\n\n"
        + table(head, lines)
        + "What the plans remark on layers:\n\n"
        + "\n".join(remarks)
        + "\n"
    )


def share_text(times: dict[str, float], name: str) -> str:
    """Write the share of the whole network's time."""
    return f"{100 * times[name] / times['before']:.0f} %"


def main() -> None:
    """Measure in every runtime that is installed; print, and write the page where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, help="folder of benchmarks.md, to be written")
    page = parser.parse_args().page
    load = os.getloadavg()[0]
    torch.manual_seed(0)
    network = DCASE2021(frames=500)
    rows = []
    for name in RUNTIMES:
        try:
            runtime = latency_runtime(name)
        except CoppiceError as error:
            print(f"left out: {error}")
            continue
        rows += measure(network, name, LatencyTable(runtime))
    text = section(rows, load)
    print(text)
    if page:
        write_section(page, "latency_budget", text)


if __name__ == "__main__":
    main()
