"""What will be computed, where and how: one line for each step."""

from collections.abc import Mapping

from coppice.compiler.planned import Planned, scratch_name
from coppice.compiler.steps import Combine, Convolution, Dense, Permute, Pool, Step
from coppice.core.units import bytes_text, count_text


def explained(planned: Planned, times: Mapping[str, float] | None = None) -> list[str]:
    """Return a table of the steps, as lines: step, what it makes, tiles, where it lies, MACs, weights.

    Parameters
    ----------
    planned : Planned
    times : mapping of str to float, optional
        Milliseconds of each step, see :func:`coppice.compiler.step_times.step_times`, for two columns more: these, and
        billions of multiply-accumulates a second.

    Examples
    --------
    >>> from coppice.compiler.planned import planned
    >>> from coppice.compiler.programs import network_program
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> lines = explained(planned(network_program(DCASE2021(), (1, 40, 500))))
    >>> print(lines[2])
    conv2    convolution 7x7, relu, max pool 5x5  16x8x100   8x3 8x3     ...
    """
    head = ["step", "what", "makes", "tiles", "at byte", "bytes", "MACs", "weights"]
    rows = [head, *(_row(planned, step) for step in planned.program.steps)]
    if times is not None:
        rows = [[*row, *more] for row, more in zip(rows, _timed(planned, times), strict=True)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            text.ljust(width) if column < 4 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    program = planned.program
    lines.append(
        f"{planned.target}, {count_text(sum(map(program.macs, program.steps)))}MACs, "
        f"{bytes_text(planned.work_bytes)} of work memory ({planned.work_bytes} bytes)"
    )
    return lines


def _timed(planned: Planned, times: Mapping[str, float]) -> list[list[str]]:
    rows = [["ms", "billion a second"]]
    for step in planned.program.steps:
        macs, took = planned.program.macs(step), times[step.name]
        rows.append([f"{took:.3g}", f"{macs / took / 1e6:.3g}" if macs else ""])
    return rows


def _row(planned: Planned, step: Step) -> list[str]:
    program = planned.program
    shape = program.shapes[step.target]
    geometry = planned.geometries.get(step.name)
    tiles = [] if geometry is None else [str(tile) for tile in geometry.tiles]
    size = planned.size_bytes(step.target)
    scratch = next((b.size_bytes for b in planned.buffers if b.name == scratch_name(step)), 0)
    weights = sum(
        a.size for a in (getattr(step, n, None) for n in ("weight", "bias", "factor", "offset")) if a is not None
    )
    macs = program.macs(step)
    return [
        step.name,
        _what(planned, step),
        "x".join(map(str, shape)),
        " ".join(tiles if len(tiles) < 4 else [*tiles[:2], "..."]),
        str(planned.offset(step.target)) if step.target in planned.homes else "",
        f"{size}{f' + {scratch}' if scratch else ''}",
        count_text(macs).strip() if macs else "",
        str(weights) if weights else "",
    ]


def _what(planned: Planned, step: Step) -> str:
    said = [type(step).__name__.lower()]
    if isinstance(step, Convolution):
        said = [f"convolution {step.weight.shape[2]}x{step.weight.shape[3]}"]
        if step.stride != (1, 1):
            said[0] += f" stride {step.stride[0]}x{step.stride[1]}"
        if step.groups > 1:
            said[0] += f" in {step.groups} groups"
    elif isinstance(step, Combine):
        said = [step.kind.replace("_", " ")]
    elif isinstance(step, Permute):
        said = ["permute " + "".join(map(str, step.axes))]
    elif isinstance(step, Dense):
        said = [f"dense of {step.weight.shape[1]}"]
    if step.name in planned.wholes or (isinstance(step, Combine) and step.target in planned.stored):
        said[0] += ", int8"
    if not step.activation.is_none:
        said.append(str(step.activation))
    pooling = step.pooling if isinstance(step, Convolution | Pool) else None
    if pooling is not None:
        said = [] if isinstance(step, Pool) else said
        said.append(f"{pooling.kind} pool {pooling.kernel[0]}x{pooling.kernel[1]}")
    return ", ".join(said)
