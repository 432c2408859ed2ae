"""What the operating system says, by the names of this project: the one place that knows which exit code it means.

A disk that is full, a device that fails, memory that runs out are the machine's (3). A path that cannot be used, a name
that cannot be written, a file that is nested too deep are the data's (4). A command line knows that a path is its own
output and says 2 (`device_profiles.outputs`). Never 1: that is an answer.
"""

from __future__ import annotations

import errno
from pathlib import Path

from device_profiles.cache import cache_folder
from device_profiles.errors import DeviceError, HwnasError, InvalidData

#: What says nothing of a path, only of the machine.
_OF_THE_MACHINE = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ENOMEM, errno.EAGAIN, errno.EMFILE,
        errno.ENFILE, errno.EBUSY, errno.ENXIO, errno.ENODEV, errno.EPIPE, errno.ESTALE, errno.ETIMEDOUT,
        errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENOEXEC,
    }
)  # fmt: skip
_SPACE = "Free some space and run the same command again."
_CACHE = "Set HWNAS_CACHE to a folder that can be written."


def named(error: BaseException) -> HwnasError | None:
    """The error of this project that an error of the system is; None if it is none of the system's.

    Args:
        error: any; `OSError`, `MemoryError`, `RecursionError` and `UnicodeError` have a name.
    """
    if isinstance(error, HwnasError):
        return error
    if isinstance(error, MemoryError):
        return DeviceError(
            f"memory ran out{f': {error}' if str(error) else ''}", hint="Ask for less at once, or use a larger machine."
        )
    if isinstance(error, RecursionError):
        return InvalidData("what was read is nested too deep", hint="Make it flatter.")
    if isinstance(error, UnicodeError):
        return InvalidData(f"a text or a name is not UTF-8: {error}", hint="Rename the file, or write it as UTF-8.")
    return of_system(error) if isinstance(error, OSError) else None


def of_system(error: OSError) -> HwnasError:
    """An `OSError` by its cause."""
    path = next((str(name) for name in (error.filename, error.filename2) if isinstance(name, (str, Path))), "")
    said = error.strerror or str(error) or type(error).__name__
    message = f"cannot use {path}: {said}" if path else said
    if error.errno in _OF_THE_MACHINE:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        return DeviceError(message, hint=_SPACE if full else _CACHE if _in_cache(path) else "")
    if _in_cache(path):
        return DeviceError(f"the cache cannot be used: {message}", hint=_CACHE)
    if "temporary directory" in said:
        return DeviceError(said, hint="Set TMPDIR to a folder that can be written.")
    return InvalidData(message, hint="Give another path." if path else "")


def _in_cache(path: str) -> bool:
    """Whether a path lies in the cache, or above it."""
    if not path:
        return False
    try:
        cache = cache_folder().absolute()
        place = Path(path).absolute()
    except (HwnasError, OSError):
        return False
    return place.is_relative_to(cache) or cache.is_relative_to(place)
