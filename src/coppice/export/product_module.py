"""One convolution or matrix product as a module, for exporters that translate modules."""

from jaxtyping import Float
from torch import Tensor, nn

from coppice.complexity.product import Product


class ProductModule(nn.Module):
    """A product computed from one input, several times with other weights, and the sum.

    Parameters
    ----------
    product : Product
    copies : int >= 1
        See :func:`coppice.export.product_graph.product_graph`.

    Examples
    --------
    >>> product = Product("matrix", (2, 8), (8, 4), bias=True)
    >>> given, weight, bias = product.tensors()
    >>> bool((ProductModule(product, copies=1)(given) == product.run(given, weight, bias)).all())
    True
    """

    def __init__(self, product: Product, *, copies: int) -> None:
        super().__init__()
        self.product = product
        _, weight, bias = product.tensors()
        shifts = [copy / 64 for copy in range(copies)]  # equal ones might be merged
        self.weights = nn.ParameterList([weight + shift for shift in shifts])
        self.biases = nn.ParameterList([] if bias is None else [bias + shift for shift in shifts])
        self.eval()

    def forward(self, given: Float[Tensor, "*shape"]) -> Float[Tensor, "*product"]:
        """Return the sum."""
        total = self._one(given, 0)
        for copy in range(1, len(self.weights)):
            total = total + self._one(given, copy)
        return total

    def _one(self, given: Tensor, copy: int) -> Tensor:
        """Call what modules call: exporters may know no more."""
        product, weight = self.product, self.weights[copy]
        bias = self.biases[copy] if self.biases else None
        if product.kind == "matrix":
            return nn.functional.linear(given, weight.t(), bias)
        geometry = {
            "stride": product.stride,
            "padding": product.padding,
            "dilation": product.dilation,
            "groups": product.groups,
        }
        if product.transposed:
            geometry["output_padding"] = product.output_padding
        name = f"conv{'_transpose' * product.transposed}{weight.ndim - 2}d"
        result: Tensor = getattr(nn.functional, name)(given, weight, bias, **geometry)
        return result
