"""What a function says: its source, what it calls and what it reads; not where it is, nor its comments."""

import numpy as np
import pytest
import torch

from nas.sources import describe, digest

RATE = 0.1


def made(text, **around):
    space = {"__name__": "elsewhere", **around}
    exec(text, space)
    return space["f"]


def test_one_source_is_one_digest():
    text = "def f(x):\n    return x + 1"
    assert digest(describe(made(text))) == digest(describe(made(text)))


@pytest.mark.parametrize(
    ("text", "around"),
    [
        ("def f(x):\n    return x + 2", {}),
        ("def f(x, by=2):\n    return x + 1", {}),
        ("def f(x):\n    return x + RATE", {"RATE": 1}),
        ("def f(x):\n    return x + RATE", {"RATE": 2}),
        ("def f(x):\n    return x + RATE", {"RATE": np.array([2.0])}),
        ("def f(x):\n    return x + RATE", {"RATE": torch.tensor([3.0])}),
        ("def g(x):\n    return 1\ndef f(x):\n    return g(x)", {}),
        ("def g(x):\n    return 2\ndef f(x):\n    return g(x)", {}),
        ("class G:\n    by = 2\ndef f(x):\n    return G.by + x", {}),
        ("class G:\n    by = 3\ndef f(x):\n    return G.by + x", {}),
    ],
)
def test_another_source_is_another(text, around, seen={}):  # noqa: B006
    found = describe(made(text, **around))
    assert found == describe(made(text, **around))
    assert seen.setdefault(found, (text, str(around))) == (text, str(around))
    assert found != describe(made("def f(x):\n    return x + 1"))


def test_comments_and_layout_say_nothing():
    def first():
        def f(x):
            return x * RATE  # as it was

        return f

    def second():
        def f(x):
            # as it is

            return x * RATE

        return f

    assert describe(first()) == describe(second())


def test_what_calls_itself_ends():
    def f(x):
        return f(x - 1) if x else np.zeros(torch.float32.itemsize)

    assert "f" in describe(f)


def test_libraries_are_names():
    assert describe(np.mean) == describe(np.mean) and len(describe(np.mean)) < 100
    assert describe(torch.nn.Linear) == "torch.nn.modules.linear.Linear"
    assert describe(np) == "import numpy" and describe(torch.float16) != describe(torch.float32)
