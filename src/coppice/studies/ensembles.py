"""The ensembles of a study: means of the posteriors of runs that are done, without training anything."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from coppice import __version__
from coppice.core.errors import CoppiceError
from coppice.core.files import digest, make_folder
from coppice.core.progress import console, progress_bar
from coppice.datasets.prepare import Prepared
from coppice.ensembles.combination import Combination
from coppice.ensembles.costs import Costs, costs_of
from coppice.ensembles.members import Members, gather
from coppice.ensembles.selection import mask_of, members_in
from coppice.ensembles.stored import StoredPosteriors, read_stored, write_stored
from coppice.ensembles.subsets import score_subsets
from coppice.evaluation import metrics
from coppice.networks.checkpoint import load
from coppice.networks.classifier import Classifier
from coppice.recipes.finished import headline_stage, model_of
from coppice.recipes.material import open_material
from coppice.recipes.recipe import Recipe
from coppice.studies.ensemble_section import Ensemble
from coppice.studies.grid import GridRun, Point
from coppice.studies.tasks import Outcome, Task, failed, record

_FITS = ("finetune_seconds", "finetune_epochs", "finetune_clips_seen", "finetune_macs")
_SUMS = ("params_total", "params_bn_folded", "macs", "size_bytes", "energy_kwh", "seconds", *_FITS)
_SHARED = {"params_total": "params", "macs": "macs", "size_bytes": "bytes"}  # what layers in common are taken off


@dataclass(frozen=True)
class EnsembleRun:
    """An ensemble of members that share their fold, seed and all other axes.

    Attributes
    ----------
    ensemble : Ensemble
        What was asked for.
    run : GridRun
        What it is called in the results.
    task : Task
        Its folder and key; nothing is trained for it.
    members : dict
        Label → the member's task.
    base : Task or None
        The unpruned network of all members; None where they go on from different ones.
    """

    ensemble: Ensemble
    run: GridRun
    task: Task
    members: dict[str, Task]
    base: Task | None


def ensemble_runs(
    ensembles: Sequence[Ensemble], tasks: Iterable[tuple[GridRun, Task, Task | None]], folder: Path, what: str
) -> list[EnsembleRun]:
    """Return one ensemble for each place in the grid where all its members stand.

    Parameters
    ----------
    ensembles : sequence of Ensemble
    tasks : iterable of (GridRun, Task, Task)
        All of the study, each with that of its unpruned network.
    folder : Path
        Of the study.
    what : str
        What the study is called in a message.

    Raises
    ------
    CoppiceError
        If the members of one stand together nowhere, or no clips validate.
    """
    places: dict[Any, dict[str, tuple[GridRun, Task, Task | None]]] = {}
    axis = ensembles[0].axis if ensembles else ""
    for run, task, base in tasks if ensembles else ():
        rest = {name: short for name, short in run.point.labels.items() if name != axis}
        places.setdefault((*rest.items(), run.fold, run.seed), {})[run.point.labels[axis]] = (run, task, base)
    if ensembles and any(not run.recipe.split.validation_fraction for run, _, _ in tasks):
        raise CoppiceError(
            f"{what}: ensembles are scored on validation clips, too, and split.validation_fraction is 0; give 0.2, or "
            "leave the ensembles out."
        )
    made = []
    for ensemble in ensembles:
        found = [there for there in places.values() if set(ensemble.members) <= there.keys()]
        if not found:
            raise CoppiceError(
                f"{what}: the members of ensemble {ensemble.name!r} stand together nowhere, as points are left out."
            )
        made += [
            _ensemble_run(ensemble, {label: there[label] for label in ensemble.members}, folder) for there in found
        ]
    return made


def do_ensembles(runs: Sequence[EnsembleRun], outcomes: Mapping[str, Outcome]) -> Iterator[Outcome]:
    """Score ensembles, record each in its folder, and yield how it ended.

    Members are heard once for all ensembles of their fold and seed, on validation clips; those of the test are read
    from ``predictions.csv``. One thread is used, as in runs, so that the numbers are theirs.

    Parameters
    ----------
    runs : sequence of EnsembleRun
        Those to be done.
    outcomes : mapping
        Key → how members ended.
    """
    groups: dict[Any, list[EnsembleRun]] = {}
    for one in runs:
        rest = [item for item in one.run.point.labels.items() if item[0] != one.ensemble.axis]
        groups.setdefault((*rest, one.run.fold, one.run.seed), []).append(one)
    materials: dict[str, Prepared] = {}
    with progress_bar("ensembles", len(groups), after_s=2.0) as advance, _one_thread():
        for group in groups.values():
            for one, outcome in _do_group(group, outcomes, materials):
                record(one.task, outcome)
                yield outcome
            advance(1, group[0].run.place)


def _ensemble_run(ensemble: Ensemble, there: dict[str, tuple[GridRun, Task, Task | None]], folder: Path) -> EnsembleRun:
    run, _, base = next(iter(there.values()))
    labels = {**run.point.labels, ensemble.axis: ensemble.name}
    others = [f"{axis}={short}" for axis, short in labels.items() if axis != ensemble.axis]
    point = Point(" ".join([f"ensemble={ensemble.name}", *others]), labels, run.point.recipe)
    own = GridRun(point, run.fold, run.seed, run.recipe)
    members = {label: task for label, (_, task, _) in there.items()}
    key = digest({"members": {label: task.key for label, task in members.items()}, "size": ensemble.size})
    task = Task(own.name, folder / "ensembles" / key, own.recipe, key)
    alike = len({base and base.key for _, _, base in there.values()}) == 1
    return EnsembleRun(ensemble, own, task, members, base if alike else None)


def _do_group(
    group: list[EnsembleRun], outcomes: Mapping[str, Outcome], materials: dict[str, Prepared]
) -> Iterator[tuple[EnsembleRun, Outcome]]:
    """Score the ensembles of one fold and seed; those that lack a member have failed with it."""
    able = []
    for one in group:
        ends = {label: outcomes.get(task.key) for label, task in one.members.items()}
        lost = next((label for label, end in ends.items() if end is None or end.status != "done"), None)
        if lost is None:
            able.append(one)
        else:
            end = ends[lost]
            yield one, failed(one.task, f"member {lost}: {'not done' if end is None else end.reason}")
    tasks = {label: task for one in able for label, task in one.members.items()}
    if not tasks:
        return
    try:
        heard = _Heard.members(tasks, materials)
    except CoppiceError as error:
        yield from ((one, failed(one.task, str(error))) for one in able)
        return
    for one in able:
        chosen = heard.chosen(one.ensemble)
        make_folder(one.task.folder)
        scores = heard.scores(chosen, one.task.folder, [outcomes[tasks[heard.names[index]].key] for index in chosen])
        members = [heard.names[index] for index in chosen]
        yield one, Outcome(one.task.key, "done", "", __version__, scores, members=members)


@dataclass(frozen=True)
class _Heard:
    """The posteriors of all members of a fold and seed, and what layers they have in common."""

    validation: Members
    test: Members
    costs: Costs | None

    @classmethod
    def members(cls, tasks: Mapping[str, Task], materials: dict[str, Prepared]) -> "_Heard":
        validation, test, classifiers = {}, {}, {}
        for label, task in tasks.items():
            stage = headline_stage(task.folder)
            test[label] = read_stored(stage / "predictions.csv")
            model = model_of(stage)
            validation[label] = _posteriors(model, _material(task.recipe, materials))
            if model.suffix == ".safetensors":
                classifiers[label] = load(model)
        return cls(gather(validation), gather(test), _costs(classifiers) if len(classifiers) == len(tasks) else None)

    @property
    def names(self) -> tuple[str, ...]:
        return self.test.names

    def chosen(self, ensemble: Ensemble) -> tuple[int, ...]:
        """Return the members' places: all of the ensemble, or the best of a number on the validation clips."""
        places = tuple(self.names.index(label) for label in ensemble.members)
        if ensemble.size is None:
            return places
        losses = score_subsets(self.validation.posteriors[list(places)], self.validation.known_targets()).log_loss()
        masks = [mask for mask in range(1, len(losses)) if mask.bit_count() == ensemble.size]
        return tuple(places[index] for index in members_in(min(masks, key=lambda mask: round(float(losses[mask]), 12))))

    def scores(self, chosen: Sequence[int], folder: Path, ends: Sequence[Outcome]) -> dict[str, float | int | None]:
        """Return the columns of the results; write the posteriors of the test clips."""
        rule = Combination.equal(len(self.names), chosen)
        together, right = rule(self.test.posteriors), self.test.known_targets()
        truth = tuple(self.test.labels[target] for target in right)
        like = StoredPosteriors(together, self.test.labels, self.test.clips, truth)
        write_stored(folder / "predictions.csv", together, like)
        validation = rule(self.validation.posteriors), self.validation.known_targets()
        return {
            "accuracy": metrics.accuracy(together, right),
            "macro_accuracy": metrics.macro_accuracy(together, right),
            "log_loss": metrics.log_loss(together, right),
            "clips": len(right),
            **{name: self._sum(name, chosen, ends) for name in _SUMS},
            "finetune_clips": max(int(end.scores.get("finetune_clips") or 0) for end in ends),
            "validation_accuracy": metrics.accuracy(*validation),
            "validation_log_loss": metrics.log_loss(*validation),
        }

    def _sum(self, name: str, chosen: Sequence[int], ends: Sequence[Outcome]) -> float | int | None:
        """Add up what members cost, less what layers in common would count again; None where one is not known."""
        values = [end.scores.get(name) for end in ends]
        known = [value for value in values if value is not None]
        saved = self._saved(name, chosen)
        if len(known) < len(values) or saved is None:
            return None
        total = sum(known) - saved
        return float(f"{total:.12g}") if isinstance(total, float) else total  # 1.1 + 2.2 is 3.3

    def _saved(self, name: str, chosen: Sequence[int]) -> int | None:
        if self.costs is None or name not in ("params_bn_folded", *_SHARED):
            return 0
        if name == "params_bn_folded":  # not counted by layer
            return 0 if not self._saved("params_total", chosen) else None
        alone = sum(self.costs.of(mask_of([index]), _SHARED[name]) for index in chosen)
        return round(alone - self.costs.of(mask_of(chosen), _SHARED[name]))


def _costs(classifiers: dict[str, Classifier]) -> Costs | None:
    try:
        return costs_of(classifiers)
    except CoppiceError:
        return None  # networks that hear differently make no network together, and have nothing in common


def _posteriors(model: Path, data: Prepared) -> StoredPosteriors:
    clips = data.clips("validation")
    if model.suffix == ".onnx":
        from coppice.export.onnx_classifier import load_onnx  # brings packages that runs without int8 need not have

        net: Any = load_onnx(model)
    else:
        net = load(model)
    values = net.posteriors(data.log_mel("validation")).numpy().astype(np.float64)
    return StoredPosteriors(values, net.labels, tuple(clips["clip_id"].astype(str)), tuple(clips["label"].astype(str)))


def _material(recipe: Recipe, materials: dict[str, Prepared]) -> Prepared:
    key = digest(recipe.model_dump(mode="json", include={"data", "front_end", "split"}))
    if key not in materials:
        quiet, console.quiet = console.quiet, True  # what it says was said before the first run
        try:
            materials[key] = open_material(recipe)
        finally:
            console.quiet = quiet
    return materials[key]


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
