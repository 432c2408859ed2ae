"""A worker of others' code is forked from a process that has a past, and is held up by none of it."""

import gc
import os
import time

from nas.isolation.sandbox import Sandbox


class Session:
    """As a runtime's: when it is collected it waits for its threads, and a forked process has none of them."""

    def __init__(self):
        self.itself = self
        self.home = os.getpid()

    def __del__(self):
        if os.getpid() != self.home:
            time.sleep(3600)


def answers(channel):
    while True:
        try:
            channel.receive(None)
        except EOFError:
            return
        made = [[] for _ in range(2000)]  # a collector that counts what is made would collect here
        channel.send({"made": len(made)})


def test_what_a_process_has_let_go_of_is_not_collected_in_its_keeper_or_workers():
    kept = []

    def forget():
        """In the forked process the session is garbage now, and the next thing made collects it."""
        kept.clear()
        gc.enable()

    os.register_at_fork(after_in_child=forget)
    sandbox = Sandbox(answers)
    gc.disable()  # here it stays as young as it is
    try:
        kept.append(Session())
        for _ in range(2):
            began = time.monotonic()
            assert sandbox.call({"what": 1}, seconds=20)[0] == {"made": 2000}
            sandbox.close()
            assert time.monotonic() - began < 20
    finally:
        gc.enable()
        kept.clear()  # processes that others fork hold none
