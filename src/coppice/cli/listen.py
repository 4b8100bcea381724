"""``coppice listen``: what is heard now, through a microphone or in a file that is played through."""

from pathlib import Path
from typing import Annotated

import typer

from coppice.cli.hearing import HearingRuntime, open_hearing
from coppice.cli.output import JsonFlag, print_line
from coppice.core.errors import CoppiceError


def add_commands(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(listen)


def listen(
    model: Annotated[
        Path, typer.Argument(help="A checkpoint, a published file, or an exported .onnx.", show_default=False)
    ],
    file: Annotated[Path | None, typer.Option(help="Play this file through, not the microphone.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="With --file: as fast as it goes, not in real time.")] = False,
    device: Annotated[str | None, typer.Option(help="Which microphone: its number, or a part of its name.")] = None,
    hop: Annotated[
        float | None, typer.Option(help="Seconds from one window to the next; 0.5 if not given, or a shorter window.")
    ] = None,
    smooth: Annotated[int, typer.Option(help="Windows that the posteriors are averaged over.")] = 3,
    threads: Annotated[int, typer.Option(help="Threads of the runtime; a busy machine stalls more than one.")] = 1,
    runtime: HearingRuntime = None,
    json: JsonFlag = False,
) -> None:
    """Listen until Ctrl-C: live bars, latency and load; one line for each window where no terminal is.

    Example: `coppice listen checkpoint.safetensors`, `coppice listen model.onnx --file kitchen.wav --json`
    """
    if file is None and fast:
        raise CoppiceError("--fast goes with --file: a microphone is heard in real time.")
    if file is not None and device is not None:
        raise CoppiceError("--device names a microphone and --file a file; give one of them.")
    if threads < 1:
        raise CoppiceError(f"--threads is {threads}; give at least 1.")
    import torch
    from rich.console import Console

    from coppice.core.progress import say
    from coppice.listening.file_source import FileSource
    from coppice.listening.lines import json_line, line
    from coppice.listening.listen import listen as hear
    from coppice.listening.listen import summary
    from coppice.listening.listener import Heard, Listener
    from coppice.listening.microphone import Microphone
    from coppice.listening.source import Source
    from coppice.listening.view import View

    torch.set_num_threads(threads)
    classifier = open_hearing(model, threads=threads, runtime=runtime)
    rate = classifier.known_front_end().sample_rate
    source: Source = Microphone(sample_rate=rate, device=device) if file is None else FileSource(file, fast=fast)
    listener = Listener(classifier, sample_rate=source.sample_rate, hop_s=hop, smooth=smooth)
    resampled = "" if source.sample_rate == rate else f", resampled to {rate} Hz"
    title = f"{model.name} hears {source.name} ({source.sample_rate} Hz{resampled})"
    console = Console(highlight=False)

    def write(heard: list[Heard]) -> None:
        for one in heard:
            typer.echo(json_line(one) if json else line(one))

    try:
        if console.is_terminal and not json:
            with View(listener, source, title=title, console=console) as view:
                hear(listener, source, view.show)
        else:
            say(title)
            hear(listener, source, write)
    finally:
        found = summary(listener, source)
        if json:
            typer.echo(json_line(found))
        else:
            for sentence in found.sentences():
                print_line(sentence)
