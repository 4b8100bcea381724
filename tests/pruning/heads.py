"""The heads of random architectures: what becomes of a picture's channels on the way to the outputs."""

import torch
from torch import nn
from torch.nn import functional as F

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class MeanHead(nn.Module):
    def __init__(self, shape, block):
        super().__init__()
        self.join = block.choice % 2
        self.dense = nn.Linear(shape[1] * (1 + self.join), block.width)
        self.last = nn.Linear(block.width, 3)

    def forward(self, x):
        axes = tuple(range(2, x.ndim))
        pooled = torch.cat([x.mean(axes), x.amax(axes)], dim=1) if self.join else x.mean(axes) + x.amax(axes)
        return self.last(F.relu(self.dense(pooled)))


class FlatHead(nn.Module):
    """Channels, or the last axis, stand first in the flattened input of a dense layer."""

    def __init__(self, shape, block):
        super().__init__()
        self.first = block.choice % 2
        self.dense, self.last = nn.Linear(shape.numel(), block.width), nn.Linear(block.width, 3)
        self.norm = nn.BatchNorm1d(block.width)

    def forward(self, x):
        x = x.transpose(1, -1) if self.first else x
        return self.last(self.norm(self.dense(x.reshape(x.shape[0], -1))))


class RecurrentHead(nn.Module):
    """Frames go one by one, all else of a frame in either order, into a GRU or an LSTM."""

    def __init__(self, shape, block):
        super().__init__()
        self.first = block.choice % 2
        kind = (nn.GRU, nn.LSTM, nn.RNN)[block.choice % 3]
        self.rnn = kind(shape[1:-1].numel(), 3, batch_first=True, bidirectional=block.choice % 4 > 1)
        self.last = nn.Linear(6 if self.rnn.bidirectional else 3, 3)

    def forward(self, x):
        frames = x.movedim(-1, 1)  # clips, frames, channels, ...
        if self.first:
            frames = frames.movedim(2, -1)
        return self.last(self.rnn(frames.flatten(2))[0]).mean(1)


class AttentionHead(nn.Module):
    """Attention behind a projection, or a learnt query that attends to frames."""

    def __init__(self, shape, block):
        super().__init__()
        self.cross = block.choice % 2
        inside = shape[1:-1].numel()
        self.project = nn.Linear(inside, 4)
        self.query = nn.Parameter(torch.randn(1, 1, 4))
        sizes = {"kdim": inside, "vdim": inside} if self.cross else {}
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True, **sizes)
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        frames = x.movedim(-1, 1).flatten(2)
        if self.cross:
            given = self.query.expand(len(x), 1, 4), frames, frames
        else:
            frames = self.project(frames)
            given = frames, frames, frames
        return self.last(self.attend(*given, need_weights=False)[0].mean(1))


class ParallelHeads(nn.Module):
    def __init__(self, shape, block):
        super().__init__()
        make = CONV[len(shape) - 2]
        self.classes, self.gates = make(shape[1], 3, 1), make(shape[1], 3, 1)
        self.other = nn.Linear(shape[1], 2)

    def forward(self, x):
        frames = (self.classes(x).flatten(2) * self.gates(x).flatten(2).softmax(2)).sum(2)
        return {"classes": frames, "other": [self.other(x.flatten(2).logsumexp(2))]}


HEADS = {kind.__name__: kind for kind in (MeanHead, FlatHead, RecurrentHead, AttentionHead, ParallelHeads)}
