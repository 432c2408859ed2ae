"""Compilers: the host's halves of runtimes, one file each, found by the runtime's name.

`protocol.Compiler` is what they are, `profiler.testing.check_runtime` checks them with their runtimes. A runtime
without one reads ONNX itself.
"""

from __future__ import annotations

from device_profiles.registry import Registry
from profiler.compilers.plain import Plain
from profiler.compilers.protocol import Compiler, MakeCompiler

__all__ = ["REGISTRY", "Compiler", "empty_model", "load"]

REGISTRY: Registry[MakeCompiler] = Registry(
    "compiler", "profiler.compilers", attribute="COMPILER", skip=("protocol", "plain", "converters")
)


def load(runtime: str) -> Compiler:
    """The compiler of a runtime; where it has none, what travels is ONNX."""
    return REGISTRY.get(runtime)() if REGISTRY.has(runtime) else Plain()


def empty_model() -> bytes:
    """The smallest ONNX model: its time is what a call costs."""
    from profiler.compilers._kernel_model import empty

    return empty()
