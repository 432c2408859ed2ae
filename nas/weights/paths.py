"""Losses of networks under shared weights as they are, without a network of its own for each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.arrays import Archs
from nas.weights.devices import device_of
from nas.weights.training import loss_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Paths:
    """Paths of a supernet that are only run.

    Attributes:
        supernet: a copy: what is run may make new blocks, and leaves statistics.
        data: of the search.
    """

    supernet: Any
    data: Any

    @staticmethod
    def of(supernet: Any, data: Any) -> Paths:
        """Paths of a copy of it."""
        return Paths(copy.deepcopy(supernet), data)

    def loss(self, arch: Archs, inputs: Tensor, targets: Tensor) -> float:
        """The loss of one network `(d,)` on one batch, by statistics of the batch.

        Args:
            arch: of the network.
            inputs: `(batch, ...)`.
            targets: of them.
        """
        place = device_of(self.supernet)
        inputs, targets = inputs.to(place), targets.to(place)
        outputs = by_batch_statistics(self.supernet, lambda: self.supernet.forward_path(inputs, arch))
        return float(loss_of(self.data, outputs, targets))

    def valid_loss(self, arch: Archs, batch: int) -> float:
        """The mean loss of one network `(d,)` over all validation examples, in even batches of at most so many."""
        part = self.data.valid
        cuts = np.array_split(np.arange(len(part)), -(-len(part) // batch))
        losses = [
            self.loss(arch, part.inputs[cut[0] : cut[-1] + 1], part.targets[cut[0] : cut[-1] + 1]) for cut in cuts
        ]
        return float(np.average(losses, weights=[len(cut) for cut in cuts]))


def by_batch_statistics(supernet: Any, forward: Callable[[], Tensor]) -> Tensor:
    """What `forward` of a supernet gives, `(batch, ...)`, where normalisation takes the statistics of the batch alone.

    A network of its own would have others than the supernet has kept, which are means over all networks. Nothing is
    dropped, and no gradients are kept. Source: Bender et al., ICML 2018, section 3.3.
    """
    import torch

    while True:  # once more where blocks were made, as they are when they are needed: they drop nothing either
        modules = list(supernet.modules())
        for module in modules:
            module.training = isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
        with torch.no_grad():
            found = forward()
        if len(list(supernet.modules())) == len(modules):
            return found
