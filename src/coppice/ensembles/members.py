"""The posteriors of several networks on the same clips, classes and clips in one order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.ensembles.combination import Stacked
from coppice.ensembles.stored import StoredPosteriors, checked

Source = StoredPosteriors | Float64[np.ndarray, "clips classes"]


@dataclass(frozen=True, eq=False)
class Members:
    """Posteriors of several networks on the same clips.

    Attributes
    ----------
    names : tuple of str
        Of the members.
    posteriors : ndarray of float64, shape (members, clips, classes)
        Rows that sum to 1.
    labels : tuple of str
        The classes, in the order of the last axis.
    targets : ndarray of int, shape (clips,), or None
        The right classes, where they are known.
    clips : tuple of str or None
        Names of the clips, where they are known.
    """

    names: tuple[str, ...]
    posteriors: Stacked
    labels: tuple[str, ...]
    targets: Int[np.ndarray, " clips"] | None = None
    clips: tuple[str, ...] | None = None

    def known_targets(self) -> Int[np.ndarray, " clips"]:
        """Return the right classes.

        Raises
        ------
        CoppiceError
            If they are not known.
        """
        if self.targets is None:
            raise CoppiceError("the right labels of the clips are not known; give them, one for each clip.")
        return self.targets

    def index(self, name: str) -> int:
        """Return the place of a member.

        Raises
        ------
        CoppiceError
            If there is none of that name.
        """
        if name not in self.names:
            raise CoppiceError(f"there is no member {name!r}. {did_you_mean(name, self.names)}")
        return self.names.index(name)

    def only(self, indices: Sequence[int]) -> "Members":
        """Return some of the members."""
        return Members(
            tuple(self.names[index] for index in indices),
            self.posteriors[list(indices)],
            self.labels,
            self.targets,
            self.clips,
        )


def gather(
    sources: Mapping[str, Source], *, labels: Sequence[str] | None = None, truth: Sequence[str | int] | None = None
) -> Members:
    """Bring posteriors of several networks together: classes matched by name, clips by name where they have one.

    Parameters
    ----------
    sources : mapping of name to StoredPosteriors or ndarray
        Two members or more. An array of shape (clips, classes) says neither classes nor clips.
    labels : sequence of str, optional
        The classes in the order of the columns, for members that do not say.
    truth : sequence of str or int, optional
        The right class of each clip: labels, or numbers of columns; from the members' files if not given.

    Returns
    -------
    Members
        In the order of the first member's clips and of its classes, or of ``labels``.

    Raises
    ------
    CoppiceError
        If there are fewer than two members, or classes or clips cannot be matched.

    Examples
    --------
    >>> one = StoredPosteriors(np.array([[0.9, 0.1]]), labels=("bus", "tram"), truth=("bus",))
    >>> other = StoredPosteriors(np.array([[0.4, 0.6]]), labels=("tram", "bus"))
    >>> gather({"one": one, "other": other}).posteriors.tolist()
    [[[0.9, 0.1]], [[0.6, 0.4]]]
    """
    if len(sources) < 2:
        raise CoppiceError(f"an ensemble needs two members or more, and this one has {len(sources)}.")
    named = {
        name: source if isinstance(source, StoredPosteriors) else StoredPosteriors(checked(np.asarray(source), name))
        for name, source in sources.items()
    }
    known = tuple(labels) if labels is not None else next((one.labels for one in named.values() if one.labels), None)
    if known is not None and len(set(known)) < len(known):
        raise CoppiceError(f"the classes are {', '.join(known)}; each may come once.")
    if known is not None and labels is None and any(one.labels is None for one in named.values()):
        silent = next(name for name, one in named.items() if one.labels is None)
        raise CoppiceError(
            f"{silent} does not say the order of its classes and others do; give the labels of its columns."
        )
    first_name, first = next(iter(named.items()))
    stacked = []
    for name, one in named.items():
        columns = _columns(name, one, known or tuple(range(first.values.shape[1])))
        stacked.append(one.values[_rows(name, one, first_name, first)][:, columns])
    names = known or tuple(f"class_{index}" for index in range(first.values.shape[1]))
    right = truth if truth is not None else _truth(named, first)
    return Members(
        names=tuple(named),
        posteriors=np.ascontiguousarray(np.stack(stacked)),
        labels=tuple(map(str, names)),
        targets=None if right is None else targets_of(right, tuple(map(str, names)), clips=len(first.values)),
        clips=first.clips,
    )


def targets_of(truth: Sequence[str | int], labels: Sequence[str], *, clips: int) -> Int[np.ndarray, " clips"]:
    """Return the right classes as numbers of columns.

    Raises
    ------
    CoppiceError
        If there is not one for each clip, or one is no class.

    Examples
    --------
    >>> targets_of(["tram", "bus"], ["bus", "tram"], clips=2).tolist()
    [1, 0]
    """
    if len(truth) != clips:
        raise CoppiceError(f"there are {len(truth)} labels for {clips} clips; give one for each.")
    number = {label: index for index, label in enumerate(labels)}
    number |= {str(index): index for index in range(len(labels)) if str(index) not in number}
    unknown = next((one for one in truth if str(one) not in number), None)
    if unknown is not None:
        raise CoppiceError(
            f"there is no class {str(unknown)!r} among the members'. {did_you_mean(str(unknown), labels)}"
        )
    return np.array([number[str(one)] for one in truth])


def _columns(name: str, one: StoredPosteriors, known: Sequence[str] | Sequence[int]) -> list[int]:
    count = one.values.shape[1]
    if one.labels is None:
        if count != len(known):
            raise CoppiceError(f"{name} tells {count} classes apart and there are {len(known)}; give the same for all.")
        return list(range(count))
    if set(one.labels) != set(known) or len(one.labels) != len(known):
        other = sorted(map(str, set(one.labels) ^ set(known)) or one.labels)[0]
        raise CoppiceError(f"{name} tells other classes apart than the rest: {other!r} is not known to both.")
    return [one.labels.index(str(label)) for label in known]


def _rows(name: str, one: StoredPosteriors, first_name: str, first: StoredPosteriors) -> Int[np.ndarray, " clips"]:
    if len(one.values) != len(first.values):
        raise CoppiceError(
            f"{name} has posteriors of {len(one.values)} clips and {first_name} of {len(first.values)}; give those of "
            "the same clips."
        )
    if one.clips is None or first.clips is None or one.clips == first.clips:
        return np.arange(len(one.values))
    place = {clip: row for row, clip in enumerate(one.clips)}
    missing = next((clip for clip in first.clips if clip not in place), None)
    if missing is not None:
        raise CoppiceError(f"{name} has no posterior of the clip {missing!r}, which {first_name} has.")
    if len(place) < len(one.clips):
        raise CoppiceError(f"{name} has posteriors of the same clip twice; give one row for each clip.")
    return np.array([place[clip] for clip in first.clips])


def _truth(named: Mapping[str, StoredPosteriors], first: StoredPosteriors) -> tuple[str, ...] | None:
    """Return what the files say is right, in the order of the first one's clips; refuse contradictions."""
    found: tuple[str, ...] | None = None
    teller = ""
    for name, one in named.items():
        if one.truth is None:
            continue
        rows = _rows(name, one, name, first)
        mine = tuple(one.truth[row] for row in rows)
        if found is not None and mine != found:
            row = next(index for index, (a, b) in enumerate(zip(mine, found, strict=True)) if a != b)
            raise CoppiceError(
                f"clip {row + 1} is {mine[row]!r} in {name} and {found[row]!r} in {teller}; give posteriors of the "
                "same clips in the same order."
            )
        found, teller = mine, name
    return found
