"""The text of the C, from templates."""

import json
import re
from collections.abc import Iterable
from typing import Any

import jinja2
import numpy as np

from coppice.audio.front_end import FrontEnd
from coppice.compiler.explain import explained
from coppice.compiler.integers import merged_groups
from coppice.compiler.packing import constants
from coppice.compiler.planned import POOLED_AT_ONCE, Planned
from coppice.compiler.steps import (
    Combine,
    Convolution,
    Dense,
    Join,
    Narrow,
    Permute,
    Pool,
    Scale,
    Select,
    Softmax,
    Step,
    Surround,
    Widen,
)
from coppice.compiler.tiles import Tile, channels_at_once
from coppice.core.progress import progress_bar

_PIECE = 96_000  # numbers, a multiple of what stands in a line


def rendered(template: str, **context: Any) -> str:
    """Return the text of a template of this package."""
    return _environment().get_template(template).render(**context)


def model_sources(
    planned: Planned,
    *,
    title: str,
    origin: str,
    labels: Iterable[str],
    given: str,
    front_end: FrontEnd | None = None,
    listen_bytes: int = 0,
    timed: bool = False,
) -> dict[str, str]:
    """Return ``model.h`` and ``model.c``, which compute a program with the weights of :func:`weights_source`.

    Parameters
    ----------
    planned : Planned
    title : str
        One line that says what network it is.
    origin : str
        One line that says who wrote it.
    labels : iterable of str
        The classes.
    given : str
        What the features are.
    front_end : FrontEnd, optional
        Where ``model_listen`` stands beside: what is promised of it, and its work memory.
    listen_bytes : int
    timed : bool
        Whether ``model_after`` is called with -1 once the clip is copied, and with the number of each step after it.

    Examples
    --------
    >>> from coppice.compiler.planned import planned
    >>> from coppice.compiler.programs import network_program
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> plan = planned(network_program(DCASE2021(frames=50), (1, 40, 50)))
    >>> files = model_sources(plan, title="A network", origin="", labels="abcdefghij", given="log-mel")
    >>> sorted(files), "static void go_" in files["model.c"]
    (['model.c', 'model.h'], True)
    """
    program = planned.program
    shape = program.shapes[program.source]
    names = identifiers(planned)
    context = {
        "planned": planned,
        "names": names,
        "title": title,
        "origin": origin,
        "labels": list(labels),
        "classes": int(np.prod(program.shapes[planned.output])),
        "features": int(np.prod(shape)),
        "feature_shape": f"{shape[0]} channels, {shape[1]} rows, {shape[2]} frames",
        "feature_text": given,
        "front_end": front_end,
        "listen_bytes": listen_bytes,
        "timed": timed,
        "explanation": explained(planned),
        "parts": _parts(planned),
        "pooled_at_once": POOLED_AT_ONCE,
        "tiles": _tiles(planned),
        "whole_tiles": _whole_tiles(planned),
        "small_weights": all(np.abs(numbers.weight.astype(int)).max() <= 64 for numbers in planned.wholes.values()),
        "adds_logs": any(isinstance(step, Combine) and step.kind == "log_add" for step in program.steps),
        "takes_logs": any(isinstance(step, Softmax) and step.log for step in program.steps),
        "steps": [_said(planned, step) for step in program.steps],
        "weights": named_constants(planned),
    }
    return {name: rendered(f"{name}.j2", **context) for name in ("model.h", "model.c")}


def weights_source(planned: Planned, *, title: str) -> str:
    """Return ``weights.c``, the numbers that ``model.c`` computes with.

    Examples
    --------
    >>> from coppice.compiler.planned import planned
    >>> from coppice.compiler.programs import network_program
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> plan = planned(network_program(DCASE2021(widths=(1, 1, 1), frames=50), (1, 40, 50)))
    >>> "const float weight_conv1[49] = {" in weights_source(plan, title="A network")
    True
    """
    named = named_constants(planned)
    texts = []
    with progress_bar("weights as text", sum(len(numbers) for _, numbers in named), after_s=2.0) as advance:
        for _, numbers in named:
            pieces = []
            for first in range(0, len(numbers), _PIECE):
                pieces.append(wrapped(numbers[first : first + _PIECE]))
                advance(len(numbers[first : first + _PIECE]), "")
            texts.append(",\n".join(pieces))
    return rendered("weights.c.j2", title=title, weights=[(*one, text) for one, text in zip(named, texts, strict=True)])


def named_constants(planned: Planned) -> list[tuple[str, np.ndarray]]:
    """Return the constants of a program under their names in C."""
    names = identifiers(planned)
    return [(f"{kind}_{names[step]}", numbers) for kind, step, numbers in constants(planned)]


def _tiles(planned: Planned) -> dict[tuple[Tile, str], bool]:
    """Return tiles with what is applied to their sums, and whether each is only for a rest.

    Processors of few registers need none of these.
    """
    found = {
        (tile, step.activation.kind)
        for step in planned.program.steps
        if isinstance(step, Convolution) and step.name in planned.geometries and step.name not in planned.wholes
        for tile in planned.geometries[step.name].tiles
    }
    first = {(tile.kinds[0], then) for tile, then in found}
    return {one: one not in first for one in sorted({(kind, then) for tile, then in found for kind in tile.kinds})}


def _whole_tiles(planned: Planned) -> dict[Tile, bool]:
    """Return the tiles of convolutions in whole numbers, and whether each is only for a rest."""
    found = {tile for name, g in planned.geometries.items() if name in planned.wholes for tile in g.tiles}
    first = {tile.kinds[0] for tile in found}
    return {kind: kind not in first for kind in sorted({kind for tile in found for kind in tile.kinds})}


def _parts(planned: Planned) -> list[str]:
    """Return which parts of the C the steps need, in their order."""
    steps = planned.program.steps
    exact = {type(step) for step in steps if step.name not in planned.wholes}
    pools = {(s.sources[0] in planned.stored, s.pooling.kind) for s in steps if isinstance(s, Pool)}
    pools_bytes, means = (True, "max") in pools, (True, "average") in pools
    pools_numbers = means or any(not stored for stored, _ in pools)
    combines = {s.target in planned.stored for s in steps if isinstance(s, Combine)}
    layers = [step for step in steps if step.name in planned.wholes]
    convolves = any(isinstance(step, Convolution) for step in layers)
    multiplies = any(isinstance(step, Dense) for step in layers)
    simd, whole = planned.target == "simd", bool(planned.stored)
    activates = bool(exact & {Convolution, Dense, Scale, Combine}) or convolves
    borders = {name in planned.stored for name, layout in planned.layouts.items() if layout.has_border}
    parts = any(found.phases for found in planned.geometries.values())
    adds_logs = any(isinstance(step, Combine) and step.kind == "log_add" for step in steps)
    program_shapes = planned.program.shapes
    folds = any(found.folded for found in planned.geometries.values())
    alone = any(isinstance(step, Convolution) and step.pooling is None for step in steps)
    wanted = {
        "value.c": True,
        "activation.c": activates,
        "simd_vector.c": simd,
        "simd_activate.c.j2": simd and activates,
        "simd_activated.c": simd and (bool(exact & {Dense, Scale, Combine}) or convolves),
        "simd_activate_row.c": simd and (bool(exact & {Dense, Scale}) or adds_logs),
        "activate.c": not simd and activates,
        "pooling.c": bool(exact & {Convolution, Pool}) or convolves or pools_bytes,
        "border.c": False in borders,
        "rows.c": not simd and pools_numbers,
        "simd_rows.c": simd and (pools_numbers or Convolution in exact),
        "pool.c": pools_numbers or (simd and Convolution in exact),
        "simd_pool_value.c.j2": simd and pools_numbers,
        "pool_value.c": not simd and pools_numbers,
        "phases.c": parts,
        "simd_strip.c": simd and bool(planned.geometries),
        "simd_convolve.c.j2": simd and Convolution in exact,
        "convolve.c": not simd and Convolution in exact,
        "alone.c": not simd and alone,
        "simd_dense.c": simd and Dense in exact,
        "dense.c": not simd and Dense in exact,
        "scale.c": Scale in exact,
        "exponential.c": Softmax in exact or adds_logs,
        "simd_combine.c.j2": simd and False in combines,
        "combine.c.j2": not simd and False in combines,
        "select.c": Select in exact,
        "copy.c": simd or bool(exact & {Join, Surround}) or program_shapes[planned.output][1:] != (1, 1),
        "surround.c": Surround in exact,
        "permute.c": Permute in exact,
        "softmax.c.j2": Softmax in exact,
        "cells.c": whole and simd,
        "bytes.c": whole and not simd,
        "whole.c": whole,
        "rescaled.c": multiplies or (not simd and convolves),
        "narrowed.c": not simd and (convolves or Narrow in exact or True in combines or means),
        "simd_narrow.c": simd and (Narrow in exact or means),
        "simd_widen.c": simd and (Widen in exact or means),
        "narrow.c": not simd and (Narrow in exact or means),
        "widen.c": not simd and (Widen in exact or means),
        "simd_whole_combine.c": simd and True in combines,
        "whole_combine.c": not simd and True in combines,
        "whole_mean.c": means,
        "whole_border.c": True in borders,
        "whole_pool.c": pools_bytes or (simd and convolves),
        "whole_pool_value.c": pools_bytes,
        "whole_fold.c": folds,
        "simd_whole_vector.c.j2": simd and convolves,
        "simd_whole_convolve.c.j2": simd and convolves,
        "whole_convolve.c": not simd and convolves,
        "whole_dense.c": multiplies,
    }
    return [part for part, is_wanted in wanted.items() if is_wanted]


def _said(planned: Planned, step: Step) -> dict[str, Any]:
    """Return what the templates ask of a step."""
    program = planned.program
    said: dict[str, Any] = {"pooling": None} | {name: getattr(step, name) for name in step.__dataclass_fields__}
    said["kind"], said["mode"] = type(step).__name__, said.get("kind")
    said["geometry"] = planned.geometries.get(step.name)
    said["whole"] = planned.wholes.get(step.name)
    if isinstance(step, Convolution):
        said["groups_read"], said["channels_read"] = step.groups, step.weight.shape[1]
        if said["whole"] and said["geometry"]:
            weight, said["groups_read"] = merged_groups(step, said["whole"].weight)
            said["channels_read"] = -(-weight.shape[1] // 4)
        said["pooled"] = program.convolved(step)
    elif isinstance(step, Dense):
        said["channels_read"] = program.shapes[step.sources[0]][0]
    elif isinstance(step, Pool):
        said["pooled"] = program.shapes[step.sources[0]]
    elif isinstance(step, Join):
        firsts = np.cumsum([0, *(program.shapes[source][0] for source in step.sources)])
        said["parts"] = list(zip(step.sources, firsts.tolist(), strict=False))
    return said


def identifiers(planned: Planned) -> dict[str, str]:
    """Return a name that C takes for each step, value and buffer of a program, different for different ones.

    Examples
    --------
    >>> from coppice.compiler.planned import planned
    >>> from coppice.compiler.programs import network_program
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> names = identifiers(planned(network_program(DCASE2021(frames=50), (1, 40, 50))))
    >>> names["scratch of conv2"]
    'scratch_of_conv2'
    """
    program = planned.program
    wanted = [*program.shapes, *(step.name for step in program.steps), *(buffer.name for buffer in planned.buffers)]
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in dict.fromkeys(wanted):
        base = free = re.sub(r"\W", "_", name, flags=re.ASCII)
        number = 2
        while free in taken:
            free, number = f"{base}_{number}", number + 1
        taken.add(free)
        found[name] = free
    return found


def number(value: float) -> str:
    """Return a float32 as C writes it, exactly.

    Examples
    --------
    >>> number(0.1), number(float("-inf")), number(1)
    ('0.1f', '-INFINITY', '1.0f')
    >>> number(float(np.float32(0.1)))
    '0.100000001f'
    """
    if np.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    text = f"{value:.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def ctype(dtype: np.dtype) -> str:
    """Return the type of numbers in C.

    Examples
    --------
    >>> ctype(np.dtype("float32")), ctype(np.dtype("int8"))
    ('float', 'int8_t')
    """
    return "float" if dtype == np.float32 else f"{dtype}_t"


def wrapped(values: Iterable[float]) -> str:
    """Return finite numbers with commas between them, exactly, in lines that are not too long.

    Examples
    --------
    >>> wrapped([1, -2]), wrapped(np.array([0.1, -3], np.float32))
    ('1, -2', '0.100000001f, -3.00000000f')
    """
    numbers = values.tolist() if isinstance(values, np.ndarray) else list(values)
    one, together = ("%d", 16) if all(isinstance(value, int) for value in numbers) else ("%#.9gf", 6)
    lines = [min(together, len(numbers) - first) for first in range(0, len(numbers), together)]
    # One call for all: a network may have millions.
    return ",\n".join(", ".join([one] * count) for count in lines) % tuple(numbers)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("coppice.compiler"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,
    )
    for one in (number, wrapped, quoted, ctype, channels_at_once):
        environment.filters[one.__name__] = one
    return environment


def quoted(text: str) -> str:
    """Return a text as C writes it; trigraphs do not matter, as no label has two question marks."""
    return json.dumps(text, ensure_ascii=False)
