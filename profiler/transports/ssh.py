"""Any Linux board by the system's OpenSSH: keys alone, host keys checked, no password anywhere.

Ports, keys and proxies of a host are for `~/.ssh/config`, which is the user's own; a profile, which may come from
anybody, gives a port at most.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import ClassVar

from device_profiles.errors import DeviceError, InvalidData
from profiler.transports.protocol import HostKeyChanged, HostKeyUnknown, LinkLost, NotDeployed, Unreachable
from profiler.transports.remote import RemoteTransport

#: A configuration of ssh in place of `~/.ssh/config`.
CONFIG = "HWNAS_SSH_CONFIG"
_ADDRESS = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*@)?(?:[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.%]+\]|[0-9A-Fa-f:]+)"
)
_OPTIONS = (
    "BatchMode=yes", "StrictHostKeyChecking=yes", "PasswordAuthentication=no", "KbdInteractiveAuthentication=no",
    "ForwardAgent=no", "ForwardX11=no", "PermitLocalCommand=no", "ConnectTimeout=15", "ServerAliveInterval=10",
    "ServerAliveCountMax=3", "LogLevel=ERROR", "RequestTTY=no",
)  # fmt: skip


class SshTransport(RemoteTransport):
    """A board behind `ssh`.

    Args:
        address: `host` or `user@host`.
        options: `port`; and those of all.
    """

    options: ClassVar[tuple[str, ...]] = (*RemoteTransport.options, "port")

    def __init__(self, address: str, options: Mapping[str, object] | None = None) -> None:
        super().__init__(address, options)
        if not _ADDRESS.fullmatch(address):
            raise InvalidData(f"{address!r} is no address for ssh", hint="Give host or user@host.")
        port = self.chosen.get("port", 22)
        if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
            raise InvalidData(f"port must be 1 to 65535, got {port!r}", hint="Leave it out for 22.")

    def command(self, remote: str) -> list[str]:
        """`ssh`, with one word for the shell of the device."""
        words = ["ssh", *(word for option in _OPTIONS for word in ("-o", option))]
        if os.environ.get(CONFIG):
            words += ["-F", os.environ[CONFIG]]
        if "port" in self.chosen:
            words += ["-p", str(self.chosen["port"])]
        return [*words, "--", self.address.replace("[", "").replace("]", ""), remote]

    def explain(self, words: str, code: int | None) -> DeviceError:
        """What ssh said."""
        last = words.splitlines()[-1] if words else f"it ended with code {code}"
        if "IDENTIFICATION HAS CHANGED" in words:
            return HostKeyChanged(
                f"{self.address} is not the host that it was: its key has changed",
                hint=f"Only if you know why it has: ssh-keygen -R HOST, then ssh {self.address} once.",
            )
        if "Host key verification failed" in words or "host key is known" in words:
            return HostKeyUnknown(
                f"the key of {self.address} is not known",
                hint=f"Log in once by hand and compare the fingerprint: ssh {self.address}",
            )
        if "Permission denied" in words:
            return DeviceError(
                f"{self.address} lets us in with no key of ours: {last}", hint=f"ssh-copy-id {self.address}"
            )
        if code in (126, 127):
            return NotDeployed(f"there is no agent on {self.address}", hint="hwnas devices deploy TARGET")
        if code == 255 and any(word in words for word in _NO_WAY):
            return Unreachable(f"{self.address} cannot be reached: {last}", hint="Is it on, and in this network?")
        return LinkLost(f"the link to {self.address} is gone: {last}", hint="Run the same command again.")


_NO_WAY = (
    "Could not resolve", "Connection refused", "timed out", "No route to host", "Network is unreachable",
)  # fmt: skip

TRANSPORT = SshTransport
