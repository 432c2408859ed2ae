"""Work on a device whose link may be lost: wait, take a new link, and go on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TypeVar

from device_profiles.conditions import Conditions
from device_profiles.profile import Target
from profiler import events
from profiler.conditions import conditions_of
from profiler.reader import BrokenProtocol
from profiler.transports.protocol import AgentEnded, DeviceFull, LinkLost, TimedOut, Transport

T = TypeVar("T")

#: Longest wait before a lost link is taken up again: a board has rebooted in a minute or two.
LONGEST_WAIT_S = 30.0


def lasting(
    work: Callable[[], None],
    before: T,
    progress: Callable[[], T],
    transport: Transport,
    target: Target,
    conditions: Conditions,
    listener: events.Listener,
) -> None:
    """Do something on a device, again and again where it was lost on the way.

    Args:
        work: what uses the transport; done again, it goes on from what is in the store.
        before: the progress so far.
        progress: what grows as long as anything is got from the device.
        transport: how often in a row it may be lost without that.
        target: whose device it is.
        conditions: that it had.
        listener: told of each loss.

    Raises:
        DeviceError: it was lost too often, or there is no link that could be.
        ConditionMismatch: the device came back as another one.
    """
    lost = 0
    while True:
        try:
            return work()
        except (LinkLost, BrokenProtocol, DeviceFull, TimedOut, AgentEnded) as error:
            now = progress()
            lost, before = (lost + 1 if now == before else 1), now
            if lost > transport.retries:
                raise
            transport.drop()
            delay_s = min(2.0 ** (lost - 1), LONGEST_WAIT_S)
            listener(events.LinkLost(error.message, delay_s))
            time.sleep(delay_s)
            with contextlib.suppress(LinkLost):  # then the work will say so
                conditions_of(target).require_same(conditions, what=f"target {target.name!r}")
