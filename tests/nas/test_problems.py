"""Problems against pymoo's, tables against themselves."""

import gzip

import numpy as np
import pytest
from pymoo.problems import get_problem

from device_profiles.errors import InvalidTable, UnknownName, UsageError
from nas import indicators, problems

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("name", ["zdt1", "zdt2", "zdt3", "zdt4", "zdt6"])
def test_zdt_is_that_of_pymoo(name):
    problem, oracle = problems.load(name), get_problem(name)
    archs = RNG.integers(0, problem.choices, size=(50, len(problem.choices)))
    points = archs / 1000
    if name == "zdt4":
        points[:, 1:] = 10 * points[:, 1:] - 5
    np.testing.assert_allclose(problem.search(archs), oracle.evaluate(points), rtol=1e-9, atol=1e-12)
    assert indicators.igd_plus(problem.front, oracle.pareto_front()) < 0.005
    assert indicators.igd_plus(oracle.pareto_front(), problem.front) < 0.005
    assert problem.ordered == (True,) * len(problem.choices)


@pytest.mark.parametrize("name", ["dtlz1", "dtlz2", "dtlz3", "dtlz4", "dtlz7"])
@pytest.mark.parametrize("objectives", [2, 3, 5])
def test_dtlz_is_that_of_pymoo(name, objectives):
    problem = problems.load(name, objectives=objectives)
    oracle = get_problem(name, n_var=len(problem.choices), n_obj=objectives)
    archs = RNG.integers(0, problem.choices, size=(50, len(problem.choices)))
    np.testing.assert_allclose(problem.search(archs), oracle.evaluate(archs / 1000), rtol=1e-9, atol=1e-12)
    assert problem.front.shape[1] == objectives and indicators.nondominated(problem.front).all()
    if name in ("dtlz2", "dtlz3", "dtlz4"):
        np.testing.assert_allclose((problem.front**2).sum(axis=1), 1)
    if name == "dtlz1":
        np.testing.assert_allclose(problem.front.sum(axis=1), 0.5)


@pytest.fixture
def file(tmp_path):
    """Ten cells of NAS-Bench-201 with a noisy and a true accuracy, and a latency; the last failed."""
    path = tmp_path / "t.csv.gz"
    with gzip.open(path, "wt") as handle:
        handle.write("arch,noisy,true,ms,remark\n")
        for number in range(10):
            true = "nan" if number == 9 else 90 - number
            handle.write(
                f'"3,3,3,3,3,{number % 5}",{80 + number},{true},{10 - number + 5 * (number > 4)},x\n'.replace(
                    "3,3,3,3,3", f"3,3,3,3,{number // 5}"
                )
            )
    return path


def test_a_table_tells_noise_and_reports_truth(file):
    problem = problems.load(
        "table", file=str(file), search=["noisy:max", "ms"], report=["true:max", "ms"], known=["ms"]
    )
    archs = np.array([[3, 3, 3, 3, 0, 2], [3, 3, 3, 3, 1, 4], [0, 0, 0, 0, 0, 0]])
    np.testing.assert_allclose(problem.search(archs), [[-82, 8], [-89, 6], [np.nan, np.nan]])
    np.testing.assert_allclose(problem.report(archs)[0], [-88, 8])
    assert np.isnan(problem.report(archs)[1, 0]) and np.isnan(problem.report(archs)[2]).all()
    assert problem.known == (1,) and problem.objectives == ("noisy", "ms")


def test_rows_that_do_not_count_bound_nothing(file):
    whole = problems.load("table", file=str(file), search=["noisy:max", "ms"])
    some = problems.load("table", file=str(file), search=["noisy:max", "ms"], keep="noisy < 85")
    assert whole.nadir.tolist() == [-80, 10] and whole.ideal[0] == -89
    assert some.ideal.tolist() == [-84, 6]
    assert np.isnan(some.report(np.array([[3, 3, 3, 3, 1, 0]]))).all()  # noisy 85
    assert np.isfinite(some.search(np.array([[3, 3, 3, 3, 1, 0]]))).all()
    front = some.normalised(some.front)
    assert front.min() >= 0 and front.max() <= 1


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"search": ["nois", "ms"]}, UnknownName, "noisy"),
        ({"search": ["noisy:up", "ms"]}, UsageError, "direction"),
        ({"report": ["true"]}, UsageError, "as many"),
        ({"known": ["energy"]}, UnknownName, "energy"),
        ({"keep": "true"}, UsageError, "keep"),
        ({"keep": "noisy > 1000"}, InvalidTable, "no row"),
        ({"file": "/nowhere.csv"}, InvalidTable, "there is no table"),
    ],
)
def test_bad_tables_say_what_is_wrong(file, change, error, words):
    with pytest.raises(error) as caught:
        problems.load("table", **{"file": str(file), "search": ["noisy:max", "ms"], **change})
    assert words in f"{caught.value} {caught.value.hint}"


def test_unknown_kinds_and_options_are_named():
    with pytest.raises(UnknownName, match="zdt5") as caught:
        problems.load("zdt5")
    assert "Did you mean 'zdt" in caught.value.hint
    with pytest.raises(UnknownName, match="gene"):
        problems.load("zdt1", gene=4)
    with pytest.raises(UsageError, match="at least 2"):
        problems.load("zdt1", genes=1)
