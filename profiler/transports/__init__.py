"""Transports: how a job reaches a device and its lines come back. One file each, found by name."""

from __future__ import annotations

from collections.abc import Mapping

from device_profiles.errors import InvalidData
from device_profiles.registry import Registry
from profiler.transports.protocol import MakeTransport, Transport

__all__ = ["REGISTRY", "load", "names"]

REGISTRY: Registry[MakeTransport] = Registry("transport", "profiler.transports", attribute="TRANSPORT")


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
