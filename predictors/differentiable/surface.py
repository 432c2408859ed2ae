"""A smooth positive function of probabilities: main effects, pairs of genes, and a small network on what they leave.

The main effects of genes and the pairs are multilinear, so they are exact expectations under independent choices. The
network takes probabilities where it learned facts: exact at the corners, smooth in between, and no expectation there.
All is computed in double precision, whatever was given, so that prediction and differentiable cost cannot part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from predictors.differentiable import _features, _main_effects
from predictors.differentiable.protocol import Archs, Floats, check_probabilities
from predictors.genes import checked

if TYPE_CHECKING:
    from torch import Tensor

#: Architectures that are predicted at once: what fits into a core's cache.
_CHUNK = 4096


@dataclass(frozen=True)
class Network:
    """A perceptron with two hidden layers and SiLU.

    Source: Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units", Neural Networks 107, 2018: smooth everywhere.

    Attributes:
        entry: `(facts, h)`, of the first layer.
        weights: the rest: `(h,)`, `(h, h)`, `(h,)`, `(h,)`, `(1,)`: bias, layer, bias, layer, bias.
    """

    entry: Floats
    weights: tuple[Floats, ...]


@dataclass(frozen=True)
class Surface:
    """Cost of architectures and of probabilities, above 0.

    Attributes:
        effects: `(1 + facts,)`, see `_main_effects.fit`, in the cost's unit.
        softness: below about ten times this the cost bends away from 0, in the cost's unit.
        choices: options per gene.
        anchors: `(k, d)`, architectures that pairs of genes are compared with.
        pairs: `(k,)`, cost for each agreeing pair of genes, in the cost's unit.
        network: what is learned beyond these, or None.
        spread: unit of the network's output, in the cost's unit.
        wiring: of cells, where their facts are known and not those of genes; see `_features`.
    """

    choices: tuple[int, ...]
    effects: Floats
    softness: float
    anchors: Archs
    pairs: Floats
    network: Network | None = None
    spread: float = 1.0
    wiring: _features.Wiring = ()

    @cached_property
    def features(self) -> _features.Features:
        """What is known of an architecture."""
        return _features.of(self.choices, self.wiring)

    def linear(self, archs: Archs) -> Floats:
        """The main effects of `(n, d)` architectures alone, `(n,)`; they may be below 0."""
        return np.asarray(self.effects[0] + self.effects[1:][self.features.rows(archs)].sum(axis=1))

    def predict(self, archs: Archs) -> Floats:
        """Cost of `(n, d)` architectures, `(n,)`.

        Raises:
            UsageError: the shape or a gene is outside of the space.
        """
        import torch

        archs = checked(archs, self.choices)
        found = np.empty(len(archs))
        with torch.inference_mode():
            tensors = self._tensors(torch.device("cpu"))
            for start in range(0, len(archs), _CHUNK):
                some = archs[start : start + _CHUNK]
                entered = _summed(torch.from_numpy(self.features.few(some)), tensors["folded"])
                value = entered[:, 0] + self.effects[0]
                if len(self.pairs):
                    rows = torch.from_numpy(self.features.rows(some))
                    first, second = _summed(rows, tensors["contrasts"]), _summed(rows, tensors["contrasts"] ** 2)
                    value = value + (first**2 - second) / 2 @ tensors["pairs"]
                if self.network is not None:
                    value = value + self.spread * _deep(entered[:, 1:], tensors)
                found[start : start + _CHUNK] = above_zero(value, self.softness).numpy()
        return found

    def __call__(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Cost of `(..., options)` for each gene: `(...)`, in the precision that was given.

        Raises:
            UsageError: the number of genes or of their options is another.
        """
        import torch

        check_probabilities(probabilities, self.choices)
        dtype = probabilities[0].dtype
        doubles = [p.double() for p in probabilities]
        tensors = self._tensors(doubles[0].device)
        facts = self.features.expected(doubles)
        entered = facts @ tensors["facts"]
        value = entered[..., 0] + self.effects[0]
        if len(self.pairs):
            blocks = torch.split(tensors["contrasts"], list(self.choices))
            each = torch.stack([p @ block for p, block in zip(doubles, blocks, strict=True)])
            value = value + (each.sum(dim=0) ** 2 - (each**2).sum(dim=0)) / 2 @ tensors["pairs"]
        if self.network is not None:
            value = value + self.spread * _deep(entered[..., 1:], tensors)
        return above_zero(value, self.softness).to(dtype)

    @cached_property
    def _places(self) -> dict[Any, dict[str, Tensor]]:
        return {}

    def _tensors(self, device: Any) -> dict[str, Tensor]:
        """The numbers as tensors on a device, made once for each."""
        import torch

        if device not in self._places:
            hidden = np.zeros((self.features.size, 0)) if self.network is None else self.network.entry
            adds = np.concatenate([self.effects[1:, None], hidden], axis=1)
            arrays = {"facts": adds, "folded": self.features.folded(adds)}
            if len(self.pairs):
                arrays |= {"contrasts": contrasts(self.choices, self.anchors).T, "pairs": self.pairs}
            if self.network is not None:
                arrays |= {f"weight{i}": weight for i, weight in enumerate(self.network.weights)}
            with torch.inference_mode(False):
                self._places[device] = {
                    name: torch.tensor(array, dtype=torch.float64, device=device) for name, array in arrays.items()
                }
        return self._places[device]


def contrasts(choices: tuple[int, ...], archs: Archs) -> Floats:
    """`(n, options of all genes)`: one-hot rows less the average architecture's, so that each gene adds up to 0."""
    return _main_effects.one_hot(choices, archs) - _main_effects.level(choices)


def above_zero(value: Tensor, softness: float) -> Tensor:
    """A smooth function that is above 0 and is nearly the identity far above `softness`: off by `softness^2 / 4x`."""
    import torch

    root = (value**2 + softness**2).sqrt()
    return torch.where(value >= 0, (value + root) / 2, softness**2 / (2 * (root + value.abs())))


def _summed(rows: Tensor, table: Tensor) -> Tensor:
    import torch

    return torch.nn.functional.embedding_bag(rows, table, mode="sum")


def _deep(entered: Tensor, tensors: dict[str, Tensor]) -> Tensor:
    """What follows the first layer: from `(..., h)` to `(...)`."""
    from torch.nn.functional import silu

    first, layer, second, last, bias = (tensors[f"weight{i}"] for i in range(5))
    return silu(silu(entered + first) @ layer + second) @ last + bias[0]
