"""The command ``co2``."""

from typing import Annotated

import typer

from coppice.cli.output import JsonFlag, print_json, print_table


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(co2)


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
