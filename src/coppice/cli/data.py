"""``coppice data``: look at recordings, or fetch a public dataset."""

from pathlib import Path
from typing import Annotated, Any

import typer

from coppice.cli.output import JsonFlag, print_json, print_line, print_table

app = typer.Typer(help="Look at recordings, or fetch a public dataset.", no_args_is_help=True)


@app.command()
def info(
    source: Annotated[
        str,
        typer.Argument(help="A folder, a CSV/TSV file, esc10, esc50, tau2020-mobile, tau2022-mobile or synthetic."),
    ],
    root: Annotated[Path | None, typer.Option(help="Where the recordings lie.")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="Name of a table's column: label=category. Repeatable.")
    ] = None,
    subset: Annotated[int | None, typer.Option(help="Of tau2022-mobile: 5, 10, 25, 50 or 100 per cent.")] = None,
    json: JsonFlag = False,
) -> None:
    """Show clips per class, fold and device, durations, and files that cannot be read.

    Example: `coppice data info recordings/`
    """
    from coppice.datasets.info import describe
    from coppice.datasets.sources import open_dataset

    found = describe(open_dataset(source, root=root, columns=_columns(column), subset=subset))
    if json:
        print_json(found)
        return
    _print(found)


@app.command()
def get(
    name: Annotated[
        str,
        typer.Argument(help="esc10, esc50, tau2022-mobile, tau2020-mobile, or tau2022-evaluation (2021 to 2025)."),
    ],
    root: Annotated[Path | None, typer.Option(help="Where the recordings go; the cache folder if not given.")] = None,
    record: Annotated[
        int | None,
        typer.Option(min=1, help="Zenodo record of a TAU dataset, where another than the known one is meant."),
    ] = None,
) -> None:
    """Download a public dataset (resumes where it stopped, checks what it got).

    Example: `coppice data get esc10`

    Example: `coppice data get tau2022-mobile --root /data` (27.5 GB; says first what it needs)
    """
    from coppice.core.errors import CoppiceError, did_you_mean
    from coppice.datasets.esc import open_esc
    from coppice.datasets.tau import fetch_tau
    from coppice.datasets.tau_archives import NAMES

    if name in NAMES:
        place, clips = fetch_tau(name, root, record=record)
        print_line(f"{name}: {clips} clips at {place}")
        return
    known = ("esc10", "esc50", *NAMES)
    if name not in known:
        raise CoppiceError(f"there is no dataset {name!r} to download. {did_you_mean(name, known)}")
    if record is not None:
        raise CoppiceError(f"--record {record} is for datasets of Zenodo, and {name} is not from there; leave it out.")
    dataset = open_esc(name, root=root)
    print_line(f"{name}: {len(dataset)} clips in {len(dataset.labels)} classes at {dataset.root}")


@app.command()
def show(
    clips: Annotated[str, typer.Argument(help="A sound file, a folder, a CSV/TSV file, esc10, esc50 or synthetic.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page (.html) or figure (.svg, .png, .pdf).")],
    augment: Annotated[
        str | None,
        typer.Option(help="Some of device_ir, gain, time_roll, spec_augment, freq_mixstyle, mixup; usual strengths."),
    ] = None,
    responses: Annotated[Path | None, typer.Option(help="Folder of impulse responses, for device_ir.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Show what this recipe trains with, with its front end and strengths.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Where the recordings lie.")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="Name of a table's column: label=category. Repeatable.")
    ] = None,
    clip: Annotated[int, typer.Option(help="Which clip, from 0; the one behind it is mixed in where two are.")] = 0,
    preset: Annotated[str, typer.Option(help="Front end.")] = "dcase2021",
    duration: Annotated[float, typer.Option(help="Seconds of the clip.")] = 5.0,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
) -> None:
    """Draw the log-mel spectrogram of a clip, plain and with each augmentation, side by side.

    Example: `coppice data show recordings/ --augment time_roll,spec_augment,gain --out augmented.html`,
    `coppice data show recordings/ --recipe dcase2024-baseline --out augmented.png`
    """
    from coppice.recipes.look import look_at

    names = [name.strip() for name in augment.split(",")] if augment is not None else None
    path = look_at(
        clips,
        out,
        names=names,
        responses=responses,
        recipe=recipe,
        root=root,
        columns=_columns(column),
        clip=clip,
        preset=preset,
        duration_s=duration,
        seed=seed,
    )
    print_line(f"spectrograms: {path}")


def _columns(given: list[str] | None) -> dict[str, str] | None:
    from coppice.cli.values import pairs

    return pairs(given, "--column", "label=category") or None


def _print(found: dict[str, Any]) -> None:
    for key, value in found.items():
        if isinstance(value, dict):
            print_table(key, ["", "value"], [[str(name), str(number)] for name, number in value.items()])
        elif isinstance(value, list):
            for entry in value:
                print_line(f"{key}: {entry if isinstance(entry, str) else '; '.join(map(str, _flat(entry)))}")
        elif value not in (None, ""):
            print_line(f"{key}: {value}")


def _flat(entry: Any) -> list[Any]:
    return list(entry.values()) if isinstance(entry, dict) else list(entry)
