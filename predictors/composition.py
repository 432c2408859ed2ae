"""From kernels to a network: what a sum of kernel costs misses, fitted on measured networks.

A profiler adds its own time to each kernel, and a network has costs of its own: `cost = a * sum + b * kernels + c`.
On small networks these three numbers took raw sums that were 26 % off to 1.5 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Weight of the prior (the plain sum) in units of one network with 1 % noise; it decides only where there are hardly
#: any networks.
_PRIOR = 1e-3

#: Relative standard errors that are assumed of a kernel's own time in a network, and of a sum of kernels as a network.
KERNEL_ERROR = 0.2
NETWORK_ERROR = 0.01


@dataclass(frozen=True)
class Composition:
    """`cost = scale * sum + per_kernel * kernels + constant`, never below a tenth of the sum.

    Attributes:
        scale: on the sum of kernel costs.
        per_kernel: for each kernel; negative where the profiler adds time to each.
        constant: for the network; fitted ones are not below 0.
    """

    scale: float = 1.0
    per_kernel: float = 0.0
    constant: float = 0.0

    def apply(self, sums: Floats, counts: Floats) -> Floats:
        """Cost of networks, `(n,)`, from sums of kernel costs `(n,)` and numbers of kernels `(n,)`.

        A network cannot cost less than a tenth of its kernels' sum: the fit is not believed that far.
        """
        cost = self.scale * sums + self.per_kernel * counts + self.constant
        return np.asarray(np.maximum(cost, 0.1 * sums + 1e-6))


def fit(sums: Floats, counts: Floats, measured: Floats, constant: float | None = None) -> Composition:
    """Least squares on the relative error, with a weak pull to the plain sum; the constant is not below 0.

    Args:
        sums: `(n,)`, sums of kernel costs.
        counts: `(n,)`, numbers of kernels.
        measured: `(n,)`, measured.
        constant: of each network, where it is known: what an empty call costs. Networks of a hundred times that say
            little of it, and what they say wrong is all that a tiny network costs.

    Returns:
        The plain sum if there are no networks.
    """
    if len(measured) == 0:
        return Composition()
    unit = float(np.median(measured))
    kernel = float(np.median(sums / np.maximum(counts, 1)))
    columns = np.stack([sums, counts * kernel, np.full_like(sums, unit)], axis=1) / measured[:, None]
    prior = np.sqrt(_PRIOR) * np.eye(3)
    left = np.concatenate([columns, prior])
    right = np.concatenate([np.ones(len(measured)), prior @ np.array([1.0, 0.0, 0.0])])
    if constant is None:
        scale, per_kernel, found = np.linalg.lstsq(left, right, rcond=None)[0]
        if found >= 0.0:
            return Composition(float(scale), float(per_kernel) * kernel, float(found) * unit)
        constant = 0.0  # no network costs less than nothing; a smaller one than all that were measured would
    scale, per_kernel = np.linalg.lstsq(left[:, :2], right - left[:, 2] * (constant / unit), rcond=None)[0]
    return Composition(float(scale), float(per_kernel) * kernel, constant)


def kernel_extras(fitted: Composition, counts: Floats, cost: Floats, measured: Floats) -> Floats:
    """What measured networks say of single kernels beyond their own costs, `(k,)`, in the unit of kernel costs.

    A kernel in a network is not quite what the profiler saw: its overhead differs by kind, its inputs are warm or cold
    by what ran before. The residuals of the composition are shared out among the kernels by ridge regression: the
    posterior mean of linear kernel costs whose prior is the composition itself.

    Source: Bishop, "Pattern recognition and machine learning", 2006, section 3.3.1.

    Args:
        fitted: the composition.
        counts: `(n, k)`, how often each network runs each kernel.
        cost: `(k,)`, of kernels.
        measured: `(n,)`, measured.

    Returns:
        Zeros if there are no networks.
    """
    if len(measured) == 0 or fitted.scale <= 0:
        return np.zeros(len(cost))
    left = counts * (KERNEL_ERROR * fitted.scale * cost) / measured[:, None] / NETWORK_ERROR
    right = (measured - fitted.apply(counts @ cost, counts.sum(axis=1))) / measured / NETWORK_ERROR
    share = np.linalg.solve(left.T @ left + np.eye(len(cost)), left.T @ right)
    return np.asarray(share * KERNEL_ERROR * cost)
