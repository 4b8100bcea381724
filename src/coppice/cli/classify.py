"""``coppice classify``: which class sound files belong to."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coppice.cli.hearing import HearingRuntime, open_hearing
from coppice.cli.output import JsonFlag, print_json, print_line, print_table
from coppice.core.errors import CoppiceError
from coppice.core.units import percent_text

if TYPE_CHECKING:
    from coppice.evaluation.classify import Classification

_NAMES_SHOWN = 3


def add_commands(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(classify)


def classify(
    files: Annotated[
        list[str], typer.Argument(help="Sound files, folders, or - for a list of them on stdin.", show_default=False)
    ],
    model: Annotated[
        Path,
        typer.Option("--model", "-m", help="A checkpoint, a published file, or an exported .onnx.", show_default=False),
    ],
    hop: Annotated[
        float | None, typer.Option(help="Seconds from one window to the next; a whole window if not given.")
    ] = None,
    windows: Annotated[bool, typer.Option("--windows", help="Also say what is heard in each window.")] = False,
    top: Annotated[int, typer.Option(help="Classes to show; CSV and JSON hold all.")] = 3,
    csv: Annotated[Path | None, typer.Option(help="Write a CSV file, and no table.")] = None,
    runtime: HearingRuntime = None,
    json: JsonFlag = False,
) -> None:
    """Say which class each sound file belongs to; long files are heard in windows and averaged.

    Exit code 1: some files could not be heard; 2: none.

    Example: `coppice classify kitchen.wav recordings/ --model checkpoint.safetensors`,
    `find . -name '*.flac' | coppice classify - --model model.onnx --csv heard.csv`
    """
    if top < 1:
        raise CoppiceError(f"--top is {top}; give at least 1.")
    from dataclasses import asdict

    from coppice.core.progress import say
    from coppice.evaluation.classify_places import classify_places, write_csv

    classifier = open_hearing(model, runtime=runtime)
    heard, problems = classify_places(classifier, _listed(files), hop_s=hop, per_window=windows)
    if not heard:
        *before, last = problems
        for sentence in before:
            say(f"coppice: {sentence}")
        raise CoppiceError(last)
    if csv is not None:
        write_csv(heard, csv, per_window=windows)
    if json:
        print_json([_as_json(asdict(one), windows) for one in heard])
    elif csv is not None:
        print_line(f"{csv}: {len(heard)} file{'' if len(heard) == 1 else 's'}")
    else:
        _print_heard(heard, windows, top)
    if not json:  # JSON holds them
        for line in _remarks(heard):
            say(line)
    for sentence in problems:
        say(f"coppice: {sentence}")
    if problems:
        raise typer.Exit(1)


def _listed(files: Sequence[str]) -> list[str]:
    """Return the places, with the lines of standard input where ``-`` stands."""
    places: list[str] = []
    for file in files:
        places += [line for line in _lines() if line] if file == "-" else [file]
    if not places:
        raise CoppiceError("the list on standard input is empty; write one file or folder in each line.")
    return places


def _lines() -> Iterator[str]:
    for line in sys.stdin.buffer:
        yield os.fsdecode(line.rstrip(b"\r\n"))  # names of files are bytes, of whatever encoding


def _as_json(one: dict, windows: bool) -> dict:
    if not windows:
        del one["per_window"]
    return one


def _print_heard(heard: Sequence["Classification"], windows: bool, top: int) -> None:
    def best(posteriors: dict[str, float]) -> str:
        most = sorted(posteriors.items(), key=lambda item: -item[1])[:top]
        return ", ".join(f"{name} {percent_text(posterior)}" for name, posterior in most)

    rows = [[one.file, one.label, best(one.posteriors), str(one.windows)] for one in heard]
    print_table("heard", ["file", "class", "most likely", "windows"], rows)
    for one in heard if windows else ():
        rows = [[f"{w.start_s:.2f}", f"{w.end_s:.2f}", w.label, best(w.posteriors)] for w in one.per_window]
        print_table(f"windows of {one.file}", ["from (s)", "to (s)", "class", "most likely"], rows)


def _remarks(heard: Sequence["Classification"]) -> list[str]:
    """Return one line for each remark, with the files that it is about."""
    about: dict[str, list[str]] = {}
    for one in heard:
        for remark in one.remarks:
            about.setdefault(remark, []).append(one.file)
    lines = []
    for remark, files in about.items():
        more = len(files) - _NAMES_SHOWN
        names = ", ".join(files[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
        lines.append(f"{names}: {remark}")
    return lines
