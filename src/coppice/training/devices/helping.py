"""What the other machines do while the first one carries out a command: help with its fits."""

import time

from coppice.core.progress import say
from coppice.training.devices.crew import join
from coppice.training.devices.machines import Machines
from coppice.training.devices.meeting import between

_LOOK_S = 0.5


def helped(machines: Machines) -> bool:
    """Open the meeting on the first of several machines; on the others take part in all its fits, until it ends.

    Parameters
    ----------
    machines : Machines
        As on every machine.

    Returns
    -------
    bool
        Whether this is a machine that has helped, and has nothing else to do.

    Raises
    ------
    CoppiceError
        If devices, machines or variables are missing, or a fit ends with an error.
    """
    machines.check()
    if machines.num_nodes == 1:
        return False
    meeting = between(machines)
    if machines.leads:
        return False
    fits = 0
    while True:
        fit = meeting.next_fit()
        while fit.told("call") is None:
            if meeting.ended:
                say(f"the first machine has ended its command; this one has helped with {fits} fit{'s' * (fits != 1)}")
                return True
            time.sleep(_LOOK_S)
        join(machines, fit)
        fits += 1
