"""A MobileNetV3 with squeeze-and-excitation for log-mel, as EfficientAT trains them; written anew from the papers."""

import torch
from torch import Tensor, nn

# kernel, expanded, out, squeeze-and-excitation, hard swish, stride: table 1 of Howard et al., "Searching for
# MobileNetV3", ICCV 2019.
ROWS = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)


def divisible(width: float) -> int:
    """Return the nearest multiple of 8, not less than nine tenths of the width."""
    nearest = max(8, int(width + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * width else nearest


def normed(inside: int, outside: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a convolution without bias and its batch normalisation."""
    conv = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outside, eps=0.001, momentum=0.01))


class SqueezeExcite(nn.Module):
    """Weigh channels by what their means say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, divisible(channels / 4))
        self.excite = nn.Linear(self.squeeze.out_features, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply each channel by a number between 0 and 1."""
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3))))))
        return x * gate[:, :, None, None]


class Bottleneck(nn.Module):
    """Expand, convolve each channel, weigh, project; add what came where the shapes allow it."""

    def __init__(
        self, inside: int, kernel: int, expanded: int, outside: int, excite: bool, hard: bool, stride: int
    ) -> None:
        super().__init__()
        self.activation = nn.Hardswish() if hard else nn.ReLU()
        self.expand = normed(inside, expanded, 1) if expanded != inside else None
        self.depthwise = normed(expanded, expanded, kernel, stride=stride, groups=expanded)
        self.excite = SqueezeExcite(expanded) if excite else nn.Identity()
        self.project = normed(expanded, outside, 1)
        self.adds = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y = x if self.expand is None else self.activation(self.expand(x))
        y = self.project(self.excite(self.activation(self.depthwise(y))))
        return x + y if self.adds else y


class MobileNetV3(nn.Module):
    """MobileNetV3-Large on one channel; with width 1 and 527 classes it has 4.9 M parameters."""

    def __init__(self, width: float = 1.0, classes: int = 527) -> None:
        super().__init__()
        inside = divisible(16 * width)
        self.stem = normed(1, inside, 3, stride=2)
        blocks = []
        for kernel, expanded, outside, excite, hard, stride in ROWS:
            sizes = divisible(expanded * width), divisible(outside * width)
            blocks.append(Bottleneck(inside, kernel, *sizes, excite, hard, stride))
            inside = sizes[1]
        self.blocks = nn.Sequential(*blocks)
        self.last = normed(inside, 6 * inside, 1)
        self.dense = nn.Linear(6 * inside, divisible(1280 * width))
        self.classes = nn.Linear(self.dense.out_features, classes)
        self.activation, self.dropout = nn.Hardswish(), nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        """Return one logit per class."""
        x = self.activation(self.last(self.blocks(self.activation(self.stem(x)))))
        return self.classes(self.dropout(self.activation(self.dense(x.mean((2, 3))))))
