"""Which failures pass by themselves, and which stay until somebody mends the model.

A failure of the machine says nothing of the model: the next call tries again. A failure of the model is kept with its
reason, and tried again on request. Where it cannot be told, it is tried again: that costs one load, and a wrong "never"
costs the model.
"""

from __future__ import annotations

import builtins
import errno
import os
import re
import signal

#: Failures of the machine by the name of the error's type, as a store holds it, and why they may pass.
TRANSIENT = {
    "OSError": "a file was lost or could not be read just then",
    "MemoryError": "the memory was taken by others",
    "DeviceError": "the device or its worker failed, not the model",
    "DeviceBusy": "others were measuring",
    "RunBusy": "others were searching",
    "AgentEnded": "the worker ended, with no model in hand",
    "LinkLost": "the device may come back",
    "Unreachable": "the device may come back",
    "DeviceFull": "there was no space on the device",
    "NotDeployed": "the agent was missing",
    "HostKeyUnknown": "nobody had said that this is the host",
    "HostKeyChanged": "the host was another one",
    "BrokenProtocol": "the worker's answer was cut off",
    "StoreFull": "there was no space",
    "StoreBusy": "others were writing",
    "PluginError": "code of others failed, not the model",
    "TimedOut": "it took too long, which a busy machine does as well",
    "NoSuchFile": "a file was lost",
}

#: A crash is the model's own doing if the process ended by one of these signals; every other end came from outside, as
#: SIGKILL does from whoever frees memory.
_OWN_SIGNALS = ("SIGSEGV", "SIGABRT", "SIGILL", "SIGFPE", "SIGTRAP", "SIGSYS")
OWN_SIGNALS = frozenset(int(getattr(signal, name)) for name in _OWN_SIGNALS if hasattr(signal, name))

#: Runtimes wrap errors of the system into their own types; the system's words stay in the reason.
_SYSTEM = ("ENOSPC", "EDQUOT", "ENOMEM", "EMFILE", "ENFILE", "EIO", "ESTALE", "ENOENT")
WORDS = (*(os.strerror(getattr(errno, name)) for name in _SYSTEM if hasattr(errno, name)), "NO_SUCHFILE")

_ENDED = re.compile(r"ended with code -(\d+)")


def why_transient(kind: str, reason: str) -> str | None:
    """Why a failure may pass by itself, or None if it stays.

    Args:
        kind: the error's type, by name.
        reason: what it said.
    """
    for parent in _parents(kind):
        if parent in TRANSIENT:
            return TRANSIENT[parent]
    if kind == "RuntimeCrash":
        ended = _ENDED.search(reason)
        if ended is None or int(ended.group(1)) not in OWN_SIGNALS:
            return "the worker was ended from outside"
        return None
    words = next((words for words in WORDS if words in reason), None)
    return None if words is None else f"the system said: {words}"


def is_transient(kind: str, reason: str) -> bool:
    """Whether the next call tries again by itself."""
    return why_transient(kind, reason) is not None


def _parents(kind: str) -> tuple[str, ...]:
    """Names of a type and, where Python knows it, of what it derives from: a `FileNotFoundError` is an `OSError`."""
    found = getattr(builtins, kind, None)
    return tuple(parent.__name__ for parent in found.__mro__) if isinstance(found, type) else (kind,)
