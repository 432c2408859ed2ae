"""Answers that are looked up again and again, on standard error, until the user has seen enough."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from device_profiles.errors import HwnasError
from hwnas_cli.answer import Answer, say

#: Seconds between two looks: a search judges at most some architectures meanwhile, and a server has other work.
EVERY_S = 3.0
#: Has a terminal begin at its top with nothing below.
_CLEAR = "\x1b[H\x1b[2J"


def watched(look: Callable[[], Answer], *, watch: bool, pause: Callable[[float], None] | None = None) -> Answer:
    """An answer as it is now; or, watched, none before an interrupt.

    A look that fails is told, and the next one may succeed: servers are restarted. The first one must not.

    Args:
        look: gives the answer.
        watch: look again and again.
        pause: told the seconds until the next look.
    """
    answer = look()
    while watch:
        _show(answer.text)
        (pause or time.sleep)(EVERY_S)
        try:
            answer = look()
        except HwnasError as error:
            answer = Answer({}, f"error: {error.message}")
    return answer


def _show(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(_CLEAR)
    say(text)
