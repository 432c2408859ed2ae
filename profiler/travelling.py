"""What is sent to the device of the models of a campaign: compiled once each, side by side where that takes seconds."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from device_profiles.errors import HwnasError, InvalidModel
from device_profiles.profile import Target
from profiler import compilers, events, runtimes, transports, trial
from profiler.compilers import converters
from profiler.fusing import as_it_is, compile_for, fused_graph, runtime_options
from profiler.operators import OperatorGraph
from profiler.proofs import require_precision
from profiler.subjects import Subject, batch_of

#: Models that one process compiles after another: it takes seconds to start.
SHARE = 4


class Travelling:
    """What is sent to the device, made once of each subject, in a folder."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target = target
        self.folder = folder
        self._files: dict[str, Path] = {}
        self._refused: dict[str, HwnasError] = {}

    def convert(self, subjects: Sequence[Subject], listener: events.Listener) -> None:
        """Compile many, side by side where that is the work of a converter; what is refused is told of by `file`."""
        if getattr(compilers.load(self.target.runtime.name), "converter", None) is None:
            return
        done = self._files.keys() | self._refused.keys()
        networks = [one for one in subjects if one.kernel is None and one.id not in done]
        for subject in networks:
            self._written(subject)  # by this thread: exporters do not share a process with another one

        converters.side_by_side(
            self._attempt, networks, told=lambda done, models: listener(events.ModelsConverted(done, models))
        )

    def compile(self, subjects: Sequence[Subject], listener: events.Listener) -> None:
        """Have a runtime of this machine compile many side by side, if it keeps what it compiles."""
        name, options = self.target.runtime.name, runtime_options(self.target)
        traits = runtimes.REGISTRY.get(name).traits
        if not traits.keeps or transports.elsewhere(self.target) is not None:
            return
        files = [path for path in map(self._attempt, subjects) if path is not None]
        shares = [files[start : start + SHARE] for start in range(0, len(files), SHARE)]
        converters.side_by_side(
            lambda share: trial.fuse_beforehand(share, name, options, patience_s=traits.patience_s),
            shares,
            told=lambda done, _: listener(events.ModelsConverted(min(done * SHARE, len(files)), len(files))),
        )

    def file(self, subject: Subject) -> Path:
        """What travels of a subject; kernels are compiled already.

        Raises:
            InvalidModel: the compiler refuses it.
        """
        if subject.id in self._refused:
            raise self._refused[subject.id]
        if subject.id not in self._files:
            path = self._written(subject)
            if subject.kernel is None:
                try:
                    path = compile_for(self.target, path, subject.inputs, subject.calibration)
                except HwnasError as error:
                    self._refused[subject.id] = error
                    raise
            self._files[subject.id] = path
        return self._files[subject.id]

    def _attempt(self, subject: Subject) -> Path | None:
        """The file, or None where there is none: whoever asks for it is told why."""
        with contextlib.suppress(Exception):
            return self.file(subject)
        return None

    def _written(self, subject: Subject) -> Path:
        path = self.folder / f"{subject.id}{subject.suffix}"
        if not path.exists():
            path.write_bytes(subject.onnx())
        return path

    def empty(self) -> str:
        """The file of the model whose time is what a call costs; empty if calls cost nothing."""
        if not runtimes.REGISTRY.get(self.target.runtime.name).traits.calls_cost:
            return ""
        path = self.folder / "empty.onnx"
        path.write_bytes(compilers.empty_model())
        return compile_for(self.target, path).name

    def graph(self, subject: Subject) -> OperatorGraph:
        """The fused kernels of a subject.

        Raises:
            InvalidModel: the compiler or the runtime refuses it, or runs it in another precision than is asked.
        """
        target, own, inputs = self.target, subject.graph, subject.inputs
        if subject.kernel is None and target.batch > 1 and batch_of(own) != target.batch:
            found = batch_of(own) or "unknown"
            raise InvalidModel(
                f"{subject.name} is of batch {found}, and {target.name} is for batch {target.batch}",
                hint="Export it with a free batch, or remove batch from the target.",
            )
        if subject.suffix != ".onnx" and subject.kernel is not None:
            return replace(own, runtime=target.runtime.name)
        if subject.kernel is not None:
            return fused_graph(self.file(subject), as_it_is(target), captured=own, inputs=inputs)
        graph = fused_graph(self.file(subject), target, captured=own, inputs=inputs, foreign=subject.foreign)
        require_precision(graph, target.runtime.precision, own, subject.name)
        return graph
