"""A fleet: equal devices that share a campaign, and how far what they say is apart.

Each worker runs on one of them, and a model's workers on all in turn, so what devices differ by is in the interval of
every model. Whether one of them differs is decided by ratios to the others, each in its own best state: by its own
reference sentinel, since a device that is slower in everything would otherwise pass for one in a slow state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from device_profiles.conditions import Conditions
from device_profiles.errors import ConditionMismatch, DeviceError, HwnasError, InvalidData
from device_profiles.profile import Target
from profiler import events, reference, statistics, transports
from profiler.conditions import conditions_of
from profiler.lock import SIMULATED, device_lock, device_of
from profiler.store import Store
from profiler.transports.protocol import Transport
from profiler.turns import Ratio, combined

#: Of the interval of a device's ratio: all devices are judged again and again, and one that is well must not fall.
CONFIDENCE = 0.99
#: Devices of which the odd one can be told; of two, the first one counts.
_FEWEST_TO_VOTE = 3


@dataclass(frozen=True)
class Device:
    """One device of a fleet, beside the others.

    Attributes:
        address: of it.
        processes: workers that it ran.
        ratio: its latencies over those of the fleet, in the median over models: of three devices or more over their
            median, of two over the first one's. None where nothing can be compared.
        aside: why it takes no part, or None.
    """

    address: str
    processes: int
    ratio: Ratio | None
    aside: str | None = None


@dataclass
class Member:
    """A device that a campaign works on.

    Attributes:
        target: the campaign's, with this device alone.
        transport: the way there.
        taken: what its workers brought: blocks, and models that failed.
    """

    target: Target
    transport: Transport
    taken: int = 0

    @property
    def address(self) -> str:
        """Of the device."""
        return self.target.access.address


@contextlib.contextmanager
def held(
    target: Target, store: Store, listener: events.Listener, *, wait: bool, retry: bool
) -> Iterator[tuple[list[Member], dict[str, str], Conditions]]:
    """Hold the devices of a target while the block runs.

    Of a fleet, devices that cannot be had, that are of another kind, or that were set aside before are left out.

    Args:
        target: whose.
        store: where its measurements go.
        listener: told who is left out.
        wait: until others have finished measuring on them.
        retry: give devices that were set aside another chance.

    Yields:
        The devices, why others are left out by their address, and the conditions that all share.

    Raises:
        ConditionMismatch: the store holds the target under other conditions; none of a fleet has these.
        DeviceError: the device, or all of a fleet, cannot be had.
    """
    members: list[Member] = []
    left: dict[str, str] = {}
    errors: list[HwnasError] = []
    conditions: Conditions | None = None
    each = target.each_device()
    if len(each) > 1 and target.access.transport == transports.LOCAL and target.runtime.name not in SIMULATED:
        raise InvalidData("a fleet is not of this machine, which is one device", hint="Remove fleet from [access].")
    with contextlib.ExitStack() as stack:
        locked: set[str] = set()
        for one in each:
            member = Member(one, transports.of(one))
            try:
                own = conditions_of(one)
                store.check(target.name, own)
                if conditions is not None:
                    conditions.require_same(own, what=f"{one.access.address} and {members[0].address}")
                if not retry and (reason := _aside(store, own).get(one.access.address)):
                    raise DeviceError(f"{one.access.address} was set aside: {reason}", hint="hwnas profile --retry")
                with contextlib.ExitStack() as mine:
                    if (lock := device_of(one, store)) not in locked:
                        mine.enter_context(device_lock(lock, wait=wait))
                    mine.enter_context(member.transport.held(wait=wait))
                    stack.push(mine.pop_all())
                locked.add(lock)
            except (DeviceError, ConditionMismatch) as error:
                if len(each) == 1:
                    raise
                errors.append(error)
                left[one.access.address] = _reason(error)
                listener(events.DeviceLeft(one.access.address, left[one.access.address]))
                continue
            conditions = conditions or own
            members.append(member)
        if conditions is None:
            raise errors[0]
        yield members, left, conditions


def _reason(error: HwnasError) -> str:
    if isinstance(error, ConditionMismatch):
        facts = ", ".join(f"{name} is {error.got[name]}" for name in error.got)
        return f"it is no equal device: {facts}"
    return error.message


def _aside(store: Store, conditions: Conditions) -> dict[str, str]:
    """Why devices were set aside, by address; not of those that were given another chance since."""
    found = {of.address: of.aside for of in store.devices(conditions).values()}  # the last process of each
    return {address: aside for address, aside in found.items() if aside is not None}


def judge(store: Store, conditions: Conditions, working: Sequence[str]) -> tuple[dict[str, str], bool]:
    """Set devices aside that differ from the others by more than their intervals.

    A device is judged by three workers at least: one may have fallen into a slow state from its start to its end.

    Args:
        store: the measurements.
        conditions: of them.
        working: addresses of the devices that take part, in the order of the profile.

    Returns:
        Why they were set aside, by their addresses; and whether one is in doubt, and wants more workers.
    """
    found, doubted = {}, False
    for device in compared(store, conditions, working):
        if device.aside is None and device.ratio is not None and device.ratio.apart and device.address in working:
            if device.processes < statistics.FEWEST_PROCESSES:
                doubted = True
                continue
            ratio, others = device.ratio, "the others" if len(working) >= _FEWEST_TO_VOTE else working[0]
            found[device.address] = (
                f"it takes {ratio.value:.3g} times as long as {others} ({ratio.low:.3g} to {ratio.high:.3g})"
            )
    for address, reason in found.items():
        store.set_aside(conditions, address, reason)
    return found, doubted


def compared(store: Store, conditions: Conditions, order: Sequence[str]) -> tuple[Device, ...]:
    """The devices that measured under conditions, those that were set aside last.

    Args:
        store: the measurements.
        conditions: of them.
        order: addresses, in the order of the profile; of two devices the first one counts.
    """
    known = store.devices(conditions)
    each: dict[str, list[int]] = {}
    for process, of in known.items():
        each.setdefault(of.address, []).append(process)
    # One that was set aside and then given another chance is what it was since.
    chosen = {one: [process for process in them if known[process].aside is None] or them for one, them in each.items()}
    aside = {address: known[processes[-1]].aside for address, processes in chosen.items()}
    place = {address: number for number, address in enumerate(order)}
    addresses = sorted(chosen, key=lambda one: (aside[one] is not None, place.get(one, len(place)), one))
    logs = _logs(store, conditions, {process: address for address, them in chosen.items() for process in them})
    centres = _centres(logs, [address for address in addresses if aside[address] is None and address in logs])
    return tuple(
        Device(address, len(chosen[address]), _ratio(logs.get(address, {}), centres), aside[address])
        for address in addresses
    )


def told(store: Store, conditions: Conditions, target: Target, left: Mapping[str, str]) -> tuple[Device, ...]:
    """All devices of a fleet: those that measured, and those that never did, with why."""
    order = [one.access.address for one in target.each_device()]
    found = compared(store, conditions, [address for address in order if address not in left])
    known = [replace(one, aside=left.get(one.address, one.aside)) for one in found]
    never = [one for one in order if one in left and one not in {device.address for device in found}]
    return (*known, *(Device(address, 0, None, left[address]) for address in never))


#: Logarithms of latencies, by process and model.
_Logs = dict[int, dict[str, float]]


def _logs(store: Store, conditions: Conditions, devices: dict[int, str]) -> dict[str, _Logs]:
    """By device; each in the state of its own reference sentinel."""
    found: dict[str, _Logs] = {}
    rows = [row for row in store.blocks(conditions, aside=True) if row.process in devices]
    for address in dict.fromkeys(devices.values()):
        mine = [row for row in rows if devices[row.process] == address]
        if mine:
            own_ns = reference.of_sentinels([row.sentinel_ns for row in mine])
            for model, processes in statistics.by_process(mine, own_ns).items():
                for process, estimate in processes.items():
                    found.setdefault(address, {}).setdefault(process, {})[model] = float(np.log(estimate.best_ns))
    return found


def _centres(logs: dict[str, _Logs], voting: Sequence[str]) -> dict[str, float]:
    """What the fleet says of each model that two devices measured at least."""
    found = {}
    own = {
        address: {
            model: median(times[model] for times in logs[address].values() if model in times)
            for model in dict.fromkeys(model for times in logs[address].values() for model in times)
        }
        for address in voting
    }
    for model in dict.fromkeys(model for times in own.values() for model in times):
        said = [own[address][model] for address in voting if model in own[address]]
        if len(said) >= 2:
            found[model] = median(said) if len(voting) >= _FEWEST_TO_VOTE else said[0]
    return found


def _ratio(processes: _Logs, centres: dict[str, float]) -> Ratio | None:
    """Of a device to the fleet, its processes as repetitions."""
    each = [[times[model] - centres[model] for model in times if model in centres] for times in processes.values()]
    logs = np.array([median(logs) for logs in each if logs])
    return combined(logs, CONFIDENCE) if len(logs) else None
