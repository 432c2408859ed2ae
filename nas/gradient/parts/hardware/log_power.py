"""The cross entropy is multiplied by a power of the logarithm of each cost.

Source: Wu et al., "FBNet: hardware-aware efficient ConvNet design via differentiable neural architecture search", CVPR
    2019, section 3.2, equation 2: `CE * alpha * log(cost)^beta`. There the cost is a number of some unit, and the
    logarithm of less than one of it is negative. Here it is `1 + log(cost / lowest)`, 1 at the lowest cost in any unit.
    `mul#log` of ProxylessNAS is the same up to a constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from nas.gradient.parts.protocol import Reference

if TYPE_CHECKING:
    from torch import Tensor

#: The paper's `alpha` (section 4.1); its `beta`, there 0.6, is the weight.
ALPHA = 0.2
#: Least value of the logarithm: the lowest cost is that of a sample, and there may be lower ones.
_LEAST = 0.05


def log_power(
    costs: Sequence[Tensor], references: Sequence[Reference], weight: float
) -> tuple[Tensor | float, list[Tensor | float]]:
    """See `nas.gradient.parts.protocol.Hardware`; costs are scalars above 0. Of several, each has its share of beta."""
    beta = weight / len(costs)
    logs = [1 + (c.clamp(min=1e-12) / r.lowest).log() for c, r in zip(costs, references, strict=True)]
    return prod((log.clamp(min=_LEAST) ** beta for log in logs), start=ALPHA), [0.0] * len(costs)


HARDWARE = log_power
