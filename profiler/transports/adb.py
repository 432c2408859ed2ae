"""An Android phone by the system's adb, over its shell protocol: standard streams as they are, and an exit code.

Android has no Python: a folder with one, and with the runtime in it, is pushed once (`hwnas devices deploy --python`).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from device_profiles.errors import DeviceError, InvalidData
from profiler.transports.protocol import LinkLost, NotDeployed, Unreachable
from profiler.transports.remote import RemoteTransport

_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")
#: Seconds for a push, and for a word of the shell.
PUSH_S, WORD_S = 900.0, 30.0
#: What the shell is asked about a phone.
_PROPERTIES = {
    "ro.product.manufacturer": "maker", "ro.product.model": "board", "ro.soc.model": "soc",
    "ro.product.cpu.abi": "abi", "ro.build.version.release": "android",
}  # fmt: skip


class AdbTransport(RemoteTransport):
    """A phone.

    Args:
        address: its serial number, or `host:port`.
        options: those of all.
    """

    home: ClassVar[str] = "/data/local/tmp/hwnas"
    python: ClassVar[tuple[str, ...]] = (f"{home}/base/bin/python3",)
    help: ClassVar[str] = "A Python with numpy and the runtime: hwnas devices deploy TARGET --python FOLDER"

    def __init__(self, address: str, options: Mapping[str, object] | None = None) -> None:
        super().__init__(address, options)
        if not _SERIAL.fullmatch(address):
            raise InvalidData(f"{address!r} is no serial number of a phone", hint="See: adb devices")

    def command(self, remote: str) -> list[str]:
        """`adb`, without a terminal: bytes arrive as they are."""
        return ["adb", "-s", self.address, "shell", "-T", remote]

    def push(self, folder: Path) -> None:
        """Bring the phone a Python: a folder with `bin/python3`.

        Raises:
            InvalidData: it has none.
            DeviceError: it does not arrive.
        """
        if not (folder / "bin" / "python3").exists():
            raise InvalidData(f"there is no bin/python3 in {folder}", hint="Give the folder of a Python for the phone.")
        self._word(f"rm -rf {self.home}/base && mkdir -p {self.home}")
        self._adb(["push", f"{folder}/.", f"{self.home}/base"], PUSH_S)
        self._word(f"chmod -R 755 {self.home}/base/bin")

    def describe(self) -> dict[str, Any]:
        """Facts that the phone's own shell tells; a Python need not be there."""
        found: dict[str, Any] = {}
        for name, fact in _PROPERTIES.items():
            value = self._word(f"getprop {name}").strip()
            if value:
                found[fact] = value
        found["machine"] = self._word("uname -m").strip()
        found["system"] = self._word("uname -sr").strip()
        found["cpus"] = self._word("cat /proc/cpuinfo").count("processor\t") or 1
        return found

    def explain(self, words: str, code: int | None) -> DeviceError:
        """What adb said."""
        last = words.splitlines()[-1] if words else f"it ended with code {code}"
        if "unauthorized" in words:
            return DeviceError(f"{self.address} has not allowed this machine", hint="Unlock it, and say yes there.")
        if code in (126, 127):
            return NotDeployed(
                f"there is no agent on {self.address}", hint="hwnas devices deploy TARGET --python FOLDER"
            )
        if any(word in words for word in ("not found", "no devices", "offline", "cannot connect", "failed to connect")):
            return Unreachable(f"{self.address} cannot be reached: {last}", hint="Is it plugged in? See: adb devices")
        return LinkLost(f"the link to {self.address} is gone: {last}", hint="Run the same command again.")

    def _word(self, remote: str) -> str:
        return self._adb(["shell", "-T", remote], WORD_S)

    def _adb(self, words: list[str], patience_s: float) -> str:
        command = ["adb", "-s", self.address, *words]
        try:
            done = subprocess.run(
                command, capture_output=True, stdin=subprocess.DEVNULL, timeout=patience_s, check=False
            )
        except subprocess.TimeoutExpired:
            raise Unreachable(f"{self.address} does not answer", hint="Plug it in again.") from None
        except OSError as error:
            raise self.no_program("adb", error) from error
        if done.returncode:
            raise self.explain(done.stderr.decode(errors="replace").strip(), done.returncode)
        return done.stdout.decode(errors="replace")


TRANSPORT = AdbTransport
