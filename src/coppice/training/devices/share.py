"""Which rows of a batch are a process's own."""


class Share:
    """Divides every batch between processes, in the order of their ranks.

    Parameters
    ----------
    rank : int
        Which of the processes this is, from 0.
    processes : int >= 1
        How many there are.

    Attributes
    ----------
    total : int
        Clips of the whole batch that was divided last.
    rows : slice
        Those of this process.
    divided : bool
        False for a batch with fewer clips than processes: each of them then computes the whole batch, so that none
        stands idle with nothing to compute a gradient of.

    Examples
    --------
    >>> share = Share(1, 2)
    >>> share.take(5), share.weight
    (slice(2, 5, None), 1.2)
    >>> share.take(1), share.weight
    (slice(0, 1, None), 1.0)
    """

    def __init__(self, rank: int, processes: int) -> None:
        self.rank, self.processes = rank, processes
        self.total, self.rows, self.divided = 0, slice(0, 0), False

    def take(self, total: int) -> slice:
        """Divide a batch of so many clips; return this process's rows."""
        self.total, self.divided = total, total >= self.processes
        first, end = (total * rank // self.processes for rank in (self.rank, self.rank + 1))
        self.rows = slice(first, end) if self.divided else slice(0, total)
        return self.rows

    @property
    def weight(self) -> float:
        """By what the mean over own rows is multiplied, so that the mean over processes is that over the batch."""
        return (self.rows.stop - self.rows.start) * self.processes / self.total if self.divided else 1.0

    @property
    def speaks(self) -> bool:
        """Whether this process adds its rows to a sum over processes, in which every row counts once."""
        return self.divided or self.rank == 0
