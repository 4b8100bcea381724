"""The steps of a fit, as Lightning calls them."""

from typing import Any

import torch
from jaxtyping import Float, Int
from lightning.pytorch import LightningModule
from torch import Tensor, distributed, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from coppice.core.global_seed import seed_global
from coppice.training.augment.augmenter import Augmenter
from coppice.training.callbacks import MONITOR, TRAIN_MONITOR
from coppice.training.devices.share import Share
from coppice.training.mixup import mixup_loss
from coppice.training.schedule import rate_factor
from coppice.training.settings import TrainingSettings
from coppice.training.teacher import Lesson


class Fitting(LightningModule):
    """Cross-entropy, optimizer, schedule, augmentation and moving average around a network."""

    def __init__(
        self,
        network: nn.Module,
        settings: TrainingSettings,
        *,
        lesson: Lesson | None,
        augmenter: Augmenter | None,
        warmup: int,
        steps: int,
        share: Share | None = None,
    ) -> None:
        super().__init__()
        self.network, self.settings, self.lesson, self.augmenter = network, settings, lesson, augmenter
        self._warmup, self._steps = warmup, steps
        self._share = share or Share(0, 1)
        self._validation: list[tuple[Tensor, Tensor]] = []
        self._averaged_steps = 0
        # A part of this module, so that it travels in the resume point.
        self.average: AveragedModel | None = None
        if settings.ema:
            self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True)
            self.average.requires_grad_(False)  # or other processes would wait for its gradients

    @property
    def watched(self) -> nn.Module:
        """The network that validation hears, and that is kept."""
        return self.network if self.average is None else self.average.module

    def training_step(
        self, batch: tuple[Float[Tensor, "..."], Int[Tensor, " clips"], *tuple[Tensor, ...]], index: int
    ) -> Tensor:
        """Return the loss of one augmented batch."""
        # Dropout depends on (seed, epoch, step) only, so what is run again after a kill is the same.
        seed_global(self.settings.seed, "step", self.current_epoch, index)
        inputs, targets, *more = batch
        rows = self._share.take(len(targets))
        if self.augmenter is not None:
            inputs = self.augmenter(inputs, more.pop(), epoch=self.current_epoch, step=index)
        # What is drawn is drawn for the whole batch, whichever rows of it are this process's.
        loss = self._share.weight * mixup_loss(
            self.network,
            inputs,
            targets,
            alpha=self.settings.mixup,
            soft=next(iter(more), None),
            lesson=self.lesson,
            rows=rows,
        )
        self.log(TRAIN_MONITOR, loss, on_step=False, on_epoch=True, batch_size=len(targets), sync_dist=True)
        return loss

    def on_train_start(self) -> None:
        """Take up the count of averaged steps."""
        self._averaged_steps = self.global_step

    def on_train_batch_end(self, *given: Any) -> None:
        """Let the average follow, if the optimizer has made a step."""
        if self.average is not None and self.global_step > self._averaged_steps:
            self.average.update_parameters(self.network)
            self._averaged_steps = self.global_step

    def validation_step(self, batch: tuple[Float[Tensor, "..."], Int[Tensor, " clips"]], index: int) -> None:
        """Keep logits and labels of one batch."""
        inputs, targets = batch
        rows = self._share.take(len(targets))
        own = self.watched(inputs[rows]).double()
        if self._share.processes > 1:
            logits = own.new_zeros(len(targets), *own.shape[1:])
            logits[rows] = own if self._share.speaks else 0.0
            own = logits
        self._validation.append((own, targets))

    def on_validation_epoch_end(self) -> None:
        """Log log-loss and accuracy of all validation clips."""
        logits = torch.cat([logits for logits, _ in self._validation])
        targets = torch.cat([targets for _, targets in self._validation])
        self._validation.clear()
        if self._share.processes > 1:
            distributed.all_reduce(logits)  # every process has its own rows, and 0 in those of the others
        self.log(MONITOR, nn.functional.cross_entropy(logits, targets))
        self.log("validation_accuracy", (logits.argmax(1) == targets).double().mean())

    def configure_optimizers(self) -> Any:
        """Return the optimizer, with its schedule where there is one."""
        said = self.settings
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[said.optimizer]
        optimizer = kind(self.network.parameters(), lr=said.learning_rate, weight_decay=said.weight_decay)
        if said.schedule == "constant" and not self._warmup:
            return optimizer

        def factor(step: int) -> float:
            return rate_factor(step, schedule=said.schedule, warmup=self._warmup, total=self._steps)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
