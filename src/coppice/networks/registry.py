"""Architectures by name, so that a checkpoint can say which one it holds."""

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, TypeVar

from torch import nn

from coppice.core.errors import CoppiceError, did_you_mean

_NETWORKS: dict[str, type[nn.Module]] = {}

N = TypeVar("N", bound=type[nn.Module])


def network(name: str) -> Callable[[N], N]:
    """Register an architecture under a name.

    The class takes keyword arguments only, and has a ``config()`` method that returns the arguments which
    build a network of the same shapes, read from the modules themselves (so it is still right after surgery).
    """

    def register(cls: N) -> N:
        _NETWORKS[name] = cls
        return cls

    return register


def network_names() -> list[str]:
    """Return the names of the architectures that can be built.

    Examples
    --------
    >>> "dcase2021" in network_names()
    True
    """
    _load_all()
    return sorted(_NETWORKS)


def build_network(name: str, **config: Any) -> nn.Module:
    """Build an architecture by name.

    Parameters
    ----------
    name : str
        One of :func:`network_names`.
    **config
        What the architecture takes: widths, classes, bands, frames, ...

    Returns
    -------
    nn.Module
        Freshly initialised (seed torch's global generator first to get the same one again).

    Raises
    ------
    CoppiceError
        If the name or an argument is unknown or a value is impossible.

    Examples
    --------
    >>> build_network("dcase2021", bands=40, frames=500, classes=10).config()["widths"]
    [16, 16, 32]
    >>> build_network("dcase21")
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: there is no network 'dcase21'. Did you mean 'dcase2021'?
    """
    _load_all()
    if name not in _NETWORKS:
        raise CoppiceError(f"there is no network {name!r}. {did_you_mean(name, sorted(_NETWORKS))}")
    cls = _NETWORKS[name]
    known = _arguments(cls)
    for key in config:
        if key not in known:
            raise CoppiceError(f"network {name!r} takes no {key!r}. {did_you_mean(key, sorted(known))}")
    wanted = [key for key, one in signature(cls).parameters.items() if one.default is one.empty and key not in config]
    if wanted:
        lacking = ", ".join(map(repr, wanted))
        raise CoppiceError(f"network {name!r} lacks {lacking}; give that, or a network with defaults, as 'dcase2021'.")
    return cls(**config)


def build_for_clips(name: str, *, classes: int, bands: int, frames: int, **config: Any) -> nn.Module:
    """Build an architecture by name for clips of one shape; one that takes clips of any length is not told theirs.

    Examples
    --------
    >>> build_for_clips("cnn14", classes=3, bands=64, frames=101, widths=[4] * 12, dense=8).config()["classes"]
    3
    """
    measured = {"classes": classes, "bands": bands, "frames": frames}
    known = _arguments(_NETWORKS[name]) if name in network_names() else set(measured)
    return build_network(name, **config, **{key: value for key, value in measured.items() if key in known})


def _arguments(cls: type[nn.Module]) -> set[str]:
    return cls.__init__.__annotations__.keys() - {"return"}


def network_identity(module: nn.Module) -> Mapping[str, Any]:
    """Say how a network can be built again: its registered name and arguments, or its class if it is a user's.

    Examples
    --------
    >>> network_identity(build_network("dcase2021", frames=250))["name"]
    'dcase2021'
    >>> network_identity(nn.Linear(2, 3))
    {'class': 'torch.nn.modules.linear.Linear'}
    """
    _load_all()
    for name, cls in _NETWORKS.items():
        if type(module) is cls:
            return {"name": name, "config": module.config()}  # type: ignore[operator]
    return {"class": f"{type(module).__module__}.{type(module).__qualname__}"}


def _load_all() -> None:
    # The architectures register themselves when imported; importing them here keeps `import coppice` quick.
    from coppice.networks import (  # noqa: F401
        chain,
        cnn6,
        cnn10,
        cnn14,
        cp_mobile,
        dcase2021,
        dcase2022,
        ensemble,
        soundnet,
        surrey2022,
        vggish_net,
    )
