"""Converters of others, each in a virtual environment of its own: their pins conflict, and bring dozens of packages.

Nothing is installed by itself: `install` is what `hwnas doctor --install NAME` calls. A converter is a script of
`profiler/compilers/_converters`, which runs in its environment as one process for many models: it reads a line of JSON
for each, and answers with one. Results and refusals are kept by the content of the model, the options, the script, and
what lies beside it under `_NAME_*.py`.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import threading
import venv
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from device_profiles.cache import cache_folder
from device_profiles.errors import DeviceError, InvalidModel, UnsupportedOperator

Item = TypeVar("Item")

#: A converter that is silent for so long hangs.
PATIENCE_S = 600.0
#: What a converter says of a model itself, not of a disk that is full or of memory: it would say it again.
_TOO_SLOW = "TooSlow"
_LASTING = frozenset(
    {"UnsupportedOperator", "InvalidModel", "ValueError", "TypeError", "KeyError", "NotImplementedError", _TOO_SLOW}
)
_ROOT = Path(__file__).resolve().parents[2]
_SCRIPTS = Path(__file__).parent / "_converters"


@dataclass(frozen=True)
class Converter:
    """A converter and what it needs.

    Attributes:
        name: of its script, and of its environment.
        requirements: what is installed there, as pip reads it.
    """

    name: str
    requirements: tuple[str, ...]

    @property
    def script(self) -> Path:
        """What runs in the environment."""
        return _SCRIPTS / f"{self.name}.py"

    @cached_property
    def folder(self) -> Path:
        """Its environment, in `$HWNAS_CONVERTERS` or the cache; another for other requirements or another Python."""
        stamp = json.dumps([self.requirements, sys.version_info[:2]])
        place = Path(os.environ.get("HWNAS_CONVERTERS") or cache_folder() / "converters")
        return place / f"{self.name}-{hashlib.sha256(stamp.encode()).hexdigest()[:12]}"

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def installed(self) -> bool:
        """Whether its environment is there, whole."""
        return self.python.exists()

    @property
    def command(self) -> str:
        """What installs it."""
        return f"hwnas doctor --install {self.name}"

    def install(self) -> None:
        """Make its environment: it is there as a whole or not at all.

        Raises:
            DeviceError: pip could not install it, with its last words.
        """
        if self.installed:
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=self.folder.parent))
        try:
            venv.create(made, with_pip=True, symlinks=True)
            python = made / self.python.relative_to(self.folder)
            done = subprocess.run(
                [str(python), "-m", "pip", "install", "--quiet", *self.requirements],
                capture_output=True, stdin=subprocess.DEVNULL, text=True, check=False,
            )  # fmt: skip
            if done.returncode != 0:
                last = [line for line in done.stderr.splitlines() if line.strip() and "WARNING" not in line][-1:]
                raise DeviceError(
                    f"the converter {self.name} could not be installed: {' '.join(last) or 'pip said nothing'}",
                    hint=f"It needs {' '.join(self.requirements)}; is there a package index?",
                )
            with contextlib.suppress(OSError):  # somebody else was faster
                made.rename(self.folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def convert(self, model: Path, made: Path, options: Mapping[str, Any]) -> Path:
        """Write what a model becomes.

        Args:
            model: an ONNX file.
            made: where it goes; what the script writes besides lies beside it, under its name with other suffixes.
            options: for the script, JSON-ready; a value that is a path is that of a file, whose content counts.

        Raises:
            DeviceError: the converter is not installed, or ended.
            InvalidModel: it refuses the model, with its words.
        """
        content = model.read_bytes()
        hashed = {
            name: hashlib.sha256(value.read_bytes()).hexdigest() if isinstance(value, Path) else value
            for name, value in options.items()
        }
        beside = [path.read_text() for path in sorted(_SCRIPTS.glob(f"_{self.name}_*.py"))]
        stamp = json.dumps([self.requirements, self.script.read_text(), hashed, *beside], sort_keys=True)
        key = hashlib.sha256(content + stamp.encode()).hexdigest()[:32]
        kept = cache_folder() / "converted" / self.name / key
        if not (kept / "done").exists() and not (kept / "refused.json").exists():
            self._make(kept, model, made.suffix, options)
        if (kept / "refused.json").exists():
            raise self._refusal(model, json.loads((kept / "refused.json").read_text()), kept)
        for file in kept.iterdir():
            if file.name != "done":
                shutil.copyfile(file, made.with_suffix(file.suffix))
        return made

    def _make(self, kept: Path, model: Path, suffix: str, options: Mapping[str, Any]) -> None:
        """Keep what a model becomes, or why it is refused; what it would not say again is raised."""
        if not self.installed:
            raise DeviceError(f"the converter {self.name} is not installed", hint=self.command)
        kept.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f"{kept.name}-", dir=kept.parent))
        try:
            given = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
            job = {"model": str(model.resolve()), "made": str(place / f"model{suffix}"), "options": given}
            answer = _worker(self).ask(job)
            if "error" not in answer:
                (place / "done").write_text("")
            elif answer.get("kind") in _LASTING:
                for file in place.iterdir():
                    file.unlink()
                (place / "refused.json").write_text(json.dumps(answer))
            else:
                raise self._refusal(model, answer, kept)
            with contextlib.suppress(OSError):  # somebody else was faster
                place.rename(kept)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _refusal(self, model: Path, answer: Mapping[str, Any], kept: Path) -> InvalidModel:
        kind = UnsupportedOperator if answer.get("kind") == "UnsupportedOperator" else InvalidModel
        again = f"; to try once more, delete {kept}" if answer.get("kind") == _TOO_SLOW else ""
        return kind(
            f"{self.name} cannot convert {model.name}: {' '.join(str(answer['error']).split())[:400]}",
            hint=f"Measure it with another runtime, or export it without that operator{again}.",
        )


@dataclass
class _Worker:
    """A converter's process: a line of JSON in, a line out."""

    converter: Converter
    process: subprocess.Popen[str] | None = None
    errors: Any = field(default_factory=lambda: tempfile.TemporaryFile("w+"))  # noqa: SIM115 - lives with the process

    def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        if self.process is None or self.process.poll() is not None:
            self._start()
        assert self.process is not None and self.process.stdin is not None and self.process.stdout is not None
        hangs, line = False, ""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
            hangs = not self._answers()
            line = "" if hangs else self.process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self.stop()
        if hangs:
            return {"error": f"it took more than {PATIENCE_S:.0f} s", "kind": _TOO_SLOW}
        self.errors.seek(0)
        last = self.errors.read().strip().splitlines()[-1:]
        return {"error": f"the converter ended: {' '.join(last) or 'it said nothing'}"}

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            self.process = None

    def _start(self) -> None:
        self.errors.seek(0)
        self.errors.truncate()
        self.process = subprocess.Popen(
            [str(self.converter.python), "-P", str(self.converter.script)],  # scripts bear names of packages
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**os.environ, "PYTHONPATH": str(_ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        )

    def _answers(self) -> bool:
        assert self.process is not None and self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            return bool(selector.select(PATIENCE_S))


_WORKERS: dict[tuple[str, int, int], _Worker] = {}


def _worker(converter: Converter) -> _Worker:
    """The process of a converter, kept for the next model; a forked process has its own, and so has a thread."""
    return _WORKERS.setdefault((converter.name, os.getpid(), threading.get_ident()), _Worker(converter))


def side_by_side(
    work: Callable[[Item], object], items: Sequence[Item], *, told: Callable[[int, int], None], most: int | None = None
) -> None:
    """Convert many models: threads take turns, each with processes of its own, which end with it.

    Args:
        work: of an item; it raises nothing.
        items: in the order in which they are begun.
        told: how many are done, and of how many.
        most: threads; one for each CPU if None.
    """
    if not items:
        return
    with ThreadPoolExecutor(min(most or os.cpu_count() or 1, len(items))) as pool:
        for done, _ in enumerate(as_completed([pool.submit(work, item) for item in items]), 1):
            told(done, len(items))
    for key in [key for key in _WORKERS if key[1] == os.getpid() and key[2] != threading.get_ident()]:
        _WORKERS.pop(key).stop()


@atexit.register
def _stop_all() -> None:
    for (_, owner, _), worker in _WORKERS.items():
        if owner == os.getpid():
            worker.stop()


def serve(convert: Any) -> None:
    """For the scripts: answer each line of standard input; what libraries print goes to standard error.

    Args:
        convert: called with the model's path, the path that it is to write, and the options.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        job = json.loads(line)
        try:
            convert(Path(job["model"]), Path(job["made"]), job["options"])
            answer: dict[str, Any] = {}
        except Exception as error:  # converters raise whatever they do
            answer = {"error": f"{type(error).__name__}: {error}", "kind": type(error).__name__}
        answers.write(json.dumps(answer) + "\n")


def known() -> Sequence[Converter]:
    """The converters of all compilers."""
    from profiler import compilers

    found = (getattr(compiler, "converter", None) for _, compiler in compilers.REGISTRY)
    return [converter for converter in found if converter is not None]
