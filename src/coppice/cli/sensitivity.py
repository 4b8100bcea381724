"""``coppice sensitivity``: what each coupled group costs when it alone is cut."""

from typing import Annotated

import typer

from coppice.cli.clips import open_clips
from coppice.cli.factory import Factory, InputShape, OptionalModel, Weights, open_model
from coppice.cli.options import BadClips, ClipCount, Criterion, Layers, Root, Seed, Source, TestFold
from coppice.cli.output import JsonFlag, OutFile, print_json, print_line, print_table
from coppice.core.units import percent_text


def add_commands(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(sensitivity)


def sensitivity(
    data: Source,
    out: OutFile,
    model: OptionalModel = None,
    criterion: Criterion = "cosine_similarity",
    ratios: Annotated[str, typer.Option(help="Shares of the filters to remove.")] = "0.25,0.5,0.75",
    layer: Layers = None,
    root: Root = None,
    test_fold: TestFold = None,
    bad_clips: BadClips = "refuse",
    clips: ClipCount = 64,
    seed: Seed = 0,
    factory: Factory = None,
    weights: Weights = None,
    input_shape: InputShape = None,
    json: JsonFlag = False,
) -> None:
    """Cut each group of coupled layers alone, and measure on validation clips what that does.

    OUT becomes a folder with sensitivity.json, .csv and .html, and figures. Nothing is measured twice: a study
    that was interrupted goes on.

    Example: `coppice sensitivity checkpoint.safetensors --data recordings/ --criterion l1 --out study`
    """
    from coppice.core.errors import CoppiceError
    from coppice.studies.sensitivity import sensitivity as study

    try:
        shares = [float(ratio) for ratio in ratios.split(",")]
    except ValueError:
        raise CoppiceError(f"--ratios {ratios!r} is not a list of numbers; write --ratios 0.25,0.5,0.75.") from None
    classifier = open_model(model, factory, weights, input_shape)
    prepared = open_clips(data, root, classifier.known_front_end(), test_fold, bad_clips)
    found = study(
        classifier, prepared, criterion=criterion, ratios=shares, layers=layer, seed=seed, clips=clips, out=out
    )
    if json:
        print_json(found.model_dump(mode="json"))
        return
    rows = [
        [
            group.title,
            f"{point.removed} of {group.filters}",
            percent_text(point.scores.agreement),
            percent_text(point.scores.accuracy),
            f"{point.scores.log_loss:.3f}",
        ]
        for group in found.cut
        for point in group.points
        if point.scores is not None
    ]
    whole = [
        "unpruned",
        "0",
        percent_text(1.0),
        percent_text(found.unpruned.accuracy),
        f"{found.unpruned.log_loss:.3f}",
    ]
    columns = ["group", "filters removed", "agreement", "accuracy", "log-loss"]
    print_table(f"{found.clips.clips} validation clips; filters ranked by {criterion}", columns, [whole, *rows])
    for name, reason in found.left_out:
        print_line(f"not cut: {name}: {reason}.")
    print_line(f"page: {out / 'sensitivity.html'}")
