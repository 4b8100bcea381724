"""Small networks, one per way in which channels depend on filters."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from quick import quick


def block(inputs: int, outputs: int, **options) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, **options), nn.BatchNorm2d(outputs), nn.ReLU())


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
        self.conv3, self.bn3 = nn.Conv2d(5, 7, 3, padding=1), nn.BatchNorm2d(7, affine=False)
        self.dropout = nn.Dropout(0.3)
        self.dense1, self.dense2 = nn.Linear(7 * 2 * 3, 9), nn.Linear(9, 4)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(torch.tanh(self.bn2(self.conv2(x))), 2)
        x = self.dropout(F.avg_pool2d(F.relu(self.bn3(self.conv3(x))), 2))
        return self.dense2(self.dropout(F.relu(self.dense1(x.flatten(1)))))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = block(1, 6)
        self.first, self.second = block(6, 5), nn.Sequential(nn.Conv2d(5, 6, 3, padding=1), nn.BatchNorm2d(6))
        self.third = block(6, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x)
        x = torch.relu(self.second(self.first(x)) + x)
        return self.head(self.third(x).mean((2, 3)))


class Concatenated(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.both = block(1, 3), block(1, 4), block(1, 7)
        self.last = nn.Conv2d(8, 5, 1)
        self.head = nn.Linear(10, 3)

    def forward(self, x):
        joined = torch.cat([self.left(x), self.right(x)], 1) + self.both(x)
        x = torch.relu(self.last(torch.cat([joined, x], 1)))
        return self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))


class Depthwise(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = block(1, 4)
        self.depthwise = block(4, 8, groups=4)
        self.second = block(8, 8, groups=8)
        self.point = nn.Conv2d(8, 6, 1)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = F.hardswish(self.point(self.second(self.depthwise(self.stem(x)))))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.grouped, self.after = block(1, 12), block(12, 8, groups=4), block(8, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.after(self.grouped(self.stem(x))).mean((2, 3)))


class SqueezeExcite(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.after = block(1, 6), block(6, 4)
        self.squeeze, self.excite = nn.Linear(6, 3), nn.Linear(3, 6)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x)
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        return self.head(self.after(x * gate[:, :, None, None]).mean((2, 3)))


class FrequencyMajor(nn.Module):
    """Bands stand before channels in the flattened head, as in CRNNs; bands are normalised first."""

    def __init__(self):
        super().__init__()
        self.bn0 = nn.BatchNorm2d(8)
        self.stem, self.last = block(1, 5), block(5, 6)
        self.project, self.head = nn.Linear(6 * 4, 7), nn.Linear(7, 3)

    def forward(self, x):
        x = self.bn0(x.transpose(1, 2)).transpose(1, 2)
        x = F.max_pool2d(self.last(self.stem(x)), 2)
        x = x.permute(0, 3, 2, 1)  # clips, frames, bands, channels
        return self.head(torch.relu(self.project(x.reshape(x.size(0), x.size(1), -1))).mean(1))


class OneDimensional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(2, 6, 5, padding=2, padding_mode="reflect")
        self.act1, self.norm1 = nn.PReLU(6), nn.InstanceNorm1d(6, affine=True)
        self.conv2 = nn.Conv1d(6, 8, 3)
        self.up = nn.ConvTranspose1d(4, 5, 2, stride=2)
        self.scale = nn.Parameter(torch.rand(5, 1) + 0.5)
        self.head = nn.Conv1d(5, 3, 1)

    def forward(self, x):
        x = F.glu(self.conv2(self.norm1(self.act1(self.conv1(x)))), dim=1)
        x = F.pad(F.max_pool1d(x, 2), (1, 1))
        return self.head(F.elu(self.up(x) * self.scale)).logsumexp(2)


class Recurrent(nn.Module):
    def __init__(self, kind=nn.GRU):
        super().__init__()
        self.stem, self.last = block(1, 5), block(5, 4)
        self.rnn = kind(4 * 8, 6, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 3)

    def forward(self, x):
        x = self.last(self.stem(x)).permute(0, 3, 1, 2).flatten(2)
        return self.head(self.rnn(x)[0].mean(1))


class LongShortTerm(Recurrent):
    def __init__(self):
        super().__init__(nn.LSTM)


class SubSpectral(nn.Module):
    """Sub-spectral normalisation: bands fold into channels; one convolution runs twice."""

    def __init__(self):
        super().__init__()
        self.stem, self.twice = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6 * 2)
        self.last = nn.Conv2d(6, 5, 1)
        self.classes, self.gates = nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, x):
        x = self.twice(torch.relu(self.twice(self.stem(x))))
        clips, channels, bands, frames = x.shape
        x = self.norm(x.view(clips, channels * 2, bands // 2, frames)).view(clips, channels, bands, frames)
        x = torch.relu(self.last(F.relu6(x))).mean(2).transpose(1, 2)
        return (self.classes(x) * self.gates(x).softmax(1)).sum(1)


NETWORKS = [
    Plain,
    Residual,
    Concatenated,
    Depthwise,
    Grouped,
    SqueezeExcite,
    FrequencyMajor,
    OneDimensional,
    Recurrent,
    LongShortTerm,
    SubSpectral,
]


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give normalisations random parameters and statistics: fresh ones hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            for tensor in (module.weight, module.bias, module.running_mean):
                if tensor is not None:
                    tensor.data.normal_(generator=generator)
            if module.running_var is not None:
                module.running_var.uniform_(0.5, 2, generator=generator)
    return network


def example_for(network: nn.Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    if isinstance(network, OneDimensional):
        shape = (1, 2, 24)
    elif isinstance(network, Recurrent):
        shape = (1, 1, 8, 4)  # traced frame by frame
    else:
        shape = (1, 1, 8, 12)
    return torch.randn(shape, generator=generator)


@pytest.fixture
def plain():
    return lively(Plain())


@pytest.fixture
def image():
    return torch.randn(1, 1, 8, 12)


@pytest.fixture
def residual():
    return lively(Residual())


@pytest.fixture(params=NETWORKS, ids=lambda kind: kind.__name__)
def any_network(request):
    network = lively(request.param())
    return network, example_for(network)


@pytest.fixture(params=quick(NETWORKS, Plain, Residual, Concatenated, Grouped), ids=lambda kind: kind.__name__)
def some_network(request):
    """Any network; without ``make proofs`` four of them."""
    network = lively(request.param())
    return network, example_for(network)


@pytest.fixture
def networks():
    return {kind.__name__: (lively(kind()), example_for(kind())) for kind in NETWORKS}
