"""A package of somebody else brings a runtime: it is built, installed, held to the kit and measured with."""

import json
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

from profiler.testing import convolution

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KIT = "from profiler import testing; testing.check_runtime('reference')"


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The Python of a fresh environment with the package; all else that it sees is this one's."""
    place = tmp_path_factory.mktemp("third-party")
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    ours, (theirs,) = sysconfig.get_path("purelib"), place.glob("lib/python*/site-packages")
    (theirs / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n{ROOT}\n")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    subprocess.run(
        [python, "-m", "pip", "install", *options, str(HERE / "third_party")], check=True, capture_output=True
    )
    return python


def test_it_passes_the_kit(python, tmp_path) -> None:
    done = subprocess.run([python, "-c", KIT], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_measures(python, tmp_path) -> None:
    (tmp_path / "mine.toml").write_text('extends = "local-onnxruntime"\nname = "mine"\n[runtime]\nname = "reference"\n')
    (tmp_path / "model.onnx").write_bytes(convolution())
    words = ["profile", "mine.toml", "--model", "model.onnx", "--budget", "3s", "--store", "a.db", "--json"]
    done = subprocess.run([python, "-m", "hwnas", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    answer = json.loads(done.stdout)
    assert done.returncode == 0 and len(answer["measurements"]) == 1, answer
    assert answer["measurements"][0]["batch"] == 1
