"""The DCASE 2024 and 2025 Task 1 baseline, a simplified CP-Mobile, with free widths."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.networks.registry import network
from coppice.networks.sizes import check_classes, check_factor, check_list, check_log_mel, check_units, is_whole

STRIDES: Mapping[str, tuple[int, int]] = {"b3": (1, 2), "b4": (2, 1)}


class ConvNorm(nn.Sequential):
    """A convolution without bias that keeps the size at stride 1, batch normalisation and, unless told not to, ReLU.

    Parameters
    ----------
    inputs, outputs : int >= 1
        Channels.
    kernel : odd int
    stride : int or tuple of int
    groups : int
        ``inputs`` for a depthwise convolution.
    activated : bool
        Whether a ReLU follows.

    Examples
    --------
    >>> import torch
    >>> ConvNorm(1, 4, kernel=3, stride=2)(torch.zeros(1, 1, 8, 9)).shape
    torch.Size([1, 4, 4, 5])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 1,
        stride: int | tuple[int, int] = 1,
        groups: int = 1,
        activated: bool = True,
    ) -> None:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outputs), *([nn.ReLU()] if activated else []))


class InvertedBottleneck(nn.Module):
    """Expand by a 1×1, filter by a depthwise 3×3, project by a 1×1 convolution; add the input; ReLU.

    Parameters
    ----------
    inputs, expanded, outputs : int >= 1
        Channels before, inside and after.
    stride : tuple of int
        Of the depthwise convolution, along bands and frames.
    shortcut : bool
        Whether the input is added: as it is, or averaged over 3×3 where the stride makes the output smaller.

    Examples
    --------
    >>> import torch
    >>> InvertedBottleneck(4, 8, 4, stride=(1, 2), shortcut=True)(torch.zeros(1, 4, 6, 6)).shape
    torch.Size([1, 4, 6, 3])
    """

    def __init__(self, inputs: int, expanded: int, outputs: int, *, stride: tuple[int, int], shortcut: bool) -> None:
        super().__init__()
        self.stride = stride
        self.block = nn.Sequential(
            ConvNorm(inputs, expanded),
            ConvNorm(expanded, expanded, kernel=3, stride=stride, groups=expanded),
            ConvNorm(expanded, outputs, activated=False),
        )
        pooled = nn.AvgPool2d(3, stride, padding=1) if stride != (1, 1) else nn.Identity()
        self.shortcut = pooled if shortcut else None
        self.after_block_activation = nn.ReLU()

    def forward(self, x: Float[Tensor, "clips channels bands frames"]) -> Float[Tensor, "clips outputs bands2 frames2"]:
        """Return the activated sum."""
        out = self.block(x)
        if self.shortcut is not None:
            out = out + self.shortcut(x)
        return self.after_block_activation(out)


@network("cp_mobile")
class CPMobile(nn.Module):
    """A stem of two strided convolutions, inverted bottlenecks, and classes averaged over the picture.

    The baseline of DCASE 2024 and 2025 Task 1 (Schmid et al., arXiv 2405.10018 and 2505.01747), which simplifies
    the CP-Mobile of Schmid et al. (DCASE Workshop 2023). Its three factors give the widths: stage *i* has
    ``base_channels · channels_multiplier ** i`` channels (i = 0, 1, 2), a block has ``expansion_rate`` times its
    input inside, each rounded to a multiple of 8. With the published factors and 256×65 there are 61,148 parameters
    and 29,416,448 MACs (torchinfo, which counts batch normalisation as well: 29,419,156). Layers are named as in
    the published checkpoints, such as ``stages.s1.b3.block.0.0``.

    Parameters
    ----------
    base_channels : int >= 1
        Channels after the stem.
    channels_multiplier : float
        By which channels grow from stage to stage.
    expansion_rate : float
        By which channels grow inside a block.
    blocks : sequence of ints >= 1
        Number of blocks in each stage; blocks are called b1, b2, ... through all stages.
    strides : mapping of str to two ints, optional
        Block -> its stride along bands and frames; (1, 1) for those not named. b3: (1, 2) and b4: (2, 1) where the
        network has these blocks, if not given.
    stem : two ints >= 1, optional
        Filters of the two first convolutions, in place of what the factors give.
    widths, expanded : sequence of ints >= 1, optional
        For every block, channels after it and inside it, in place of what the factors give.
    shortcuts : sequence of bool, optional
        For every block, whether its input is added. If not given: where input and output have as many channels.
        Surgery changes the channels, not the shortcuts.
    classes : int >= 2
        Filters of the last convolution.
    bands, frames : int >= 1
        Mel bands and frames of the input.

    Raises
    ------
    CoppiceError
        If a size is impossible.

    Examples
    --------
    >>> import torch
    >>> net = CPMobile()
    >>> sum(parameter.numel() for parameter in net.parameters())
    61148
    >>> net.config()["widths"], net.config()["expanded"]
    ([32, 32, 32, 56, 56, 104], [64, 64, 64, 64, 120, 120])
    >>> net(torch.zeros(2, 1, 256, 65)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        *,
        base_channels: int = 32,
        channels_multiplier: float = 1.8,
        expansion_rate: float = 2.1,
        blocks: Sequence[int] = (3, 2, 1),
        strides: Mapping[str, Sequence[int]] | None = None,
        stem: Sequence[int] | None = None,
        widths: Sequence[int] | None = None,
        expanded: Sequence[int] | None = None,
        shortcuts: Sequence[bool] | None = None,
        classes: int = 10,
        bands: int = 256,
        frames: int = 65,
    ) -> None:
        super().__init__()
        check_units("cp_mobile", "base_channels", base_channels)
        check_factor("cp_mobile", "channels_multiplier", channels_multiplier, most=16)
        check_factor("cp_mobile", "expansion_rate", expansion_rate, most=64)
        names = _block_names(blocks)
        steps = _strides(strides, names)
        check_classes("cp_mobile", classes)
        check_log_mel("cp_mobile", bands, frames, least=(1, 1))
        self.bands, self.frames = bands, frames

        base = divisible_by_8(base_channels)
        if stem is None:
            stem = (base // 4, base)
        check_list("cp_mobile", "stem", stem, ("the stem", "the stem"), (8, 32))
        if widths is None:
            widths = [
                divisible_by_8(base * channels_multiplier**i) for i, count in enumerate(blocks) for _ in range(count)
            ]
        check_list("cp_mobile", "widths", widths, names, (32, 32, 32, 56, 56, 104))
        inputs = [stem[1], *widths[:-1]]
        if expanded is None:
            expanded = [divisible_by_8(channels * expansion_rate) for channels in inputs]
        check_list("cp_mobile", "expanded", expanded, names, (64, 64, 64, 64, 120, 120))
        if shortcuts is None:
            shortcuts = [before == after for before, after in zip(inputs, widths, strict=True)]
        _check_shortcuts(shortcuts, names, inputs, widths)

        self.in_c = nn.Sequential(
            ConvNorm(1, stem[0], kernel=3, stride=2), ConvNorm(stem[0], stem[1], kernel=3, stride=2)
        )
        made = iter(zip(names, inputs, expanded, widths, shortcuts, strict=True))
        self.stages = nn.Sequential()
        for number, count in enumerate(blocks, start=1):
            stage = nn.Sequential()
            for _ in range(count):
                name, before, inside, after, shortcut = next(made)
                stage.add_module(name, InvertedBottleneck(before, inside, after, stride=steps[name], shortcut=shortcut))
            self.stages.add_module(f"s{number}", stage)
        self.feed_forward = nn.Sequential(
            nn.Conv2d(widths[-1], classes, 1, bias=False), nn.BatchNorm2d(classes), nn.AdaptiveAvgPool2d(1)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of one clip: (1, bands, frames)."""
        return 1, self.bands, self.frames

    def config(self) -> dict[str, Any]:
        """Return the arguments that build a network of these shapes, read from the layers as they are now.

        They name the width of every layer, so that the three factors are not among them.
        """
        blocks = {
            name.rpartition(".")[2]: block
            for name, block in self.stages.named_modules()
            if isinstance(block, InvertedBottleneck)
        }
        return {
            "blocks": [len(stage) for stage in self.stages],  # type: ignore[arg-type]
            "strides": {name: list(block.stride) for name, block in blocks.items() if block.stride != (1, 1)},
            "stem": [self.in_c.get_submodule(name).out_channels for name in ("0.0", "1.0")],
            "widths": [block.get_submodule("block.2.0").out_channels for block in blocks.values()],
            "expanded": [block.get_submodule("block.0.0").out_channels for block in blocks.values()],
            "shortcuts": [block.shortcut is not None for block in blocks.values()],
            "classes": self.feed_forward.get_submodule("0").out_channels,
            "bands": self.bands,
            "frames": self.frames,
        }

    def forward(self, features: Float[Tensor, "clips 1 bands frames"]) -> Float[Tensor, "clips classes"]:
        """Return one logit per class."""
        return self.feed_forward(self.stages(self.in_c(features))).flatten(1)


def divisible_by_8(channels: float) -> int:
    """Round a number of channels to a multiple of 8, at least 8 and not more than a tenth below (MobileNetV2).

    Examples
    --------
    >>> divisible_by_8(57.6), divisible_by_8(103.68), divisible_by_8(11), divisible_by_8(1)
    (56, 104, 16, 8)
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _block_names(blocks: object) -> list[str]:
    if (
        not isinstance(blocks, Sequence)
        or not 1 <= len(blocks) <= 16
        or not all(is_whole(count, 1, 64) for count in blocks)
    ):
        raise CoppiceError(
            f"cp_mobile cannot have blocks {blocks!r}; give the number in each of 1 to 16 stages, such as [3, 2, 1]."
        )
    return [f"b{number}" for number in range(1, sum(blocks) + 1)]


def _strides(strides: object, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    if strides is None:
        strides = {name: stride for name, stride in STRIDES.items() if name in names}
    if not isinstance(strides, Mapping):
        raise CoppiceError(f"cp_mobile cannot have strides {strides!r}; give them by block, such as {{'b3': [1, 2]}}.")
    found = dict.fromkeys(names, (1, 1))
    for name, stride in strides.items():
        if name not in found:
            raise CoppiceError(f"cp_mobile has no block {name!r} to give a stride. {did_you_mean(name, names)}")
        if not isinstance(stride, Sequence) or len(stride) != 2 or not all(is_whole(step, 1, 16) for step in stride):
            raise CoppiceError(f"cp_mobile cannot have stride {stride!r} in {name}; give two numbers, such as [1, 2].")
        found[name] = (stride[0], stride[1])
    return found


def _check_shortcuts(shortcuts: object, names: Sequence[str], inputs: Sequence[int], widths: Sequence[int]) -> None:
    if (
        not isinstance(shortcuts, Sequence)
        or len(shortcuts) != len(names)
        or not all(isinstance(shortcut, bool) for shortcut in shortcuts)
    ):
        raise CoppiceError(f"cp_mobile takes true or false for each of {len(names)} shortcuts but got {shortcuts!r}.")
    for name, shortcut, before, after in zip(names, shortcuts, inputs, widths, strict=True):
        if shortcut and before != after:
            raise CoppiceError(
                f"cp_mobile cannot add {before} channels to {after} in {name}; give them equal widths or no shortcut."
            )
