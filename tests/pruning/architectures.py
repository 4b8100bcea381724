"""Random architectures for property tests: a few blocks, one head, made of every operator that surgery must understand.

An architecture is drawn as plain data (:class:`Architecture`), so that hypothesis can shrink and print it, and is then
built as a module of at most a few thousand weights. Every block keeps the picture's number of axes, takes what channels
come and says how many it hands on; the same blocks serve Conv1d, Conv2d and Conv3d.
"""

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from tests.pruning.heads import CONV, HEADS
from torch import nn
from torch.nn import functional as F

UP = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
SHAPE = {1: (24,), 2: (8, 12), 3: (4, 6, 4)}
ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Hardswish, nn.LeakyReLU, nn.Sigmoid, nn.GELU)


@dataclass(frozen=True)
class Block:
    """A kind of block, its width and a number that chooses among its variants."""

    kind: str
    width: int
    choice: int


@dataclass(frozen=True)
class Architecture:
    """What to build."""

    axes: int
    inputs: int
    blocks: tuple[Block, ...]
    head: Block
    seed: int


def conv(axes, inside, outside, choice=0, **options):
    """A convolution, perhaps strided, biased, normalised and activated."""
    kernel = (1, 3)[choice % 2]
    layers = [CONV[axes](inside, outside, kernel, padding=kernel // 2, bias=choice % 3 > 0, **options)]
    if choice % 4 == 1:
        layers.append(NORM[axes](outside))
    elif choice % 4 == 2:
        layers.append(INSTANCE[axes](outside, affine=choice % 8 == 2, track_running_stats=choice % 3 == 0))
    elif choice % 4 == 3:
        layers.append(nn.PReLU(outside))
    layers.append(ACTIVATIONS[choice % len(ACTIVATIONS)]())
    return nn.Sequential(*layers)


def divisor(count, choice):
    """One of the numbers above 1 that divide ``count``, else 1."""
    found = [number for number in range(2, count + 1) if count % number == 0]
    return found[choice % len(found)] if found else 1


class Plain(nn.Module):
    def __init__(self, axes, inside, block):
        super().__init__()
        self.body, self.outside = conv(axes, inside, block.width, block.choice), block.width

    def forward(self, x):
        return self.body(x)


class Residual(nn.Module):
    def __init__(self, axes, inside, block):
        super().__init__()
        self.outside = block.width if block.choice % 2 else inside
        self.body = nn.Sequential(
            conv(axes, inside, block.width, block.choice), conv(axes, block.width, self.outside, block.choice + 1)
        )
        self.short = conv(axes, inside, self.outside, block.choice + 2) if block.choice % 2 else nn.Identity()

    def forward(self, x):
        return self.body(x) + self.short(x)


class Dense(nn.Module):
    """What came and what was made of it stand beside each other."""

    def __init__(self, axes, inside, block):
        super().__init__()
        self.body, self.outside = conv(axes, inside, block.width, block.choice), inside + block.width
        self.first = block.choice % 2

    def forward(self, x):
        made = self.body(x)
        return torch.cat([made, x] if self.first else [x, made], dim=1)


class Branches(nn.Module):
    def __init__(self, axes, inside, block):
        super().__init__()
        widths = [block.width, 1 + block.choice % 4]
        self.parts = nn.ModuleList(conv(axes, inside, width, block.choice + i) for i, width in enumerate(widths))
        self.all, self.outside = conv(axes, inside, sum(widths), block.choice + 2), sum(widths)

    def forward(self, x):
        return torch.cat([part(x) for part in self.parts], dim=1) * self.all(x)


class Depthwise(nn.Module):
    def __init__(self, axes, inside, block):
        super().__init__()
        self.outside = inside * (1 + block.choice % 3)
        self.body = conv(axes, inside, self.outside, block.choice, groups=inside)

    def forward(self, x):
        return self.body(x)


class Grouped(nn.Module):
    def __init__(self, axes, inside, block):
        super().__init__()
        groups = divisor(inside, block.choice)
        self.outside = groups * (1 + block.width % 3)
        self.body = conv(axes, inside, self.outside, block.choice, groups=groups)

    def forward(self, x):
        return self.body(x)


class Transposed(nn.Module):
    def __init__(self, axes, inside, block):
        super().__init__()
        groups = (1, divisor(inside, block.choice), inside)[block.choice % 3]
        self.outside = groups * (1 + block.width % 3)
        self.body = UP[axes](inside, self.outside, 2, stride=1, padding=0, groups=groups, bias=block.choice % 2 == 0)
        self.norm = NORM[axes](self.outside)

    def forward(self, x):
        return F.relu(self.norm(self.body(x)))


class SqueezeExcite(nn.Module):
    def __init__(self, axes, inside, block):
        super().__init__()
        self.axes, self.linear, self.outside = axes, block.choice % 2, inside
        make = nn.Linear if self.linear else lambda a, b: CONV[axes](a, b, 1)
        self.squeeze, self.excite = make(inside, block.width), make(block.width, inside)

    def forward(self, x):
        gate = x.mean(tuple(range(2, 2 + self.axes)), keepdim=not self.linear)
        gate = self.excite(F.relu(self.squeeze(gate))).sigmoid()
        return x * (gate.view(*gate.shape, *[1] * self.axes) if self.linear else gate)


class Halves(nn.Module):
    """Chunks: one gates the other, each goes its own way, or they change places."""

    def __init__(self, axes, inside, block):
        super().__init__()
        self.way = block.choice % 4
        self.body = conv(axes, inside, 2 * block.width, block.choice)
        self.one, self.other = (conv(axes, block.width, block.width, block.choice + i) for i in (1, 2))
        self.outside = block.width if self.way in (0, 3) else 2 * block.width

    def forward(self, x):
        if self.way == 3:
            return F.glu(self.body(x), dim=1)
        left, right = self.body(x).chunk(2, dim=1)
        if self.way == 0:
            return left * right.sigmoid()
        if self.way == 1:
            return torch.cat([self.one(left), self.other(right)], dim=1)
        return torch.cat([right, left], dim=1)


class Shuffle(nn.Module):
    def __init__(self, axes, inside, block):
        super().__init__()
        self.groups, self.outside = 2, 2 * (1 + block.width)
        self.body = conv(axes, inside, self.outside, block.choice)

    def forward(self, x):
        x = self.body(x)
        return x.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)


class Normalised(nn.Module):
    """A weight stored as direction and magnitude, the new way or the old."""

    def __init__(self, axes, inside, block):
        super().__init__()
        self.outside = block.width
        make = UP[axes] if block.choice % 3 == 2 else CONV[axes]
        layer = make(inside, block.width, 1 + block.choice % 2)
        if block.choice % 2:
            self.body = nn.utils.parametrizations.weight_norm(layer)
        else:
            self.body = torch.nn.utils.weight_norm(layer)

    def forward(self, x):
        return F.relu(self.body(x))


class Scaled(nn.Module):
    def __init__(self, axes, inside, block):
        super().__init__()
        self.outside = inside
        shape = (inside, *[1] * axes) if block.choice % 2 else (1, inside, *[1] * axes)
        self.gain, self.offset = nn.Parameter(torch.randn(shape)), nn.Parameter(torch.randn(shape))

    def forward(self, x):
        return x * self.gain + self.offset


class Twice(nn.Module):
    def __init__(self, axes, inside, block):
        super().__init__()
        self.outside = inside
        self.body = conv(axes, inside, inside, block.choice)

    def forward(self, x):
        return self.body(self.body(x)) * 0.5


class Pool(nn.Module):
    def __init__(self, axes, inside, block):
        super().__init__()
        self.outside, self.way, self.axes = inside, block.choice % 4, axes

    def forward(self, x):
        if min(x.shape[2:]) < 4:
            return x
        if self.way == 0:
            return getattr(F, f"max_pool{self.axes}d")(x, 2, ceil_mode=True)
        if self.way == 1:
            return getattr(F, f"avg_pool{self.axes}d")(x, 2, ceil_mode=True)
        if self.way == 2:
            return F.interpolate(F.pad(x, (1, 1)), scale_factor=0.5)
        return F.dropout(x.clamp(-1, 1).flip(2), 0.5, self.training)


class Bands(nn.Module):
    """Sub-spectral normalisation: two bands fold into channels."""

    def __init__(self, axes, inside, block):
        super().__init__()
        self.outside = inside
        self.norm = NORM[axes](2 * inside)

    def forward(self, x):
        if x.shape[2] % 2:
            x = F.pad(x, (*[0, 0] * (x.ndim - 3), 0, 1))
        return self.norm(x.reshape(x.shape[0], 2 * x.shape[1], x.shape[2] // 2, *x.shape[3:])).view(x.shape)


class Pointwise(nn.Module):
    """Linear layers on channels that stand last, beside a skip."""

    def __init__(self, axes, inside, block):
        super().__init__()
        self.outside = inside
        self.one, self.two = nn.Linear(inside, block.width), nn.Linear(block.width, inside)
        if block.choice % 2:
            self.two = nn.utils.parametrizations.weight_norm(self.two)

    def forward(self, x):
        return x + self.two(F.gelu(self.one(x.movedim(1, -1)))).movedim(-1, 1)


BLOCKS = {
    kind.__name__: kind
    for kind in (
        *(Plain, Residual, Dense, Branches, Depthwise, Grouped, Transposed, SqueezeExcite, Halves, Shuffle),
        *(Normalised, Scaled, Twice, Pool, Bands, Pointwise),
    )
}
MOST_CHANNELS = 40


class Built(nn.Module):
    """A first convolution, the blocks, a convolution before the head, the head."""

    def __init__(self, architecture):
        super().__init__()
        axes = architecture.axes
        self.stem = conv(axes, architecture.inputs, architecture.blocks[0].width, architecture.seed)
        channels, blocks = architecture.blocks[0].width, []
        for block in architecture.blocks:
            if channels > MOST_CHANNELS:
                break
            blocks.append(BLOCKS[block.kind](axes, channels, block))
            channels = blocks[-1].outside
        self.blocks = nn.Sequential(*blocks)
        self.before = conv(axes, channels, architecture.head.width, architecture.seed + 1)
        with torch.no_grad():
            self.eval()
            shape = self.features(torch.zeros(1, architecture.inputs, *SHAPE[axes])).shape
        self.head = HEADS[architecture.head.kind](shape, architecture.head)

    def features(self, x):
        return self.before(self.blocks(self.stem(x)))

    def forward(self, x):
        return self.head(self.features(x))


def build(architecture):
    """Return the network in float64 and eval mode, with lively normalisations, and an example input."""
    torch.manual_seed(architecture.seed)
    network = Built(architecture).double().eval()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            for tensor in (module.weight, module.bias, module.running_mean):
                if tensor is not None:
                    tensor.data.normal_()
            if module.running_var is not None:
                module.running_var.uniform_(0.5, 2)
    return network, torch.randn(1, architecture.inputs, *SHAPE[architecture.axes], dtype=torch.float64)


def blocks(kinds):
    """Draw a block of one of these kinds."""
    return st.builds(Block, st.sampled_from(sorted(kinds)), st.integers(1, 6), st.integers(0, 23))


def architectures():
    """Draw an architecture."""
    return st.builds(
        Architecture,
        axes=st.sampled_from([2, 1, 3]),
        inputs=st.integers(1, 2),
        blocks=st.lists(blocks(BLOCKS), min_size=1, max_size=4).map(tuple),
        head=blocks(HEADS),
        seed=st.integers(0, 999),
    )
