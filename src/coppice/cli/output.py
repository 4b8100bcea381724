"""What commands print: tables for people, JSON for machines, both on standard output."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from coppice.core.units import bytes_text, count_text, percent_text

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
ModelArgument = Annotated[
    Path,
    typer.Argument(help="A checkpoint (.safetensors), or a published .h5, .tflite, .pth or .ckpt.", show_default=False),
]
OutFile = Annotated[Path, typer.Option("--out", "-o", help="Where the result goes.", show_default=False)]

_console = Console(highlight=False)


def print_json(value: Any) -> None:
    """Print JSON-able data."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; all but the first column are aligned to the right."""
    table = Table(title=Text(title), title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(Text(column), justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # names come from folders and files: "[x]" in one is no markup
    _console.print(table)


def print_line(text: str) -> None:
    """Print one line of text as it is."""
    _console.print(text, markup=False, emoji=False, soft_wrap=True)


def print_scores(title: str, scores: Mapping[str, Any]) -> None:
    """Print the scores that ``evaluate`` returns."""
    print_table(
        f"{title}: {scores['clips']} clips from {scores['recordings']} recordings",
        ["score", "value", "95 % interval"],
        [
            [
                "accuracy",
                percent_text(scores["accuracy"]),
                " to ".join(percent_text(v) for v in scores["accuracy_interval"]),
            ],
            [
                "macro accuracy",
                percent_text(scores["macro_accuracy"]),
                " to ".join(percent_text(v) for v in scores["macro_accuracy_interval"]),
            ],
            [
                "log-loss (nats)",
                f"{scores['log_loss']:.4f}",
                " to ".join(f"{v:.4f}" for v in scores["log_loss_interval"]),
            ],
        ],
    )
    rows = [
        [label, str(part["clips"]), percent_text(part["accuracy"]), f"{part['log_loss']:.4f}"]
        for label, part in scores["per_class"].items()
    ]
    print_table("per class", ["class", "clips", "accuracy", "log-loss"], rows)
    if scores["per_device"]:
        rows = [
            [device, str(part["clips"]), percent_text(part["accuracy"]), f"{part['log_loss']:.4f}"]
            for device, part in scores["per_device"].items()
        ]
        print_table("per device", ["device", "clips", "accuracy", "log-loss"], rows)


def print_profile(cost: Mapping[str, Any]) -> None:
    """Print what ``profile`` returns."""
    rows = [
        ["params_total", f"{cost['params_total']:,}", "with running statistics of batch normalisation"],
        ["params_trainable", f"{cost['params_trainable']:,}", "without them"],
        ["params_bn_folded", f"{cost['params_bn_folded']:,}", "batch normalisation folded into convolutions"],
        ["macs", f"{cost['macs']:,} ({count_text(cost['macs'])})", cost["macs_convention"]],
        ["size_bytes_float32", bytes_text(cost["size_bytes_float32"]), "all tensors"],
        ["size_bytes_float16", bytes_text(cost["size_bytes_float16"]), "all tensors"],
        ["size_bytes_folded_float16", bytes_text(cost["size_bytes_folded_float16"]), "batch normalisation folded"],
        ["peak_activation_bytes", bytes_text(cost["peak_activation_bytes"]), "eager float32, one clip, with input"],
    ]
    if cost["size_bytes_stored"] is not None:
        formats = ", ".join(f"{bytes_text(size)} as {name}" for name, size in cost["stored_formats"].items())
        rows.append(["size_bytes_stored", bytes_text(cost["size_bytes_stored"]), f"in the imported file: {formats}"])
    if cost["latency_ms_p50"] is not None:
        rows.append(["latency_ms_p50", f"{cost['latency_ms_p50']:.2f} ms", "median; eager torch, 1 thread, batch 1"])
        rows.append(["latency_ms_p95", f"{cost['latency_ms_p95']:.2f} ms", "95th percentile"])
    table = Table(title="cost of one clip, input " + "×".join(map(str, cost["input_shape"])), title_justify="left")
    table.add_column("measure")
    table.add_column("value", justify="right")
    table.add_column("convention")
    for row in rows:
        table.add_row(*row)
    _console.print(table)
    layers = [
        [layer["name"], layer["kind"], str(layer["filters"]), f"{layer['params']:,}", f"{layer['macs']:,}"]
        for layer in cost["layers"]
    ]
    print_table("layers", ["layer", "kind", "filters", "params", "macs"], layers)


def print_counts(counts: Sequence[Mapping[str, Any]]) -> None:
    """Print counts in published conventions; a dash where one does not count such a thing."""
    rows = []
    for count in counts:
        numbers = ["–" if count[name] is None else f"{count[name]:,}" for name in ("params", "macs", "size_bytes")]
        rows.append([count["convention"], *numbers])
    print_table("counts, each in its convention", ["convention", "params", "macs", "size_bytes"], rows)
    for count in counts:
        print_line(f"{count['convention']}: {count['counts']} ({count['source']}).")


def print_mac_reduction(saved: Mapping[str, Any]) -> None:
    """Print how many MACs pruning saves, in both ways of counting."""
    print_line(f"macs: {saved['macs_before']:,} → {saved['macs_after']:,}")
    print_line(f"really saved: {percent_text(saved['fraction'], 2)}")
    print_line(f"layer_only: {percent_text(saved['layer_only_fraction'], 2)}; {saved['layer_only_counts']}.")
