"""Where downloads, generated sounds and feature stores are kept."""

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Return the cache folder: ``COPPICE_CACHE`` where it is set, else the user's cache folder of this system.

    It is not created here.

    Examples
    --------
    >>> import os
    >>> os.environ["COPPICE_CACHE"] = "/data/coppice"
    >>> cache_folder().as_posix()
    '/data/coppice'
    >>> del os.environ["COPPICE_CACHE"]
    """
    chosen = os.environ.get("COPPICE_CACHE")
    return Path(chosen).absolute() if chosen else Path(platformdirs.user_cache_dir("coppice", appauthor=False))
