"""Runtimes: one file each, found by name.

`protocol.Runtime` is what they are, `profiler.testing.check_runtime` checks them.
"""

from __future__ import annotations

from device_profiles.registry import Registry
from profiler.runtimes.protocol import MakeRuntime, Runtime

__all__ = ["REGISTRY", "load", "names"]

REGISTRY: Registry[MakeRuntime] = Registry("runtime", "profiler.runtimes", attribute="RUNTIME")


def names() -> tuple[str, ...]:
    """All registered runtimes."""
    return REGISTRY.names()


def load(name: str) -> Runtime:
    """Make a runtime; its package is imported now.

    Raises:
        UnknownName: no runtime has the name.
        DeviceError: its package is not installed; the hint names it.
    """
    return REGISTRY.get(name)()
