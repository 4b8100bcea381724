"""The verb ``sensitivity``: what it costs to cut each coupled group alone, measured on validation clips."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from coppice import __version__
from coppice.complexity.profile import profile
from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.files import plain_os_errors, read_json, whole_file, write_json
from coppice.core.progress import progress_bar, say
from coppice.criteria.registry import needs_clips
from coppice.datasets.prepare import Prepared
from coppice.evaluation.bootstrap import grouped_resamples, interval
from coppice.evaluation.evaluate import RESAMPLES, evaluate
from coppice.evaluation.metrics import log_losses
from coppice.networks.checkpoint import serialise
from coppice.networks.classifier import Classifier, as_network
from coppice.pruning.evidence.rankings import rankings
from coppice.pruning.evidence.training_clips import CLIPS, training_clips
from coppice.pruning.planning.decide import plan
from coppice.pruning.planning.requests import kept_count
from coppice.pruning.surgery.prune import prune
from coppice.pruning.tracing.channels import trace
from coppice.pruning.tracing.groups import Group, coupled_groups
from coppice.recipes.environment import environment
from coppice.recipes.stages import locked_run
from coppice.reports.sensitivity_page import write_sensitivity_page
from coppice.reports.sensitivity_records import VERSION, Clips, CutScores, GroupPoints, Point, Scores, Sensitivity
from coppice.studies.memory import Memory, content_digest

RATIOS = (0.25, 0.5, 0.75)
CONVENTIONS = {
    "scores": "on the validation clips; the test clips are not looked at. Nothing is fine-tuned",
    "group": "the filters that one decision removes: those of the layer that is named, and of all coupled to it; every "
    "group is cut alone, in a network that is otherwise whole",
    "ratio": "share of the filters of the named layer that was to go; ceil((1 - ratio) filters) stay",
    "agreement": "share of the clips to which the pruned and the unpruned network give the same label, right or wrong",
    "macro_accuracy": "mean of the accuracies of the classes",
    "log_loss": "mean negative natural logarithm of the posterior of the right class, in nats",
    "params_total": "all parameters, with the running statistics of batch normalisation",
    "macs": "multiply-accumulates for one clip",
    "interval": f"95 % bootstrap over recordings, {RESAMPLES} resamples; changes are paired: the same clips before and "
    "after",
}


def sensitivity(
    classifier: Classifier,
    data: Prepared,
    *,
    criterion: str = "cosine_similarity",
    ratios: Sequence[float] = RATIOS,
    layers: Iterable[str] | None = None,
    seed: int = 0,
    clips: int = CLIPS,
    out: str | Path | None = None,
) -> Sensitivity:
    """Cut each coupled group of a network alone, to several ratios, and measure what that does.

    A group is what one decision removes: a layer's filters and those of all layers coupled to it. What cannot be cut,
    or loses no filter at a ratio because it has too few, is listed with the reason and has no score: nothing is
    called robust because nothing was done to it.

    Parameters
    ----------
    classifier : Classifier
        Trained; not touched.
    data : Prepared
        Prepared with the classifier's front end. Scores are of its validation part; the test part is not read.
    criterion : str
        How filters are ranked.
    ratios : sequence of float in (0, 1)
        Shares of the filters to remove.
    layers : iterable of str, optional
        Only the groups that these layers belong to; all if not given.
    seed : int >= 0
        For criteria that draw random numbers, and for the clips of those that look at some.
    clips : int >= 1
        How many training clips a criterion that looks at clips is given.
    out : path, optional
        A folder for ``sensitivity.json``, ``sensitivity.csv``, ``sensitivity.html`` and figures (SVG). The point of
        each group and ratio is stored there when it is measured, and not measured again: a study that was interrupted
        goes on, and one that gets more ratios measures these.

    Returns
    -------
    Sensitivity
        ``.table()`` gives one row per group and ratio.

    Raises
    ------
    CoppiceError
        If a ratio is not between 0 and 1, the criterion or a layer does not exist, nothing can be cut, the data does
        not go with the classifier, or ``out`` holds something else. Nothing has been written then.

    Examples
    --------
    >>> import torch
    >>> from coppice.audio.front_end import front_end
    >>> from coppice.datasets.prepare import prepare
    >>> from coppice.networks.registry import build_network
    >>> data = prepare("synthetic", clips_per_class=5, duration_s=0.5, front_end=front_end("dcase2021", duration_s=0.5))
    >>> network = build_network("dcase2021", bands=40, frames=data.front_end.frames, widths=[4, 4, 4], dense=8)
    >>> net = Classifier(network, data.front_end, data.dataset.labels, torch.zeros(40), torch.ones(40))
    >>> study = sensitivity(net, data, criterion="l1", ratios=[0.5], layers=["conv1", "conv2"])
    >>> [(group.name, point.removed, point.scores.agreement <= 1) for group in study.groups for point in group.points]
    [('conv1', 2, True), ('conv2', 2, True)]
    """
    asked = _checked_ratios(ratios)
    looks = needs_clips(criterion)
    _check_data(classifier, data)
    groups = _chosen(classifier, None if layers is None else list(layers))
    seen: dict[str, Any] = {}
    if looks:
        seen = dict(zip(("clips", "targets"), training_clips(classifier, data, count=clips, seed=seed), strict=True))
    _check_criterion(classifier, groups, criterion, seed, seen)
    folder = None if out is None else Path(out)
    study = _Study(classifier, data, criterion, seed, seen, Memory(None if folder is None else folder / "points"))
    if folder is not None:
        _refuse_foreign(folder)
    with nullcontext() if folder is None else locked_run(folder):
        if folder is not None:
            write_json(folder / "study.json", {"kind": "sensitivity", "version": VERSION})
        found = study.measured(groups, asked)
        if folder is not None:
            write_json(folder / "sensitivity.json", found.model_dump(mode="json"))
            with whole_file(folder / "sensitivity.csv") as temporary:
                found.table().to_csv(temporary, index=False)
            write_sensitivity_page(folder)
            study.memory.tidy()
            for leftover in folder.glob(".partial-*"):  # half-written when a process was killed
                leftover.unlink(missing_ok=True)
    return found


class _Study:
    """One network on one set of validation clips; every measurement is looked up before it is made."""

    def __init__(
        self, classifier: Classifier, data: Prepared, criterion: str, seed: int, seen: dict[str, Any], memory: Memory
    ) -> None:
        self.classifier, self.data, self.criterion, self.seed = classifier, data, criterion, seed
        self.seen, self.memory = seen, memory
        self.clips = data.clips("validation")
        self.log_mel = data.log_mel("validation")
        kept = ["clip_id", "label", "recording"]
        self.base = {
            "coppice": __version__,
            "model": content_digest(serialise(classifier)),
            "clips": [self.clips[kept].astype(str).to_csv(index=False), content_digest(self.log_mel.numpy().tobytes())],
        }

        looked = {name: content_digest(t.numpy().tobytes()) for name, t in seen.items() if t is not None}
        self.how = {"criterion": criterion, "seed": seed, "looked at": looked}

    def measured(self, groups: Sequence[Group], ratios: Sequence[float]) -> Sensitivity:
        """Measure everything that is not stored."""
        points: list[GroupPoints] = []
        total = sum(len(ratios) for group in groups if group.reason is None)
        with progress_bar("sensitivity", total + 1) as advance:
            unpruned = self.memory.recall({**self.base, "what": "unpruned"}, self._unpruned)
            advance(1, "")
            for group in groups:
                own = []
                for ratio in ratios if group.reason is None else ():
                    advance(0, f"{group.name} {100 * ratio:g} %")
                    own.append(self._point(group, ratio))
                    advance(1, f"{group.name} {100 * ratio:g} %")
                points.append(
                    GroupPoints(
                        name=group.name,
                        coupled=group.coupled,
                        filters=group.filters,
                        reason=group.reason,
                        points=tuple(own),
                    )
                )
        if self.memory.recalled:
            say(f"{self.memory.recalled} of {total + 1} measurements stood there already, and were not made again")
        split = self.data.split
        return Sensitivity(
            model=str(self.base["model"]),
            criterion=self.criterion,
            ratios=tuple(ratios),
            seed=self.seed,
            looked_at=len(self.seen["clips"]) if self.seen else 0,
            clips=Clips(
                name=self.data.dataset.name,
                clips=len(self.clips),
                recordings=int(self.clips["recording"].nunique()),
                synthetic=self.data.dataset.synthetic,
                split=split.how,
            ),
            unpruned=Scores.model_validate(unpruned["scores"]),
            params_total=unpruned["params_total"],
            macs=unpruned["macs"],
            groups=tuple(points),
            conventions=CONVENTIONS,
            environment=environment("float32"),
        )

    def _point(self, group: Group, ratio: float) -> Point:
        if kept_count(group.filters, ratio) == group.filters:
            few = f"{100 * ratio:g} % of {group.filters} filters is less than one filter"
            return Point(ratio=ratio, removed=0, reason=few)
        key = {**self.base, **self.how, "layer": group.name, "ratio": ratio}
        return Point.model_validate(self.memory.recall(key, lambda: self._cut(group, ratio)))

    def _cut(self, group: Group, ratio: float) -> dict[str, Any]:
        try:
            decided = plan(self.classifier, self.criterion, ratios={group.name: ratio}, seed=self.seed, **self.seen)
        except CoppiceError as error:  # such as a criterion that needs a batch normalisation behind the layer
            return {"ratio": ratio, "removed": 0, "reason": str(error).rstrip(".")}
        removed = sum(len(layer.removed) for layer in decided.layers if layer.name == group.name)
        if not removed:
            reason = "its filters leave several at a time, and so many may not go at this ratio"
            return {"ratio": ratio, "removed": 0, "reason": reason}
        pruned = prune(self.classifier, decided)
        scores, predictions = evaluate(pruned, self.log_mel, self.clips)
        before, after = self._posteriors, _posteriors_of(predictions, self.classifier)
        targets = self._targets
        draws = grouped_resamples(self.clips["recording"].astype(str).tolist(), resamples=RESAMPLES)
        right = (after.argmax(axis=1) == targets).astype(float) - (before.argmax(axis=1) == targets)
        per_clip = {
            "agreement": (before.argmax(axis=1) == after.argmax(axis=1)).astype(float),
            "accuracy_change": right,
            "log_loss_change": log_losses(after, targets) - log_losses(before, targets),
        }
        for name, values in per_clip.items():
            scores[name] = float(values.mean())
            scores[f"{name}_interval"] = interval(lambda drawn, v=values: v[drawn].mean(), draws)  # type: ignore[misc]
        cost = profile(pruned, latency=False)
        counts = {"params_total": cost.params_total, "macs": cost.macs}
        return {"ratio": ratio, "removed": removed, "scores": CutScores.model_validate(scores).model_dump(), **counts}

    def _unpruned(self) -> dict[str, Any]:
        scores, _ = self._evaluated
        cost = profile(self.classifier, latency=False)
        own = Scores.model_validate(scores).model_dump()
        return {"scores": own, "params_total": cost.params_total, "macs": cost.macs}

    @cached_property
    def _evaluated(self) -> tuple[dict[str, Any], pd.DataFrame]:
        return evaluate(self.classifier, self.log_mel, self.clips)

    @cached_property
    def _posteriors(self) -> Float[np.ndarray, "clips classes"]:
        return _posteriors_of(self._evaluated[1], self.classifier)

    @cached_property
    def _targets(self) -> Int[np.ndarray, " clips"]:
        return np.array([self.classifier.labels.index(label) for label in self.clips["label"]])


def _posteriors_of(predictions: pd.DataFrame, classifier: Classifier) -> Float[np.ndarray, "clips classes"]:
    return predictions[[f"p_{label}" for label in classifier.labels]].to_numpy(dtype=float)


def _checked_ratios(ratios: Sequence[float]) -> tuple[float, ...]:
    if isinstance(ratios, str | int | float) or not len(ratios):
        raise CoppiceError(f"ratios is {ratios!r}; give one or more numbers between 0 and 1, such as [0.25, 0.5].")
    for ratio in ratios:
        kept_count(1, ratio, name="every group")  # refuses what is no ratio
    return tuple(sorted({float(ratio) for ratio in ratios}))


def _check_data(classifier: Classifier, data: Prepared) -> None:
    if not isinstance(classifier, Classifier):
        raise CoppiceError(f"a {type(classifier).__name__} is not a classifier; give what coppice.load returns.")
    if data.front_end != classifier.known_front_end():
        raise CoppiceError(
            "the data was prepared with another front end than the classifier's; prepare it with "
            "front_end=classifier.front_end."
        )
    clips = data.clips("validation")
    strange = int((~clips["label"].isin(classifier.labels)).to_numpy().argmax())  # the first one, where all are known
    evaluate(classifier, data.log_mel("validation")[strange : strange + 1], clips.iloc[strange : strange + 1])


def _chosen(classifier: Classifier, layers: list[str] | None) -> tuple[Group, ...]:
    network, example = as_network(classifier)
    groups = coupled_groups(network, trace(network, example))
    known = {name for group in groups for name in group.layers}
    for name in layers or ():
        if name not in known:
            raise CoppiceError(f"there is no convolution or linear layer {name!r}. {did_you_mean(name, sorted(known))}")
    if layers is not None:
        groups = tuple(group for group in groups if set(group.layers) & set(layers))
    if all(group.reason is not None for group in groups):
        why = f"{groups[0].name!r} cannot be cut: {groups[0].reason}." if groups else "Give at least one layer."
        raise CoppiceError(f"there is nothing to cut. {why}")
    return groups


def _check_criterion(
    classifier: Classifier, groups: Sequence[Group], criterion: str, seed: int, seen: dict[str, Any]
) -> None:
    """Refuse a criterion that can rank none of the groups; one that can rank some is used for these."""
    refused = None
    for group in groups:
        if group.reason is None:
            try:
                rankings(classifier, criterion, layers=[group.name], seed=seed, **seen)
                return
            except CoppiceError as error:
                refused = refused or error
    assert refused is not None
    raise refused


def _refuse_foreign(folder: Path) -> None:
    with plain_os_errors("write to", folder):
        there = folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir())
    own = False
    if there and (folder / "study.json").exists():
        said = read_json(folder / "study.json", "study")
        own = isinstance(said, dict) and said.get("kind") == "sensitivity"
    if there and not own:
        raise CoppiceError(f"{folder} holds something else than a sensitivity study; choose another folder with --out.")
