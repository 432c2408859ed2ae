"""What the controller is rewarded with: quality and predicted costs as one number, and less than 0 beyond bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from device_profiles.errors import UsageError
from nas.arrays import Archs, Floats
from nas.gradient.parts.costs import costs_of, excess
from nas.gradient.parts.protocol import Reference
from nas.gradient.protocol import GradientProblem

if TYPE_CHECKING:
    from torch import Tensor

SHAPES = ("soft", "hard")
#: Least share of its target that a cost counts as: a power of nothing is no number.
_LEAST = 1e-12


@dataclass(frozen=True)
class Reward:
    """The reward of one run.

    Source: Tan et al., "MnasNet: platform-aware neural architecture search for mobile", CVPR 2019, section 3, equations
        2 and 3: `quality * (cost / target)^w`, where `w` is one number (`soft`), or 0 up to the target and negative
        beyond (`hard`). There is one cost there; of several, each has its share of the exponent here. The paper has no
        bounds: here what breaks one has a reward below 0.

    Attributes:
        problem: space, costs and bounds.
        targets: of each predicted cost, above 0, in its unit.
        weight: minus the exponent of all costs together, at least 0.
        shape: one of `SHAPES`.
    """

    problem: GradientProblem
    targets: tuple[float, ...]
    weight: float
    shape: str

    def costs(self, archs: Archs) -> Floats:
        """Predicted costs of `(n, d)` architectures, `(n, costs)`, in their units; NaN of those without a function."""
        found = np.full((len(archs), len(self.problem.priced)), np.nan)
        live = self.problem.space.is_valid(archs)
        if live.any():
            found[live] = costs_of(self.problem, archs[live])
        return found

    def factor(self, costs: Floats) -> Floats:
        """What quality is multiplied by, `(n,)`, for predicted costs `(n, costs)`."""
        shares = np.maximum(costs / np.array(self.targets), _LEAST)
        if self.shape == "hard":
            shares = np.maximum(shares, 1.0)
        return np.asarray(np.prod(shares ** (-self.weight / len(self.targets)), axis=1), dtype=np.float64)

    def refused(self, archs: Archs, costs: Floats) -> Floats:
        """Rewards of `(n, d)` architectures that need not be run, in -1..0, and NaN of the others, `(n,)`.

        Those without a function have -1, those beyond a bound minus the share by which they break it, down to -1.
        """
        broken = excess(self.problem, costs)
        beyond = np.where(broken > 0, -np.minimum(broken, 1.0), np.nan)
        return np.where(self.problem.space.is_valid(archs), beyond, -1.0)


def targets_of(references: Sequence[Reference], share: float) -> tuple[float, ...]:
    """A share of each cost's bound, or of the median where it has none.

    Raises:
        UsageError: it is not above 0.
    """
    found = tuple(share * (one.bound if one.bound is not None and one.bound > 0 else one.median) for one in references)
    if min(found) <= 0:
        raise UsageError(
            f"a reward needs targets of costs above 0, got {', '.join(f'{one:.3g}' for one in found)}",
            hint="Use a strategy that adds costs, such as gdas.",
        )
    return found


def quality(outputs: Tensor, targets: Tensor, loss: Tensor) -> float:
    """How good outputs are, in 0..1: accuracy of classes `(n, classes)`, else the exponential of minus the loss.

    The latter is one over the perplexity of tokens, `(n, length, tokens)`, which ENAS is rewarded with on text (section
    3.1) but for a factor.
    """
    if outputs.ndim == 2 and targets.ndim == 1 and not targets.is_floating_point():
        return float((outputs.argmax(dim=1) == targets).double().mean())
    return float((-loss).exp())
