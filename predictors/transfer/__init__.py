"""Latency on a device that was never seen, from some ten measurements and the tables of other devices.

Example:
    >>> from predictors.transfer import TransferPredictor
    >>> transfer = TransferPredictor(choices=[5] * 6)
    >>> transfer.fit_sources({"gpu": (archs, latency_ms)})                                         # doctest: +SKIP
    >>> rows = transfer.choose(pool, n=10)                                                         # doctest: +SKIP
    >>> transfer.adapt(pool[rows], measured_ms)                                                    # doctest: +SKIP

It knows architectures as rows of integers. It does not measure, and it knows nothing of kernels or operators;
importing it imports nothing heavy.
"""

from __future__ import annotations

from predictors.transfer.predictor import Suspect, TransferPredictor

__all__ = ["Suspect", "TransferPredictor"]
