from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "onnxruntime", "lightgbm", "onnxscript", "sklearn", "plotly"}


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh process holds after running the code."""
    script = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("package", ["device_profiles", "profiler", "predictors", "nas"])
def test_importing_a_package_imports_nothing_heavy(package: str) -> None:
    loaded = loaded_by(f"import {package}")
    assert package in loaded
    assert not loaded & (HEAVY | {"numpy", "onnx", "pydantic", "sqlalchemy", "scipy"} if package != "nas" else HEAVY)


def test_describing_and_measuring_need_neither_torch_nor_a_runtime() -> None:
    loaded = loaded_by(
        "import device_profiles, profiler\n"
        "for package in (device_profiles, profiler):\n"
        "    for name in package.__all__: getattr(package, name)\n"
        "device_profiles.load('local-torch')"
    )
    assert {"pydantic", "sqlalchemy"} <= loaded, "the names were not looked up"
    assert not loaded & HEAVY


def test_a_name_that_a_package_lacks_is_an_attribute_error() -> None:
    import device_profiles
    import profiler

    for package in (device_profiles, profiler):
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            _ = package.nothing
        assert [getattr(package, name) for name in package.__all__]
