"""Weights that no cache keeps from run to run: a network reads them from memory each time, at the memory's pace.

A kernel takes longer in a network whose weights are larger than the cache than in a smaller one, and what was measured
of small networks says nothing of it: ResNet-50 came out 8 % too fast. What reads each of its weights once takes as long
as these take to arrive; so a product with one row shows both paces, and the size from which the slower one holds.

Source: Williams et al., "Roofline", CACM 52(4), 2009, with a roof for each level of memory (Ilic et al., "Cache-aware
    roofline model", IEEE CAL 13(1), 2014). That networks fall to either side as a whole is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.sealed import check_numbers
from profiler.operators import Operator
from profiler.work import macs, weight_bytes, weight_bytes_read

Floats = NDArray[np.float64]

#: Fewest bytes of weights of a kernel that shows a pace: of fewer, other things take the time.
_LEAST_BYTES = 1e6
#: Fewest kernels on each side, and by how much the paces must differ, to be two.
_LEAST_KERNELS, _LEAST_RATIO = 3, 1.5
#: Of what a kernel took, so much is its own at least.
_OWN = 0.1
#: A network that takes less than this share of what its weights are said to take refutes it.
_LEAST_SHARE = 0.8


@dataclass(frozen=True)
class Streaming:
    """What networks take for weights that do not stay in a cache.

    Attributes:
        kept_bytes: of the weights of networks that keep them; infinite where nothing else was seen.
        ms_per_byte: of the weights of larger ones.
    """

    kept_bytes: float = math.inf
    ms_per_byte: float = 0.0

    def ms(self, weights: Floats) -> Floats:
        """Of networks with so many bytes of weights, `(n,)`."""
        return np.where(weights > self.kept_bytes, self.ms_per_byte * weights, 0.0)

    def holds(self, cost: Floats, weights: Floats) -> bool:
        """Whether no network took less than its weights alone would, from ms `(n,)` and bytes of weights `(n,)`.

        A library that lays weights out anew in each call has two paces too, and they are not the memory's.
        """
        return bool((cost >= _LEAST_SHARE * self.ms(weights)).all())

    def without(self, cost: Floats, read: Floats, weights: Floats) -> Floats:
        """Costs of kernels or networks, `(n,)`, had their weights been in the cache.

        Args:
            cost: measured, in ms.
            read: bytes of weights that each reads.
            weights: bytes of the weights of the whole network.
        """
        more = np.where(weights > self.kept_bytes, self.ms_per_byte * read, 0.0)
        return np.asarray(np.maximum(cost - more, _OWN * cost))

    @staticmethod
    def fit(weights: Floats, read: Floats, ms: Floats) -> Streaming:
        """Two paces and the size between them: each kernel in a larger network is slower than each in a smaller one.

        Args:
            weights: `(k,)`, bytes of the weights of the network that a kernel was measured in.
            read: `(k,)`, bytes of its own, each of which it reads once.
            ms: `(k,)`, that it took.

        Returns:
            None of it where paces overlap, as those of a runtime that is as slow with weights in the cache.
        """
        order = np.argsort(weights)
        size, pace = weights[order], ms[order] / read[order]
        for cut in range(_LEAST_KERNELS, len(pace) - _LEAST_KERNELS + 1):
            fast, slow = pace[:cut], pace[cut:]
            apart = slow.min() > fast.max() and np.median(slow) >= _LEAST_RATIO * np.median(fast)
            if apart and size[cut - 1] < size[cut]:
                return Streaming(math.sqrt(size[cut - 1] * size[cut]), float(np.median(slow)))
        return Streaming()

    def to_plain(self) -> list[float] | None:
        """JSON-ready."""
        return None if math.isinf(self.kept_bytes) else [self.kept_bytes, self.ms_per_byte]

    @staticmethod
    def from_plain(data: Any) -> Streaming:
        """Read what `to_plain` wrote.

        Raises:
            ValueError: it is something else.
        """
        if data is None:
            return Streaming()
        check_numbers("streaming", tuple(data), 2, least=0.0)
        return Streaming(*data)


def weights_of(operator: Operator) -> float:
    """Bytes of weights that may come from memory: once for all steps of a recurrence, of a table what is taken."""
    return float(min(weight_bytes(operator), weight_bytes_read(operator)))


def shows_pace(operator: Operator) -> bool:
    """Whether a kernel reads many weights, and each of them once."""
    elements = sum(tensor.elements for tensor in operator.inputs if tensor is not None and tensor.constant)
    return weights_of(operator) >= _LEAST_BYTES and 0 < macs(operator) <= 1.05 * elements
