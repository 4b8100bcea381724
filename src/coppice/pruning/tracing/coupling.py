"""Union-find over labels: which filters live and die together, and which can never leave."""

import torch
from jaxtyping import Int64
from torch import Tensor


class Coupling:
    """Classes of labels. Label 0 means "no filter": its class stays for ever.

    Every label starts as a class of its own. :meth:`unite` merges classes, :meth:`pin` merges them into the
    class of 0 and remembers why. Classes are looked up in one table, so a whole tensor of labels is resolved
    by one indexing.

    Examples
    --------
    >>> coupling = Coupling()
    >>> a, b = coupling.fresh(3), coupling.fresh(3)
    >>> coupling.unite(a, b)
    >>> coupling.pin(b[:1], "reach the output")
    >>> coupling.resolve(a).tolist(), coupling.reason(a)
    ([0, 2, 3], 'reach the output')
    """

    def __init__(self) -> None:
        self._class_of = torch.zeros(1, dtype=torch.int64)
        self._why = torch.zeros(1, dtype=torch.int64)
        self._from_filter = torch.zeros(1, dtype=torch.bool)
        self._reasons = ["are tied to values that cannot be cut"]

    def fresh(self, count: int, *, from_filters: bool = True) -> Int64[Tensor, " count"]:
        """Return new labels: of filters, or placeholders for the elements of a parameter."""
        start = len(self._class_of)
        labels = torch.arange(start, start + count)
        self._class_of = torch.cat([self._class_of, labels])
        self._why = torch.cat([self._why, torch.zeros_like(labels)])
        self._from_filter = torch.cat([self._from_filter, torch.full((count,), from_filters)])
        return labels

    def resolve(self, labels: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
        """Return the class of every label; equal numbers are coupled, 0 is pinned or nothing."""
        narrow = labels  # labels are mostly expanded vectors: look each element up once
        for axis in range(labels.ndim):
            if labels.stride(axis) == 0 and labels.shape[axis] > 1:
                narrow = narrow.narrow(axis, 0, 1)
        return self._class_of[narrow].expand(labels.shape)

    def holds_filters(self, labels: Int64[Tensor, "*shape"]) -> bool:
        """Say whether any label belongs to a filter that may still be cut."""
        classes = self.resolve(labels).unique()
        classes = classes[classes > 0]
        return bool(torch.isin(self._class_of[self._from_filter], classes).any())

    def unite(self, left: Int64[Tensor, "*shape"], right: Int64[Tensor, "*shape"]) -> None:
        """Couple labels element by element; a label that meets 0 is pinned."""
        one, other = self.resolve(left).reshape(-1), self.resolve(right).reshape(-1)
        one, other = one[one != other], other[one != other]
        root = torch.arange(len(self._class_of))
        while not torch.equal(root[one], root[other]):
            first, second = root[one], root[other]
            least = torch.minimum(first, second)
            for merged in (first, second):
                root.scatter_reduce_(0, merged, least, "amin")
            while not torch.equal(root, root[root]):
                root = root[root]
        merged = root[self._class_of]
        self._why[(merged == 0) & (self._class_of != 0)] = 0
        self._class_of = merged

    def pin(self, labels: Int64[Tensor, "*shape"], reason: str) -> None:
        """Keep the filters of these labels for ever; ``reason`` completes "its filters …"."""
        classes = self.resolve(labels).unique()
        merged = torch.isin(self._class_of, classes[classes > 0])
        if merged.any():
            self._reasons.append(reason)
            self._why[merged] = len(self._reasons) - 1
            self._class_of[merged] = 0

    def reason(self, labels: Int64[Tensor, "*shape"]) -> str | None:
        """Say why the first pinned one of these labels cannot leave; None when all can."""
        pinned = labels[(self.resolve(labels) == 0) & (labels > 0)]
        return self._reasons[int(self._why[pinned[0]])] if len(pinned) else None
