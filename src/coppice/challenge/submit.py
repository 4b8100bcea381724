"""The verb ``submit``: a submission package of 2021 to 2024, validated as soon as it is written."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from coppice.challenge.check import Verdict, check
from coppice.challenge.heard import hear
from coppice.challenge.labels import Label
from coppice.challenge.meta_file import meta_text
from coppice.challenge.people import read_people
from coppice.challenge.posteriors import Posteriors, read_posteriors, write_output
from coppice.challenge.results import results_of
from coppice.challenge.rules import Rules, rules_of
from coppice.challenge.run_energy import run_energy
from coppice.challenge.validate import Validation, validate
from coppice.core.errors import CoppiceError
from coppice.core.files import whole_file, write_text
from coppice.energy.energy import Energy
from coppice.networks.classifier import Classifier
from coppice.networks.loading import load
from coppice.recipes.finished import headline_stage

CHECKPOINT, PREDICTIONS = "checkpoint.safetensors", "predictions.csv"
_WHEN = (1980, 1, 1, 0, 0, 0)  # the same files give the same zip


@dataclass(frozen=True)
class Source:
    """What a system is submitted from.

    Attributes
    ----------
    model : Path
        A file that :func:`coppice.load` reads.
    development : Path
        Its predictions of the development test clips, with a column ``label``.
    evaluation : Path or None
        Its predictions of the evaluation clips, or their ``audio`` folder, to be heard now.
    stage : Path or None
        The folder of the run's stage that it is from, for the energy on record.
    """

    model: Path
    development: Path
    evaluation: Path | None = None
    stage: Path | None = None


@dataclass(frozen=True)
class Submission:
    """What ``submit`` wrote.

    Attributes
    ----------
    label : Label
    folder, archive : Path
        The package as a folder and as the zip file to send.
    validation : Validation
        Of the whole package.
    energy : dict
        Name -> :class:`coppice.energy.energy.Energy` of the figures that were taken from the run.
    """

    label: Label
    folder: Path
    archive: Path
    validation: Validation
    energy: dict[str, Energy] = field(default_factory=dict)


def source_of(run: str | Path, evaluation: str | Path | None = None) -> Source:
    """Return what a run left, to be submitted.

    Parameters
    ----------
    run : str or Path
        The folder of a stage, with ``checkpoint.safetensors`` and ``predictions.csv``, or of a whole run: its
        headline system's last stage then.
    evaluation : str or Path, optional
        Predictions of the evaluation clips, or their ``audio`` folder.

    Raises
    ------
    CoppiceError
        If the folder is neither.
    """
    folder = headline_stage(Path(run))
    for name in (CHECKPOINT, PREDICTIONS):
        if not (folder / name).is_file():
            raise CoppiceError(f"{folder} has no {name}; give the folder of a run, or of one of its stages.")
    heard = None if evaluation is None else Path(evaluation)
    return Source(folder / CHECKPOINT, folder / PREDICTIONS, heard, stage=folder)


def submit(
    source: Source | Mapping[int, Source],
    *,
    rules: str,
    authors: str | Path,
    out: str | Path,
    index: int = 1,
    front_end: str | None = None,
    clips: str | Path | None = None,
) -> Submission:
    """Write a system into a submission package of 2021 to 2024, and validate the package.

    The package has ``task1/<label>/`` with the output files and the meta file. A second system of the same team goes
    into the same ``out`` with another ``index``. A technical report in PDF goes into ``task1/`` by hand.

    Parameters
    ----------
    source : Source or mapping of int to Source
        The system; in 2024 five, by percentage of the training data: 5, 10, 25, 50, 100.
    rules : str
        ``"dcase2021"`` to ``"dcase2024"``.
    authors : str or Path
        What only a person knows; see :func:`coppice.challenge.people.read_people`.
    out : str or Path
        The package's folder; the zip file stands beside it.
    index : int
        Which of up to four systems.
    front_end : str, optional
        For models that do not say what they hear.
    clips : str or Path, optional
        The evaluation set's list of files, where they are not called ``0.wav`` and so on.

    Returns
    -------
    Submission

    Raises
    ------
    CoppiceError
        If the system breaks a limit, something is missing in the authors file, or predictions are unfit.
    """
    chosen = rules_of(rules)
    if chosen.year == 2025:
        raise CoppiceError("in 2025 the task asks for an inference package; write it with write_inference_package.")
    sources = _by_split(source, chosen)
    stage = next(iter(sources.values())).stage
    measured = run_energy(stage) if chosen.energy and stage is not None else {}
    people = read_people(authors, chosen, measured=measured)
    label = people.label(index, chosen)
    verdicts = {split: check(one.model, rules=rules, front_end=front_end) for split, one in sources.items()}
    for verdict in verdicts.values():
        refuse_illegal(verdict)
    models = {split: load(one.model, front_end=front_end) for split, one in sources.items()}
    results = {split: results_of(one.development) for split, one in sources.items()}
    outputs = {split: _evaluation(one, models[split]) for split, one in sources.items()}
    largest = max(models, key=lambda split: _cost(verdicts[split]))
    (figures,) = verdicts[largest].figures.values()
    folder = Path(out)
    place = folder / chosen.task / str(label)
    for split, output in outputs.items():
        name = f"{label}.output.split_{split}.csv" if chosen.splits else f"{label}.output.csv"
        write_output(output, place / name)
    listed = dict(zip(chosen.results, results.values(), strict=True)) if chosen.results else results[largest]
    write_text(place / f"{label}.meta.yaml", meta_text(chosen, label, people, models[largest], figures, listed))
    archive = write_zip(folder)
    used = {name: one for name, one in measured.items() if name in people.measured}
    return Submission(label, folder, archive, validate(archive, rules=rules, clips=clips), used)


def refuse_illegal(verdict: Verdict) -> None:
    """Refuse to pack a system that breaks a limit.

    Raises
    ------
    CoppiceError
        If it does: the first limit that it breaks.
    """
    for one in verdict.findings:
        if not one.legal:
            figure = f"{one.judged:,}" if isinstance(one.judged, int) else one.judged
            raise CoppiceError(
                f"the system is not legal in {verdict.rules.year}: {one.limit.name} is {figure}; the rule is: "
                f"{one.limit.rule}. coppice check says more."
            )


def write_zip(folder: Path) -> Path:
    """Write a folder's files into a zip file beside it, the same bytes for the same files; return its path."""
    archive = folder.absolute().with_name(folder.absolute().name + ".zip")
    with whole_file(archive) as temporary, zipfile.ZipFile(temporary, "w") as packed:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), date_time=_WHEN)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                packed.writestr(entry, file.read_bytes())
    return archive


def _by_split(source: Source | Mapping[int, Source], rules: Rules) -> dict[int, Source]:
    if not rules.splits:
        if not isinstance(source, Source):
            raise CoppiceError(f"in {rules.year} a submission has one system, not one for each split; give one source.")
        return {0: source}
    given = {} if isinstance(source, Source) else dict(source)
    if sorted(given) != list(rules.splits):
        wanted, got = ", ".join(map(str, rules.splits)), ", ".join(map(str, sorted(given))) or "one without a split"
        raise CoppiceError(f"in {rules.year} a submission has a system for each of the splits {wanted}; given: {got}.")
    return {split: given[split] for split in rules.splits}


def _evaluation(source: Source, classifier: Classifier) -> Posteriors:
    if source.evaluation is None:
        raise CoppiceError(
            f"there are no predictions of the evaluation clips for {source.model}; give a CSV file of them, or the "
            "evaluation set's audio folder."
        )
    if source.evaluation.is_dir():
        return hear(classifier, source.evaluation)
    return read_posteriors(source.evaluation)


def _cost(verdict: Verdict) -> tuple[int, int]:
    (figures,) = verdict.figures.values()
    macs = figures.limits.get("macs")
    return (int(macs.strict) if macs else 0, figures.storage.params_bytes)
