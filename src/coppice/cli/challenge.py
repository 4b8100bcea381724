"""The DCASE desk: ``check``, ``submit``, ``validate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coppice.cli.output import JsonFlag, ModelArgument, print_json, print_line, print_table
from coppice.cli.values import pairs

if TYPE_CHECKING:
    from coppice.challenge.validate import Validation

_SPLITS = "In 2024 five times, as 5=PATH, 10=PATH, 25=PATH, 50=PATH and 100=PATH."
RulesOption = Annotated[
    str,
    typer.Option("--rules", "-r", help="dcase2021, dcase2022, dcase2023, dcase2024 or dcase2025.", show_default=False),
]
Devices = Annotated[
    list[str] | None, typer.Option("--device", help="A recording device's own model: a=FILE. Repeatable.")
]
FrontEnd = Annotated[
    str | None, typer.Option(help="Preset that makes the network's input, where the file does not say.")
]
Clips = Annotated[Path | None, typer.Option(help="The evaluation set's list of files; 0.wav and so on without it.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (check, submit, validate):
        app.command()(command)


def check(
    model: ModelArgument,
    rules: RulesOption,
    device: Devices = None,
    front_end: FrontEnd = None,
    json: JsonFlag = False,
) -> None:
    """Judge a network by the limits of a year of DCASE Task 1; exit with 1 when it breaks one.

    Example: `coppice check checkpoint.safetensors --rules dcase2024`
    """
    from coppice.challenge.check import check as judge

    devices = {name: Path(file) for name, file in pairs(device, "--device", "a=device-a.safetensors").items()}
    verdict = judge(model, rules=rules, devices=devices, front_end=front_end)
    if json:
        print_json(verdict.to_dict())
    else:
        rows = [
            [
                f"{one.model}: {one.limit.name}" if len(verdict.figures) > 1 else one.limit.name,
                _figure(one.figure),
                _figure(one.judged),
                "int8" if one.limit.most is None else f"{one.limit.most:,}",
                "PASS" if one.legal else "FAIL",
            ]
            for one in verdict.findings
        ]
        print_table(f"{model.name} under {rules}", ["limit", "figure", "judged", "at most", "verdict"], rows)
        for limit in verdict.rules.limits:
            print_line(f"{limit.name}: {limit.rule}. Counted: {limit.counted}. ({limit.source})")
            if limit.reading:
                print_line(f"  read strictly: {limit.reading}.")
        for name, why in dict.fromkeys((one.limit.name, one.why) for one in verdict.findings if one.why):
            print_line(f"  {name}: {why}.")
        for note in verdict.notes:
            print_line(f"note: {note}")
        print_line(f"{'legal' if verdict.legal else 'NOT legal'} under {rules}")
    if not verdict.legal:
        raise typer.Exit(1)


def submit(
    rules: RulesOption,
    authors: Annotated[
        Path, typer.Option(help="What only you know: authors and so on (docs/challenge.md).", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the package; the zip stands beside it.", show_default=False)
    ],
    run: Annotated[list[str] | None, typer.Option(help=f"Folder of a run or of one of its stages. {_SPLITS}")] = None,
    model: Annotated[list[str] | None, typer.Option(help="In place of --run: the model, with --development.")] = None,
    development: Annotated[
        list[str] | None, typer.Option(help="With --model: CSV of its predictions of the development test clips.")
    ] = None,
    evaluation: Annotated[
        list[str] | None,
        typer.Option(help="CSV of predictions of the evaluation clips, or their audio folder. As --run in 2024."),
    ] = None,
    index: Annotated[int, typer.Option(help="Which of up to four systems.")] = 1,
    device: Devices = None,
    device_development: Annotated[
        Path | None,
        typer.Option(help="With --device: CSV of predictions of the development test clips by their devices' models."),
    ] = None,
    front_end: FrontEnd = None,
    clips: Clips = None,
    json: JsonFlag = False,
) -> None:
    """Write a submission package and validate it; a further system goes into the same OUT with another --index.

    Example: `coppice submit -r dcase2023 --run runs/mine --evaluation eval/audio --authors authors.yaml -o package`
    """
    from coppice.challenge.inference_package import write_inference_package
    from coppice.challenge.rules import rules_of
    from coppice.challenge.submit import submit as pack
    from coppice.cli.submission import sources_of
    from coppice.core.errors import CoppiceError

    chosen = rules_of(rules)
    sources = sources_of(chosen, run, model, development, evaluation)
    if chosen.year == 2025:
        devices = pairs(device, "--device", "a=device-a.safetensors")
        made = write_inference_package(
            sources[0],
            authors=authors,
            out=out,
            devices=devices,
            device_development=device_development,
            index=index,
            front_end=front_end,
            clips=clips,
        )
    else:
        if device or device_development:
            given_device = f"--device {device[0]}" if device else f"--device-development {device_development}"
            raise CoppiceError(f"{given_device}: in {chosen.year} the recording device is not known; leave it out.")
        given = sources if chosen.splits else sources[0]
        made = pack(given, rules=rules, authors=authors, out=out, index=index, front_end=front_end, clips=clips)
    if json:
        print_json({"label": str(made.label), "archive": str(made.archive), **made.validation.to_dict()})
    else:
        print_line(f"package: {made.archive} (in {made.folder}), system {made.label}")
        for name, energy in made.energy.items():
            print_line(f"energy of {name}, from the run: {energy}")
        _print_problems(made.validation)
    if not made.validation.valid:
        raise typer.Exit(1)


def validate(
    package: Annotated[Path, typer.Argument(help="A zip file, or a folder with its content.", show_default=False)],
    rules: Annotated[
        str | None, typer.Option("--rules", "-r", help="dcase2021 to dcase2025; recognised from the package without.")
    ] = None,
    clips: Clips = None,
    json: JsonFlag = False,
) -> None:
    """Find everything that is wrong with a submission package; exit with 1 when something is.

    Example: `coppice validate package.zip --rules dcase2024`
    """
    from coppice.challenge.validate import validate as find

    found = find(package, rules=rules, clips=clips)
    if json:
        print_json(found.to_dict())
    else:
        _print_problems(found)
    if not found.valid:
        raise typer.Exit(1)


def _print_problems(found: "Validation") -> None:
    for problem in found.problems:
        print_line(str(problem))
    systems = ", ".join(found.systems) or "no system"
    count = len(found.problems)
    verdict = "valid" if found.valid else f"{count} problem{'s' if count > 1 else ''}"
    print_line(f"{verdict} under {found.rules.name}: {systems}; {found.files} files")


def _figure(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else value
