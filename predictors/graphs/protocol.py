"""What a graph predictor is: fused graphs in, costs of networks out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Protocol

from predictors.models.protocol import KernelSamples
from predictors.prediction import Prediction
from predictors.samples import NetworkSamples
from profiler.catalogue import Catalogue
from profiler.operators import OperatorGraph


class GraphPredictor(Protocol):
    """Predicts one cost of networks from what the target's runtime made of them."""

    @property
    def half_width(self) -> float | None:
        """Relative half-width of the 90 % interval where all is known; None if too little was measured for any."""

    def predict(self, graphs: Sequence[OperatorGraph], *, missing: str = "guess") -> Prediction:
        """Predict fused graphs.

        Args:
            graphs: what the target's runtime made of the networks.
            missing: `guess` kernels that were never measured, which coverage and interval then tell; or `raise`.

        Raises:
            MissingKernel: a kernel was never measured, and `missing` is `raise`.
            UsageError: `missing` is neither.
        """

    def predict_catalogue(self, catalogue: Catalogue) -> Prediction:
        """Predict all networks of a catalogue, in order."""

    def idle(self, catalogue: Catalogue) -> float:
        """Cost of a network whose output does not depend on its input; above 0."""

    def save(self, folder: Path) -> None:
        """Write its files into an existing folder: JSON, LightGBM text or safetensors, never a pickle."""


class MakeGraphPredictor(Protocol):
    """A module's `PREDICTOR`: the class of the graph predictor, or another maker of one."""

    #: Costs that it can predict.
    costs: ClassVar[tuple[str, ...]]

    def fit(self, kernels: KernelSamples, networks: NetworkSamples, *, sure: bool = True) -> GraphPredictor:
        """Learn from measured kernels and networks.

        Args:
            kernels: of the cost, maybe none.
            networks: of the cost.
            sure: whether to calibrate intervals; without, the fit is faster.

        Raises:
            InvalidTable: too few samples, or samples that are not positive and finite.
        """

    def load(self, folder: Path) -> GraphPredictor:
        """Read what `save` wrote.

        Raises:
            SchemaMismatch: the files are missing, damaged, or of another schema.
        """
