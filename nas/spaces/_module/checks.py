"""What a factory's module must keep: it runs, its options have equal outputs, all that chooses is run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from device_profiles.errors import HwnasError, InvalidModel

if TYPE_CHECKING:
    from torch import nn


def example(shape: tuple[int, ...], dtype: str) -> Any:
    """An input of a network; whole numbers are 0."""
    import torch

    if dtype == "int64":
        return torch.zeros(shape, dtype=torch.int64)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def check(module: nn.Module, shape: tuple[int, ...], dtype: str, given: str = "") -> None:
    """Run a network once, with all options of its choices side by side.

    Args:
        module: of a factory.
        shape: of its input.
        dtype: of its input.
        given: what it is made with, for messages.

    Raises:
        InvalidModel: it fails, gives no floats, options give different shapes, or a choice is never run.
    """
    import torch

    from nas.nn.choices import found, name_of

    said = f" with {given}" if given else ""
    training = module.training
    try:
        with torch.no_grad(), _side_by_side(module) as ran:
            output = module.eval()(example(shape, dtype))
    except HwnasError:
        raise
    except Exception as error:  # whatever code of the user raises
        text = "x".join(map(str, shape))
        raise InvalidModel(
            f"the network{said} does not run on {dtype} {text}: {type(error).__name__}: {error}",
            hint="Give the input's shape with its batch, such as (1, 3, 32, 32).",
        ) from error
    finally:
        module.train(training)
    if not isinstance(output, torch.Tensor) or output.dtype != torch.float32:
        kind = output.dtype if isinstance(output, torch.Tensor) else type(output).__name__
        raise InvalidModel(f"the network{said} gives {kind}; it must give one tensor of float32")
    idle = [name_of(path, part) for path, part in found(module) if id(part) not in ran]
    if idle:
        raise InvalidModel(f"nothing runs the choice {idle[0]!r}{said}", hint="Take it away, or use it in forward.")


@contextmanager
def _side_by_side(module: nn.Module) -> Iterator[set[int]]:
    """While the network runs, all that could be run in its place is run, too, and compared; gives what was run."""
    from nas.nn.choices import Repeat, found, name_of

    ran: set[int] = set()

    def compare(name: str, part: Any, inputs: Any, named: Any) -> None:
        ran.add(id(part))
        outputs: dict[str, Any] = {}
        if isinstance(part, Repeat):
            outputs["0"] = inputs[0]
            for place, block in enumerate(part.blocks, start=1):
                outputs[str(place)] = block(outputs[str(place - 1)])
            outputs = {str(depth): outputs[str(depth)] for depth in part.depths}
        else:
            outputs = {option: one(*inputs, **named) for option, one in part.options.items()}
        shapes = {option: _shape(output) for option, output in outputs.items()}
        if len(set(shapes.values())) > 1:
            each = ", ".join(f"{option}: {shape}" for option, shape in shapes.items())
            raise InvalidModel(
                f"options of {name!r} give different shapes: {each}",
                hint="Bring them to one shape, with padding, a stride or a 1x1 convolution.",
            )

    hooks = []
    for path, part in {id(part): (path, part) for path, part in found(module)}.values():
        name = name_of(path, part)
        hook = lambda one, inputs, named, name=name: compare(name, one, inputs, named)  # noqa: E731
        hooks.append(part.register_forward_pre_hook(hook, with_kwargs=True))
    try:
        yield ran
    finally:
        for handle in hooks:
            handle.remove()


def _shape(output: Any) -> str:
    return "x".join(map(str, output.shape)) if hasattr(output, "shape") else type(output).__name__
