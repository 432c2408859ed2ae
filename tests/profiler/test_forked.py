"""Work in forked processes is held up by nothing that their parent has let go of."""

import gc
import os
import signal

import pytest

from profiler.compiling import forked


class Session:
    """As a runtime's: when it is collected it waits for its threads, and a forked process has none of them."""

    def __init__(self):
        self.itself, self.home = self, os.getpid()

    def __del__(self):
        if os.getpid() != self.home:
            os.kill(os.getpid(), signal.SIGKILL)  # it would wait for ever; a test shall not


def work(number):
    gc.collect()
    return number


@pytest.mark.parametrize("kept", [False, True])
def test_a_session_of_the_parent_is_not_collected_in_workers(kept):
    gc.disable()
    try:
        sessions = [Session() for _ in range(3)]
        if not kept:
            sessions.clear()
        assert list(forked(work, 4, workers=2)) == [0, 1, 2, 3]
    finally:
        gc.enable()
