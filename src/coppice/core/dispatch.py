"""A dispatch mode that starts quickly."""

from torch.utils._python_dispatch import TorchDispatchMode


class DispatchMode(TorchDispatchMode):
    """Sees every operator that runs inside a ``with`` block; subclasses define ``__torch_dispatch__``.

    torch by default wraps that method so that its compiler keeps out of it, which loads the compiler: a second, at
    the first use in every process. Networks here run uncompiled, so that there is nothing to keep out.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
