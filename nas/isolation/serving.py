"""The worker's side: requests come, code of others is called, what it gave or raised goes back."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from typing import Any

from device_profiles import errors
from device_profiles.errors import HwnasError, PluginError
from device_profiles.plugins import text_of
from nas.isolation.checking import Broken
from nas.isolation.frames import Channel, Header

Handle = Callable[[Header, bytes], tuple[Header, bytes]]


def serve(channel: Channel, handle: Handle) -> None:
    """Answer until the search is gone.

    An answer has `raised` where the toolkit's own errors came, `failed` with a text where any other did, and `spoiled`
    where nobody knows in what state this process is since.
    """
    me, home = os.getpid(), os.open(".", os.O_RDONLY)
    while True:
        found = channel.receive()
        assert isinstance(found, tuple)
        payload = b""
        try:
            with contextlib.suppress(OSError):
                os.fchdir(home)  # each request finds the folder that it would find in the search
            reply, payload = handle(*found)
        except HwnasError as error:
            state = json.loads(json.dumps(error.__dict__, default=str))
            reply = {"raised": {"type": type(error).__name__, "text": str(error), "state": state}}
        except BaseException as error:  # `SystemExit`, an interrupt that it raised itself: it is asked for once
            said = str(error) if isinstance(error, Broken) else text_of(error)
            reply = {"failed": said, "spoiled": not isinstance(error, Exception | GeneratorExit)}
            reply["spoiled"] |= isinstance(error, MemoryError)
        if os.getpid() != me:
            os._exit(0)  # it forked, and let the child come back: there is one answer
        channel.send(reply, payload)


def raised(plain: dict[str, Any]) -> HwnasError:
    """An error of the toolkit that came from a worker; of a type that this process does not know, one of a plug-in."""
    kinds = {kind.__name__: kind for kind in _kinds(HwnasError)}
    kind = kinds.get(str(plain["type"]), PluginError)
    return errors._restored(kind, (str(plain["text"]),), {"message": str(plain["text"]), "hint": "", **plain["state"]})


def _kinds(kind: type[HwnasError]) -> list[type[HwnasError]]:
    return [kind, *(inner for sub in kind.__subclasses__() for inner in _kinds(sub))]
