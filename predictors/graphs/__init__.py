"""Graph predictors: one file each, found by name; `protocol.GraphPredictor` is what they are.

A kernel model (`predictors.models`) with a composition is one, too; `predictors.registry` finds both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from device_profiles.registry import Registry

if TYPE_CHECKING:
    from predictors.graphs.protocol import MakeGraphPredictor

__all__ = ["REGISTRY"]

REGISTRY: Registry[MakeGraphPredictor] = Registry("graph_predictor", "predictors.graphs", attribute="PREDICTOR")
