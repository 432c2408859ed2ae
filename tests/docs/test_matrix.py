"""The README's table of what works where is the one that registries and protocols give."""

import nas
from benchmarks import matrix


def test_the_matrix_is_up_to_date():
    text = matrix.README.read_text(encoding="utf-8")
    assert text.count(matrix.BEGIN) == text.count(matrix.END) == 1
    assert matrix.written(text) == text, "python -m benchmarks.matrix --write"


def test_it_has_every_space_and_follows_the_protocols():
    rows = {line.split("`")[1]: line for line in matrix.matrix().splitlines()[2:]}
    assert tuple(rows) == nas.spaces.names()
    assert rows["nasbench201"].count("yes") == 6 and rows["hat"].count("yes") == 4
    assert (
        "| slices |" in rows["hat"] and "| yes, or slices |" in rows["nasbench201"] and "slices" not in rows["motifs"]
    )
    assert "| table |" in rows["nasbench201"] and "| table |" not in rows["nasbot"]
