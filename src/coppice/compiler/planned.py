"""A program with its memory laid out for one kind of processor: all that the text of the C is made from."""

from dataclasses import dataclass

from coppice.compiler.geometry import Geometry, geometry
from coppice.compiler.integers import Whole, folds, in_bytes, merged_groups, whole
from coppice.compiler.layout import Layout, dense_layouts, padded_layouts
from coppice.compiler.memory import Buffer, Placement, most_needed, placed
from coppice.compiler.steps import Combine, Convolution, Dense, Grid, Pool, Program, Scale, Step
from coppice.compiler.tiles import LANES
from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.units import bytes_text

TARGETS = ("simd", "portable")
PRECISIONS = ("float32", "int8")
SLACK_BYTES = 1024  # a last tile reads beyond the end of what it reads, and throws away what it makes of that
_FLOAT = 4
POOLED_AT_ONCE = 8  # rows of windows, where vectors pool


@dataclass(frozen=True, eq=False)
class Planned:
    """A program laid out in memory.

    Attributes
    ----------
    program : Program
    target : {"simd", "portable"}
    precision : {"float32", "int8"}
    layouts : dict of str to Layout
        Of every value.
    stored : dict of str to Grid
        What bytes mean, of each value that is stored in bytes.
    wholes : dict of str to Whole
        The layers that compute in whole numbers, by name.
    geometries : dict of str to Geometry
        Of the convolutions, by name; none for ``portable``.
    buffers : tuple of Buffer
        In the work memory; a value and what is computed in its place are one.
    homes : dict of str to str
        The buffer of each value.
    placement : Placement
    """

    program: Program
    target: str
    precision: str
    layouts: dict[str, Layout]
    stored: dict[str, Grid]
    wholes: dict[str, Whole]
    geometries: dict[str, Geometry]
    buffers: tuple[Buffer, ...]
    homes: dict[str, str]
    placement: Placement

    @property
    def work_bytes(self) -> int:
        """Memory that a caller must give."""
        return self.placement.peak_bytes + (SLACK_BYTES if self.target == "simd" else 0)

    @property
    def output(self) -> str:
        """The value that is returned."""
        outputs = self.program.outputs
        return outputs.get("posteriors", next(iter(outputs.values())))

    def offset(self, value: str) -> int:
        """Return where a value, or the scratch of a step, begins in the work memory, in bytes."""
        return self.placement.offsets[self.homes.get(value, value)]

    def size_bytes(self, value: str) -> int:
        """Return the memory of a value, with the zeros around it."""
        return self.layouts[value].numbers * _number_bytes(value in self.stored, self.target)


def planned(
    program: Program, *, target: str = "simd", precision: str = "float32", most_bytes: int | None = None
) -> Planned:
    """Lay a program out in memory.

    Parameters
    ----------
    program : Program
        Fused.
    target : {"simd", "portable"}
        Vectors along frames, with zeros around values; or one number after the other, in the least memory.
    precision : {"float32", "int8"}
        With ``"int8"``, what the program rounds is stored in bytes and computed in whole numbers.
    most_bytes : int, optional
        What the work memory may take.

    Raises
    ------
    CoppiceError
        If the target is unknown, nothing was rounded that is to be computed in int8, or the memory is not enough.

    Examples
    --------
    >>> from coppice.compiler.programs import network_program
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> program = network_program(DCASE2021(frames=50), (1, 40, 50))
    >>> planned(program, target="portable", most_bytes=100_000)
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: the network needs 133.1 kB of work memory, most of it at 'conv2', and 100.0 kB ...
    """
    if target not in TARGETS:
        raise CoppiceError(f"there is no target {target!r} for C. {did_you_mean(target, TARGETS)}")
    if precision not in PRECISIONS:
        raise CoppiceError(f"C is not written in {precision!r}. {did_you_mean(precision, PRECISIONS)}")
    stored: dict[str, Grid] = {}
    if precision == "int8":
        program, stored = in_bytes(program)
    simd = target == "simd"
    layouts = padded_layouts(program, stored) if simd else dense_layouts(program)
    wholes = {
        step.name: whole(step, stored[step.sources[0]])
        for step in program.steps
        if isinstance(step, Convolution | Dense) and step.sources[0] in stored
    }
    geometries = {
        step.name: _geometry(program, step, layouts, wholes.get(step.name))
        for step in program.steps
        if isinstance(step, Convolution) and simd
    }
    homes, last = _homes(program, layouts, stored, outside=set() if simd else {program.source})
    found = Planned(program, target, precision, layouts, stored, wholes, geometries, (), homes, Placement({}, 0))
    buffers = _buffers(found, last)
    found = Planned(program, target, precision, layouts, stored, wholes, geometries, buffers, homes, placed(buffers))
    if most_bytes is not None and found.work_bytes > most_bytes:
        step = program.steps[most_needed(buffers, len(program.steps))]
        raise CoppiceError(
            f"the network needs {bytes_text(found.work_bytes)} of work memory, most of it at {step.name!r}, and "
            f"{bytes_text(most_bytes)} are allowed; cut filters there and before, take shorter clips"
            + (", or the target 'portable', which needs less." if simd else ".")
        )
    return found


def _geometry(program: Program, step: Convolution, layouts: dict[str, Layout], numbers: Whole | None) -> Geometry:
    source, target = layouts[step.sources[0]], layouts[step.target]
    if numbers is None:
        return geometry(program, step, source, target, groups=step.groups, channels=step.weight.shape[1])
    weight, groups = merged_groups(step, numbers.weight)
    channels = -(-weight.shape[1] // 4)
    return geometry(
        program,
        step,
        source,
        target,
        groups=groups,
        channels=channels,
        side=4,
        folded=folds(step),
        skips=numbers.read.zero == 0,  # another byte for 0 is multiplied: it is in the bias
    )


def _homes(
    program: Program, layouts: dict[str, Layout], stored: dict[str, Grid], *, outside: set[str]
) -> tuple[dict[str, str], dict[str, int]]:
    """Return the buffer of each value, and the step after which it is not needed."""
    count = len(program.steps)
    last = {program.source: 0} | {step.target: i for i, step in enumerate(program.steps)}
    for i, step in enumerate(program.steps):
        for source in step.sources:
            last[source] = i
    for value in program.outputs.values():
        last[value] = count
    homes: dict[str, str] = {name: name for name in last if name not in outside}
    for i, step in enumerate(program.steps):
        source = step.sources[0]
        ends = source not in outside and last[source] == i and layouts[source] == layouts[step.target]
        if isinstance(step, Scale | Combine) and ends:
            homes[step.target] = homes[source]
    return homes, last


def _buffers(found: Planned, last: dict[str, int]) -> tuple[Buffer, ...]:
    """Return what must be in memory and when."""
    program = found.program
    written = {program.source: 0} | {step.target: i for i, step in enumerate(program.steps)}
    buffers = []
    for home in dict.fromkeys(found.homes.values()):
        values = [name for name, where in found.homes.items() if where == home]
        size = max(map(found.size_bytes, values))
        buffers.append(Buffer(home, size, min(written[v] for v in values), max(last[v] for v in values)))
    for i, step in enumerate(program.steps):
        size = _scratch_bytes(found, step)
        if size:
            buffers.append(Buffer(scratch_name(step), size, i, i))
    return tuple(buffers)


def scratch_name(step: Step) -> str:
    """Return the name of a step's own memory."""
    return f"scratch of {step.name}"


def _scratch_bytes(found: Planned, step: Step) -> int:
    source = step.sources[0]
    shape = found.program.shapes[source]
    if isinstance(step, Pool):
        if source in found.stored and step.pooling.kind == "max":
            return shape[2] * _number_bytes(True, found.target)
        numbers = shape[2]
        if found.target == "simd":
            numbers = _pooling_numbers(step, shape[2], found.program.shapes[step.target][2])
        if source in found.stored:
            side = 4 if found.target == "simd" else 1  # channels that are numbers at a time
            numbers += side * (found.layouts[source].channel + found.layouts[step.target].channel)
        return _FLOAT * numbers
    if isinstance(step, Dense) and step.name in found.wholes:
        return int(step.weight.shape[1])
    return _FLOAT * found.geometries[step.name].scratch if step.name in found.geometries else 0


def _pooling_numbers(step: Pool, frames: int, windows: int) -> int:
    """Return the numbers of the lines that vectors pool in, with margins, and of the share of each window."""
    line = step.pooling.padding[1] + frames + step.pooling.kernel[1] + 2 * LANES
    return POOLED_AT_ONCE * line + windows + LANES


def _number_bytes(stored: bool, target: str) -> int:
    """Return the bytes of a number, or of a cell of four channels."""
    return 1 if stored and target == "portable" else _FLOAT
