"""One process of a fit: takes the job, trains its rows of every batch, says how far it is."""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only
from torch import distributed

from coppice.training.devices.failure import Failure
from coppice.training.devices.meeting import led_by, on_this_machine
from coppice.training.devices.parcel import RESUME, pack_looped, send_on, unpack
from coppice.training.devices.share import Share
from coppice.training.loop import loop

_TIMEOUT = timedelta(minutes=30)  # for a step of another process
Say = Callable[[dict[str, Any]], None]


def main() -> None:
    """Do one process's part of a fit; what went wrong lies in the folder afterwards."""
    place = json.loads(sys.argv[1])
    folder, local = Path(place["folder"]), int(place["local"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one, which ends it
    threading.Thread(target=_die_with_parent, daemon=True).start()
    code = 0
    try:
        _work(place, folder, _speaker())
    except BaseException as error:
        Failure.of(error).write(folder, local)
        code = 1
    # Without what waits for other processes at the end: they may be gone.
    sys.stderr.flush()
    os._exit(code)


def _work(place: dict[str, Any], folder: Path, say: Say) -> None:
    devices, num_nodes, node, local = (int(place[name]) for name in ("devices", "num_nodes", "node", "local"))
    rank, gpu = node * devices + local, torch.cuda.is_available()
    fit = led_by(place["leader"], place["fit"]) if num_nodes > 1 else on_this_machine(folder)
    if gpu:
        torch.cuda.set_device(local)
    backend = "nccl" if gpu else "gloo"
    processes = devices * num_nodes
    distributed.init_process_group(backend, store=fit.of_processes, rank=rank, world_size=processes, timeout=_TIMEOUT)
    if num_nodes > 1:
        send_on(folder, range(0, processes, devices))
    job = unpack(folder)
    fit.count(f"loaded{node}")
    looped = loop(
        job,
        advance=(lambda steps, note: say({"advance": [steps, note]})) if rank == 0 else (lambda steps, note: None),
        loggers=[_Relay(say)] if job.logged else (),
        start=folder / RESUME,
        share=Share(rank, processes),
        place={
            "accelerator": "cuda" if gpu else "cpu",
            "devices": devices,
            "num_nodes": num_nodes,
            # A network may have parameters that its output does not depend on.
            "strategy": DDPStrategy(process_group_backend=backend, find_unused_parameters=True),
            "plugins": [LightningEnvironment()],  # NODE_RANK and LOCAL_RANK, whatever else started this machine
            "use_distributed_sampler": False,
        },
    )
    if local == 0:
        pack_looped(looped, folder)
    distributed.barrier()


def _speaker() -> Say:
    """Keep standard output for lines of JSON; whatever else is printed goes where errors go."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(what: dict[str, Any]) -> None:
        print(json.dumps(what), file=lines, flush=True)

    return say


def _die_with_parent() -> None:
    os.read(0, 1)  # nothing is ever written: it returns when the other end is closed
    os._exit(1)


class _Relay(Logger):
    """Passes on what loggers in the starting process are to get."""

    def __init__(self, say: Say) -> None:
        super().__init__()
        self._say = say

    @property
    def name(self) -> str:
        """What Lightning asks for."""
        return "relay"

    @property
    def version(self) -> str:
        """What Lightning asks for."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Pass metrics on."""
        self._say({"metrics": {name: float(value) for name, value in metrics.items()}, "step": step})

    @rank_zero_only
    def log_hyperparams(self, *given: Any, **named: Any) -> None:
        """Do nothing: the starting process has the settings."""


if __name__ == "__main__":
    main()
