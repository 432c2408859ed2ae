"""Meters of energy: one file each, found by name.

Latency is taken by the agent's clock, memory by the agent and `profiler.memory`.
"""

from __future__ import annotations

from device_profiles.registry import Registry
from profiler.meters.protocol import EnergyMeter, MakeMeter

__all__ = ["REGISTRY", "EnergyMeter", "load", "names"]

REGISTRY: Registry[MakeMeter] = Registry("meter", "profiler.meters", attribute="METER")


def names() -> tuple[str, ...]:
    """All registered energy meters."""
    return REGISTRY.names()


def load(name: str) -> EnergyMeter:
    """Make a meter.

    Raises:
        UnknownName: no meter has the name.
    """
    return REGISTRY.get(name)()
