"""Every space is compiled by every runtime, or the reference says why not; and no work is lost on the way."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import nas
from benchmarks.runtimes import is_here

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "targets.md"
#: Cells that are tried each time.
QUICKLY = {
    ("nasbench201", "openvino"), ("gpt", "openvino"), ("mobilenetv3", "openvino-int8"), ("gpt", "onnxruntime-int8"),
    ("chain", "ncnn"), ("gpt", "ncnn"), ("nasbench201", "torch"),
}  # fmt: skip


def cells():
    """What the page says: space, target, and what becomes of it."""
    text = PAGE.read_text(encoding="utf-8").partition("## Spaces under each target")[2]
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    (_, *heads), spaces = rows[0], rows[2 : 2 + len(nas.spaces.names())]
    return [(space, head, word) for space, *words in spaces for head, word in zip(heads, words, strict=True)]


def test_the_table_has_every_space():
    assert sorted({space for space, _, _ in cells()}) == sorted(nas.spaces.names())


@pytest.mark.parametrize(
    ("space", "target", "word"),
    [
        pytest.param(*cell, id="-".join(cell[:2]), marks=[] if cell[:2] in QUICKLY else pytest.mark.slow)
        for cell in cells()
    ],
)
def test_a_space_is_compiled_for_a_target_as_the_table_says(space, target, word):
    if not is_here(f"local-{target}"):
        pytest.skip(f"the runtime of local-{target} is not installed")
    asked = ["-m", "benchmarks.space_targets", "--targets", f"local-{target}", "--spaces", space]
    done = subprocess.run([sys.executable, *asked], capture_output=True, text=True, check=False)  # some crash
    found, why = json.loads(done.stdout)["spaces"][space][f"local-{target}"]
    assert found == word, why
