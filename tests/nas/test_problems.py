"""Problems against pymoo's, tables against themselves."""

import gzip
import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from pymoo.problems import get_problem

import nas
from device_profiles.errors import InvalidTable, UnknownName, UsageError
from nas.benchmark import problems
from nas.pareto import indicators
from predictors import tables

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


def test_rows_without_a_number_in_the_report_bound_nothing(file):
    problem = problems.load("table", file=str(file), search=["noisy:max", "ms"], report=["true:max", "ms"])
    costs = np.array([[number - 90, 10 - number + 5 * (number > 4)] for number in range(9)])  # the tenth failed
    np.testing.assert_allclose(problem.ideal, costs.min(axis=0))
    np.testing.assert_allclose(problem.nadir, costs.max(axis=0))
    front = [a for a in costs.tolist() if not any(b[0] <= a[0] and b[1] <= a[1] and a != b for b in costs.tolist())]
    assert sorted(problem.front.tolist()) == sorted(front) and len(front) == 5


def test_nas_bench_201_has_the_known_front():
    path = Path(__file__).resolve().parents[3] / "shared/data/nasbench201.csv.gz"
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    columns = ["accuracy.cifar10.test.200ep:max", "latency_ms.1080ti_1"]
    keep = "accuracy.cifar10.test.200ep > 10"
    problem = problems.load("table", file=str(path), search=columns, keep=keep)
    assert len(problem.front) == 32
    assert indicators.hypervolume(problem.normalised(problem.front), np.ones(2)) == pytest.approx(0.9458, abs=5e-5)
    cells = np.stack(np.unravel_index(np.arange(5**6), (5,) * 6), axis=1)
    assert np.isfinite(problem.report(cells)).all(axis=1).sum() == 15_284
    assert np.isfinite(problem.search(cells)).all()


def test_a_folder_that_was_imported_is_a_table_of_its_genes(tmp_path):
    made = {
        "".join(text): {"mean_acc": 80.0 + number, "std": 0.1, "params": 10 + number % 2, "test_acc": [80.0, 81.0]}
        for number, text in enumerate(product("012", "02", "0", "0", "0", "0", "0", "1"))
    }
    (tmp_path / "macro.json").write_text(json.dumps(made))
    tables.read(tmp_path / "macro.json").save(tmp_path / "macro")
    problem = problems.load(
        "table",
        file=str(tmp_path / "macro"),
        search=["accuracy.cifar10.test.repeat1:max", "params"],
        report=["accuracy.cifar10.test:max", "params"],
    )
    archs = np.array([[1, 2, 0, 0, 0, 0, 0, 1], [1, 1, 0, 0, 0, 0, 0, 1]])
    assert problem.choices == (3,) * 8 and problem.space is None
    np.testing.assert_allclose(problem.search(archs), [[-80, 11], [np.nan, np.nan]])
    np.testing.assert_allclose(problem.report(archs)[0], [-83, 11])
    np.testing.assert_allclose(problem.front, [[-85, 11], [-84, 10]])


def test_an_imported_folder_of_a_space_that_ships_has_it(tmp_path):
    cells = nas.spaces.load("nasbench201").sample(20, RNG)
    with (tmp_path / "cells.csv").open("w") as handle:
        handle.write("arch,accuracy.test,latency_ms.gpu\n")
        for number, cell in enumerate(cells):
            handle.write(f"{nas.spaces.load('nasbench201').format(cell)},{70 + number},{1 + number % 7}\n")
    tables.read(tmp_path / "cells.csv").save(tmp_path / "cells")
    problem = problems.load("table", file=str(tmp_path / "cells"), search=["accuracy.test:max", "latency_ms.gpu"])
    assert problem.space is not None and problem.space.name == "nasbench201"
    np.testing.assert_allclose(problem.search(cells), [[-70 - i, 1 + i % 7] for i in range(20)])


def test_a_large_space_is_looked_up_like_a_small_one(tmp_path):
    space = nas.spaces.load("chain")
    archs = space.sample(30, RNG)
    with (tmp_path / "t.csv").open("w") as handle:
        handle.write("arch,a,b\n")
        handle.writelines(f'"{",".join(map(str, arch))}",{i},{-i}\n' for i, arch in enumerate(archs.tolist()))
    problem = problems.load("table", file=str(tmp_path / "t.csv"), search=["a", "b"], space="chain")
    order = RNG.permutation(30)
    np.testing.assert_allclose(problem.report(archs[order]), np.stack([order, -order], axis=1))
    assert np.isnan(problem.report(1 - np.minimum(archs[:1], 1))).all()


def test_a_table_is_read_again_when_it_has_changed(tmp_path):
    path, arch = tmp_path / "t.csv", np.array([[0, 0, 0, 0, 0, 1]])
    for value in (5, 77):
        path.write_text(f'arch,a\n"0,0,0,0,0,1",{value}\n')
        assert problems.load("table", file=str(path), search=["a"]).search(arch) == [[value]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('arch,a\n"0,0,0,0,0,1",1\n"0,0,0,0,0,1",2\n', "more than once"),
        ('arch,a\n"0,0,0,0,0,1",1\n"0,0,0,0,0,9",2\n', "row 2"),
        ('arch,a\n"0,0,0,0,0,1",1,2\n', "row 1: 3 cells"),
        ('cell,a\n"0,0,0,0,0,1",1\n', "no column 'arch'"),
        ('arch,a\n"0,0,0,0,0,1",fast\n', "has numbers in a"),
        ("arch,a\n", "has numbers in a"),
        ("", "no column 'arch'"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path, content, words):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InvalidTable) as caught:
        problems.load("table", file=str(tmp_path / "t.csv"), search=["a"])
    assert words in caught.value.message


def test_a_damaged_gzip_is_refused(file):
    file.write_bytes(file.read_bytes()[:-12])
    with pytest.raises(InvalidTable, match="cannot read"):
        problems.load("table", file=str(file), search=["ms"])


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
        ({"search": "noisy"}, UsageError, "lists of columns"),
        ({"keep": "true > much"}, UsageError, "keep"),
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
    for options in ({"genes": 1}, {"genes": "4"}, {"options": 2.5}):
        with pytest.raises(UsageError, match=r"at least 2|whole number"):
            problems.load("zdt1", **options)
    with pytest.raises(UsageError, match="whole number"):
        problems.load("dtlz2", objectives=2.5)
    with pytest.raises(UsageError, match="missing"):
        problems.load("table")
