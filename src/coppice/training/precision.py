"""Which arithmetic a training step uses, and why."""

from dataclasses import dataclass

import torch

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.training.settings import PRECISIONS as CHOICES


@dataclass(frozen=True)
class Precision:
    """The arithmetic of a training step.

    Attributes
    ----------
    name : {"float32", "bfloat16"}
        bfloat16 means autocast: convolutions and products in bfloat16, parameters and sums in float32.
    reason : str
        Why, in words.
    """

    name: str
    reason: str

    @property
    def lightning(self) -> str:
        """The name that Lightning's Trainer takes."""
        return "bf16-mixed" if self.name == "bfloat16" else "32-true"


def choose_precision(wish: str = "auto") -> Precision:
    """Choose the arithmetic for training on this machine.

    Parameters
    ----------
    wish : {"auto", "float32", "bfloat16"}
        ``auto`` takes bfloat16 where the processor (or GPU) computes in it natively. Without the instructions it is
        emulated, many times slower than float32, and is refused when asked for by name. float16 is not offered: on
        most CPUs it is emulated too, and it needs loss scaling.

    Raises
    ------
    CoppiceError
        If the wish is unknown or cannot be met.

    Examples
    --------
    >>> choose_precision("float32")
    Precision(name='float32', reason='asked for')
    """
    if wish not in CHOICES:
        raise CoppiceError(f"there is no precision {wish!r}. {did_you_mean(str(wish), CHOICES)}")
    native = _native_bfloat16()
    if wish == "float32":
        return Precision("float32", "asked for")
    if wish == "bfloat16":
        if native is None:
            raise CoppiceError(
                "precision is 'bfloat16' but this processor has no bfloat16 instructions, so it would be far slower "
                "than float32; use 'auto' or 'float32'."
            )
        return Precision("bfloat16", f"asked for; {native}")
    if native is None:
        return Precision("float32", "the processor has no bfloat16 instructions")
    return Precision("bfloat16", native)


def _native_bfloat16() -> str | None:
    if torch.cuda.is_available():
        return "the GPU computes in bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else None
    if torch.cpu._is_amx_tile_supported():
        return "the processor has AMX bfloat16 instructions"
    if torch.cpu._is_avx512_bf16_supported():
        return "the processor has AVX-512 bfloat16 instructions"
    return None
