"""Linear algebra on one thread: matrices of searches are small, and threads that wait for each other cost more."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any


def one_thread() -> AbstractContextManager[Any]:
    """Within it BLAS uses one thread.

    On two cores, one of which did something else, 400 evaluations of `auto` took 118 s of CPU with two threads, 10 s
    with one.
    """
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1, user_api="blas")
    return limits
