"""Streams of random numbers: what was drawn before is drawn again, and no two uses draw the same."""

import re
from pathlib import Path

import numpy as np
import pytest

import nas
from nas import streams
from nas.streams import sequence, stream, torch_seed


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("strategies.ask", (10, 1), [7, 10, 1]),
        ("weights.images", (), [7, 1]),
        ("weights.steps", (5,), [7, 2, 5]),
        ("weights.calibration", (), [7, 3]),
        ("loop.reference", (), [7, 6]),
        ("operators.listed", (), [7, 9]),
        ("certainty.draws", (), [7, 11]),
        ("surrogates.archive", (2, 3, 40, 4), [7, 2, 3, 40, 4]),
    ],
)
def test_streams_of_before_there_were_names_are_kept(name, more, words):
    np.testing.assert_array_equal(stream(7, name, *more).random(4), np.random.default_rng(words).random(4))


def uses():
    """What one search of ten times ten evaluations may draw from, by name and numbers."""
    yield from (
        (name,) for name in (*streams._WORDS, *streams._CHILDREN) if name not in ("strategies.ask", "weights.steps")
    )
    yield from (("strategies.ask", 10 * told, told) for told in range(11))
    yield from (("strategies.ask", 10 * told, told, 1) for told in range(1, 11))
    yield from (("weights.steps", step) for step in range(20))
    yield from (("surrogates.design", number) for number in (2, 3))
    yield from (("surrogates.archive", number, purpose, 40, 4) for number in (2, 3) for purpose in range(8))
    yield from (("gdas.run", run) for run in range(1, 4))
    yield from (("gdas.steps", run, step) for run in range(4) for step in range(4) if (run, step) != (0, 0))


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_no_two_uses_of_a_run_draw_the_same(seed):
    found = {}
    for name, *more in uses():
        if name == "surrogates.archive" and not more:
            continue  # it always has numbers
        state = tuple(sequence(seed, name, *more).generate_state(4).tolist())
        assert state not in found, f"{name} {more} draws as {found.get(state)}"
        found[state] = (name, more)


def test_seeds_of_torch_are_in_its_range_and_do_not_follow_each_other():
    seeds = [torch_seed(seed, "gdas.run", run) for seed in range(3) for run in range(1001)]
    assert len(set(seeds)) == len(seeds) and all(0 <= one < 2**63 for one in seeds)


def test_a_stream_has_a_name():
    with pytest.raises(KeyError):
        stream(0, "no.such.use")


def test_generators_of_a_run_are_made_by_name():
    """A list of bare numbers is a stream that the tables know nothing of."""
    root = Path(nas.__file__).parent
    bare = re.compile(r"default_rng\(\s*\[|seed \* \d")
    found = [path for path in root.rglob("*.py") if bare.search(path.read_text())]
    known = {"streams.py", "interactions.py", "predicted.py"}  # a benchmark's problems have seeds of their own
    assert [path for path in found if path.name not in known] == []
