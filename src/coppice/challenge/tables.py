"""Class-wise and device-wise tables in the layouts of the baselines' READMEs: text, CSV, LaTeX."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.evaluation.metrics import accuracy, log_loss, macro_accuracy

FORMATS = ("text", "csv", "latex")
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
)


@dataclass(frozen=True)
class ScoreTable:
    """A table of scores, rounded as the baselines print them.

    Attributes
    ----------
    columns : tuple of str
    rows : tuple of tuple of str
        The first cell of each is its name.
    has_average : bool
        Whether the last row is an average, set apart from the others.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    has_average: bool

    def to_format(self, name: str) -> str:
        """Return the table as ``"text"``, ``"csv"`` or ``"latex"``.

        Raises
        ------
        CoppiceError
            If there is no such format.
        """
        check_format(name)
        return {"text": self.to_text, "csv": self.to_csv, "latex": self.to_latex}[name]()

    def to_text(self) -> str:
        """Return lines with aligned columns, which Markdown also reads as a table."""
        widths = [max(len(row[at]) for row in (self.columns, *self.rows)) for at in range(len(self.columns))]

        def line(row: Sequence[str]) -> str:
            cells = [
                cell.ljust(width) if at == 0 else cell.rjust(width)
                for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            return "| " + " | ".join(cells) + " |"

        rule = "| " + " | ".join("-" * w if at == 0 else "-" * (w - 1) + ":" for at, w in enumerate(widths)) + " |"
        return "\n".join([line(self.columns), rule, *map(line, self.rows)]) + "\n"

    def to_csv(self) -> str:
        """Return comma-separated values."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.columns, *self.rows])
        return text.getvalue()

    def to_latex(self) -> str:
        """Return a ``tabular`` with rules of the package booktabs."""
        lines = [" & ".join(cell.translate(_LATEX) for cell in row) + r" \\" for row in (self.columns, *self.rows)]
        if self.has_average:
            lines.insert(-1, r"\midrule")
        head = rf"\begin{{tabular}}{{l{'r' * (len(self.columns) - 1)}}}"
        return (
            "\n".join([head, r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", r"\end{tabular}"]) + "\n"
        )


def check_format(name: str) -> None:
    """Refuse a table format that there is not.

    Raises
    ------
    CoppiceError
        With the formats that there are.

    Examples
    --------
    >>> check_format("latexx")
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: there is no table format 'latexx'. Did you mean 'latex'?
    """
    if name not in FORMATS:
        raise CoppiceError(f"there is no table format {name!r}. {did_you_mean(name, FORMATS)}")


def table_of_predictions(predictions: pd.DataFrame, devices: pd.Series) -> ScoreTable:
    """Return :func:`loss_table` of what :func:`coppice.evaluation.evaluate.evaluate` returns.

    Parameters
    ----------
    predictions : DataFrame
        With ``label`` and a column ``p_<class>`` for each class.
    devices : Series
        One for each row, missing where none is known.
    """
    columns = [name for name in predictions if str(name).startswith("p_")]
    labels = [str(name).removeprefix("p_") for name in columns]
    targets = np.array([labels.index(label) for label in predictions["label"]])
    known = devices.fillna("").astype(str).tolist()
    values = predictions[columns].to_numpy(dtype=float)
    return loss_table(values, targets, known if any(known) else None, labels)


def loss_table(
    posteriors: Float[np.ndarray, "clips classes"],
    targets: Int[np.ndarray, " clips"],
    devices: Sequence[str] | None,
    labels: Sequence[str],
) -> ScoreTable:
    """Return the table of the 2021 and 2022 baselines: log-loss by class and device, and accuracy.

    One row for each class with its log-loss, its log-loss on each device, and its accuracy; below, the log-loss over
    all clips, over those of each device, and the mean of the classes' accuracies.

    Parameters
    ----------
    posteriors : ndarray, shape (clips, classes)
    targets : ndarray of int, shape (clips,)
    devices : sequence of str or None
        One for each clip; None: no columns of devices.
    labels : sequence of str
        Names of the classes.

    Examples
    --------
    >>> table = loss_table(np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 1]), ["a", "s1"], ["bus", "metro_station"])
    >>> print(table.to_text(), end="")
    | Scene label   | Log Loss |     A |    S1 | Accuracy |
    | ------------- | -------: | ----: | ----: | -------: |
    | Bus           |    0.105 | 0.105 |     – |   100.0% |
    | Metro station |    0.511 |     – | 0.511 |   100.0% |
    | Average       |    0.308 | 0.105 | 0.511 |   100.0% |
    """
    given = np.array(devices if devices is not None else [""] * len(targets))
    names = _ordered(set(devices) - {""}) if devices is not None else []

    def loss(mask: np.ndarray) -> str:
        return f"{log_loss(posteriors[mask], targets[mask]):.3f}" if mask.any() else "–"

    rows = []
    for index, label in enumerate(labels):
        of_class = targets == index
        share = f"{100 * accuracy(posteriors[of_class], targets[of_class]):.1f}%" if of_class.any() else "–"
        rows.append((_title(label), loss(of_class), *(loss(of_class & (given == name)) for name in names), share))
    everything = np.ones(len(targets), dtype=bool)
    mean = f"{100 * macro_accuracy(posteriors, targets):.1f}%"
    rows.append(("Average", loss(everything), *(loss(given == name) for name in names), mean))
    return ScoreTable(("Scene label", "Log Loss", *(name.upper() for name in names), "Accuracy"), tuple(rows), True)


def accuracy_tables(
    systems: Mapping[str, tuple[np.ndarray, np.ndarray, Sequence[str]]], labels: Sequence[str], *, rows: str = "Split"
) -> tuple[ScoreTable, ScoreTable]:
    r"""Return the two tables of the 2024 and 2025 baselines: accuracies by class and by device, a row for each system.

    Parameters
    ----------
    systems : mapping
        Name of the row, such as ``"25%"``, -> posteriors, targets, devices.
    labels : sequence of str
        Names of the classes.
    rows : str
        Heading of the first column.

    Returns
    -------
    classes, devices : ScoreTable
        Both end in the macro average accuracy, in percent.

    Examples
    --------
    >>> one = (np.array([[0.9, 0.1], [0.7, 0.3]]), np.array([0, 1]), ["a", "s1"])
    >>> classes, devices = accuracy_tables({"5%": one}, ["bus", "tram"])
    >>> devices.to_csv()
    'Split,A,S1,Macro Average Accuracy\n5%,100.00,0.00,50.00\n'
    """
    names = _ordered({device for _, _, devices in systems.values() for device in devices})
    by_class, by_device = [], []
    for name, (posteriors, targets, devices) in systems.items():
        mean = f"{100 * macro_accuracy(posteriors, targets):.2f}"
        given = np.array(devices)
        masks = {
            "class": [targets == index for index in range(len(labels))],
            "device": [given == device for device in names],
        }
        cells = {
            kind: [f"{100 * accuracy(posteriors[m], targets[m]):.2f}" if m.any() else "–" for m in found]
            for kind, found in masks.items()
        }
        by_class.append((name, *cells["class"], mean))
        by_device.append((name, *cells["device"], mean))
    titles = tuple(_title(label, every=True) for label in labels)
    end = "Macro Average Accuracy"
    return (
        ScoreTable((rows, *titles, end), tuple(by_class), False),
        ScoreTable((rows, *(name.upper() for name in names), end), tuple(by_device), False),
    )


def _ordered(devices: set[str]) -> list[str]:
    return sorted(devices, key=lambda name: (len(name), name))  # a, b, c, s1, ..., s9, s10


def _title(label: str, *, every: bool = False) -> str:
    words = label.replace("_", " ")
    return words.title() if every else words[:1].upper() + words[1:]
