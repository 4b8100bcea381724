"""One convolution or matrix product as shapes alone: what a cost table is indexed by."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from coppice.core.errors import CoppiceError

_aten = torch.ops.aten
_MATRICES = {_aten.mm: 0, _aten.addmm: 1}


@dataclass(frozen=True)
class Product:
    """Shapes and geometry of one executed convolution or matrix product.

    Attributes
    ----------
    kind : {"convolution", "matrix"}
    input : tuple of int
        (clips, channels, *positions), or (rows, inputs) of a matrix.
    weight : tuple of int
        As torch stores it, or (inputs, outputs) of a matrix.
    bias : bool
    groups : int
    transposed : bool
    stride, padding, dilation, output_padding : tuple of int
        Of a convolution.

    Examples
    --------
    >>> product = Product("matrix", (1, 64), (64, 10), bias=True)
    >>> product.narrowed(inputs=32, outputs=10).weight
    (32, 10)
    """

    kind: str
    input: tuple[int, ...]
    weight: tuple[int, ...]
    bias: bool = False
    groups: int = 1
    transposed: bool = False
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()

    @classmethod
    def of_call(cls, operator: Any, args: tuple[Any, ...]) -> "Product | None":
        """Return the product that an executed operator of ``torch.ops.aten`` is, None if it is none of these.

        Examples
        --------
        >>> Product.of_call(torch.ops.aten.mm, (torch.zeros(2, 3), torch.zeros(3, 4))).weight
        (3, 4)
        """
        if operator is _aten.convolution:
            given, weight, bias, stride, padding, dilation, transposed, output_padding, groups = args
            return cls(
                "convolution",
                tuple(given.shape),
                tuple(weight.shape),
                bias=bias is not None,
                groups=groups,
                transposed=transposed,
                stride=tuple(stride),
                padding=tuple(padding),
                dilation=tuple(dilation),
                output_padding=tuple(output_padding),
            )
        if operator in _MATRICES:
            first = _MATRICES[operator]
            return cls("matrix", tuple(args[first].shape), tuple(args[first + 1].shape), bias=first == 1)
        return None

    def narrowed(self, *, inputs: int, outputs: int, rows: int | None = None) -> "Product":
        """Return the same product with other widths.

        Parameters
        ----------
        inputs, outputs : int >= 1
            Channels that go in and come out; all groups together.
        rows : int, optional
            Rows of a matrix; as they were if not given.
        """
        if self.kind == "matrix":
            return replace(self, input=(rows or self.input[0], inputs), weight=(inputs, outputs))
        channels = self.input[1]
        groups = inputs if self.groups == channels and channels > 1 else self.groups
        sides = (inputs, outputs // groups) if self.transposed else (outputs, inputs // groups)
        shape = (self.input[0], inputs, *self.input[2:])
        return replace(self, input=shape, weight=(*sides, *self.weight[2:]), groups=groups)

    def tensors(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return an input, a weight and perhaps a bias of these shapes: numbers that cost what any others do."""
        filters = self.weight[1] * (self.groups if self.transposed else 1)
        if self.kind == "convolution" and not self.transposed:
            filters = self.weight[0]
        bias = torch.full((filters,), 0.5) if self.bias else None
        return torch.full(self.input, 0.5), torch.full(self.weight, 0.5), bias

    def run(self, given: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Compute the product of such tensors.

        Examples
        --------
        >>> product = Product("matrix", (2, 3), (3, 4), bias=True)
        >>> product.run(*product.tensors()).shape
        torch.Size([2, 4])
        """
        if self.kind == "matrix":
            return given @ weight if bias is None else torch.addmm(bias, given, weight)
        geometry = (self.stride, self.padding, self.dilation, self.transposed, self.output_padding, self.groups)
        return torch.convolution(given, weight, bias, *geometry)

    @property
    def key(self) -> str:
        """Text by which equal products are known in a file."""
        shapes = {name: value for name, value in asdict(self).items() if name != "kind"}
        return " ".join([self.kind, *(f"{name}={_text(value)}" for name, value in shapes.items())])

    def __post_init__(self) -> None:
        if self.kind not in ("convolution", "matrix"):
            raise CoppiceError(f"a product is of kind {self.kind!r}; give 'convolution' or 'matrix'.")


def _text(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(int(value))
