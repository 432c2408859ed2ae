"""What all devices behind a link share: `ssh` and `adb` differ in the command that reaches the agent."""

from __future__ import annotations

import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from device_profiles.errors import DeviceError, InvalidData
from profiler.agent.job import PROTOCOL_VERSION, Job
from profiler.agent.remote import agent_digest
from profiler.transports import _link
from profiler.transports.protocol import AgentEnded, NotDeployed

_REDEPLOY = "hwnas devices deploy TARGET"


class RemoteTransport(ABC):
    """A device that a command reaches.

    Args:
        address: of the device.
        options: those of the transport; `cool_below_c` is of all: no worker starts while the device is warmer.
    """

    options: ClassVar[tuple[str, ...]] = ("cool_below_c",)
    #: How often in a row a campaign takes a new link without having got anything from the last.
    retries: ClassVar[int] = 7
    #: The folder of all that is ours on the device, below the user's home if it is relative.
    home: ClassVar[str] = ".hwnas"
    #: The device's own interpreter, as words of its shell.
    python: ClassVar[tuple[str, ...]] = ("python3",)
    #: What to do where a package cannot be installed.
    help: ClassVar[str] = "Without a network there: hwnas devices deploy TARGET --wheels FOLDER"

    def __init__(self, address: str, options: Mapping[str, object] | None = None) -> None:
        self.address = address
        self.chosen = dict(options or {})
        below = self.chosen.get("cool_below_c")
        if below is not None and (
            isinstance(below, bool) or not isinstance(below, (int, float)) or not 0 < below < 120
        ):
            raise InvalidData(f"cool_below_c must be degrees Celsius, got {below!r}", hint="A phone: 35.")

    @abstractmethod
    def command(self, remote: str) -> list[str]:
        """The arguments that run a command line of the device's shell; none of its words comes from a profile."""

    @abstractmethod
    def explain(self, words: str, code: int | None) -> DeviceError:
        """What it means that the command ended so."""

    def describe(self) -> dict[str, Any] | None:
        """Facts of the device for its profile, where its shell tells them; None where Python there is to be asked."""
        return None

    @staticmethod
    def no_program(name: str, error: OSError) -> DeviceError:
        """The program that makes the link cannot be run."""
        package = {"ssh": "openssh-client"}.get(name, name)
        return DeviceError(f"{name} cannot be run: {error.strerror or error}", hint=f"apt install {package}")

    def link(self) -> _link.Link:
        """The link to the agent, made when it is first needed.

        Raises:
            NotDeployed: there is no agent, or one of another version.
            DeviceError: the device cannot be reached.
        """
        return _link.shared(self._key, self._connected)

    def drop(self) -> None:
        """End the link."""
        _link.drop(self._key)

    def facts(self, runtime: str) -> Mapping[str, Any]:
        """What the device says of itself."""
        answer, _ = self.link().ask({"do": "facts", "runtime": runtime})
        found = answer.get("facts")
        if not isinstance(found, dict):
            raise DeviceError(f"{self.address} tells no facts of itself", hint=_REDEPLOY)
        return found

    def check(self, seconds: float, runtime: str) -> Mapping[str, Any]:
        """Watch the device."""
        return self.link().ask(
            {"do": "check", "seconds": seconds, "runtime": runtime}, patience_s=seconds + _link.PATIENCE_S
        )[0]

    @contextlib.contextmanager
    def held(self, *, wait: bool) -> Iterator[None]:
        """Hold the device's own lock, over links that are lost as well."""
        self._hold(self.link(), wait=wait)
        _link.HELD.add(self._key)
        try:
            yield
        finally:
            _link.HELD.discard(self._key)
            with contextlib.suppress(DeviceError):  # with a link that is gone, the lock is, too
                self.link().ask({"do": "release"})

    @staticmethod
    def _hold(link: _link.Link, *, wait: bool) -> None:
        link.ask({"do": "hold", "wait": wait}, patience_s=float("inf") if wait else _link.PATIENCE_S)

    def trial(
        self, job: Mapping[str, Any], files: Mapping[str, Path], patience_s: float
    ) -> tuple[dict[str, Any] | None, str, bytes]:
        """`profiler.agent.trial` on the device: its result or None, how it ended, and the file that it made."""
        link = self.link()
        request = {"do": "trial", "job": job, "files": _link.sent(link, files), "patience_s": patience_s}
        answer, content = link.ask(request, patience_s=patience_s + _link.PATIENCE_S)
        return answer["result"], str(answer.get("died", "")), content

    def run(self, folder: Path, environment: Mapping[str, str], silence_s: Callable[[], float]) -> Generator[str]:
        """Run the agent and yield its lines."""
        link = self.link()
        files = _link.sent(link, _files(folder))
        request = {
            "do": "run",
            "files": files,
            "environment": dict(environment),
            "below_c": self.chosen.get("cool_below_c"),
        }
        for answer in link.lines(request, silence_s):
            if "line" in answer:
                yield str(answer["line"])
            elif answer.get("end"):
                tail = str(answer.get("stderr", "")) or "no message"
                raise AgentEnded(f"the agent ended with code {answer['end']}: {tail}")

    @property
    def _key(self) -> tuple[str, ...]:
        return type(self).__name__, self.address, json.dumps(self.chosen, sort_keys=True, default=str)

    def _connected(self) -> _link.Link:
        command = self.command(f"exec {self.home}/run")
        try:
            link = _link.Link(command, self.explain)
        except OSError as error:
            raise self.no_program(command[0], error) from error
        said, _ = link.ask({"do": "hello"})
        if said.get("agent") != agent_digest():
            link.close()
            raise NotDeployed(f"the agent on {self.address} is of another version than this hwnas", hint=_REDEPLOY)
        if said.get("protocol") != PROTOCOL_VERSION:
            link.close()
            raise NotDeployed(f"the agent on {self.address} speaks another protocol", hint=_REDEPLOY)
        if self._key in _link.HELD:
            self._hold(link, wait=True)  # the agent of before may not have seen yet that its host is gone
        return link


def _files(folder: Path) -> dict[str, Path]:
    """What a job needs of its folder: itself, what it names, and what lies beside that under the same name.

    A model of two files, such as ncnn's, is named by one of them; the ONNX file that it was made from stays here.
    """
    try:
        job = Job.read(folder / "job.json")
    except (KeyError, TypeError, ValueError):  # the agent says what is wrong with it
        return {"job.json": folder / "job.json"}
    named = {one for c in job.candidates for one in (c.file, c.inputs, c.expected) if one} | ({job.empty} - {""})
    suffixes = {Path(c.file).suffix for c in job.candidates}
    stems = {Path(c.file).stem for c in job.candidates if Path(c.file).suffix != ".onnx"}
    beside = {
        path.name
        for path in folder.iterdir()
        if path.stem in stems and path.suffix not in (".onnx", ".npz", *suffixes) and path.is_file()
    }
    return {name: folder / name for name in sorted({"job.json", *named, *beside})}
