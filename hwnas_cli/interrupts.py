"""An interrupt ends the command with 130, whenever it comes: before anything is loaded, inside of an import, at work.

Three times: until the command is loaded nothing is there to be kept, so the process ends at once; while it works an
interrupt is an exception, and is remembered, because imports and callbacks turn exceptions into others; when the answer
is being written nothing interrupts it any more.

Hardly anything is imported here: what runs first must be the first to be ready.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130

_state: dict[str, int] = {"own": False, "seen": False, "out": 1}


def end_at_once(out: int = 1) -> None:
    """From now on an interrupt ends the process. Where interrupts are ignored, as in the background, they stay so.

    Args:
        out: descriptor of standard output.
    """
    _state["out"] = out
    if _state["own"] or signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        _state["own"] = True
        signal.signal(signal.SIGINT, _end)


def raise_from_here() -> None:
    """From now on an interrupt is a `KeyboardInterrupt`."""
    _state["seen"] = False
    if _state["own"]:
        signal.signal(signal.SIGINT, _raise)


def no_more() -> None:
    """From now on interrupts are ignored: the answer is known."""
    if _state["own"]:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def seen() -> bool:
    """Whether there was one since `raise_from_here`, whatever became of its exception."""
    return bool(_state["seen"])


def _raise(number: int, frame: FrameType | None) -> None:
    _state["seen"] = True
    raise KeyboardInterrupt


def _end(number: int, frame: FrameType | None) -> None:
    """Say so without anything that may not be loaded yet."""
    words = sys.argv[1:]
    texts = {2: "\ninterrupted: nothing was begun\n"}
    if any(word.partition("=")[0] == "--json" for word in words):
        name = words[0] if words[0].isascii() and words[0].isalpha() else "hwnas"
        error = '{"type": "Interrupted", "message": "interrupted", "hint": ""}'
        texts[_state["out"]] = f'{{"schema": "hwnas.{name}/1", "error": {error}}}\n'
    for descriptor, text in texts.items():
        with contextlib.suppress(OSError):  # nobody listens
            os.write(descriptor, text.encode())
    os._exit(INTERRUPTED)
