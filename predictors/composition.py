"""From kernels to a network: what a sum of kernel times misses, fitted on measured networks.

A profiler adds its own time to each kernel, and a network has costs of its own: `latency = a * sum + b * kernels + c`.
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
    """`latency_ms = scale * sum_ms + per_kernel_ms * kernels + constant_ms`, never below a tenth of the sum.

    Attributes:
        scale: on the sum of kernel times.
        per_kernel_ms: for each kernel; negative where the profiler adds time to each.
        constant_ms: for the network.
    """

    scale: float = 1.0
    per_kernel_ms: float = 0.0
    constant_ms: float = 0.0

    def apply(self, sums_ms: Floats, counts: Floats) -> Floats:
        """Latency of networks, `(n,)`, from sums of kernel times `(n,)` in ms and numbers of kernels `(n,)`.

        A network cannot take less than a tenth of its kernels' sum: the fit is not believed that far.
        """
        latency = self.scale * sums_ms + self.per_kernel_ms * counts + self.constant_ms
        return np.asarray(np.maximum(latency, 0.1 * sums_ms + 1e-6))


def fit(sums_ms: Floats, counts: Floats, latency_ms: Floats) -> Composition:
    """Least squares on the relative error, with a weak pull to the plain sum.

    Args:
        sums_ms: `(n,)`, sums of kernel times.
        counts: `(n,)`, numbers of kernels.
        latency_ms: `(n,)`, measured.

    Returns:
        The plain sum if there are no networks.
    """
    if len(latency_ms) == 0:
        return Composition()
    unit = float(np.median(latency_ms))
    kernel = float(np.median(sums_ms / np.maximum(counts, 1)))
    columns = np.stack([sums_ms, counts * kernel, np.full_like(sums_ms, unit)], axis=1) / latency_ms[:, None]
    prior = np.sqrt(_PRIOR) * np.eye(3)
    left = np.concatenate([columns, prior])
    right = np.concatenate([np.ones(len(latency_ms)), prior @ np.array([1.0, 0.0, 0.0])])
    scale, per_kernel, constant = np.linalg.lstsq(left, right, rcond=None)[0]
    return Composition(float(scale), float(per_kernel) * kernel, float(constant) * unit)


def kernel_extras(fitted: Composition, counts: Floats, ms: Floats, latency_ms: Floats) -> Floats:
    """What measured networks say of single kernels beyond their own times, `(k,)`, in ms of kernel time.

    A kernel in a network is not quite what the profiler saw: its overhead differs by kind, its inputs are warm or cold
    by what ran before. The residuals of the composition are shared out among the kernels by ridge regression: the
    posterior mean of linear kernel costs whose prior is the composition itself.

    Source: Bishop, "Pattern recognition and machine learning", 2006, section 3.3.1.

    Args:
        fitted: the composition.
        counts: `(n, k)`, how often each network runs each kernel.
        ms: `(k,)`, times of kernels.
        latency_ms: `(n,)`, measured.

    Returns:
        Zeros if there are no networks.
    """
    if len(latency_ms) == 0 or fitted.scale <= 0:
        return np.zeros(len(ms))
    left = counts * (KERNEL_ERROR * fitted.scale * ms) / latency_ms[:, None] / NETWORK_ERROR
    right = (latency_ms - fitted.apply(counts @ ms, counts.sum(axis=1))) / latency_ms / NETWORK_ERROR
    share = np.linalg.solve(left.T @ left + np.eye(len(ms)), left.T @ right)
    return np.asarray(share * KERNEL_ERROR * ms)
