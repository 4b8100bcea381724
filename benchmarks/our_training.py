"""Our side of bench_keras.py, in a process of its own: bare steps, and whole trainings beside the same work bare."""

import io
import os
import tempfile
import time
from contextlib import redirect_stderr
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from coppice.audio.front_end import front_end
from coppice.datasets.clips import make_dataset
from coppice.datasets.prepare import Prepared
from coppice.datasets.splits import Split
from coppice.networks.dcase2021 import DCASE2021
from coppice.training.allocator import keep_freed_memory
from coppice.training.layout import training_layout
from coppice.training.precision import choose_precision
from coppice.training.quick_layers import use_quick_layers_
from coppice.training.settings import TrainingSettings
from coppice.training.train import train
from training_step import arithmetic, training_step

CLASSES, BANDS, FRAMES = 10, 40, 500
# As many clips as a fold of ESC-10 has, more or less: with few steps an epoch, what happens once an epoch weighs most.
TRAINING, VALIDATION = 320, 64


def serve(pipe: Connection, threads: int) -> None:
    """Do what the other end asks for, until it closes: ``("steps", batch, count)`` or ``("stack", batch, epochs)``."""
    os.environ["FORCE_COLOR"] = "1"  # the progress bar is drawn as on a terminal
    torch.set_num_threads(threads)
    training = OurTraining()
    asked = {"steps": training.steps, "stack": training.stack}
    while True:
        try:
            what, batch, count = pipe.recv()
        except EOFError:
            return
        pipe.send(asked[what](batch, count))


class OurTraining:
    """One network on computed features, trained by bare steps as ``fit`` runs them, and from scratch by ``train``."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        keep_freed_memory()
        self.half = choose_precision().name == "bfloat16"
        self.network = DCASE2021(classes=CLASSES, bands=BANDS, frames=FRAMES).train()
        use_quick_layers_(self.network)
        self.network.to(memory_format=training_layout(self.network, half=self.half))
        self.step = training_step(self.network, half=self.half)
        self.data = clips()
        self.sides: dict[str, tuple[Tensor, Tensor]] = {}
        for part in ("train", "validation"):
            self.sides[part] = (self.data.log_mel(part)[:, None] + 5, self.data.targets(part))

    def batches(self, part: str, batch: int) -> list[tuple[Tensor, Tensor]]:
        """Return the clips of a part in batches, in the order of the table."""
        inputs, targets = self.sides[part]
        return list(zip(inputs.split(batch), targets.split(batch), strict=True))

    def steps(self, batch: int, count: int) -> list[float]:
        """Return the seconds of so many bare steps."""
        one, *_ = self.batches("train", batch)
        return [timed(self.step, *one) for _ in range(count)]

    def stack(self, batch: int, epochs: int) -> dict[str, float]:
        """Train for some epochs, and do the same work bare: as many steps, and the forward passes of validation.

        Returns
        -------
        dict
            Seconds: ``epochs`` as ``history.csv`` says, validation included; ``call`` of all of ``train``; ``bare``.
        """
        settings = TrainingSettings(epochs=epochs, batch_size=batch, patience=epochs)
        with tempfile.TemporaryDirectory() as name, redirect_stderr(io.StringIO()):
            folder = Path(name)
            call = timed(lambda: train(self.data, settings=settings, folder=folder))
            history = pd.read_csv(folder / "history.csv")
        return {
            "epochs": float(history["seconds"].sum()),
            "call": call,
            "bare": timed(lambda: self.bare(batch, epochs)),
        }

    def bare(self, batch: int, epochs: int) -> None:
        """Do the work of some epochs without the stack."""
        training, validation = self.batches("train", batch), self.batches("validation", 64)
        for _ in range(epochs):
            for one in training:
                self.step(*one)
            self.network.eval()
            with torch.no_grad(), arithmetic(self.half):
                for inputs, _ in validation:
                    self.network(inputs)
            self.network.train()


def timed(what, *given) -> float:
    begin = time.perf_counter()
    what(*given)
    return time.perf_counter() - begin


def clips() -> Prepared:
    """Return clips of noise, each class louder in one band, with their split; no sound files."""
    number = TRAINING + VALIDATION + CLASSES
    rows = np.arange(number)
    features = np.random.default_rng(0).standard_normal((number, BANDS, FRAMES), dtype=np.float32) - 5
    features[rows, 4 * (rows % CLASSES)] += 0.2
    table = pd.DataFrame({"file": [f"{row}.wav" for row in rows], "label": [f"class {row % CLASSES}" for row in rows]})
    split = np.split(rows, [TRAINING, TRAINING + VALIDATION])
    return Prepared(
        dataset=make_dataset("noise", table, root=Path.cwd()),
        split=Split(*split, how="by number"),
        front_end=front_end("dcase2021", duration_s=10.0),
        problems=(),
        cut=0,
        padded=0,
        _features=features,
        _stored=rows,
    )
