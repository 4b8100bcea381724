"""What a study file says of ensembles: which values of an axis are members of which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.ensembles.subsets import MOST_MEMBERS
from coppice.recipes.fitting import Part
from coppice.studies.axes import label


class BestSubsets(Part):
    """The best members of each number, by the log-loss of their mean on validation clips."""

    sizes: Annotated[list[int], Field(min_length=1)]


class EnsembleSection(Part):
    """The values of one axis as members: named sets, all but one of them, and the best of a number."""

    axis: str | None = None
    named: dict[str, Any] = Field(default_factory=dict)
    leave_one_out: bool = False
    best: BestSubsets | None = None


@dataclass(frozen=True)
class Ensemble:
    """One ensemble of a study, wherever the members stand.

    Attributes
    ----------
    name : str
        Stands in the results in place of a value of the axis.
    axis : str
    members : tuple of str
        Labels of the axis.
    size : int or None
        How many of the members are chosen, on validation clips; None for all of them.
    """

    name: str
    axis: str
    members: tuple[str, ...]
    size: int | None = None


def check_ensembles(
    section: EnsembleSection, axes: Mapping[str, Mapping[str, Any]], zipped: Sequence[Sequence[str]], what: str
) -> tuple[Ensemble, ...]:
    """Return the ensembles that a study asks for: named ones, then all but one, then the best.

    Parameters
    ----------
    section : EnsembleSection
        As written.
    axes : mapping
        Axis → label → value; without fold and seed.
    zipped : sequence of sequence of str
        Axes that go in step.
    what : str
        What the study is called in a message.

    Raises
    ------
    CoppiceError
        If the axis or a member is not known, or a set is none.

    Examples
    --------
    >>> section = EnsembleSection(named={"both": "all"}, best=BestSubsets(sizes=[1]))
    >>> for one in check_ensembles(section, {"criterion": {"l1": "l1", "l2": "l2"}}, [], "study mine.yaml"):
    ...     print(one.name, one.members, one.size)
    both ('l1', 'l2') None
    best 1 ('l1', 'l2') 1
    """
    axis = _axis(section, axes, zipped, what)
    values = tuple(axes[axis])
    made = [
        Ensemble(str(name), axis, _members(str(name), said, axis, values, what)) for name, said in section.named.items()
    ]
    if section.leave_one_out:
        if len(values) < 3:
            raise CoppiceError(
                f"{what}: ensembles.leave_one_out needs 3 members or more; axis {axis!r} has {len(values)}."
            )
        made += [Ensemble(f"all but {left}", axis, tuple(v for v in values if v != left)) for left in values]
    for size in section.best.sizes if section.best is not None else ():
        if not 1 <= size <= len(values):
            raise CoppiceError(
                f"{what}: ensembles.best.sizes holds {size}; axis {axis!r} has {len(values)} members: give 1 to "
                f"{len(values)}."
            )
        if len(values) > MOST_MEMBERS:
            raise CoppiceError(
                f"{what}: ensembles.best goes through all subsets of up to {MOST_MEMBERS} members; axis {axis!r} has "
                f"{len(values)}."
            )
        made.append(Ensemble(f"best {size}", axis, values, size))
    if not made:
        raise CoppiceError(
            f"{what}: ensembles asks for none; give named, leave_one_out: true, or best: {{sizes: [2]}}."
        )
    _refuse_twins(made, values, what)
    return tuple(made)


def _axis(
    section: EnsembleSection, axes: Mapping[str, Mapping[str, Any]], zipped: Sequence[Sequence[str]], what: str
) -> str:
    if section.axis is None and len(axes) != 1:
        said = f"the study has {', '.join(map(repr, axes))}" if axes else "the study has none but fold and seed"
        raise CoppiceError(f"{what}: ensembles.axis has to say along which axis the members stand; {said}.")
    axis = next(iter(axes)) if section.axis is None else section.axis
    if axis in ("fold", "seed"):
        raise CoppiceError(f"{what}: ensembles.axis is {axis!r}; members share their fold and seed. Give another axis.")
    if axis not in axes:
        raise CoppiceError(f"{what}: ensembles.axis is {axis!r}, no axis. {did_you_mean(axis, axes)}")
    if any(axis in group for group in zipped):
        raise CoppiceError(
            f"{what}: ensembles.axis is {axis!r}, which is zipped; write its values and those of the other axis as one "
            "axis, such as system."
        )
    return axis


def _members(name: str, said: Any, axis: str, values: tuple[str, ...], what: str) -> tuple[str, ...]:
    if said != "all" and not isinstance(said, list):
        shown = label(said)
        raise CoppiceError(f"{what}: ensemble {name!r} is {shown!r}; give a list of values of axis {axis!r}, or all.")
    given = [*values] if said == "all" else [label(one) for one in said]
    for one in given:
        if one not in values:
            hint = did_you_mean(one, values)
            raise CoppiceError(f"{what}: ensemble {name!r}: axis {axis!r} has no value {one!r}. {hint}")
        if given.count(one) > 1:
            raise CoppiceError(f"{what}: ensemble {name!r} has {one!r} twice; give each member once.")
    if len(given) < 2:
        raise CoppiceError(f"{what}: ensemble {name!r} has {len(given)} members; give two or more.")
    return tuple(value for value in values if value in given)


def _refuse_twins(made: Sequence[Ensemble], values: Sequence[str], what: str) -> None:
    names: set[str] = set()
    sets: dict[tuple[tuple[str, ...], int | None], str] = {}
    for one in made:
        if one.name in values or one.name in names:
            raise CoppiceError(f"{what}: ensembles has two things called {one.name!r}; choose another name.")
        same = (one.members, one.size)
        if same in sets:
            raise CoppiceError(
                f"{what}: ensembles {sets[same]!r} and {one.name!r} are the same; leave one of them out."
            )
        names.add(one.name)
        sets[same] = one.name
