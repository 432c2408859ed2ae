"""`kill -9` from the first milliseconds on, and full disks: campaigns and searches go on afterwards."""

import pytest

from benchmarks import robustness_kills

pytestmark = pytest.mark.slow


def test_killed_from_the_first_moment_on_all_go_on():
    found = robustness_kills.kills(40)
    assert found["passed"], found
    assert all(found[name]["in_the_first_50_ms"] >= 10 for name in ("profile", "search"))


def test_on_full_disks_nothing_is_lost_and_all_go_on():
    found = robustness_kills.full_disks(20)
    assert found["passed"], found
    assert all(found[name]["refused"] for name in ("profile", "search")), "no disk was too small"
