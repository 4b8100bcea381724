"""Published work: ``import`` a network of another framework, ``reproduce`` published numbers."""

from pathlib import Path
from typing import Annotated

import typer

from coppice.cli.output import JsonFlag, OutFile, print_json, print_line, print_table
from coppice.core.units import bytes_text

_DATA = Path("../shared/data")
Only = Annotated[
    list[str] | None, typer.Option("--only", help="A paper, or one number: interspeech2022.C2.params. Repeatable.")
]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("import")(import_)
    app.command()(reproduce)


def import_(
    file: Annotated[
        Path, typer.Argument(help="A Keras .h5, a .tflite, a PANNs .pth/.pt or a Lightning .ckpt.", show_default=False)
    ],
    out: OutFile,
    front_end: Annotated[
        str | None, typer.Option(help="Preset that makes the network's input, where the file does not say: dcase2021.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Classes in the order of the outputs, with commas: airport,bus,metro.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Which network of a DCASE 2025 checkpoint: the recording device.")
    ] = None,
) -> None:
    """Turn a network of another framework into a Coppice checkpoint.

    Other commands also read such files as they are; a checkpoint keeps front end and labels with the network.

    Example: `coppice import C2.h5 --front-end dcase2021 --out c2.safetensors`
    """
    from coppice.networks.checkpoint import save
    from coppice.networks.loading import load

    classes = None if labels is None else [label.strip() for label in labels.split(",")]
    classifier = load(file, front_end=front_end, labels=classes, device=device)
    save(classifier, out)
    entry = classifier.lineage[0]
    stored = ", ".join(f"{name} {bytes_text(size)}" for name, size in entry.get("stored_bytes", {}).items())
    print_line(f"imported: {file} ({entry.get('format', 'coppice')}; weights: {stored}) → {out}")
    for note in entry.get("notes", []):
        print_line(f"note: {note}")
    if classifier.front_end is None:
        print_line("note: the file does not name a front end; it can be cut and counted but not listen.")


def reproduce(
    only: Only = None,
    data: Annotated[
        Path, typer.Option(envvar="COPPICE_TEST_DATA", help="Folder of the released files (docs/reproduced.md).")
    ] = _DATA,
    out: Annotated[
        Path | None, typer.Option(help="Folder for reproduced.md and reproduced.html; docs if there is one.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Compute published numbers again; print them beside ours; exit with 1 when one differs.

    The pages are written when everything was computed, or when --out is given.

    Example: `coppice reproduce --only interspeech2022`
    """
    from coppice.reproduction.pages import difference_text, summary_line, value_text, write_pages
    from coppice.reproduction.reproduce import reproduce as compute

    rows = compute(data, only=only or ())
    if json:
        print_json(
            [
                {
                    "key": row.claim.key,
                    "what": row.claim.what,
                    "published": row.claim.published,
                    "ours": row.ours,
                    "difference": row.difference,
                    "tolerance": row.claim.tolerance,
                    "unit": row.claim.unit,
                    "status": row.status,
                    "source": row.claim.source,
                    "convention": row.claim.convention,
                    "note": row.note,
                }
                for row in rows
            ]
        )
    else:
        for paper in dict.fromkeys(row.claim.paper for row in rows):
            print_table(
                f"{paper.title} ({paper.key})",
                ["number", "published", "ours", "difference"],
                [
                    [
                        f"{row.claim.what}\n[{row.claim.name}] {row.claim.source}; {row.claim.convention}",
                        value_text(row.claim.published, row.claim),
                        value_text(row.ours, row.claim, more=1) if row.ours is not None else row.note,
                        difference_text(row),
                    ]
                    for row in rows
                    if row.claim.paper == paper
                ],
            )
        print_line(summary_line(rows))
    folder = out or (Path("docs") if not only and Path("docs").is_dir() else None)
    if folder is not None:
        for path in write_pages(rows, folder):
            if not json:
                print_line(f"page: {path}")
    if any(row.status == "differs" for row in rows):
        raise typer.Exit(1)
