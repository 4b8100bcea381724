"""The commands ``energy`` and ``co2``."""

from pathlib import Path
from typing import Annotated

import typer

from coppice.cli.hearing import HearingRuntime, open_hearing
from coppice.cli.options import Root, Source
from coppice.cli.output import JsonFlag, print_json, print_line, print_table


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(energy)
    app.command()(co2)


def energy(
    model: Annotated[
        Path,
        typer.Argument(
            help="A checkpoint, a published network or an .onnx file; or the folder of a run or of one of its stages, "
            "which then keeps the result.",
            show_default=False,
        ),
    ],
    data: Source,
    root: Root = None,
    clips: Annotated[int, typer.Option(help="At most so many clips, spread evenly over all.")] = 200,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Also measure the baseline of DCASE Task 1 2022/2023 on these clips.")
    ] = False,
    seconds: Annotated[float, typer.Option(help="Measure each network for at least so long.")] = 10.0,
    runtime: HearingRuntime = None,
    json: JsonFlag = False,
) -> None:
    """Measure what it takes to classify clips: sound files read, features computed, the network run.

    By CodeCarbon where it is installed (extra `energy`), else estimated; the result says in which way.

    Example: `coppice energy runs/mine --data recordings/ --baseline`
    """
    from coppice.core.files import write_json
    from coppice.energy.energy import INFERENCE
    from coppice.evaluation.inference_energy import (
        BASELINE,
        clips_to_measure,
        dcase2022_baseline,
        inference_energy,
        inference_record,
    )
    from coppice.recipes.finished import headline_stage, model_of

    stage = headline_stage(model) if model.is_dir() else None
    classifier = open_hearing(model if stage is None else model_of(stage), runtime=runtime)
    chosen = clips_to_measure(data, root=root, count=clips)
    measured = inference_energy(classifier, chosen, at_least_s=seconds)
    compared = inference_energy(dcase2022_baseline(), chosen, at_least_s=seconds) if baseline else None
    record = inference_record(measured, compared)
    if stage is not None:
        write_json(stage / INFERENCE, record)
    if json:
        print_json(record)
        return
    rows = [
        [
            name,
            f"{one.energy.energy_kwh:.3g}",
            f"{one.joule_per_clip:.3g}",
            f"{one.energy.co2_kg:.3g}",
            f"{one.heard_s:g}",
        ]
        for name, one in ((model.name, measured), (BASELINE, compared))
        if one is not None
    ]
    columns = ["network", "kWh", "J per clip", "kg CO2e", "heard of a clip (s)"]
    print_table(f"classifying {measured.clips} clips; {measured.energy.mode}", columns, rows)
    print_line(f"a pass: {measured.how}.")
    for sentence in measured.energy.assumptions:
        print_line(f"  {sentence}.")
    if compared is not None:
        print_line(f"{record['baseline']['network']}: {record['baseline']['network_is']}.")
    if stage is not None:
        print_line(f"recorded in {stage / INFERENCE}")


def co2(
    hours: Annotated[float, typer.Option(help="How long it ran.", show_default=False)],
    hardware: Annotated[str | None, typer.Option(help="The processor, such as 'RTX 2080 Ti'.")] = None,
    power_w: Annotated[float | None, typer.Option("--power-w", help="Its power in watts, instead.")] = None,
    intensity: Annotated[float | None, typer.Option(help="kg CO2e per kWh; 0.432 without it.")] = None,
    region: Annotated[str | None, typer.Option(help="A region, such as London, instead.")] = None,
    pue: Annotated[float | None, typer.Option(help="Power usage effectiveness of the building, from 1.")] = None,
    utilisation: Annotated[float | None, typer.Option(help="Share of the power drawn on average, up to 1.")] = None,
    json: JsonFlag = False,
) -> None:
    """Estimate energy and CO2 of a computation from power and hours; each number says how it was counted.

    Example: `coppice co2 --hardware "RTX 2080 Ti" --hours 48`
    """
    from coppice.energy.co2 import co2 as estimate

    found = estimate(
        hardware,
        hours=hours,
        power_w=power_w,
        intensity=intensity,
        region=region,
        pue=pue,
        utilisation=utilisation,
    )
    if json:
        print_json(found.to_dict())
        return
    rows = [
        ["power", f"{found.power_w:g} W", found.counted["power_w"]],
        ["intensity", f"{found.intensity_kg_per_kwh:g} kg/kWh", found.counted["intensity_kg_per_kwh"]],
        ["energy", f"{_short(found.energy_kwh)} kWh", found.counted["energy_kwh"]],
        ["CO2e", f"{_short(found.co2_kg)} kg", found.counted["co2_kg"]],
        ["by car", f"{_short(found.car_km, 1)} km", found.counted["car_km"]],
        ["by car", f"{_short(found.car_miles, 1)} miles", found.counted["car_miles"]],
    ]
    print_table(f"{found.hours:g} hours on {found.hardware or 'the given power'}", ["", "value", "how counted"], rows)


def _short(value: float, digits: int = 2) -> str:
    # 12.0 and 5.18 as the calculator writes them; a small number keeps three digits.
    return f"{round(value, digits):,}" if value >= 0.1 or value == 0 else f"{value:.3g}"
