"""Where downloads, generated sounds and feature stores are kept."""

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Return the cache folder: ``COPPICE_CACHE`` where it is set, else the system's for this user.

    It is not created here.

    Examples
    --------
    >>> from unittest.mock import patch
    >>> with patch.dict(os.environ, COPPICE_CACHE="/data/coppice"):
    ...     cache_folder().as_posix()
    '/data/coppice'
    """
    chosen = os.environ.get("COPPICE_CACHE")
    return Path(chosen).absolute() if chosen else Path(platformdirs.user_cache_dir("coppice", appauthor=False))
