"""Execution providers that come as libraries of their own, in Python packages; registered when they are asked for.

The package and its version are an option of the target, so that numbers of two versions are not mixed.
"""

from __future__ import annotations

import importlib
import re
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from device_profiles.errors import DeviceError

#: A distribution and its version, as pip writes them.
PACKAGE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.+!_-]+)")
#: Libraries that this process has registered: they stay for its life, as their providers' devices are the process's.
_REGISTERED: set[str] = set()


def devices(provider: str, package: str, kind: str) -> list[Any]:
    """What a provider of a package runs on.

    Args:
        provider: as ONNX Runtime names it, such as `OpenVINOExecutionProvider`.
        package: `onnxruntime-ep-openvino==1.8.1`; its module has `get_library_path()`.
        kind: `CPU`, `GPU` or `NPU`.

    Returns:
        The first such device of this machine, in a list, as a session takes them.

    Raises:
        DeviceError: the package is missing or of another version, its library cannot be loaded, or the provider has no
            such device here.
    """
    import onnxruntime as ort

    path = _library(package)
    if path not in _REGISTERED:
        try:
            ort.register_execution_provider_library(package, path)
        except Exception as error:  # onnxruntime raises a dozen private types that share no base but Exception
            words = " ".join(str(error).split())[:300]
            raise DeviceError(
                f"the provider of {package} cannot be loaded: {words}",
                hint=f"It may be of another version than ONNX Runtime {ort.__version__}.",
            ) from error
        _REGISTERED.add(path)
    own = [one for one in ort.get_ep_devices() if one.ep_name == provider]
    found = [one for one in own if one.device.type.name == kind]
    if not found:
        there = ", ".join(dict.fromkeys(one.device.type.name for one in own)) or "none"
        raise DeviceError(
            f"the provider {provider} of {package} has no {kind} here; it has {there}",
            hint="Change provider or provider_device in the target's [runtime.options].",
        )
    return found[:1]


def _library(package: str) -> str:
    match = PACKAGE.fullmatch(package)
    assert match is not None, "it was checked with the options"
    name, wanted = match.groups()
    try:
        there = version(name)
        module = importlib.import_module(re.sub(r"[-.]", "_", name))
        path = str(module.get_library_path())
    except (PackageNotFoundError, ImportError, AttributeError, OSError) as error:
        raise DeviceError(
            f"the package {name} is not installed, or brings no provider: {error}", hint=f"pip install {package}"
        ) from error
    if there != wanted:
        raise DeviceError(
            f"{name} {there} is installed, the target asks for {wanted}",
            hint=f"pip install {package}, or change provider_package in the target's [runtime.options].",
        )
    return path
