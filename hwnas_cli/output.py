"""Standard output is for the answer: what other code prints meanwhile goes to standard error."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def kept_for_the_answer(wanted: bool) -> Iterator[None]:
    """Within the block, printing goes to standard error, by libraries in C as well; after it, the answer is printed.

    Where code of others closed standard output, the answer gets it back.

    Args:
        wanted: False for commands whose output is text for people.
    """
    if not wanted:
        yield
        return
    before, saved = sys.stdout, _moved()
    # An object of its own, as code of others may close it.
    sys.stdout = sys.stderr if saved is None else open(2, "w", buffering=1, errors="replace", closefd=False)  # noqa: SIM115
    try:
        yield
    finally:
        sys.stdout = before
        if saved is not None:
            os.dup2(saved, 1)
            os.close(saved)
            if before.closed:
                sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115


def _moved() -> int | None:
    """A copy of standard output, which is standard error now; None where Python prints somewhere else."""
    try:
        sys.stdout.flush()
        if sys.stdout.fileno() != 1 or sys.stderr.fileno() != 2:
            return None
        saved = os.dup(1)
        os.dup2(2, 1)
    except (OSError, ValueError, AttributeError):  # closed, or no file: a test's buffer
        return None
    return saved
