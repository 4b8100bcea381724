"""What the stages took, and what listening takes: sums only of what was measured in one way."""

from collections.abc import Mapping, Sequence

from coppice.energy.energy import Energy, co2_text, sums_by_mode
from coppice.reports.cross_validation_records import CrossValidationRecord
from coppice.reports.data_tables import PlainTable
from coppice.reports.run_records import RunRecord
from coppice.reports.stage_table import Cell, Row, Table
from coppice.reports.wording import UNKNOWN, seconds_text

COLUMNS = ("kWh", "CO2e", "Time", "Measured")
MIXED = (
    "Not everything was measured in the same way. What was measured in different ways is neither added up nor to be "
    "compared: a counter sees what a data sheet does not know, and the other way round."
)


def run_energy_table(run: RunRecord) -> Table | None:
    """Build the table of what each stage of a run took; None where no stage has a record."""
    rows = {stage.entry.title: () if stage.energy is None else (stage.energy,) for stage in run.stages}
    sums = sums_by_mode({stage.entry.title: stage.energy for stage in run.stages})
    return _table(rows, sums, "all stages")


def cross_validation_energy_table(record: CrossValidationRecord) -> Table | None:
    """Build the table of what each stage took over all runs; None where no run has a record."""
    rows = {stage.title: stage.energy for stage in record.summary.stages}
    return _table(rows, record.summary.energy, "all stages of all runs")


def inference_table(run: RunRecord) -> PlainTable | None:
    """Build the table of what listening takes; None where it was not measured."""
    rows = []
    modes: dict[str, None] = {}
    for stage in run.stages:
        if stage.inference is None:
            continue
        one = stage.inference
        for name, energy in ((stage.entry.title, one.energy), (one.baseline_name, one.baseline)):
            if energy is not None:
                joule = 3.6e6 * energy.energy_kwh / one.clips
                rows.append((name, f"{one.clips:,}", _kwh(energy), f"{joule:.3g} J", energy.mode))
                modes[energy.mode] = None
    if not rows:
        return None
    caption = "Energy of classifying clips" + (
        "; what was measured in different ways is not comparable" * (len(modes) > 1)
    )
    return PlainTable(caption, ("network", "clips", "kWh", "for each clip", "measured"), tuple(rows))


def _table(rows: Mapping[str, Sequence[Energy]], sums: Sequence[Energy], everything: str) -> Table | None:
    if not sums:
        return None
    listed = [
        Row(title=title, cells=_cells(energy)) for title, energies in rows.items() for energy in (energies or (None,))
    ]
    for energy in sums:
        title = everything if len(sums) == 1 else f"{everything} that were measured so"
        listed.append(Row(title=title, cells=_cells(energy), headline=True))
    notes = dict.fromkeys(text for energy in sums for text in energy.assumptions)
    missing = dict.fromkeys(text for energy in sums for text in energy.missing)
    footnotes = (
        "CO2e: CO2 equivalent of the electricity. Reading clips and computing their features beforehand, timing and "
        "this report are no stages and not counted.",
        *(f"{text[0].upper()}{text[1:]}." for text in notes),
        *(f"Not in the numbers: {text}." for text in missing),
    )
    return Table(COLUMNS, tuple(listed), footnotes, (MIXED,) if len(sums) > 1 else ())


def _cells(energy: Energy | None) -> tuple[Cell, ...]:
    if energy is None:
        return (Cell(UNKNOWN),) * len(COLUMNS)
    part = "not all of it" if energy.missing else ""
    return (
        Cell(_kwh(energy), part),
        Cell(co2_text(energy.co2_kg).removesuffix(" CO2e")),
        Cell(seconds_text(energy.seconds)),
        Cell(energy.mode),
    )


def _kwh(energy: Energy) -> str:
    return f"{energy.energy_kwh:.3g}"
