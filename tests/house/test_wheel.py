"""What is built holds the packages whole, with their types and their data, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("device_profiles", "profiler", "predictors", "nas", "hwnas_cli")


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The files of a wheel that the project's backend builds."""
    pytest.importorskip("hatchling", reason="the backend that builds wheels is not installed: it is in the extra dev")
    out = tmp_path_factory.mktemp("wheel")
    build = "import sys; from hatchling import build; print(build.build_wheel(sys.argv[1]))"
    made = subprocess.run([sys.executable, "-c", build, str(out)], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    with zipfile.ZipFile(out / made.stdout.splitlines()[-1]) as wheel:
        return set(wheel.namelist())


def test_a_wheel_has_every_module_and_all_data(names):
    wanted = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == {*wanted, "hwnas.py"}
    assert {f"{package}/py.typed" for package in PACKAGES} <= names


def test_a_wheel_has_the_command_the_licence_and_no_tests(names):
    ends = {name.partition(".dist-info/")[2] for name in names}
    assert {"entry_points.txt", "METADATA", "licenses/LICENSE"} <= ends
    assert not {name for name in names if name.split("/")[0] in ("tests", "benchmarks", "docs")}
