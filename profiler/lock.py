"""Measuring is exclusive per device, searching per run: lock files with owner and age, in one place for the machine."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_profiles.errors import DeviceBusy, DeviceError, RunBusy

if TYPE_CHECKING:
    from device_profiles.profile import Target
    from profiler.store import Store

#: Runtimes that no device runs: two of them at once disturb nobody.
SIMULATED = ("fake", "replay")
#: Another user's new lock file is closed to us until its owner has opened it to all.
_OPENING_S = 1.0
_POLL_S = 0.2
#: Processes that a search has forked hold its lock with it; when it is killed, they are gone within this.
_ORPHANS_S = 1.0


def lock_folder() -> Path:
    """`$HWNAS_LOCKS`, else a folder in `/tmp`: not in the cache, which two users of a device do not share."""
    return Path(os.environ.get("HWNAS_LOCKS") or "/tmp/hwnas-locks")  # noqa: S108  # checked in `_opened_folder`


def device_of(target: Target, store: Store) -> str:
    """What is to be held while a target is measured: its device; of a simulated one, the store that it fills."""
    return f"simulated in {store.identity}" if target.runtime.name in SIMULATED else target.device_id


@contextlib.contextmanager
def device_lock(device_id: str, *, folder: Path | None = None, wait: bool = False) -> Iterator[None]:
    """Hold a device while measuring.

    Args:
        device_id: see `device_of`.
        folder: where the lock file lies; `lock_folder()` if None.
        wait: until it is free.

    Raises:
        DeviceBusy: another process holds it; the message says which and since when.
        DeviceError: no lock file can be made.
    """

    def busy(owner: str) -> DeviceBusy:
        return DeviceBusy(
            f"device {device_id!r} is being measured by {owner}",
            hint="Wait for it: two measurements at once would both be wrong.",
        )

    with _held(device_id, busy, folder or lock_folder(), wait=wait):
        yield


@contextlib.contextmanager
def run_lock(run: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the folder of a run while it is written to.

    Args:
        run: the folder, which need not be there yet.
        wait: until it is free.

    Raises:
        RunBusy: another process holds it; the message says which and since when.
        DeviceError: no lock file can be made.
    """

    def busy(owner: str) -> RunBusy:
        return RunBusy(
            f"run {run} is being searched by {owner}",
            hint="Wait for it with --wait, or give another folder with -o.",
        )

    with _held(_subject(run), busy, lock_folder(), wait=wait, patience_s=_ORPHANS_S):
        yield


def run_holder(run: Path) -> int | None:
    """The process of this machine that writes to the folder of a run, 0 if it did not say; None if there is none."""
    import fcntl

    try:
        with (lock_folder() / _name(_subject(run))).open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(_signed(file.read()).get("pid", 0))
    except OSError:
        pass  # nobody ever held it, or this file system has no locks
    return None


def _subject(run: Path) -> str:
    return f"run {run.resolve()}"


def _name(subject: str) -> str:
    """Of the lock's file."""
    return f"{hashlib.sha256(subject.encode(errors='surrogateescape')).hexdigest()[:16]}.lock"


@contextlib.contextmanager
def _held(
    subject: str, busy: Callable[[str], DeviceError], folder: Path, *, wait: bool, patience_s: float = 0.0
) -> Iterator[None]:
    """An operating-system lock on a file, so that it ends with its process, however that ends."""
    import fcntl

    until = time.monotonic() + patience_s
    with os.fdopen(_opened(folder, _name(subject)), "r+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not wait and time.monotonic() >= until:
                    file.seek(0)
                    raise busy(_owner(file.read())) from None
            except OSError as error:  # a file system without locks
                raise _no_lock(folder, error) from error
            time.sleep(_POLL_S)
        with contextlib.suppress(OSError):  # a full disk costs the signature, not the lock
            file.truncate(0)
            file.write(json.dumps({"pid": os.getpid(), "since_s": time.time()}))
            file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _opened(place: Path, name: str) -> int:
    """A descriptor of the lock file, which all users may open, whatever the umask of who made it."""
    try:
        folder = _opened_folder(place)
    except OSError as error:
        raise _no_lock(place, error) from error
    deadline = time.monotonic() + _OPENING_S
    try:
        while True:
            try:
                # Without O_CREAT first: Linux refuses it for files of others in a folder that all may write to.
                return os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            except FileNotFoundError:
                with contextlib.suppress(FileExistsError):
                    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                    made = os.open(name, flags, 0o666, dir_fd=folder)
                    os.fchmod(made, 0o666)
                    return made
            except PermissionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
    except OSError as error:
        raise _no_lock(place, error) from error
    finally:
        os.close(folder)


def _opened_folder(place: Path) -> int:
    """A descriptor of the folder of locks; all may make files in it, nobody may take away those of others."""
    try:
        place.mkdir(parents=True)
        place.chmod(0o1777)
    except FileExistsError:
        pass
    folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    facts = os.fstat(folder)
    open_to_all = bool(facts.st_mode & stat.S_IWOTH)
    if open_to_all and not facts.st_mode & stat.S_ISVTX:
        os.close(folder)
        raise PermissionError(errno.EPERM, "others may replace the files in it")
    return folder


def _no_lock(place: Path, error: OSError) -> DeviceError:
    return DeviceError(
        f"cannot lock anything in {place}: {error.strerror or error}",
        hint="Set HWNAS_LOCKS to a folder that all who measure on this machine can write to.",
    )


def _owner(text: str) -> str:
    owner = _signed(text)
    return f"process {owner['pid']}, for {time.time() - owner['since_s']:.0f} s" if owner else "another process"


def _signed(text: str) -> dict[str, Any]:
    """What a holder wrote: `pid` and `since_s`; nothing where it could not."""
    try:
        owner = json.loads(text)
        return {"pid": int(owner["pid"]), "since_s": float(owner["since_s"])}
    except (ValueError, KeyError, TypeError):
        return {}
