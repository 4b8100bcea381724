"""What is measured of every run of a study: its scores, and what its network costs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """One score.

    Attributes
    ----------
    field : str
        Column of the tables.
    name : str
        As a choice.
    title : str
        As an axis, with the unit that it is drawn in.
    higher : bool
        Whether more is better.
    scale : float
        What a value is multiplied by to be drawn; 100 for shares.
    """

    field: str
    name: str
    title: str
    higher: bool
    scale: float = 1.0


@dataclass(frozen=True)
class Cost:
    """One cost; less is better."""

    field: str
    name: str
    title: str


ACCURACY = Score("accuracy", "accuracy", "test accuracy (%)", True, 100.0)
LOG_LOSS = Score("log_loss", "log-loss", "test log-loss (nats)", False)
ACCURACY_CHANGE = Score("accuracy_change", "change of accuracy", "change of accuracy (points)", True, 100.0)
LOG_LOSS_CHANGE = Score("log_loss_change", "change of log-loss", "change of log-loss (nats)", False)
SCORES = (ACCURACY, LOG_LOSS, ACCURACY_CHANGE, LOG_LOSS_CHANGE)
COSTS = (
    Cost("params_total", "parameters", "parameters"),
    Cost("macs", "MACs", "MACs per clip"),
    Cost("size_bytes", "bytes", "bytes, as stored"),
    Cost("latency_ms_p50", "latency", "latency p50 (ms)"),
    Cost("energy_kwh", "energy", "energy (kWh)"),
)
SPENT = (
    Cost("finetune_seconds", "seconds", "time of fine-tuning (s)"),
    Cost("finetune_clips_seen", "clips seen", "clips seen in fine-tuning"),
    Cost("finetune_macs", "MACs spent", "MACs spent in fine-tuning"),
)
