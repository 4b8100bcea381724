"""What the numbers mean, in words."""

from collections.abc import Sequence

from coppice.core.units import bytes_text, count_text
from coppice.ensembles.costs import Costs
from coppice.ensembles.redundancy import Loss

_UNITS = {"macs": "MACs", "params": "parameters", "bytes": "", "latency_ms": "ms"}


def advice(names: Sequence[str], losses: Sequence[Loss], costs: Costs | None = None) -> list[str]:
    """Say of each member what it costs and adds, the one that adds least first.

    Parameters
    ----------
    names : sequence of str
        Of the members.
    losses : sequence of Loss
        From :func:`coppice.ensembles.redundancy.leave_one_out`.
    costs : Costs, optional
        What members cost; of what they share, only what goes with the member is told.

    Examples
    --------
    >>> from coppice.ensembles.scores import Scores
    >>> loss = Loss(0, Scores(0.47, 1.39), -0.0002, 0.0001, 0.001, 0.0005)
    >>> advice(["C23"], [loss], Costs.plain([{"macs": 4_014_360}]))
    ['C23 adds 4.0 MMACs and nothing (accuracy −0.02 points, log-loss −0.0001).']
    """
    lines = []
    for loss in sorted(losses, key=lambda one: (not one.adds_nothing, one.log_loss)):
        change = f"accuracy {_signed(100 * loss.macro_accuracy, 2)} points, log-loss {_signed(-loss.log_loss, 4)}"
        cost = _cost(loss.member, costs)
        if loss.adds_nothing:
            lines.append(f"{names[loss.member]} adds {cost}nothing ({change}).")
        else:
            errors = f"± {100 * loss.macro_accuracy_error:.2f} and ± {loss.log_loss_error:.4f}"
            lines.append(f"{names[loss.member]} adds {cost}something ({change}; standard errors {errors}).")
    return lines


def cost_text(kind: str, value: float) -> str:
    """Write a cost with its unit.

    Examples
    --------
    >>> cost_text("macs", 4_014_360), cost_text("bytes", 12_000), cost_text("latency_ms", 1.234)
    ('4.0 MMACs', '12.0 kB', '1.23 ms')
    """
    if kind == "bytes":
        return bytes_text(value)
    if kind == "latency_ms":
        return f"{value:.2f} ms"
    text = count_text(value)
    return f"{text}MACs" if kind == "macs" and text[-1] in "kMG" else f"{text} {_UNITS[kind]}"


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _cost(member: int, costs: Costs | None) -> str:
    """Return what goes away with a member: ``"4.0 MMACs and "``, or nothing where that is not known."""
    if costs is None or not costs.kinds():
        return ""
    kind = "macs" if "macs" in costs.kinds() else costs.kinds()[0]
    everyone = 2**costs.members - 1
    return f"{cost_text(kind, costs.of(everyone, kind) - costs.of(everyone & ~(1 << member), kind))} and "
