"""Devices on this machine: a real sshd with keys of its own, behind which the user's home is a folder of the test."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from device_profiles.profile import from_plain
from profiler import transports
from profiler.subjects import from_bytes
from profiler.transports.ssh import CONFIG

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


@dataclass
class Board:
    """A board behind ssh.

    Attributes:
        port: of its sshd.
        home: folder that stands for the user's home there.
        place: where its keys and settings are.
        server: its sshd.
    """

    port: int
    home: Path
    place: Path
    server: subprocess.Popen

    def target(self, runtime: str = "onnxruntime", **options):
        """A target on it."""
        access = {"transport": "ssh", "address": "board", "options": options}
        return from_plain({"name": "board", "access": access, "runtime": {"name": runtime}})

    def cut(self):
        """End all sessions, as a network does that is gone."""
        found = subprocess.run(["pgrep", "-P", str(self.server.pid)], capture_output=True, text=True, check=False)
        for pid in found.stdout.split():
            os.kill(int(pid), signal.SIGKILL)


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def start_sshd(place: Path, home: Path, *, shell: str = "sh") -> tuple[int, subprocess.Popen]:
    """A real sshd on loopback, and the settings of a client that knows it, in `HWNAS_SSH_CONFIG`'s form."""
    if not Path(SSHD).exists():
        pytest.skip("there is no sshd: apt install openssh-server")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it separates privileges
    port = free_port()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / name)], check=True)
    (place / "authorized").write_text((place / "user.pub").read_text())
    (place / "authorized").chmod(0o600)
    enter = place / "enter"
    enter.write_text(
        f"#!/bin/sh\ncd {home} && export HOME={home} HWNAS_LOCKS={home}/locks && "
        f'exec {shell} -c "$SSH_ORIGINAL_COMMAND"\n'
    )
    enter.chmod(0o755)
    (place / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {place}/host\nAuthorizedKeysFile {place}/authorized\n"
        f"StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\nForceCommand {enter}\n"
    )
    (place / "known").write_text(f"[127.0.0.1]:{port} {(place / 'host.pub').read_text()}")
    (place / "config").write_text(
        f"Host board\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {place}/user\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {place}/known\n  GlobalKnownHostsFile none\n"
    )
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(place / "sshd_config")], stderr=subprocess.DEVNULL)
    for _ in range(100):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return port, server
        time.sleep(0.05)
    pytest.skip("sshd does not answer")


@pytest.fixture
def relu():
    """Makes a subject: one operator on as many numbers as are given."""

    def make(width):
        node = helper.make_node("Relu", ["x"], ["y"])
        x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width]) for name in "xy")
        graph = helper.make_graph([node], "relu", [x], [y])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        return from_bytes(model.SerializeToString(), name=f"relu {width}")

    return make


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A board that nobody has deployed to."""
    place, home = tmp_path_factory.mktemp("sshd"), tmp_path_factory.mktemp("home")
    port, server = start_sshd(place, home)
    before = os.environ.get(CONFIG)
    os.environ[CONFIG] = str(place / "config")
    made = Board(port, home, place, server)
    yield made
    transports.of(made.target()).drop()
    server.kill()
    server.wait()
    if before is None:
        del os.environ[CONFIG]
    else:
        os.environ[CONFIG] = before


@pytest.fixture(scope="module")
def deployed(board):
    """The same with the agent on it; its Python is this one, where the runtimes are installed."""
    from profiler import deploying

    python = board.home / "bin" / "python3"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    enter = board.place / "enter"
    enter.write_text(enter.read_text().replace("&& exec", f"&& export PATH={python.parent}:$PATH && exec"))
    deploying.deploy(transports.elsewhere_or_refuse(board.target()), "onnxruntime")
    return board
