"""Text or pairs to train shared weights on: what `nas.weights.images` is for images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.weights.data.protocol import Data, Part, Task

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Sequences:
    """A data set of tokens, in memory.

    Attributes:
        data: as it was read.
    """

    data: Data

    @property
    def name(self) -> str:
        """As the user calls it."""
        return self.data.name

    @property
    def task(self) -> Task:
        """What is wanted of the networks."""
        return self.data.task

    @property
    def train(self) -> Part:
        """For weights."""
        return self.data.train

    @property
    def valid(self) -> Part:
        """For judging architectures."""
        return self.data.valid

    @property
    def test(self) -> Part:
        """For the report."""
        return self.data.test

    @property
    def digest(self) -> str:
        """SHA-256 of what trains: weights are taken from a checkpoint only of the same."""
        found = hashlib.sha256(self.train.inputs.numpy().tobytes())
        found.update(self.train.targets.numpy().tobytes())
        return found.hexdigest()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy of all tokens that are scored, a scalar."""
        return self.task.loss(outputs, targets)
