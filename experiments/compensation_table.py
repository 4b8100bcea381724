"""Measure what is left of networks after a cut, without a gradient step, for every criterion and compensation.

Two measurements. On the unpruned DCASE 2022 network of Singh and Plumbley, agreement with its own posteriors on clips
that were not looked at. On ESC-10, five folds by three seeds, accuracy after the cut of the Interspeech 2022 paper,
with everything chosen on validation clips. Interrupted, it goes on where it stopped.

    python experiments/compensation_table.py --data PATH/TO/data --runs runs/esc10-results

takes about an hour on two cores and writes docs/compensation.md. The data holds surrey2022/, tau2022_sample/ and
esc10/; the runs are those of recipes/esc10-results.yaml.
"""

import argparse
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed

import coppice as cp
from coppice.audio.front_end import front_end
from coppice.core import progress
from coppice.core.errors import CoppiceError
from coppice.core.files import make_folder, read_json, write_json, write_text
from coppice.core.seeds import derive_seed, numpy_stream
from coppice.criteria.registry import criterion_names
from coppice.datasets.features import load_features
from coppice.datasets.sources import open_dataset
from coppice.networks.classifier import Classifier
from coppice.pruning.compensation.compensate import compensate
from coppice.studies.cross_validation import mean_with_interval

PAGE = Path("docs/compensation.md")
LAYERS = ("conv1", "conv2", "conv3")
SUBSETS = [subset for size in (1, 2, 3) for subset in combinations(LAYERS, size)]
RATIOS = (0.25, 0.5)
SPLITS = range(5)
CALIBRATION = 100
FOLDS, SEEDS = (1, 2, 3, 4, 5), (0, 1, 2)
ESC_KEEP = {"conv2": 11}
PAPER = "cosine_similarity"
HOW: dict[str, dict[str, Any]] = {
    "none": {},
    "merge": {"how": "merge"},
    "next layer": {"how": "least_squares", "following": False},
    "all layers behind": {"how": "least_squares"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with surrey2022, tau2022_sample and esc10")
    parser.add_argument("--runs", type=Path, required=True, help="run folder of recipes/esc10-results.yaml")
    parser.add_argument("--records", type=Path, default=Path("runs/compensation"))
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    make_folder(given.records)
    work = [
        delayed(_agreements)(given.data, given.records, criterion, split)
        for split in SPLITS
        for criterion in criterion_names()
    ]
    work += [
        delayed(_esc)(given.data, given.runs, given.records, criterion, fold, seed)
        for fold in FOLDS
        for seed in SEEDS
        for criterion in criterion_names()
    ]
    for number, name in enumerate(Parallel(n_jobs=given.jobs, return_as="generator")(work), start=1):
        print(f"{number}/{len(work)} {name}", flush=True)
        if number == len(SPLITS) * len(criterion_names()):  # the longer part is still to come
            write_text(PAGE, page(_read_agreements(given.records), []))
    chosen, tests = _choose_and_test(given.data, given.runs, given.records)
    write_text(PAGE, page(_read_agreements(given.records), _esc_lines(chosen, tests)))
    print(f"wrote {PAGE}")


def _quiet() -> None:
    torch.set_num_threads(1)
    progress.console.quiet = True


# Agreement of a published network


def split_clips(identifiers: list[str], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide clips into at most CALIBRATION to look at and the others; no recording stands on both sides."""
    names = np.array(identifiers)
    drawn = numpy_stream(seed, "compensation", "split").permutation(np.unique(names))
    chosen: list[int] = []
    for name in drawn:
        rows = np.flatnonzero(names == name).tolist()
        chosen += rows if len(chosen) + len(rows) <= CALIBRATION else []
    return np.sort(chosen), np.setdiff1d(np.arange(len(names)), chosen)


def _agreements(data: Path, records: Path, criterion: str, split: int) -> str:
    """Measure all cuts by one criterion on one split of the clips, unless that is done."""
    name = f"agreement-{criterion}-{split}"
    if (records / f"{name}.json").exists():
        return name
    _quiet()
    whole = cp.load(data / "surrey2022" / "unpruned" / "float32.tflite", front_end="surrey2022")
    clips = open_dataset(data / "tau2022_sample" / "meta.csv")
    log_mel = torch.from_numpy(np.array(load_features(clips, front_end("surrey2022")).array))
    seen, held = split_clips(clips.clips["recording"].astype(str).tolist(), split)
    found: list[dict[str, Any]] = []
    for ratio in RATIOS:
        for subset in SUBSETS:
            row = {"criterion": criterion, "split": split, "ratio": ratio, "layers": "+".join(subset)}
            try:
                plan = _plan(whole, criterion, log_mel[seen], ratios=dict.fromkeys(subset, ratio))
            except CoppiceError as error:
                found.append({**row, "refused": str(error)})
                continue
            pruned = cp.prune(whole, plan)
            for how, options in HOW.items():
                repaired = _repaired(pruned, whole, plan, log_mel[seen], options)
                top, divergence = agreement(whole, repaired, log_mel[held])
                found.append({**row, "how": how, "top1": top, "kl": divergence, "clips": [len(seen), len(held)]})
    write_json(records / f"{name}.json", found)
    return name


def _plan(whole: Classifier, criterion: str, clips: torch.Tensor, **sizes: Any) -> cp.PruningPlan:
    """Let a criterion decide; the classes that some ask for are those that the unpruned network hears."""
    targets = whole.posteriors(clips).argmax(1)
    return cp.plan(whole, criterion, clips=clips, targets=targets, **sizes)


def _repaired(
    pruned: Classifier, whole: Classifier, plan: cp.PruningPlan, clips: torch.Tensor, options: dict[str, Any]
) -> Classifier:
    return compensate(pruned, whole, plan, clips=clips, **options) if options else pruned


def agreement(whole: Classifier, other: Classifier, log_mel: torch.Tensor) -> tuple[float, float]:
    """Return the share of clips on which two classifiers decide alike, and the mean divergence in nats."""
    p, q = whole.posteriors(log_mel), other.posteriors(log_mel)
    return float((p.argmax(1) == q.argmax(1)).double().mean()), float((p * (p.log() - q.log())).sum(1).mean())


def _read_agreements(records: Path) -> pd.DataFrame:
    return pd.DataFrame([row for path in sorted(records.glob("agreement-*.json")) for row in read_json(path)])


# The paper's cut on ESC-10


def _opened(data: Path, runs: Path, fold: int, seed: int) -> tuple[Classifier, Any]:
    whole = cp.load(runs / f"fold{fold}-seed{seed}" / "train" / "checkpoint.safetensors")
    choice = {"strategy": "folds", "test_fold": fold}
    return whole, cp.prepare("esc10", root=data / "esc10", front_end=whole.front_end, split=choice)


def _seen_clips(prepared: Any, fold: int, seed: int) -> torch.Tensor:
    """Draw the training clips that criterion and compensation look at."""
    rows = numpy_stream(derive_seed(seed, "compensation", fold)).permutation(prepared.split.train)[:CALIBRATION]
    return prepared.log_mel("train", np.sort(rows))


def _esc(data: Path, runs: Path, records: Path, criterion: str, fold: int, seed: int) -> str:
    """Score one criterion's cut and all its repairs on the validation clips of one fold, unless that is done."""
    name = f"esc10-{criterion}-fold{fold}-seed{seed}"
    if (records / f"{name}.json").exists():
        return name
    _quiet()
    whole, prepared = _opened(data, runs, fold, seed)
    seen = _seen_clips(prepared, fold, seed)
    log_mel, targets = prepared.log_mel("validation"), prepared.targets("validation")
    row = {"criterion": criterion, "fold": fold, "seed": seed}
    try:
        plan = _plan(whole, criterion, seen, keep=ESC_KEEP)
    except CoppiceError as error:
        write_json(records / f"{name}.json", [{**row, "refused": str(error)}])
        return name
    pruned, found = cp.prune(whole, plan), []
    for how, options in HOW.items():
        losses, right = _scores(_repaired(pruned, whole, plan, seen, options), log_mel, targets)
        found.append({**row, "how": how, "log_loss": float(losses.mean()), "accuracy": float(right.mean())})
    write_json(records / f"{name}.json", found)
    return name


def _scores(classifier: Classifier, log_mel: torch.Tensor, targets: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    posteriors = classifier.posteriors(log_mel)
    losses = -posteriors.gather(1, targets[:, None])[:, 0].clamp(min=1e-15).log()
    return losses.numpy(), (posteriors.argmax(1) == targets).double().numpy()


def _choose_and_test(data: Path, runs: Path, records: Path) -> tuple[dict[tuple[int, str], str], pd.DataFrame]:
    """Choose a criterion for each fold by its own validation clips, then score the chosen once on its test clips."""
    rows = [row for path in sorted(records.glob("esc10-*.json")) for row in read_json(path) if "how" in row]
    means = pd.DataFrame(rows).groupby(["fold", "how", "criterion"])["log_loss"].mean()
    chosen = {(fold, how): of.idxmin()[2] for (fold, how), of in means.groupby(["fold", "how"])}
    tests = []
    for fold in FOLDS:
        for seed in SEEDS:
            whole, prepared = _opened(data, runs, fold, seed)
            seen = _seen_clips(prepared, fold, seed)
            log_mel, targets, clips = prepared.log_mel("test"), prepared.targets("test"), prepared.clips("test")
            plans = {c: _plan(whole, c, seen, keep=ESC_KEEP) for c in {PAPER, *chosen.values()}}
            systems = {("unpruned", "none"): whole}
            for how, options in HOW.items():
                for kind, criterion in (("paper", PAPER), ("chosen", chosen[fold, how])):
                    plan = plans[criterion]
                    systems[kind, how] = _repaired(cp.prune(whole, plan), whole, plan, seen, options)
            for (kind, how), classifier in systems.items():
                losses, right = _scores(classifier, log_mel, targets)
                known = {"clip_id": clips["clip_id"], "recording": clips["recording"].astype(str), "seed": seed}
                tests.append(pd.DataFrame({**known, "kind": kind, "how": how, "log_loss": losses, "accuracy": right}))
    return chosen, pd.concat(tests)


# The page


def page(agreements: pd.DataFrame, esc_lines: list[str]) -> str:
    """Say in Markdown what was measured."""
    lines = [
        "# What compensation gives back",
        "",
        "Written by `experiments/compensation_table.py`. No gradient step is taken anywhere on this page. **none**: "
        "the network as cut. **merge**: weights alone; what read a filter that went is added to what reads the "
        "survivor most like it. **next layer**: the layer that reads the cut channels is refitted by ridge regression "
        "on a few unlabelled clips. **all layers behind**: so is each layer after it, in turn; this is what "
        '`compensate(..., "least_squares")` does. The ridge is chosen on the same clips, a fifth left out at a time.',
        "",
        "```python",
        'plan = cp.plan(net, "reconstruction", ratios={"conv2": 0.25}, clips=log_mel)',
        "small = cp.prune(net, plan)",
        'small = cp.compensate(small, net, plan, "least_squares", clips=log_mel)   # or "merge", without clips',
        "```",
        "",
        "`coppice prune checkpoint.safetensors plan.json --out small.safetensors --compensate least_squares --data "
        "recordings/`; in a recipe, `- prune: {criterion: reconstruction, ratios: 0.25, compensate: least_squares}`.",
        "",
        *_agreement_lines(agreements),
        *esc_lines,
        f"Coppice {cp.__version__}, PyTorch {torch.__version__}.",
        "",
    ]
    return "\n".join(lines)


def _agreement_lines(found: pd.DataFrame) -> list[str]:
    held = found["clips"].dropna().map(lambda pair: pair[1])
    means = found.dropna(subset=["how"]).groupby(["ratio", "how", "criterion", "layers"])[["top1", "kl"]].mean()
    names = ["+".join(subset) for subset in SUBSETS]
    lines = [
        "## Agreement with the uncut network",
        "",
        "The unpruned DCASE 2022 network of Singh and Plumbley, and 188 one-second clips of TAU Urban Acoustic Scenes "
        f"2022 Mobile: {CALIBRATION} to look at, the other {int(held.min())} to score, no recording on both sides; "
        f"mean of {len(SPLITS)} such divisions. In each cell: share of clips on which cut and uncut network decide "
        "alike, and the mean divergence of their posteriors (Kullback and Leibler, nats). Criteria that ask for "
        "classes are given those that the uncut network decides for. A dash: the criterion cannot rank these layers. "
        "One clip of one division is 1.1 points: differences of a point or two between criteria mean nothing, and the "
        "best of twenty is better than it should be.",
        "",
        "### Best criterion for each cut",
        "",
        "| removed | of | none | merge | next layer | all layers behind | with `reconstruction` |",
        "|---:|---|---|---|---|---|---|",
    ]
    for ratio in RATIOS:
        for name in names:
            cells = []
            for how in HOW:
                of = means.loc[ratio, how].xs(name, level="layers")
                best = of["top1"].idxmax()
                cells.append(f"{_cell(of.loc[best])} {best}")
            ours = means.loc[(ratio, "all layers behind", "reconstruction", name)]
            lines.append(f"| {ratio:.0%} | {name} | " + " | ".join(cells) + f" | {_cell(ours)} |")
    lines.append("")
    for ratio in RATIOS:
        for how in HOW:
            lines += [f"### {ratio:.0%} removed, {how}", "", "| criterion | " + " | ".join(names) + " |"]
            lines.append("|---|" + "---|" * len(names))
            for criterion in sorted(found["criterion"].unique()):
                cells = [
                    _cell(means.loc[key]) if (key := (ratio, how, criterion, name)) in means.index else "–"
                    for name in names
                ]
                lines.append(f"| {criterion} | " + " | ".join(cells) + " |")
            lines.append("")
    return lines


def _cell(row: pd.Series) -> str:
    return f"{100 * row['top1']:.1f} % ({row['kl']:.2f})"


def _esc_lines(chosen: dict[tuple[int, str], str], tests: pd.DataFrame) -> list[str]:
    recording = tests.drop_duplicates("clip_id").set_index("clip_id")["recording"]

    def outcomes(kind: str, how: str, score: str) -> pd.DataFrame:
        own = tests[(tests["kind"] == kind) & (tests["how"] == how)]
        return own.pivot(index="clip_id", columns="seed", values=score)

    lines = [
        "## ESC-10, five folds by three seeds",
        "",
        "The networks of `recipes/esc10-results.yaml`, cut as in the Interspeech 2022 paper: 11 of conv2's 16 filters "
        f"stay. Ranking and refitting look at {CALIBRATION} training clips. Above, the paper's criterion; below, for "
        "each fold the criterion with the lowest validation log-loss of the repaired networks (mean over seeds). The "
        "test clips of a fold were scored once, after that. Changes are paired: the same clip, fold and seed before "
        "the cut; 95 % bootstrap over recordings and seeds.",
        "",
        "| criterion | compensation | accuracy % | change, points | log-loss | change |",
        "|---|---|---:|---|---:|---|",
    ]
    base = {score: outcomes("unpruned", "none", score) for score in ("accuracy", "log_loss")}
    accuracy, loss = (float(base[score].to_numpy().mean()) for score in ("accuracy", "log_loss"))
    lines.append(f"| uncut | | {100 * accuracy:.1f} | | {loss:.3f} | |")
    for kind, title in (("paper", PAPER), ("chosen", "chosen on validation")):
        for how in HOW:
            parts = []
            for score, scale, digits in (("accuracy", 100, 1), ("log_loss", 1, 3)):
                own = outcomes(kind, how, score)
                change = mean_with_interval(own - base[score], recording)
                low, high = (scale * end for end in change["interval"])
                parts.append(f"{scale * own.to_numpy().mean():.{digits}f}")
                parts.append(f"{scale * change['mean']:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]")
            lines.append(f"| {title} | {how} | " + " | ".join(parts) + " |")
    lines += ["", "Chosen, fold by fold:", "", "| fold | " + " | ".join(HOW) + " |", "|---:|" + "---|" * len(HOW)]
    lines += [f"| {fold} | " + " | ".join(chosen[fold, how] for how in HOW) + " |" for fold in FOLDS]
    return [*lines, ""]


if __name__ == "__main__":
    main()
