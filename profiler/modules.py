"""Torch modules as models: what is measured and predicted of a file works on a module, in one line.

Example:
    >>> from torch import nn
    >>> from profiler import modules
    >>> one = modules.measure(nn.Conv2d(3, 8, 3), (1, 3, 16, 16), target="fake")
    >>> one.latency.processes >= 3
    True
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_profiles.errors import InvalidModel, UsageError
from device_profiles.profile import Target, as_target
from profiler import campaign, subjects
from profiler.capture import capture_module
from profiler.measurement import Measurement
from profiler.model_files import ModelFile, prepare
from profiler.store import Store
from profiler.subjects import Subject

if TYPE_CHECKING:
    from torch import nn

Shapes = Sequence[int] | Sequence[Sequence[int]]


def as_file(module: nn.Module, input_shape: Shapes | None, input_dtypes: Sequence[str] | None = None) -> ModelFile:
    """A module as a model file that can be measured, compiled and predicted; it is exported in eval mode.

    Args:
        module: with one output.
        input_shape: of its input, or of each of its inputs.
        input_dtypes: of each input; all float32 if None.

    Raises:
        InvalidModel: torch cannot export it.
        UsageError: it is no module, or its input has no shape.
    """
    with tempfile.TemporaryDirectory(prefix="hwnas-module-") as folder:
        return prepare(_written(Path(folder), module, input_shape, input_dtypes))


def as_subject(
    module: nn.Module,
    input_shape: Shapes,
    input_dtypes: Sequence[str] | None = None,
    *,
    name: str | None = None,
) -> Subject:
    """A module as something to measure, see `as_file`; its name is that of its class if None."""
    from dataclasses import replace

    with tempfile.TemporaryDirectory(prefix="hwnas-module-") as folder:
        found = subjects.from_file(_written(Path(folder), module, input_shape, input_dtypes))
    return replace(found, name=name or type(module).__name__)


#: Runtimes that run modules as they are.
AS_THEY_ARE = ("torch", "torch-compile")


def as_program(
    module: nn.Module, inputs: Sequence[Any], *, runtime: str, factory: str | None = None, name: str | None = None
) -> Subject:
    """A module as its user runs it, in eval mode, without ONNX between.

    Args:
        module: in any mode, which it keeps.
        inputs: tensors that it is called with.
        runtime: `torch` runs the module that the factory makes, with this one's weights; `torch-compile` compiles what
            `torch.export` makes of it.
        factory: `package.module:function`, without arguments; for eager mode, since an exported program that runs by
            itself costs more than its module.
        name: for people; that of its class if None.

    Raises:
        InvalidModel: torch cannot export it.
        UsageError: it is no module, or eager mode was not given its factory.
    """
    import hashlib

    from profiler.compilers import _exported

    _require_module(module)
    if runtime == "torch" and not factory:
        raise UsageError(
            "a module that runs eagerly is made anew in each process",
            hint="factory='package.module:function' says how; or measure it with a target of torch-compile.",
        )
    training = module.training
    with tempfile.TemporaryDirectory(prefix="hwnas-module-") as folder:
        path = Path(folder) / "module.pt2"
        try:
            graph, names = _exported.of_module(module.eval(), inputs, path, factory or "")
        finally:
            module.train(training)
        content = path.read_bytes()
    return Subject(
        id=hashlib.sha256(f"module {graph.digest}".encode()).hexdigest(),
        name=name or type(module).__name__,
        graph=graph,
        onnx=lambda: content,
        suffix=".pt2",
        inputs={key: one.detach().cpu().numpy() for key, one in zip(names, inputs, strict=True)},
    )


def measure(
    module: nn.Module,
    input_shape: Shapes | Sequence[Any],
    *,
    target: Target | str | Path,
    input_dtypes: Sequence[str] | None = None,
    store: Store | str | Path | None = None,
    budget: campaign.Budget | None = None,
    name: str | None = None,
    wait: bool = False,
    factory: str | None = None,
) -> Measurement:
    """Measure a module on a target: by way of ONNX, or as its user runs it where torch runs it and tensors are given.

    Args:
        module: with one output; it stays in its mode.
        input_shape: of its input with its batch, such as `(1, 3, 224, 224)`; or of each of its inputs. Or tensors that
            it is called with: then the runtimes `torch` and `torch-compile` run the module itself (`as_program`).
        target: where and how; or its name, or the path of its profile.
        input_dtypes: of each input; all float32 if None.
        store: where the blocks go; nothing is kept if None.
        budget: when to stop.
        name: of the model, for people; that of its class if None.
        wait: until others have finished measuring on the device, in place of `DeviceBusy`.
        factory: `package.module:function` that makes the module, for eager mode.

    Raises:
        DeviceBusy: another process measures on the device.
        DeviceError: the device or its runtime is missing.
        InvalidModel: torch cannot export it, or the device does not run it.
        UsageError: it is no module, or its input has no shape.
    """
    target = as_target(target)
    example = _example(input_shape)
    if example and target.runtime.name in AS_THEY_ARE:
        subject = as_program(module, example, runtime=target.runtime.name, factory=factory, name=name)
    else:
        shapes = [tuple(one.shape) for one in example] or input_shape
        dtypes = [str(one.dtype).removeprefix("torch.") for one in example] or input_dtypes
        subject = as_subject(module, shapes, dtypes, name=name)
    with tempfile.TemporaryDirectory(prefix="hwnas-store-") as folder:
        own = store if isinstance(store, Store) else Store(store if store is not None else Path(folder) / "store.db")
        try:
            outcome = campaign.measure([subject], target=target, store=own, budget=budget, wait=wait)
        finally:
            if own is not store:
                own.close()
    if not outcome.measurements:
        failure = outcome.failures[0]
        raise InvalidModel(f"{failure.name} cannot be measured: {failure.kind}: {failure.reason}", hint=failure.hint)
    return outcome.measurements[0]


def _example(given: Any) -> list[Any]:
    """The tensors among what a module is measured with; none if they are shapes."""
    found = [given] if hasattr(given, "dtype") else list(given or ())
    return found if found and all(hasattr(one, "dtype") for one in found) else []


def _require_module(module: Any) -> None:
    if not hasattr(module, "state_dict") or not hasattr(module, "forward"):
        raise UsageError(f"{type(module).__name__} is no torch module", hint="Give an nn.Module.")


def _written(folder: Path, module: Any, shape: Any, dtypes: Sequence[str] | None) -> Path:
    _require_module(module)
    if shape is None or len(shape) == 0:
        raise UsageError("a module has no shapes of its own", hint="Give its input's, such as (1, 3, 224, 224).")
    training = module.training
    try:
        proto = capture_module(module, shape, dtypes)
    finally:
        module.train(training)
    path = folder / f"{type(module).__name__}.onnx"
    path.write_bytes(proto.SerializeToString())
    return path
