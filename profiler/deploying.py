"""The agent comes to a device: its sources and, where they are missing, the runtime's packages.

Everything lies in one folder of the user there, and nothing else is changed. A board without a network is given a
folder of wheels.
"""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import tarfile
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from device_profiles.errors import DeviceError, InvalidData, UsageError
from device_profiles.profile import Target
from profiler import runtimes, transports
from profiler.agent.job import Candidate, Job, JobPlan
from profiler.agent.remote import sources
from profiler.transports.remote import RemoteTransport

#: Seconds for all of it: a slow board installs wheels for minutes.
PATIENCE_S = 1800.0
#: What every agent needs besides its runtime.
ALWAYS = ("numpy",)
#: Facts that equal devices share.
_KIND = ("board", "cpu_model", "machine", "cpus")
_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Deployed:
    """What is on a device now.

    Attributes:
        python: version of its interpreter.
        machine: its architecture.
        packages: versions of those that the agent needs.
        installed: those of them that were not there before.
    """

    python: str
    machine: str
    packages: Mapping[str, str]
    installed: tuple[str, ...]


def deploy(transport: RemoteTransport, runtime: str, *, wheels: Path | None = None) -> Deployed:
    """Bring the agent to a device.

    Args:
        transport: the way there.
        runtime: whose packages it needs.
        wheels: a folder of wheels that packages are installed from; else from where the device's pip finds them.

    Raises:
        DeviceError: the device has no Python that will do, or a package cannot be installed; with its words.
        InvalidData: the folder has no wheels.
    """
    wanted = (*ALWAYS, *runtimes.REGISTRY.get(runtime).traits.packages)
    transport.drop()
    said = _sent(transport, "deploy", [*dict.fromkeys(wanted)], _bundle(wheels))
    return Deployed(said["python"], said["machine"], said["packages"], tuple(said["installed"]))


def detect(transport: RemoteTransport) -> dict[str, Any]:
    """Facts of a device for its profile: nothing of ours needs to be there, and nothing stays.

    Raises:
        DeviceError: it has no Python that will do, or cannot be reached.
    """
    told = transport.describe()
    return dict(_sent(transport, "detect", [], _bundle(None))["facts"]) if told is None else told


def detect_alike(target: Target) -> dict[str, Any]:
    """Facts of the devices of a target: of a fleet those of the first, if the others are of its kind.

    Raises:
        UsageError: one is of another.
        DeviceError: see `detect`.
    """
    first: dict[str, Any] = {}
    for one in target.each_device():
        facts = detect(transports.elsewhere_or_refuse(one))
        first = first or facts
        other = [name for name in _KIND if facts.get(name) != first.get(name)]
        if other:
            told = ", ".join(f"{name} is {facts.get(name)}, not {first.get(name)}" for name in other)
            raise UsageError(
                f"{one.access.address} and {target.access.address} are no equal devices: {told}",
                hint="Devices that differ are targets of their own: add each under a name of its own.",
            )
    return first


def try_out(target: Target) -> float:
    """Run one kernel on a device that the agent was brought to: its time in ms.

    Raises:
        DeviceError: it cannot be run, with the device's words.
    """
    from profiler.fusing import compile_for
    from profiler.testing import convolution

    runtime = target.runtime
    with tempfile.TemporaryDirectory(prefix="hwnas-job-") as place:
        path = Path(place) / "kernel.onnx"
        path.write_bytes(convolution())
        file = compile_for(target, path).name
        candidates = (Candidate("kernel", file),)
        plan = JobPlan(rounds=3, min_rounds=3, seconds=1.0)
        job = Job(
            uuid.uuid4().hex, runtime.name, candidates, plan, runtime.threads, runtime.precision,
            options=dict(runtime.options),
        )  # fmt: skip
        job.write(Path(place) / "job.json")
        lines = [json.loads(line) for line in transports.of(target).run(Path(place), {}, lambda: PATIENCE_S)]
    blocks = [line["ns"] / line["calls"] / 1e6 for line in lines if line["event"] == "block"]
    failed = [line["reason"] for line in lines if line["event"] == "failed"]
    if not blocks:
        raise DeviceError(f"{target.name} cannot run a kernel: {(failed or ['it says nothing'])[0]}")
    return float(min(blocks))


def _sent(transport: RemoteTransport, what: str, words: Sequence[str], bundle: bytes) -> dict[str, Any]:
    """Run the installer on the device, which reads the bundle; its last line is its answer."""
    code = (files("profiler.agent") / "installer.py").read_text()
    remote = shlex.join([*transport.python, "-c", code, what, transport.home, *words])
    command = transport.command(remote)
    try:
        done = subprocess.run(command, input=bundle, capture_output=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        raise DeviceError(f"{transport.address} took more than {PATIENCE_S:.0f} s to {what}") from None
    except OSError as error:
        raise transport.no_program(command[0], error) from error
    words_of = done.stderr.decode(errors="replace").strip()
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    if done.returncode in (126, 127):
        raise DeviceError(
            f"{transport.address} has no {transport.python[0]}", hint="The agent needs Python 3.11 or later there."
        )
    if done.returncode or not lines:
        told = [line for line in words_of.splitlines() if line.startswith("hwnas: ")]
        if told:
            raise DeviceError(f"{transport.address}: {told[-1].removeprefix('hwnas: ')}", hint=transport.help)
        raise transport.explain(words_of, done.returncode)
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def _bundle(wheels: Path | None) -> bytes:
    """The agent's sources, and wheels, as a compressed archive."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz", compresslevel=6) as archive:
        for path in sources(_ROOT):
            archive.add(path, f"agent/{path.relative_to(_ROOT).as_posix()}", filter=_plain)
        if wheels is not None:
            found = sorted(wheels.glob("*.whl")) if wheels.is_dir() else []
            if not found:
                raise InvalidData(
                    f"there is no wheel in {wheels}",
                    hint="pip download --only-binary=:all: --platform manylinux_2_28_aarch64 -d FOLDER PACKAGE",
                )
            for path in found:
                archive.add(path, f"wheels/{path.name}", filter=_plain)
    return made.getvalue()


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without who owned it here."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o644
    return entry
