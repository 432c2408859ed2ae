"""An Arm board without a board: Debian's arm64 Python and the aarch64 wheels of a runtime, run by qemu."""

import fcntl
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from device_profiles.cache import cache_folder

QEMU = "qemu-aarch64-static"
DEBS = (
    "libc6", "libgcc-s1", "libstdc++6", "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "zlib1g",
    "libexpat1", "libssl3", "libffi8", "libbz2-1.0", "liblzma5", "libcrypt1", "libuuid1",
)  # fmt: skip
WHEELS = ("numpy", "onnxruntime")
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
#: The runtime asks the kernel what its CPU can do, and crashes where that is another kind of CPU.
CPUINFO = (
    "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
    "CPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\nModel\t\t: Emulated Cortex-A72\n"
)


def python(place: Path) -> Path:
    """A `python3` of aarch64 in a folder; what it consists of is kept in the cache."""
    for program in (QEMU, "apt-get", "dpkg"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}: apt install qemu-user-static")
    root = _sysroot()
    starts = place / "python3"
    starts.write_text(
        f'#!/bin/sh\nexport PYTHONHOME={root}/usr PYTHONPATH="{root}/site:$PYTHONPATH" QEMU_CPU=cortex-a72\n'
        f'exec {QEMU} -0 "$0" -L {root} {root}/usr/bin/python3.11 "$@"\n'
    )
    starts.chmod(0o755)
    return starts


def _sysroot() -> Path:
    folder = cache_folder() if "HWNAS_CONVERTERS" not in os.environ else Path(os.environ["HWNAS_CONVERTERS"])
    folder.mkdir(parents=True, exist_ok=True)
    root = folder / "arm-sysroot"
    with (folder / "arm-sysroot.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            new = folder / "arm-sysroot.new"
            shutil.rmtree(new, ignore_errors=True)
            (new / "debs").mkdir(parents=True)
            try:
                _fill(new)
            except subprocess.CalledProcessError as error:
                pytest.skip(f"{error.cmd[0]} cannot get the parts of an Arm board: {error.stderr[-200:]!r}")
            new.rename(root)
    return root


def _fill(root: Path) -> None:
    def run(*command, cwd=root):
        subprocess.run(command, cwd=cwd, check=True, capture_output=True)

    architectures = subprocess.run(
        ["dpkg", "--print-foreign-architectures"], capture_output=True, text=True, check=True
    )
    if "arm64" not in architectures.stdout.split():
        run("dpkg", "--add-architecture", "arm64")
        run("apt-get", "update", "-qq")
    run("apt-get", "download", "-qq", *(f"{name}:arm64" for name in DEBS), cwd=root / "debs")
    for deb in sorted((root / "debs").iterdir()):
        run("dpkg", "-x", str(deb), str(root))
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    download = ("pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--python-version", "3.11")
    run(sys.executable, "-m", *download, *platforms, "-d", str(root / "wheels"), *WHEELS)
    for wheel in sorted((root / "wheels").iterdir()):
        zipfile.ZipFile(wheel).extractall(root / "site")
    for used in ("debs", "wheels"):
        shutil.rmtree(root / used)
    (root / "proc").mkdir()
    (root / "proc" / "cpuinfo").write_text(CPUINFO)
