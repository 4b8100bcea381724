"""The rules of DCASE Task 1, 2021 to 2025, as data: every constant with its source.

Quoted in our words. Sources: the challenge's task pages (https://dcase.community), the baselines
marmoi/dcase2021_task1a_baseline, marmoi/dcase2022_task1_baseline, CPJKU/dcase2024_task1_baseline and
CPJKU/dcase2025_task1_inference, NeSsi (AlbertoAncilotto/NeSsi), and what the validators
toni-heittola/dcase20{21..24}_task1_submission_validator ask for. For 2025, which has no public validator, the keys of
the meta file are those of the organisers' template as wa976/dcase2025_task1_inference fills it in.
"""

from dataclasses import dataclass

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.datasets.tau_archives import SCENES

DEVICES = ("a", "b", "c", "s1", "s2", "s3", "s4", "s5", "s6")
# The complexity test of the 2025 inference package asks for a model for each of these.
DEVICES_2025 = (*DEVICES, "s7", "s8", "s9", "s10")
COLUMNS = ("filename", "scene_label", *SCENES)

MOST_BYTES = 128_000
MOST_MACS = 30_000_000
_KIB = "KB is 1,000 bytes; with 1,024 it would be 131,072"
_FULL = "products that torchinfo does not see count too"


@dataclass(frozen=True)
class Limit:
    """One thing that a system may have at most.

    Attributes
    ----------
    name : str
        ``nonzero_bytes``, ``params``, ``size_bytes``, ``macs`` or ``number_format``.
    most : int or None
        The limit, included; None where it is not a number.
    rule : str
        What the year's rules say, in our words.
    counted : str
        How it is counted.
    reading : str
        How an ambiguous rule is read; empty where it is not ambiguous.
    source : str
        Where the rule and the count are from.
    """

    name: str
    most: int | None
    rule: str
    counted: str
    reading: str
    source: str


@dataclass(frozen=True)
class Rules:
    """One year of the task.

    Attributes
    ----------
    name : str
        Such as ``"dcase2024"``.
    year : int
    task : str
        As it stands in a submission label: ``"task1a"`` or ``"task1"``.
    limits : tuple of Limit
    clip_s : float
        Length of an evaluation clip in seconds.
    evaluation_clips : int or None
        Number of evaluation clips, called ``0.wav`` and so on; None where the files have other names.
    splits : tuple of int
        Percentages of the training data for each of which there is a system; empty before and after 2024.
    description, complexity : tuple of str
        Keys of ``system.description`` and ``system.complexity`` in the meta file.
    energy : tuple of str
        Keys of ``system.energy_consumption``.
    system : tuple of str
        Further keys of ``system``.
    results : tuple of str
        Keys of ``results.development_dataset``, each with results of its own; empty where there is one set of results.
    partial_results : bool
        Whether single results may be null.
    """

    name: str
    year: int
    task: str
    limits: tuple[Limit, ...]
    clip_s: float
    evaluation_clips: int | None
    splits: tuple[int, ...]
    description: tuple[str, ...]
    complexity: tuple[str, ...]
    energy: tuple[str, ...]
    system: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    partial_results: bool = False


_DESCRIPTION_2021 = (
    "input_sampling_rate",
    "acoustic_features",
    "embeddings",
    "data_augmentation",
    "machine_learning_method",
    "ensemble_method_subsystem_count",
    "decision_making",
    "external_data_usage",
)
_DESCRIPTION_2022 = (*_DESCRIPTION_2021, "complexity_management", "pipeline", "framework")
_DESCRIPTION_2024 = (
    "input_sampling_rate",
    "acoustic_features",
    "data_augmentation",
    "machine_learning_method",
    "external_data_usage",
    "complexity_management",
    "pipeline",
    "framework",
    "split_adaptations",
    "system_adaptations",
)
_DESCRIPTION_2025 = (
    *_DESCRIPTION_2024[:8],
    "device_information",
    "num_models_at_inference",
    "model_weight_sharing",
)

_MACS_NESSI = Limit(
    "macs",
    MOST_MACS,
    "at most 30 million multiply-accumulates for the inference of one second",
    "NeSsi on TFLite: convolutions, pools, means and sums, without biases",
    "the largest of NeSsi's two TFLite counts and torchinfo's, with which NeSsi counts torch models",
    "task page 2022 and 2023; NeSsi, MAX_MACC = 30e6",
)
_MACS_TORCHINFO = Limit(
    "macs",
    MOST_MACS,
    "at most 30 million multiply-accumulates for the inference of one second",
    "torchinfo 1.8.0, mult-adds for a batch of 1",
    _FULL,
    "CPJKU/dcase2024_task1_baseline, README; CPJKU/dcase2025_task1_inference, limit of 30_000_000",
)
_BYTES = "at most 128 kB of memory for the parameters, of whichever number formats"

_ALL = (
    Rules(
        name="dcase2021",
        year=2021,
        task="task1a",
        limits=(
            Limit(
                "nonzero_bytes",
                MOST_BYTES,
                "at most 128 KB for the parameters that are not zero, of whichever number formats",
                "bytes of all values that are not 0, running statistics of batch normalisation included",
                _KIB,
                "marmoi/dcase2021_task1a_baseline, README: 32,000 float32 values are 128,000 bytes",
            ),
        ),
        clip_s=10.0,
        evaluation_clips=7_920,
        splits=(),
        description=_DESCRIPTION_2021,
        complexity=("total_parameters", "total_parameters_non_zero", "model_size"),
        energy=(),
    ),
    Rules(
        name="dcase2022",
        year=2022,
        task="task1",
        limits=(
            Limit(
                "params",
                MOST_BYTES,
                "at most 128,000 parameters, zeros counted",
                "NeSsi on TFLite: bytes of the constants, int8 weights 1 and int32 biases 4, batch normalisation "
                "folded",
                "the larger of NeSsi's bytes, which the task calls parameters, and the number of parameters",
                "marmoi/dcase2022_task1_baseline, README; NeSsi, MAX_PARAMS = 128e3",
            ),
            _MACS_NESSI,
            Limit(
                "number_format",
                None,
                "parameters are of the type int8, no other",
                "number formats of the weights; biases may be wider, as in any full-integer TFLite file",
                "a file in which some weights have another format (dynamic-range quantization) does not pass",
                "marmoi/dcase2022_task1_baseline, README",
            ),
        ),
        clip_s=1.0,
        evaluation_clips=118_800,
        splits=(),
        description=_DESCRIPTION_2022,
        complexity=("total_parameters", "total_parameters_non_zero", "memory_use", "macs"),
        energy=(),
    ),
    Rules(
        name="dcase2023",
        year=2023,
        task="task1",
        limits=(
            Limit(
                "size_bytes",
                MOST_BYTES,
                _BYTES,
                "bytes of all parameters as they are stored, without running statistics",
                _KIB,
                "task page 2023; NeSsi",
            ),
            _MACS_NESSI,
        ),
        clip_s=1.0,
        evaluation_clips=118_800,
        splits=(),
        description=_DESCRIPTION_2022,
        complexity=("total_model_size", "total_parameters", "total_parameters_non_zero", "memory_use", "macs"),
        energy=("training", "inference", "baseline_inference"),
    ),
    Rules(
        name="dcase2024",
        year=2024,
        task="task1",
        limits=(
            Limit(
                "size_bytes",
                MOST_BYTES,
                _BYTES,
                "bytes of all parameters as they are stored, without running statistics",
                _KIB,
                "CPJKU/dcase2024_task1_baseline, README: 61,148 float16 parameters are 122,296 bytes",
            ),
            _MACS_TORCHINFO,
        ),
        clip_s=1.0,
        evaluation_clips=135_730,
        splits=(5, 10, 25, 50, 100),
        description=_DESCRIPTION_2024,
        complexity=("total_model_size", "total_parameters", "macs"),
        energy=(),
        results=tuple(f"split_{percent}" for percent in (5, 10, 25, 50, 100)),
    ),
    Rules(
        name="dcase2025",
        year=2025,
        task="task1",
        limits=(
            Limit(
                "size_bytes",
                MOST_BYTES,
                _BYTES + ", for each device's model",
                "bytes of all parameters as they are stored, without running statistics",
                "",
                "CPJKU/dcase2025_task1_inference, limit of 128_000",
            ),
            _MACS_TORCHINFO,
        ),
        clip_s=1.0,
        evaluation_clips=None,
        splits=(),
        description=_DESCRIPTION_2025,
        complexity=("total_model_size", "total_parameters", "macs"),
        energy=(),
        system=("inference_code",),
        results=("general", "device_specific"),
        partial_results=True,
    ),
)


def rules_names() -> list[str]:
    """Return the names of the years that are known.

    Examples
    --------
    >>> rules_names()
    ['dcase2021', 'dcase2022', 'dcase2023', 'dcase2024', 'dcase2025']
    """
    return [rules.name for rules in _ALL]


def rules_of(name: str) -> Rules:
    """Return the rules of a year.

    Parameters
    ----------
    name : str
        One of :func:`rules_names`.

    Raises
    ------
    CoppiceError
        If there are no such rules.

    Examples
    --------
    >>> rules_of("dcase2024").evaluation_clips
    135730
    >>> rules_of("dcase2019")
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: there are no rules 'dcase2019'. Known: 'dcase2021', 'dcase2022', ...
    """
    for rules in _ALL:
        if rules.name == name:
            return rules
    raise CoppiceError(f"there are no rules {name!r}. " + did_you_mean("", rules_names()))  # years look too alike
