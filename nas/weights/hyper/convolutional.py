"""A convolutional hypernetwork: from a binary image of a network all of its weights, in one pass."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.weights.hyper.decoding import SIDE, middle
from nas.weights.hyper.encoding import GROUP, PLANES, Place, image, places
from nas.weights.hyper.graphs import Graph, Slot
from nas.weights.hyper.scaling import repeated, scaled

#: Slope of rectifiers for negative values, as in the code of the paper.
_SLOPE = 0.02


class ConvolutionalHypernetwork(nn.Module):
    """Weights of each place of the image from what stands there and around it, which is what stands before and behind.

    3x3 convolutions whose outputs are joined to what they read (a DenseNet without norms), then one to all weights of a
    place, which is 1x1.

    Source: Brock et al., "SMASH", ICLR 2018, section 3.2; that of their code has more than 20 layers, for networks of
        one form. First weights as in Chang, Flokas & Lipson, "Principled weight initialization for hypernetworks", ICLR
        2020, section 4; for that features of a place are normalised before the last layer.

    Args:
        growth: planes that a layer adds.
        layers: of 3x3 convolutions.
    """

    def __init__(self, growth: int = 32, layers: int = 3) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList()
        for layer in range(layers):
            one = nn.Conv2d(PLANES if layer == 0 else growth * layer, growth, 3, padding=1)
            nn.init.kaiming_normal_(one.weight, a=_SLOPE)
            nn.init.zeros_(one.bias)  # type: ignore[arg-type]
            self.convolutions.append(one)
        self.norm = nn.LayerNorm(growth * layers)
        self.last = nn.Linear(growth * layers, GROUP * GROUP * SIDE * SIDE)
        nn.init.normal_(self.last.weight, std=self.last.in_features**-0.5)
        nn.init.zeros_(self.last.bias)

    def forward(self, graph: Graph) -> list[Tensor]:
        """Weights of each slot, in its shape."""
        where = places(graph)
        features = self._features(torch.from_numpy(image(graph, where)).to(self.last.weight))
        alike: dict[tuple[bool, int, int], list[int]] = defaultdict(list)
        for number, (slot, place) in enumerate(zip(graph.slots, where, strict=True)):
            alike[place.matrix, min(slot.sides[2], SIDE), min(slot.sides[3], SIDE)].append(number)
        found: dict[int, Tensor] = {}
        for (matrix, height, width), numbers in alike.items():
            parts = [features[where[n].row : where[n].row + where[n].rows, : where[n].columns] for n in numbers]
            sizes = [len(part) * part.shape[1] for part in parts]
            made = self._weights(torch.cat([part.flatten(0, 1) for part in parts]), matrix, height, width)
            for number, one in zip(numbers, torch.split(made, sizes), strict=True):
                found[number] = _placed(graph.slots[number], where[number], one)
        return [found[number] for number in range(len(where))]

    def _features(self, planes: Tensor) -> Tensor:
        """`(rows, columns, features)`, of an image `(PLANES, rows, columns)`."""
        values, made = planes[None], list[Tensor]()
        for one in self.convolutions:
            made.append(functional.leaky_relu(one(values), _SLOPE))
            values = torch.cat(made, dim=1)
        found: Tensor = self.norm(values[0].permute(1, 2, 0))
        return found

    def _weights(self, features: Tensor, matrix: bool, height: int, width: int) -> Tensor:
        """`(places, GROUP, GROUP or 1, height, width)`: of the last layer that alone is run which is needed."""
        shape, kept = (GROUP, GROUP, SIDE, SIDE), slice(None) if matrix else slice(0, 1)
        taken = (slice(None), kept, middle(height), middle(width))
        weight, shift = self.last.weight.reshape(*shape, -1)[taken], self.last.bias.reshape(shape)[taken]
        found = functional.linear(features, weight.flatten(0, 3), shift.flatten())
        return found.reshape(-1, *weight.shape[:4])


def _placed(slot: Slot, place: Place, made: Tensor) -> Tensor:
    """Weights of a slot from those of its places, `(places, GROUP, GROUP or 1, height, width)`."""
    if place.matrix:
        groups = made.reshape(place.rows, place.columns, *made.shape[1:]).permute(0, 2, 1, 3, 4, 5)
        whole = groups.flatten(2, 3).flatten(0, 1)
    else:
        whole = made.flatten(0, 1)
    whole = whole[: slot.sides[0], : slot.sides[1]]
    if len(slot.shape) > 1:
        whole = repeated(whole, slot.sides, GROUP)
    return scaled(slot, whole.reshape(slot.shape))
