"""Meters of energy: one file each, found by name.

Latency is taken by the agent's clock, memory by the agent and `profiler.memory`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from device_profiles.registry import Registry
from profiler.meters.protocol import EnergyMeter, MakeMeter

__all__ = ["NONE", "REGISTRY", "EnergyMeter", "load", "names", "require"]

#: The meter of targets that have none.
NONE = "none"
REGISTRY: Registry[MakeMeter] = Registry("meter", "profiler.meters", attribute="METER")


def names() -> tuple[str, ...]:
    """All registered energy meters."""
    return REGISTRY.names()


def require(name: str) -> None:
    """Refuse a name that no meter has.

    Raises:
        UnknownName: none has it.
    """
    REGISTRY.get(name)


def load(name: str, hardware: Mapping[str, Any] | None = None) -> EnergyMeter:
    """Make a meter.

    Args:
        name: see `names`.
        hardware: facts of the target; a meter takes those that its `hardware` names.

    Raises:
        UnknownName: no meter has the name.
    """
    make, known = REGISTRY.get(name), hardware or {}
    return make(**{fact: known[fact] for fact in getattr(make, "hardware", ()) if fact in known})
