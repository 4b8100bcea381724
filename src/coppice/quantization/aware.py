"""Fine-tuning with int8 in mind: the network learns with its weights and activations already rounded."""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.errors import CoppiceError
from coppice.datasets.prepare import Prepared
from coppice.networks.classifier import Classifier
from coppice.training.settings import TrainingSettings
from coppice.training.train import at_home_in, finetune

Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d
LEARNING_RATE = 1e-4  # that of training would undo what was learnt
TOLERANCE = 0.05  # of a posterior: runtimes round to the next step what differs in its last bits
RANGED = 64  # training clips from which the first ranges of activations are taken


def finetune_int8(
    classifier: Classifier,
    data: Prepared,
    *,
    settings: TrainingSettings | None = None,
    fraction: float = 1.0,
    folder: Path | None = None,
) -> Classifier:
    """Train on with weights (per channel) and activations (per tensor) rounded to int8 in every step.

    For when post-training quantization costs more than it may. Rounding is simulated in the forward pass and passed
    over in the backward pass (Jacob et al., CVPR 2018), by torchao; batch normalisations are folded into convolutions.
    Weights keep 7 bits, so that sums of two products fit into the 16 bits of processors without VNNI.
    Training is in float32: rounding on top of bfloat16 would not be that of the device.

    Parameters
    ----------
    classifier : Classifier
        Trained, usually pruned; left as it is.
    data : Prepared
        With the front end and labels of the classifier.
    settings : TrainingSettings, optional
        How to fit; a small learning rate and few epochs are enough.
    fraction : float in (0, 1]
        Share of the training clips to use.
    folder : Path, optional
        See :func:`coppice.training.train.train`.

    Returns
    -------
    Classifier
        New. Its network computes in PyTorch what an int8 runtime computes, and no checkpoint holds it:
        write it with :func:`coppice.export.onnx.export_onnx`, as a file whose weights are int8.

    Raises
    ------
    CoppiceError
        If torchao is not installed, the network cannot be traced, nothing in it can be rounded, or data and classifier
        do not go together.
    """
    settings = replace(settings or TrainingSettings(), precision="float32")
    classifier = at_home_in(data, classifier)
    rounded = _Rounded.of(classifier.network, classifier.normalise(data.log_mel("train", data.split.train[:RANGED])))
    tuned = finetune(replace(classifier, network=rounded), data, settings=settings, fraction=fraction, folder=folder)
    assert isinstance(tuned.network, _Rounded)
    return tuned.after(tuned.network.converted(), verb="quantize", to="int8", how="in fine-tuning")


class _Rounded(nn.Module):
    """A traced network that rounds; its graph has a state of its own for training, set when that has changed.

    Ranges of activations follow what is seen in training, and stay where they are in evaluation.
    """

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph, self._state = graph, True  # as torchao prepares it

    @classmethod
    def of(cls, network: nn.Module, inputs: Float[Tensor, "clips *shape"]) -> "_Rounded":
        with _quiet():
            pt2e = _torchao()
            plain = _with_numbers_for_padding(network)
            try:
                free = ({0: torch.export.Dim.DYNAMIC},)
                graph = torch.export.export(plain, (inputs[:2],), dynamic_shapes=free).module()
                quantizer = pt2e.X86InductorQuantizer()
                formats = pt2e.get_default_x86_inductor_quantization_config(is_qat=True)
                weights = replace(formats.weight, quant_min=-64, quant_max=63)
                quantizer.set_global(replace(formats, weight=weights))
                prepared = pt2e.prepare_qat_pt2e(graph, quantizer)
            except Exception as error:  # torch.export and torchao raise all kinds
                raise CoppiceError(
                    f"the network cannot be traced for int8: {str(error).splitlines()[0]}; quantize it after training."
                ) from error
            rounded = cls(prepared)
            if not any(isinstance(module, pt2e.FakeQuantizeBase) for module in rounded.modules()):
                raise CoppiceError("the network has no layer that can be rounded to int8, such as a convolution.")
            pt2e.move_exported_model_to_eval(prepared)
            with torch.no_grad():
                for clips in inputs.split(8):
                    prepared(clips)
            pt2e.move_exported_model_to_train(prepared)
        return rounded

    def forward(self, clips: Float[Tensor, "clips *shape"]) -> Tensor:
        if self._state != self.training:
            with _quiet():
                pt2e = _torchao()
                (pt2e.move_exported_model_to_train if self.training else pt2e.move_exported_model_to_eval)(self.graph)
                self.graph.apply(pt2e.enable_observer if self.training else pt2e.disable_observer)
            self._state = self.training
        out: Tensor = self.graph(clips)
        return out

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Rounded":
        with _quiet():
            copied = _Rounded(copy.deepcopy(self.graph, memo))
        copied.training, copied._state = self.training, self._state
        return copied

    def train(self, mode: bool = True) -> "_Rounded":
        self.training = mode  # the graph itself refuses to be asked
        return self

    def converted(self) -> nn.Module:
        """Return the same with int8 weights and explicit rounding, in eval mode for good."""
        with _quiet():
            pt2e = _torchao()
            graph = copy.deepcopy(self.graph)
            pt2e.move_exported_model_to_eval(graph)
            return _Int8(pt2e.convert_pt2e(graph))


class _Int8(nn.Module):
    """A converted graph: always in eval mode."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph
        self.training = False

    def forward(self, clips: Float[Tensor, "clips *shape"]) -> Tensor:
        out: Tensor = self.graph(clips)
        return out

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Int8":
        with _quiet():
            return _Int8(copy.deepcopy(self.graph, memo))

    def train(self, mode: bool = True) -> "_Int8":
        return self


def _with_numbers_for_padding(network: nn.Module) -> nn.Module:
    """Return a copy whose convolutions say in numbers what "same" means: torchao knows only these."""
    network = copy.deepcopy(network).cpu().float().train()
    for name, module in network.named_modules():
        if isinstance(module, Conv) and module.padding == "same":
            spans = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
            if any(span % 2 for span in spans):
                raise CoppiceError(
                    f"layer {name!r} has an even kernel and padding='same', which cannot be rounded while training; "
                    "quantize the network after training."
                )
            module.padding = tuple(span // 2 for span in spans)
    return network


def _torchao() -> ModuleType:
    try:
        import torchao.quantization.pt2e as pt2e
        from torchao.quantization.pt2e import quantize_pt2e
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer
    except ImportError as error:
        raise CoppiceError("int8 fine-tuning needs torchao; install it with: pip install 'coppice[qat]'.") from error
    found: Any = ModuleType("pt2e")
    for module in (pt2e, quantize_pt2e, x86_inductor_quantizer):
        vars(found).update({name: value for name, value in vars(module).items() if not name.startswith("__")})
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    # torchao says which of its compiled kernels it does not find, and warns of what is not its own business.
    loggers = [logging.getLogger(name) for name in ("torchao", "torch.utils._pytree", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
