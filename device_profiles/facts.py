"""What is missing, and why. Never 0, -1 or NaN in its place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Unknown:
    """A fact that cannot be known here."""

    reason: str

    def __str__(self) -> str:
        return f"unknown: {self.reason}"


@dataclass(frozen=True)
class Unavailable:
    """A quantity that cannot be measured here."""

    reason: str

    def __str__(self) -> str:
        return f"unavailable: {self.reason}"
