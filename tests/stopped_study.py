"""A sensitivity study in a process of its own, to which something happens at a chosen place."""

import multiprocessing
import os
import signal
from typing import Any

from coppice.studies import sensitivity as module


def stopped_study(stop: signal.Signals, name: str, calls: int, arguments: tuple[Any, ...], options: dict) -> int:
    """Measure until a method is called so often, send the process a signal, and return how it ended.

    The process comes from a server that has loaded no other libraries: some of those that other tests load have
    threads, and forks of such a process may crash.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=_measure, args=(stop, name, calls, arguments, options))
    process.start()
    process.join()
    return process.exitcode


def _measure(stop: signal.Signals, name: str, calls: int, arguments: tuple[Any, ...], options: dict) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    original, made = getattr(module._Study, name), []

    def watched(self, *given):
        made.append(given)
        if len(made) == calls:
            os.kill(os.getpid(), stop)
        return original(self, *given)

    setattr(module._Study, name, watched)
    try:
        module.sensitivity(*arguments, **options)
    except KeyboardInterrupt:
        os._exit(130)
