"""What was measured of one stage, as its ``metrics.json`` holds it."""

from pydantic import BaseModel, ConfigDict

Interval = tuple[float, float]


class Record(BaseModel):
    """Base of everything read from a run folder: frozen, and blind to fields of later versions."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class GroupScores(Record):
    """Scores of the clips of one class or one recording device."""

    clips: int
    accuracy: float | None = None
    log_loss: float | None = None


class Evaluation(Record):
    """Scores on one side of the data (validation or test); intervals as ``interval`` says."""

    clips: int
    recordings: int | None = None
    accuracy: float
    accuracy_interval: Interval | None = None
    macro_accuracy: float | None = None
    macro_accuracy_interval: Interval | None = None
    log_loss: float | None = None
    log_loss_interval: Interval | None = None
    log_loss_eps: float | None = None
    labels: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    per_class: dict[str, GroupScores] = {}
    per_device: dict[str, GroupScores] | None = None
    interval: str | None = None

    @property
    def correct(self) -> int:
        """Number of clips that were classified correctly.

        Examples
        --------
        >>> Evaluation(clips=80, accuracy=0.9).correct
        72
        """
        if self.confusion:
            return sum(row[index] for index, row in enumerate(self.confusion))
        return round(self.accuracy * self.clips)


class LayerComplexity(Record):
    """Counts of one layer."""

    name: str
    kind: str | None = None
    filters: int | None = None
    params: int | None = None
    macs: int | None = None
    output_shape: tuple[int, ...] | None = None


class Complexity(Record):
    """Counts of a network; each name says how it is counted."""

    params_total: int
    params_trainable: int | None = None
    params_bn_folded: int | None = None
    macs: int
    macs_convention: str | None = None
    size_bytes_float32: int | None = None
    size_bytes_float16: int | None = None
    stored_as: str | None = None
    file_bytes: int | None = None
    peak_activation_bytes: int | None = None
    input_shape: tuple[int, ...] | None = None
    layers: tuple[LayerComplexity, ...] = ()

    @property
    def size_bytes_stored(self) -> int | None:
        """Size of the parameters as this stage stores them; where formats mix, of the file."""
        if self.stored_as in ("dynamic_int8", "int8"):
            return self.file_bytes
        return self.size_bytes_float16 if self.stored_as in ("float16", "bfloat16") else self.size_bytes_float32


class Training(Record):
    """How a fit ended."""

    best_epoch: int | None = None
    epochs: int | None = None
    stopped: str | None = None
    precision: str | None = None
    precision_reason: str | None = None
    macs_spent: int | None = None


class Sides(Record):
    """The two sides on which a stage is evaluated."""

    validation: Evaluation | None = None
    test: Evaluation | None = None


class StageMetrics(Record):
    """The whole of a stage's ``metrics.json``."""

    evaluation: Sides = Sides()
    complexity: Complexity | None = None
    training: Training | None = None


class LatencyTimes(Record):
    """Measured time for one clip."""

    latency_ms_p50: float
    latency_ms_p95: float | None = None


class LatencyRecord(Record):
    """The whole of ``latency.json``: times of several stages, measured side by side."""

    threads: int | None = None
    batch: int | None = None
    repeats: int | None = None
    runtime: str | None = None
    processor: str | None = None
    how: str | None = None
    stages: dict[str, LatencyTimes] = {}


class PlanLayer(Record):
    """Which filters of one layer a plan keeps, by index into the layer before the cut."""

    name: str
    filters: int
    keep: tuple[int, ...]
    coupled: tuple[str, ...] = ()


class PlanRecord(Record):
    """The parts of a ``plan.json`` that a report shows."""

    criterion: str | None = None
    layers: tuple[PlanLayer, ...] = ()

    def each_layer(self) -> dict[str, PlanLayer]:
        """Return the plan by layer name, with coupled layers written out.

        Examples
        --------
        >>> layer = PlanLayer(name="conv1", filters=4, keep=(0, 2), coupled=("conv2",))
        >>> [(name, each.keep) for name, each in PlanRecord(layers=(layer,)).each_layer().items()]
        [('conv1', (0, 2)), ('conv2', (0, 2))]
        """
        own = {layer.name: layer for layer in self.layers}
        coupled = {name: layer for layer in self.layers for name in layer.coupled}
        return own | {name: layer for name, layer in coupled.items() if name not in own}


class SideCounts(Record):
    """How many clips or recordings stand on each side."""

    train: int = 0
    validation: int = 0
    test: int = 0
    unused: int = 0


class Problem(Record):
    """A file that was left out, and why."""

    file: str
    reason: str


class DataSummary(Record):
    """The whole of ``data/data.json``."""

    name: str
    synthetic: bool = False
    labels: tuple[str, ...] = ()
    clips: SideCounts = SideCounts()
    recordings: SideCounts | None = None
    cut: int = 0
    padded: int = 0
    problems: tuple[Problem, ...] = ()
    note: str = ""
