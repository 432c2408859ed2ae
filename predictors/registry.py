"""Predictors by name: graph predictors, and kernel models with a composition."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from device_profiles.errors import UnknownName
from predictors import graphs, models, network
from predictors.graphs.protocol import GraphPredictor, MakeGraphPredictor
from predictors.models.protocol import KernelSamples, MakeKernelModel
from predictors.network import NetworkModel
from predictors.samples import NetworkSamples


@dataclass(frozen=True)
class Composed:
    """A kernel model as a graph predictor.

    Attributes:
        kernel_model: its class.
    """

    costs: ClassVar[tuple[str, ...]] = ("latency", "energy")

    kernel_model: MakeKernelModel

    def fit(self, kernels: KernelSamples, networks: NetworkSamples, *, sure: bool = True) -> NetworkModel:
        """Fit kernels, composition and intervals; see `network.fit`."""
        return network.fit(self.kernel_model, kernels, networks, sure=sure)

    def load(self, folder: Path) -> NetworkModel:
        """Read the kernel model and `network.json`."""
        return network.load(folder, self.kernel_model)


def names() -> tuple[str, ...]:
    """All predictors."""
    return tuple(sorted({*models.REGISTRY.names(), *graphs.REGISTRY.names()}))


def names_for(cost: str) -> tuple[str, ...]:
    """Predictors of one cost."""
    return tuple(name for name in names() if cost in get(name).costs)


def get(name: str) -> MakeGraphPredictor:
    """The maker of a predictor.

    Raises:
        UnknownName: no predictor has the name.
    """
    if name in graphs.REGISTRY.names():
        return graphs.REGISTRY.get(name)
    if name in models.REGISTRY.names():
        return Composed(models.REGISTRY.get(name))
    raise UnknownName("predictor", name, names())


__all__ = ["Composed", "GraphPredictor", "MakeGraphPredictor", "get", "names", "names_for"]
