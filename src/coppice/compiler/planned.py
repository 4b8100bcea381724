"""A program with its memory laid out for one kind of processor: all that the text of the C is made from."""

from dataclasses import dataclass

from coppice.compiler.geometry import Geometry, geometry
from coppice.compiler.layout import Layout, dense_layouts, padded_layouts
from coppice.compiler.memory import Buffer, Placement, most_needed, placed
from coppice.compiler.steps import Combine, Convolution, Pool, Program, Scale, Step
from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.units import bytes_text

TARGETS = ("simd", "portable")
_FLOAT = 4
SLACK_BYTES = 1024  # a last tile reads beyond the end of what it reads, and throws away what it makes of that


@dataclass(frozen=True, eq=False)
class Planned:
    """A program laid out in memory.

    Attributes
    ----------
    program : Program
    target : {"simd", "portable"}
    layouts : dict of str to Layout
        Of every value.
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
    layouts: dict[str, Layout]
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


def planned(program: Program, *, target: str = "simd", most_bytes: int | None = None) -> Planned:
    """Lay a program out in memory.

    Parameters
    ----------
    program : Program
        Fused.
    target : {"simd", "portable"}
        Vectors along frames, with zeros around values; or one number after the other, in the least memory.
    most_bytes : int, optional
        What the work memory may take.

    Raises
    ------
    CoppiceError
        If the target is unknown, or the memory is not enough.

    Examples
    --------
    >>> from coppice.compiler.programs import network_program
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> program = network_program(DCASE2021(frames=50), (1, 40, 50))
    >>> planned(program, target="portable", most_bytes=100_000)
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: the network needs 153.6 kB of work memory, most of it at 'conv2', and 100.0 kB ...
    """
    if target not in TARGETS:
        raise CoppiceError(f"there is no target {target!r} for C. {did_you_mean(target, TARGETS)}")
    layouts = padded_layouts(program) if target == "simd" else dense_layouts(program)
    geometries = {
        step.name: geometry(program, step, layouts[step.sources[0]], layouts[step.target])
        for step in program.steps
        if isinstance(step, Convolution) and target == "simd"
    }
    buffers, homes = _buffers(program, layouts, geometries, target)
    found = Planned(program, target, layouts, geometries, buffers, homes, placed(buffers))
    if most_bytes is not None and found.work_bytes > most_bytes:
        step = program.steps[most_needed(buffers, len(program.steps))]
        raise CoppiceError(
            f"the network needs {bytes_text(found.work_bytes)} of work memory, most of it at {step.name!r}, and "
            f"{bytes_text(most_bytes)} are allowed; cut filters there and before, take shorter clips"
            + (", or the target 'portable', which needs less." if target == "simd" else ".")
        )
    return found


def _buffers(
    program: Program, layouts: dict[str, Layout], geometries: dict[str, Geometry], target: str
) -> tuple[tuple[Buffer, ...], dict[str, str]]:
    """Return what must be in memory and when."""
    count = len(program.steps)
    written = {program.source: 0} | {step.target: i for i, step in enumerate(program.steps)}
    last = {name: i for name, i in written.items()}
    for i, step in enumerate(program.steps):
        for source in step.sources:
            last[source] = i
    for value in program.outputs.values():
        last[value] = count
    outside = {program.source} if target == "portable" else set()  # read where the caller has it
    homes: dict[str, str] = {name: name for name in written if name not in outside}
    for i, step in enumerate(program.steps):
        source = step.sources[0]
        ends = source not in outside and last[source] == i and layouts[source] == layouts[step.target]
        if isinstance(step, Scale | Combine) and ends:
            homes[step.target] = homes[source]
    buffers = []
    for home in dict.fromkeys(homes.values()):
        values = [name for name, where in homes.items() if where == home]
        size = _FLOAT * max(layouts[name].numbers for name in values)
        buffers.append(Buffer(home, size, min(written[v] for v in values), max(last[v] for v in values)))
    for i, step in enumerate(program.steps):
        numbers = _scratch(program, step, geometries)
        if numbers:
            buffers.append(Buffer(scratch_name(step), _FLOAT * numbers, i, i))
    return tuple(buffers), homes


def scratch_name(step: Step) -> str:
    """Return the name of a step's own memory."""
    return f"scratch of {step.name}"


def _scratch(program: Program, step: Step, geometries: dict[str, Geometry]) -> int:
    if isinstance(step, Pool):
        return program.shapes[step.sources[0]][2]
    return geometries[step.name].scratch if step.name in geometries else 0
