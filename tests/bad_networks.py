"""Networks to which something happens in one process of several; a module of its own, so that others can load it."""

import os
import signal
import time

from torch import Tensor, distributed, nn

from coppice.core.errors import CoppiceError


class Bad(nn.Module):
    """Linear on the mean of every band; in one process something happens at a training step."""

    def __init__(self, rank: int, step: int) -> None:
        super().__init__()
        self.linear, self.rank, self.step, self.steps = nn.Linear(40, 3), rank, step, 0

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training and distributed.is_initialized() and distributed.get_rank() == self.rank:
            self.steps += 1
            if self.steps == self.step:
                self.happens()
        return self.linear(inputs.mean(dim=(1, 3)))

    def happens(self) -> None:
        raise CoppiceError("something about a clip.")


class Killed(Bad):
    """Takes its time before, so that there is a resume point."""

    def forward(self, inputs: Tensor) -> Tensor:
        time.sleep(0.05 if self.training else 0)
        return super().forward(inputs)

    def happens(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Wrong(Bad):
    def happens(self) -> None:
        raise ZeroDivisionError("our mistake")
