"""The verb ``compile``: a network as machine code for this processor, behind a function on arrays."""

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32
from torch import Tensor, nn

from coppice.compiler.planned import Planned, planned
from coppice.compiler.programs import classifier_program, network_program
from coppice.compiler.source import ctype, model_sources, named_constants
from coppice.core.errors import CoppiceError
from coppice.native.library import ADDRESS, Library
from coppice.native.toolchain import EXACT_FLAGS, FLAGS, shared_library
from coppice.networks.classifier import Classifier, as_network

_LINE = 64


@dataclass(frozen=True, eq=False)
class CompiledNetwork:
    """A network as a function from clips to what it returns, in float32 on one thread.

    Attributes
    ----------
    plan : Planned
        What is computed, and where.
    clip_shape : tuple of int
        Of one clip.
    library : Library
        The machine code.
    """

    plan: Planned
    clip_shape: tuple[int, ...]
    library: Library = field(repr=False)
    _own: threading.local = field(default_factory=threading.local, init=False, repr=False)

    @property
    def _run(self) -> Callable[[int, int, int], int]:
        run: Callable[[int, int, int], int] = self.library.functions.model_run
        return run

    @property
    def _classes(self) -> int:
        return int(np.prod(self.plan.program.shapes[self.plan.output]))

    def __call__(self, clips: Float32[np.ndarray, "clips *shape"]) -> Float32[np.ndarray, "clips classes"]:
        """Compute clip after clip.

        Raises
        ------
        CoppiceError
            If the shape is another, or a number is none or infinite.
        """
        given = np.ascontiguousarray(clips, dtype=np.float32)
        if given.shape[1:] != self.clip_shape:
            raise CoppiceError(f"clips of shape {given.shape} do not fit: give (clips, {_text(self.clip_shape)}).")
        classes = self._classes
        found = np.empty((len(given), classes), np.float32)
        place = self._work()
        run, source, target = self._run, given.ctypes.data, found.ctypes.data
        for number in range(len(given)):
            if run(source + number * given[0].nbytes, target + number * 4 * classes, place):
                raise CoppiceError(f"clip {number} holds values that are not numbers; leave it out.")
        return found

    def call(self, clip: Float32[np.ndarray, "clips *shape"]) -> Callable[[], object]:
        """Return a call that computes the same again and again, with nothing around it, to be timed."""
        given = np.ascontiguousarray(clip, dtype=np.float32)
        self(given)
        if len(given) > 1:
            return lambda: self(given)
        found = np.empty(self._classes, np.float32)
        run, source, target, place = self._run, given.ctypes.data, found.ctypes.data, self._work()
        kept = (self.library, given, found, self._own.memory)  # without the library, its code would be gone
        return lambda: run(source, target, place) or kept

    def _work(self) -> int:
        """Return the address of this thread's work memory: the system takes longer to give it than to compute in it."""
        if not hasattr(self._own, "memory"):
            self._own.memory = np.empty(self.plan.work_bytes + _LINE, np.uint8)
        address = int(self._own.memory.ctypes.data)
        return address + -address % _LINE


def compile_planned(plan: Planned, clip_shape: tuple[int, ...], *, timed: bool = False) -> CompiledNetwork:
    """Compile a program for this processor.

    Parameters
    ----------
    plan : Planned
    clip_shape : tuple of int
        Of a clip as callers give it.
    timed : bool
        Whether the function ``model_after`` of the library is called after each step; it must be set before a clip is
        computed.

    Raises
    ------
    CoppiceError
        If there is no C compiler.
    """
    labels = [str(number) for number in range(int(np.prod(plan.program.shapes[plan.output])))]
    given = "as the network takes them"
    sources = model_sources(plan, title="A network", origin="", labels=labels, given=given, timed=timed)
    # Numbers in C text take the compiler long: here they are written into the library once it is loaded.
    arrays = dict(named_constants(plan))
    sources["weights.c"] = "#include <stdint.h>\n" + "".join(
        f"{ctype(values.dtype)} {name}[{len(values)}];\n" for name, values in arrays.items()
    )
    sources["model.c"] = "#define MODEL_CONSTANT\n" + sources["model.c"]
    # Two networks of the same shape must not share what they write their weights into.
    key = hashlib.sha256(b"".join(values.tobytes() for values in arrays.values())).hexdigest()
    flags = FLAGS if plan.precision == "float32" else EXACT_FLAGS
    library = Library(shared_library(sources, flags=flags, key=key), _declarations(arrays, timed=timed))
    for name, values in arrays.items():
        library.ffi.memmove(getattr(library.functions, name), np.ascontiguousarray(values), values.nbytes)
    return CompiledNetwork(plan, clip_shape, library)


def _declarations(arrays: Mapping[str, np.ndarray], *, timed: bool) -> str:
    lines = [f"int model_run({', '.join([ADDRESS] * 3)});"]
    lines += ["extern void (*model_after)(int step);"] if timed else []
    lines += [f"extern {ctype(values.dtype)} {name}[{len(values)}];" for name, values in arrays.items()]
    return "\n".join(lines)


def compile(model: Classifier | nn.Module, *, example: Tensor | None = None) -> CompiledNetwork:
    """Compile a network with the C compiler of this machine.

    The function works along the frames of a clip, and so its time follows the multiply-accumulates at any number of
    filters. It is kept in Coppice's cache folder and compiled again only if something has changed.

    Parameters
    ----------
    model : Classifier or nn.Module
        Left as it is. A classifier becomes a function from normalised log-mel to posteriors, a module one from its
        input to what it returns.
    example : Tensor, optional
        One input of a module, batch of 1.

    Returns
    -------
    CompiledNetwork
        To be called with arrays (clips, ...).

    Raises
    ------
    CoppiceError
        If there is no C compiler, or the network has an operator that has no C.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(28, 2))
    >>> fast = compile(net, example=torch.zeros(1, 1, 9))
    >>> fast(np.zeros((5, 1, 9), np.float32)).shape
    (5, 2)
    """
    if isinstance(model, Classifier):
        return compile_planned(planned(classifier_program(model)), tuple(model.input_shape[1:]))
    network, example = as_network(model, example)
    shape = tuple(example.shape[1:])
    return compile_planned(planned(network_program(network, shape)), shape)


def _text(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
