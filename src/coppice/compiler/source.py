"""The text of the C, from templates."""

import json
import re
from collections.abc import Iterable
from typing import Any

import jinja2
import numpy as np

from coppice.audio.front_end import FrontEnd
from coppice.compiler.explain import explained
from coppice.compiler.packing import constants
from coppice.compiler.planned import Planned
from coppice.compiler.steps import (
    Combine,
    Convolution,
    Dense,
    Join,
    Permute,
    Pool,
    Scale,
    Softmax,
    Step,
    Surround,
)

_WIDTH = 116


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
) -> dict[str, str]:
    """Return ``model.h``, ``model.c`` and ``weights.c``, which compute a program.

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

    Examples
    --------
    >>> from coppice.compiler.planned import planned
    >>> from coppice.compiler.programs import network_program
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> plan = planned(network_program(DCASE2021(frames=50), (1, 40, 50)))
    >>> files = model_sources(plan, title="A network", origin="", labels="abcdefghij", given="log-mel")
    >>> sorted(files), "strip_8x" in files["model.c"]
    (['model.c', 'model.h', 'weights.c'], True)
    """
    program = planned.program
    shape = program.shapes[program.source]
    weights = [(f"{kind}_{identifier(step)}", numbers) for kind, step, numbers in constants(planned)]
    context = {
        "planned": planned,
        "title": title,
        "origin": origin,
        "labels": list(labels),
        "classes": program.shapes[planned.output][0],
        "features": int(np.prod(shape)),
        "feature_shape": f"{shape[0]} channels, {shape[1]} rows, {shape[2]} frames",
        "feature_text": given,
        "front_end": front_end,
        "listen_bytes": listen_bytes,
        "explanation": explained(planned),
        "parts": _parts(planned),
        "tiles": sorted({tile for g in planned.geometries.values() for tile in g.tiles}),
        "steps": [_said(planned, step) for step in program.steps],
        "constants": [(name, len(numbers)) for name, numbers in weights],
        "weights": weights,
    }
    templates = ("model.h", "model.c", "weights.c")
    return {name: rendered(f"{name}.j2", **context) for name in templates}


def _parts(planned: Planned) -> list[str]:
    """Return which parts of the C the steps need, in their order."""
    kinds = {type(step) for step in planned.program.steps}
    simd = planned.target == "simd"
    strips = simd and Convolution in kinds
    wanted = {
        "value.c": True,
        "activation.c": bool(kinds & {Convolution, Dense, Scale, Combine}),
        "simd_vector.c": simd,
        "simd_activate.c": simd and bool(kinds & {Convolution, Dense, Scale, Combine}),
        "activate.c": not simd and bool(kinds & {Convolution, Dense, Scale, Combine}),
        "border.c": any(layout.has_border for layout in planned.layouts.values()),
        "pooling.c": Convolution in kinds or Pool in kinds,
        "pool.c": Pool in kinds or strips,
        "pool_value.c": Pool in kinds,
        "spread.c": any(g.spread for g in planned.geometries.values()),
        "simd_convolve.c.j2": strips,
        "convolve.c": Convolution in kinds and not simd,
        "alone.c": not simd and any(isinstance(s, Convolution) and not s.pooling for s in planned.program.steps),
        "simd_dense.c": simd and Dense in kinds,
        "dense.c": Dense in kinds and not simd,
        "scale.c": Scale in kinds,
        "combine.c": Combine in kinds,
        "copy.c": simd or bool(kinds & {Join, Surround}),
        "surround.c": Surround in kinds,
        "permute.c": Permute in kinds,
        "softmax.c": Softmax in kinds,
    }
    return [part for part, is_wanted in wanted.items() if is_wanted]


def _said(planned: Planned, step: Step) -> dict[str, Any]:
    """Return what the template asks of a step."""
    said: dict[str, Any] = {name: getattr(step, name) for name in step.__dataclass_fields__}
    program = planned.program
    said["kind"], said["mode"] = type(step).__name__, said.get("kind")
    said.setdefault("pooling", None)
    said["geometry"] = planned.geometries.get(step.name)
    if isinstance(step, Convolution):
        said["convolved"] = program.convolved(step)
        if step.pooling and said["geometry"]:
            said["pooled"] = (0, step.pooling.kernel[0], said["convolved"][2])
        else:
            said["pooled"] = said["convolved"]
    elif isinstance(step, Pool):
        said["pooled"] = program.shapes[step.sources[0]]
    elif isinstance(step, Join):
        firsts = np.cumsum([0, *(program.shapes[source][0] for source in step.sources)])
        said["parts"] = list(zip(step.sources, firsts.tolist(), strict=False))
    return said


def identifier(name: str) -> str:
    """Return a name that C takes, different for different names.

    Examples
    --------
    >>> identifier("conv1"), identifier("network.features.0")
    ('conv1', 'network_features_0')
    """
    return re.sub(r"\W", "_", name, flags=re.ASCII)


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


def wrapped(values: Iterable[float]) -> str:
    """Return numbers with commas between them, in lines that are not too long."""
    lines, line = [], ""
    for value in values.tolist() if isinstance(values, np.ndarray) else values:
        text = str(value) if isinstance(value, int) else number(value)
        if line and len(line) + len(text) + 2 > _WIDTH:
            lines.append(line)
            line = ""
        line += f"{text}, "
    return "\n".join([*lines, line]).rstrip(", ")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("coppice.compiler"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,
    )
    environment.filters |= {"identifier": identifier, "number": number, "wrapped": wrapped, "quoted": _quoted}
    return environment


def _quoted(text: str) -> str:
    """Return a text as C writes it; trigraphs do not matter, as no label has two question marks."""
    return json.dumps(text, ensure_ascii=False)
