"""Problems of a package: file, line and sentence, all of them, and no more of one kind than anybody reads."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

MOST_OF_A_KIND = 20


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes
    ----------
    file : str
        Its name in the package; empty for the package itself.
    line : int or None
        From 1.
    message : str
        A sentence.
    """

    file: str
    line: int | None
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.message}" if place else self.message


class Problems:
    """What is wrong with a package, in the order found.

    Examples
    --------
    >>> problems = Problems()
    >>> problems.add("a.csv", 3, "row 3 is short.")
    >>> [str(problem) for problem in problems]
    ['a.csv:3: row 3 is short.']
    """

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found)

    def add(self, file: str, line: int | None, message: str) -> None:
        """Note one problem."""
        self._found.append(Problem(file, line, message))

    def add_lines(self, file: str, lines: Int[np.ndarray, " rows"], message: Callable[[int], str]) -> None:
        """Note a problem on each of many lines: the first ones, and how many more.

        Parameters
        ----------
        file : str
        lines : ndarray of int
            Line numbers.
        message : callable
            Position in ``lines`` -> sentence.
        """
        for position, line in enumerate(lines[:MOST_OF_A_KIND].tolist()):
            self.add(file, line, message(position))
        if len(lines) > MOST_OF_A_KIND:
            self.add(
                file,
                int(lines[MOST_OF_A_KIND]),
                f"the same kind of fault on {len(lines) - MOST_OF_A_KIND:,} more lines, to line {int(lines[-1])}.",
            )
