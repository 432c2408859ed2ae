"""How shared weights are trained: which paths see a minibatch. Each is one file here that defines `TRAINER`.

Example:
    >>> from nas.weights import trainers
    >>> trainers.names()
    ('distinct', 'fair', 'path-dropout', 'sandwich', 'shrinking', 'uniform')
"""

from __future__ import annotations

from device_profiles.registry import Registry
from nas.weights.trainers.protocol import SupernetTrainer, Turn

__all__ = ["REGISTRY", "SupernetTrainer", "Turn", "names"]

REGISTRY: Registry[SupernetTrainer] = Registry("trainer", "nas.weights.trainers", attribute="TRAINER")


def names() -> tuple[str, ...]:
    """All registered trainers."""
    return REGISTRY.names()
