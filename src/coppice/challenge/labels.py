"""Submission labels: Lastname_Institute_task1_1."""

import re
from dataclasses import dataclass

from coppice.challenge.rules import Rules
from coppice.core.errors import CoppiceError

MOST_SYSTEMS = 4
_PART = re.compile(r"[^\W_]+(?:-[^\W_]+)*")


@dataclass(frozen=True)
class Label:
    """The parts of a submission label.

    Attributes
    ----------
    team : str
        Last name and institute of the corresponding author, such as ``"Singh_Surrey"``.
    task : str
    index : int
        Which of up to four systems.
    """

    team: str
    task: str
    index: int

    def __str__(self) -> str:
        return f"{self.team}_{self.task}_{self.index}"


def parse_label(label: object, rules: Rules) -> Label:
    """Take a submission label apart.

    Parameters
    ----------
    label : str
        Last name and institute of the corresponding author, task and number, joined by ``_``.
    rules : Rules
        Whose task it has to name.

    Raises
    ------
    CoppiceError
        If it has not four parts, a part is empty or holds signs that file names should not, the task is another, or
        the number is not 1 to 4.

    Examples
    --------
    >>> from coppice.challenge.rules import rules_of
    >>> parse_label("Singh_Surrey_task1_3", rules_of("dcase2022")).team
    'Singh_Surrey'
    >>> parse_label("Singh_Surrey_task1_3", rules_of("dcase2021"))
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: label 'Singh_Surrey_task1_3' names task1, but in 2021 the task is task1a.
    """
    example = f"Lastname_Institute_{rules.task}_1"
    parts = label.split("_") if isinstance(label, str) else []
    if len(parts) != 4:
        raise CoppiceError(f"label {label!r} is not of the form {example}: four parts joined by '_'.")
    lastname, institute, task, index = parts
    if task != rules.task:
        raise CoppiceError(f"label {label!r} names {task}, but in {rules.year} the task is {rules.task}.")
    if index not in {str(number) for number in range(1, MOST_SYSTEMS + 1)}:
        raise CoppiceError(f"label {label!r} ends in {index!r}; number systems from 1 to {MOST_SYSTEMS}.")
    for part in (lastname, institute):
        if not _PART.fullmatch(part):
            raise CoppiceError(f"label {label!r} has the part {part!r}; use letters, digits and '-' in {example}.")
    return Label(f"{lastname}_{institute}", task, int(index))
