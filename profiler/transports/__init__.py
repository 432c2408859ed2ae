"""Transports: how a job reaches a device and its lines come back. One file each, found by name."""

from __future__ import annotations

from device_profiles.registry import Registry
from profiler.transports.protocol import MakeTransport, Transport

__all__ = ["REGISTRY", "load", "names"]

REGISTRY: Registry[MakeTransport] = Registry("transport", "profiler.transports", attribute="TRANSPORT")


def names() -> tuple[str, ...]:
    """All registered transports."""
    return REGISTRY.names()


def load(name: str, address: str, options: dict[str, object]) -> Transport:
    """Make a transport to one device.

    Raises:
        UnknownName: no transport has the name.
    """
    return REGISTRY.get(name)(address, options)
