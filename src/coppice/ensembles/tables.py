"""Tables beside stored posteriors: what is right, and what members cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coppice.core.errors import CoppiceError
from coppice.datasets.csv_table import USUAL_NAMES, read_table
from coppice.ensembles.costs import KINDS, Costs


@dataclass(frozen=True)
class Truth:
    """What is known of clips.

    Attributes
    ----------
    labels : tuple of str
        The right class of each clip.
    recordings : tuple of str or None
        The recording that each is a piece of, where the table says.
    """

    labels: tuple[str, ...]
    recordings: tuple[str, ...] | None


def read_truth(path: str | Path, *, clips: Sequence[str] | None = None) -> Truth:
    r"""Read the right labels of clips.

    Parameters
    ----------
    path : str or Path
        A table with a column ``label`` (or as it is usually called) and, where known, ``clip_id`` and ``recording``.
    clips : sequence of str, optional
        Names of clips, in the order wanted; without them, or in a table without names, row by row.

    Raises
    ------
    CoppiceError
        If there is no such column, or a clip is missing.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "labels.csv"
    >>> _ = file.write_text("clip_id,label\na,bus\nb,tram\n")
    >>> read_truth(file, clips=["b", "a"]).labels
    ('tram', 'bus')
    """
    table = read_table(Path(path))
    column = next((name for name in USUAL_NAMES["label"] if name in table), None)
    if column is None:
        raise CoppiceError(f"{path} has no column of labels; call it 'label'.")
    clip = next((name for kind in ("clip_id", "file") for name in USUAL_NAMES[kind] if name in table), None)
    if clip is not None and clips is not None:
        known = set(table[clip])
        missing = next((name for name in clips if name not in known), None)
        if missing is not None:
            raise CoppiceError(f"{path} has no label of the clip {missing!r}.")
        table = table.drop_duplicates(clip).set_index(clip).loc[list(clips)]
    recording = next((name for name in USUAL_NAMES["recording"] if name in table), None)
    return Truth(tuple(table[column]), tuple(table[recording]) if recording is not None else None)


def read_costs(path: str | Path, names: Sequence[str]) -> Costs:
    r"""Read what members cost.

    Parameters
    ----------
    path : str or Path
        A table with a column ``member`` and any of ``params``, ``macs``, ``bytes``, ``latency_ms``.
    names : sequence of str
        The members, in order.

    Raises
    ------
    CoppiceError
        If a member is missing or there twice, or a cost is no number from 0 upwards.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "costs.csv"
    >>> _ = file.write_text("member;macs\nC1;4,121,480\nC2;4102760\n")
    >>> read_costs(file, ["C1", "C2"]).of(0b11, "macs")
    8224240.0
    """
    table = read_table(Path(path))
    if "member" not in table:
        raise CoppiceError(f"{path} has no column 'member' with the names of the members: {', '.join(names)}.")
    kinds = [kind for kind in KINDS if kind in table]
    if not kinds:
        raise CoppiceError(f"{path} has no cost; call its columns {', '.join(KINDS)}.")
    given: list[dict[str, float]] = []
    for name in names:
        rows = table[table["member"] == name]
        if len(rows) != 1:
            raise CoppiceError(f"{path} has {len(rows)} rows of the member {name!r}; give one.")
        given.append({kind: _cost(rows[kind].iloc[0], f"{path}: the {kind} of {name!r}") for kind in kinds})
    return Costs.plain(given)


def _cost(text: str, what: str) -> float:
    try:
        cost = float(text.replace(",", "").replace("_", ""))
    except ValueError:
        cost = -1.0
    if not 0 <= cost < float("inf"):
        raise CoppiceError(f"{what} is {text!r}; give a plain number from 0 upwards.")
    return cost
