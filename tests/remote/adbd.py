"""A phone's daemon, as small as it can be: connections, the shell's second protocol, and files by sync.

Source: the Android Open Source Project's `protocol.txt`, `SERVICES.TXT`, `SYNC.TXT` and `shell_protocol.h` of adb.
"""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import threading
from pathlib import Path

#: What the phone calls the place that its shell may write to.
THERE = "/data/local/tmp"
MOST = 256 * 1024
BANNER = b"device::ro.product.name=made;ro.product.model=Made Up;features=shell_v2,cmd\0"
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)


class Phone:
    """Answers adb on a port of this machine.

    Args:
        root: the folder that stands for `/data/local/tmp`.
        programs: a folder of programs that its shell finds first, such as `getprop`.
    """

    def __init__(self, root: Path, programs: Path):
        self.root, self.programs = root, programs
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.links = []
        threading.Thread(target=self._accept, daemon=True).start()

    def unplug(self):
        """The cable, for a moment."""
        while self.links:
            with contextlib.suppress(OSError):  # the computer's end may have gone before
                self.links.pop().socket.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.server.close()
        self.unplug()

    def _accept(self):
        while True:
            try:
                made, _ = self.server.accept()
            except OSError:
                return
            link = Link(made, self)
            self.links.append(link)
            threading.Thread(target=link.serve, daemon=True).start()

    def here(self, path: str) -> str:
        """A path of the phone on this machine."""
        return path.replace(THERE, str(self.root))


class Link:
    """One connection with its streams."""

    def __init__(self, connection, phone):
        self.socket, self.phone = connection, phone
        self.writing, self.streams, self.last = threading.Lock(), {}, 0

    def serve(self):
        try:
            while True:
                command, first, second, content = self._message()
                if command == b"CNXN":
                    self.send(b"CNXN", 0x01000001, MOST, BANNER)
                elif command == b"OPEN":
                    self.last += 1
                    stream = self.streams[self.last] = Stream(self, self.last, first)
                    threading.Thread(target=stream.serve, args=(content.rstrip(b"\0").decode(),), daemon=True).start()
                elif second in self.streams:
                    self.streams[second].told(command, content)
        except OSError:
            for stream in list(self.streams.values()):
                stream.told(b"CLSE", b"")

    def _message(self):
        command, first, second, size, _, _ = struct.unpack("<4s5I", exactly(self.socket.recv, 24))
        return command, first, second, exactly(self.socket.recv, size)

    def send(self, command, first, second, content=b""):
        magic = struct.unpack("<I", command)[0] ^ 0xFFFFFFFF
        head = struct.pack("<4s5I", command, first, second, len(content), sum(content) & 0xFFFFFFFF, magic)
        with self.writing:
            self.socket.sendall(head + content)


def exactly(read, size):
    found = b""
    while len(found) < size:
        more = read(size - len(found))
        if not more:
            raise OSError("closed")
        found += more
    return found


class Stream:
    """One service: a command of the shell, or sync."""

    def __init__(self, link, mine, theirs):
        self.link, self.mine, self.theirs = link, mine, theirs
        self.heard, self.ready = os.pipe(), threading.Semaphore(0)
        self.process = None

    def serve(self, service):
        self.link.send(b"OKAY", self.mine, self.theirs)
        try:
            if service.startswith("shell"):
                self._shell(service.partition(":")[2])
            elif service.startswith("sync:"):
                self._sync()
        except OSError:
            pass
        self.link.streams.pop(self.mine, None)
        self._close_link()

    def _close_link(self):
        with contextlib.suppress(OSError):
            self.link.send(b"CLSE", self.mine, self.theirs)

    def told(self, command, content):
        if command == b"OKAY":
            self.ready.release()
        elif command == b"WRTE":
            threading.Thread(target=self._keep, args=(content,), daemon=True).start()
        elif command == b"CLSE":
            self.ready.release()
            if self.process is not None and self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGHUP)  # as a phone's shell does
            with contextlib.suppress(OSError):
                os.close(self.heard[1])

    def _keep(self, content):
        try:
            while content:  # acknowledged when it is taken, so that one comes after the other
                content = content[os.write(self.heard[1], content) :]
            self.link.send(b"OKAY", self.mine, self.theirs)
        except OSError:
            pass

    def write(self, content):
        for start in range(0, len(content), MOST):
            self.link.send(b"WRTE", self.mine, self.theirs, content[start : start + MOST])
            self.ready.acquire()

    def read(self, size):
        return exactly(lambda most: os.read(self.heard[0], most), size)

    def _shell(self, command):
        variables = {
            **os.environ,
            "PATH": f"{self.link.phone.programs}:{os.environ['PATH']}",
            "HWNAS_LOCKS": str(self.link.phone.root),
        }
        self.process = subprocess.Popen(
            ["sh", "-c", self.link.phone.here(command)], cwd=self.link.phone.root, env=variables, process_group=0,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        threading.Thread(target=self._stdin, daemon=True).start()
        lock = threading.Lock()

        def out(stream, kind):
            while found := os.read(stream.fileno(), MOST // 2):
                with lock:
                    self.write(struct.pack("<BI", kind, len(found)) + found)

        readers = [
            threading.Thread(target=out, args=(stream, kind), daemon=True)
            for stream, kind in ((self.process.stdout, STDOUT), (self.process.stderr, STDERR))
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        code = self.process.wait()
        self.write(struct.pack("<BIB", EXIT, 1, code & 0xFF))

    def _stdin(self):
        try:
            while True:
                kind, size = struct.unpack("<BI", self.read(5))
                content = self.read(size)
                if kind == STDIN:
                    self.process.stdin.write(content)
                    self.process.stdin.flush()
                elif kind == CLOSE_STDIN:
                    self.process.stdin.close()
        except (OSError, ValueError):
            with contextlib.suppress(OSError):
                self.process.stdin.close()

    def _sync(self):
        while True:
            kind, size = struct.unpack("<4sI", self.read(8))
            path = self.read(size).decode() if kind != b"DONE" else ""
            if kind == b"QUIT":
                return
            if kind == b"STAT":
                place = Path(self.link.phone.here(path))
                found = place.stat() if place.exists() else None
                mode, length, when = (found.st_mode, found.st_size, int(found.st_mtime)) if found else (0, 0, 0)
                self.write(struct.pack("<4s3I", b"STAT", mode, length, when))
            elif kind == b"SEND":
                name, _, mode = path.rpartition(",")
                place = Path(self.link.phone.here(name))
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("wb") as file:
                    while (part := struct.unpack("<4sI", self.read(8)))[0] == b"DATA":
                        file.write(self.read(part[1]))
                place.chmod(int(mode) & 0o777)
                self.write(struct.pack("<4sI", b"OKAY", 0))
