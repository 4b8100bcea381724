"""A single run: one split, one seed, from clips to a report."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import Logger

from coppice.complexity.latency import measure_latency
from coppice.core.errors import CoppiceError
from coppice.core.files import digest, read_json, whole_file, write_json, write_text
from coppice.core.processor import processor
from coppice.core.progress import say
from coppice.core.units import percent_text
from coppice.datasets.prepare import Prepared
from coppice.datasets.splits import PARTS
from coppice.energy.energy import sums_by_mode
from coppice.networks.checkpoint import load
from coppice.quantization.rounding import SMALLER, quantize
from coppice.recipes.environment import environment
from coppice.recipes.material import check_systems, open_material
from coppice.recipes.recipe import Recipe
from coppice.recipes.record import record, record_int8
from coppice.recipes.stages import Stage, do_stage, locked_run, refuse_foreign, stage_energy, tidy
from coppice.recipes.steps import PlainStep, do_step, plain_steps
from coppice.recipes.teachers import Turn, open_teacher, outside
from coppice.reports.report import write_report
from coppice.training.devices.machines import ONE_DEVICE, Machines
from coppice.training.loggers import open_loggers
from coppice.training.train import finetune, train

_REPEATS = 60
_CHECKPOINT = "checkpoint.safetensors"
_TITLES = {"prune": "pruned", "dense": "dense layer shrunk", "reset": "new weights", "finetune": "fine-tuned"}


class SingleRun:
    """The stages of one run, in order, and what has been done of them.

    Parameters
    ----------
    recipe : Recipe
        With one seed.
    data : Prepared
        Its clips.
    folder : Path
        The run folder.
    timed : bool
        Whether to measure latency; beside other runs it would say nothing.
    jobs : int >= 1
        How many runs go side by side on this machine.
    machines : Machines
        What the fits run on.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Prepared,
        folder: Path,
        *,
        timed: bool = True,
        jobs: int = 1,
        machines: Machines = ONE_DEVICE,
    ) -> None:
        self.recipe, self.data, self.folder, self.timed, self.jobs = recipe, data, folder, timed, jobs
        self.machines = machines
        self.seed = recipe.seeds[0]
        self.turn = Turn(recipe.split.test_fold, self.seed)
        self.done: list[tuple[dict[str, Any], Stage]] = []
        self._data_digest = ""

    def do(self) -> Path:
        """Do every stage that is not done; write the summary and the report; return the report's path."""
        self._write_inputs()
        trained = self._train()
        if self.recipe.quantize:
            self._quantize(trained, system=None)
        for system in self.recipe.systems:
            self._system(system, trained)
        if self.timed:
            self._latency()
        self._summary()
        tidy(self.folder, {"data", *(entry["folder"] for entry, _ in self.done)})
        return write_report(self.folder)

    def _write_inputs(self) -> None:
        write_json(self.folder / "environment.json", environment(self.recipe.training.precision, self.machines))
        write_text(self.folder / "recipe.yaml", self.recipe.to_yaml())
        data = self.data
        table = data.dataset.clips.assign(side=data.side_of_clips())
        sides = {side: table[table["side"] == side] for side in (*PARTS, "unused")}
        facts = {
            "name": data.dataset.name,
            "synthetic": data.dataset.synthetic,
            "labels": list(data.dataset.labels),
            "clips": {side: len(rows) for side, rows in sides.items()},
            "recordings": {side: int(rows["recording"].nunique()) for side, rows in sides.items()},
            "cut": data.cut,
            "padded": data.padded,
            "problems": [{"file": file, "reason": sentence} for _, file, sentence in data.problems],
            "note": ". ".join(part.strip(" .") for part in (data.dataset.note, data.split.how) if part) + ".",
        }
        columns = ["clip_id", "file", "label", "fold", "recording", "device", "side"]
        key = {"facts": facts, "table": table[columns].to_csv(index=False), "front_end": data.front_end.to_dict()}

        def work(folder: Path) -> None:
            with whole_file(folder / "clips.csv") as temporary:
                table[columns].to_csv(temporary, index=False)
            write_json(folder / "data.json", facts)

        self._data_digest = do_stage(self.folder, "data", {"digest": digest(key)}, work, jobs=self.jobs).digest

    def _train(self) -> Stage:
        recipe = self.recipe
        config = recipe.network.model_dump(exclude={"name"})
        said = recipe.training
        settings = said.settings(seed=self.seed)
        inputs = {"data": self._data_digest, "network": recipe.network.model_dump(), "settings": settings.to_dict()}
        if said.normalisation != "bands":
            inputs["normalisation"] = said.normalisation
        if said.distil is not None:
            inputs["distil"] = said.distil.model_dump()
        inputs |= outside(said, unpruned="", turn=self.turn)

        def work(folder: Path) -> None:
            with self._loggers("train") as loggers:
                trained = train(
                    self.data,
                    network=recipe.network.name,
                    config=config,
                    settings=settings,
                    folder=folder,
                    teacher=open_teacher(said.distil, unpruned=None, turn=self.turn),
                    normalisation=said.normalisation,
                    loggers=loggers,
                    machines=self.machines,
                )
            record(trained, self.data, folder)

        entry = {"id": "train", "title": "unpruned", "system": None, "kind": "train", "parent": None}
        return self._do({**entry, "folder": "train"}, inputs, work)

    def _system(self, system: str, trained: Stage) -> None:
        before, parent = trained, "train"
        for number, step in enumerate(self.recipe.systems[system], start=1):
            for plain in plain_steps(step, number, partial(load, before.folder / _CHECKPOINT)):
                before, parent = self._step(system, plain, before, parent, trained)
        if self.recipe.quantize:
            self._quantize(before, system=system, parent=parent)

    def _step(self, system: str, plain: PlainStep, before: Stage, parent: str, trained: Stage) -> tuple[Stage, str]:
        step, identity = plain.step, f"{system}/{plain.name}"

        def work(folder: Path) -> None:
            classifier = load(before.folder / _CHECKPOINT)
            if step.finetune is not None:
                with self._loggers(identity) as loggers:
                    classifier = finetune(
                        classifier,
                        self.data,
                        settings=step.finetune.settings(seed=self.seed),
                        fraction=step.finetune.fraction,
                        device=step.finetune.device,
                        folder=folder,
                        teacher=open_teacher(
                            step.finetune.distil, unpruned=trained.folder / _CHECKPOINT, turn=self.turn
                        ),
                        loggers=loggers,
                        machines=self.machines,
                    )
            else:
                classifier, plan = do_step(classifier, step, seed=self.seed, data=self.data)
                if plan is not None:
                    plan.save(folder / "plan.json")
            record(classifier, self.data, folder)

        entry = {
            "id": identity,
            "title": f"{system} · {_TITLES[step.kind]}{plain.place}",
            "system": system,
            "kind": step.kind,
            "parent": parent,
            "folder": f"systems/{identity}",
        }
        inputs = {"before": before.digest, "step": step.identity(), "data": self._data_digest, "seed": self.seed}
        if step.finetune is not None:
            inputs |= outside(step.finetune, unpruned=trained.digest, turn=self.turn)
        return self._do(entry, inputs, work), identity

    def _loggers(self, stage: str) -> AbstractContextManager[list[Logger]]:
        return open_loggers(self.recipe.loggers, self.folder / "logs", project=self.recipe.name, stage=stage)

    def _quantize(self, before: Stage, *, system: str | None, parent: str = "train") -> None:
        to = str(self.recipe.quantize)

        def work(folder: Path) -> None:
            classifier = load(before.folder / _CHECKPOINT)
            if to == "int8":
                record_int8(classifier, self.data, folder, seed=self.seed)
            else:
                record(quantize(classifier, to=to), self.data, folder)

        entry = {
            "id": f"{system or 'unpruned'}/{to}",
            "title": f"{system} · {to}" if system else f"unpruned, {to}",
            "system": system,
            "kind": to,
            "parent": parent,
            "folder": f"systems/{system}/{to}" if system else f"unpruned/{to}",
        }
        inputs = {"before": before.digest, "to": to, "data": self._data_digest}
        self._do(entry, {**inputs, "seed": self.seed} if to == "int8" else inputs, work)

    def _do(self, entry: dict[str, Any], inputs: dict[str, Any], work: Callable[[Path], None]) -> Stage:
        stage = do_stage(self.folder, entry["folder"], inputs, work, jobs=self.jobs)
        self.done.append((entry, stage))
        test = read_json(stage.folder / "metrics.json")["evaluation"]["test"]
        say(
            f"{entry['title']}: accuracy {percent_text(test['accuracy'])} and log-loss {test['log_loss']:.3f} "
            f"on {test['clips']} test clips" + ("" if stage.ran else " (unchanged, not done again)")
        )
        return stage

    def _latency(self) -> None:
        # What is only stored in fewer bits takes the time of the stage before; int8 does not run in PyTorch.
        timed = {e["id"]: s for e, s in self.done if e["kind"] not in (*SMALLER, "int8")}
        path = self.folder / "latency.json"
        key = digest({"stages": {name: stage.digest for name, stage in timed.items()}, "repeats": _REPEATS})
        if _latency_digest(path) == key:
            return
        say("measuring latency of all stages in turn")
        classifiers = {name: load(stage.folder / _CHECKPOINT) for name, stage in timed.items()}
        example = torch.randn(next(iter(classifiers.values())).input_shape)
        times = measure_latency({n: c.network for n, c in classifiers.items()}, example, repeats=_REPEATS)
        write_json(
            path,
            {
                "digest": key,
                "threads": 1,
                "batch": 1,
                "repeats": _REPEATS,
                "runtime": f"torch {torch.__version__} eager, float32",
                "processor": processor(),
                "how": "all stages in turn in one process, after a warm-up; median and 95th percentile",
                "stages": {name: asdict(latency) for name, latency in times.items()},
            },
        )

    def _summary(self) -> None:
        # What the stages took when they were done, which may have been in an earlier call.
        seconds = sum(read_json(stage.folder / "stage.json")["seconds"] for _, stage in self.done)
        energy = sums_by_mode({entry["title"]: stage_energy(stage.folder) for entry, stage in self.done})
        for one in energy:
            say(f"energy of the stages: {one}")
        write_json(
            self.folder / "summary.json",
            {
                "version": 1,
                "kind": "run",
                "name": self.recipe.name,
                "title": self.recipe.title or self.recipe.name,
                "seed": self.seed,
                "test_fold": self.recipe.split.test_fold,
                "seconds": round(seconds, 2),
                "energy": [one.to_dict() for one in energy],
                "headline_system": self.recipe.headline_system,
                "stages": [entry for entry, _ in self.done],
            },
        )


def _latency_digest(path: Path) -> str | None:
    try:
        return str(read_json(path)["digest"])
    except (CoppiceError, KeyError, TypeError):
        return None  # missing or damaged: measured again


def run_single(
    recipe: Recipe,
    folder: Path,
    *,
    data: Prepared | None = None,
    jobs: int = 1,
    machines: Machines = ONE_DEVICE,
) -> Path:
    """Carry out a recipe with one split and one seed.

    Parameters
    ----------
    recipe : Recipe
        ``recipe.is_single`` holds.
    folder : Path
        The run folder. Stages that stand there unchanged are not done again; an interrupted run goes on.
    data : Prepared, optional
        The clips, when they are already open.
    jobs : int >= 1
        How many runs go side by side on this machine, so that their energy is not counted twice.
    machines : Machines
        What the fits run on.

    Returns
    -------
    Path
        ``report.html``.

    Raises
    ------
    CoppiceError
        For anything wrong with the recipe, the clips or the disk; before training where possible.
    """
    for stage in ("data", "train"):
        refuse_foreign(folder / stage)
    if data is None:
        data = open_material(recipe)
    check_systems(recipe, data)
    with locked_run(folder):
        return SingleRun(recipe, data, folder, jobs=jobs, machines=machines).do()
