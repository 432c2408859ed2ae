"""Transports: how a job reaches a device and its lines come back. One file each, found by name."""

from __future__ import annotations

from collections.abc import Mapping

from device_profiles.errors import InvalidData, UsageError
from device_profiles.profile import Target
from device_profiles.registry import Registry
from profiler.transports.protocol import MakeTransport, Transport
from profiler.transports.remote import RemoteTransport

__all__ = ["LOCAL", "REGISTRY", "elsewhere", "elsewhere_or_refuse", "load", "names", "of"]

#: The transport of this machine.
LOCAL = "local"

REGISTRY: Registry[MakeTransport] = Registry(
    "transport", "profiler.transports", attribute="TRANSPORT", skip=("protocol", "remote")
)


def of(target: Target) -> Transport:
    """The way to a target's device; raises what `load` does."""
    return load(target.access.transport, target.access.address, dict(target.access.options))


def elsewhere(target: Target) -> RemoteTransport | None:
    """The way to a target's device, or None where that is this machine."""
    found = None if target.access.transport == LOCAL else of(target)
    return found if isinstance(found, RemoteTransport) else None


def elsewhere_or_refuse(target: Target) -> RemoteTransport:
    """The way to a target's device.

    Raises:
        UsageError: it is this machine.
    """
    found = elsewhere(target)
    if found is None:
        raise UsageError(f"{target.name} is this machine: nothing is to be installed", hint="hwnas doctor")
    return found


def names() -> tuple[str, ...]:
    """All registered transports."""
    return REGISTRY.names()


def load(name: str, address: str, options: Mapping[str, object]) -> Transport:
    """Make a transport to one device.

    Raises:
        UnknownName: no transport has the name.
        InvalidData: an option is none of those that the transport documents.
    """
    make = REGISTRY.get(name)
    unknown = sorted(set(options) - set(make.options))
    if unknown:
        raise InvalidData(
            f"the transport {name} has no option {unknown[0]!r}; it has {', '.join(make.options) or 'none'}",
            hint="Remove it from [access.options] of the target's profile.",
        )
    return make(address, options)
