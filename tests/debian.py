"""Installs Debian's packages that some tests use for real, where that can be done; those tests skip without them.

python tests/debian.py
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

#: Package, and a program of it.
PACKAGES = {
    "openssh-server": "/usr/sbin/sshd",
    "adb": "adb",
    "qemu-user-static": "qemu-aarch64-static",
    "postgresql": "/usr/lib/postgresql",
    "chromium": "chromium",
}


def missing() -> list[str]:
    """Packages whose programs are not here."""
    return [name for name, program in PACKAGES.items() if not (Path(program).exists() or shutil.which(program))]


def main() -> None:
    """Install what is missing, and say what cannot be."""
    wanted = missing()
    if not wanted:
        return
    if shutil.which("apt-get") is None or os.getuid() != 0:
        sys.stderr.write(f"some tests will be skipped without Debian's {', '.join(wanted)}\n")
        return
    quiet = {"stdout": subprocess.DEVNULL, "check": False, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
    subprocess.run(["apt-get", "update", "-qq"], **quiet)
    subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *wanted], **quiet)
    if missing():
        sys.stderr.write(f"not installed, and their tests will be skipped: {', '.join(missing())}\n")


if __name__ == "__main__":
    main()
