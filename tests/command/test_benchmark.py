"""`hwnas benchmark` as a user meets it."""

import json

from hwnas_cli.app import main

TOML = """
output = "out"
seeds = 2
evaluations = 20
problem = [{ kind = "zdt1", genes = 3, options = 11 }]
strategy = [{ name = "random" }, { name = "nsga2" }]
"""


def run(capsys, *arguments):
    try:
        main(list(arguments))
        code = 0
    except SystemExit as end:
        code = end.code or 0
    return code, *capsys.readouterr()


def test_it_prints_a_table_and_writes_a_page(tmp_path, capsys):
    (tmp_path / "c.toml").write_text(TOML)
    code, out, _ = run(capsys, "benchmark", str(tmp_path / "c.toml"))
    assert code == 0
    assert "@20" in out and "random" in out and "±" in out and "as a share of the exact front's" in out
    assert "plotly" in (tmp_path / "out" / "benchmark.html").read_text()
    code, out, _ = run(capsys, "benchmark", str(tmp_path / "c.toml"), "--json")
    data = json.loads(out)
    assert code == 0 and data["schema"] == "hwnas.benchmark/1"
    assert len(data["cells"]) == 4 and data["checkpoints"][-1] == 20
    mine = [c["scores"]["20"]["ratio"] for c in data["cells"] if c["strategy"] == "nsga2"]
    assert abs(data["means"]["zdt1"]["nsga2"][-1] - sum(mine) / 2) < 1e-12


def test_bad_input_ends_with_its_code(tmp_path, capsys):
    assert run(capsys, "benchmark", str(tmp_path / "none.toml"))[0] == 4
    (tmp_path / "c.toml").write_text(TOML.replace("nsga2", "nsga22"))
    code, _, err = run(capsys, "benchmark", str(tmp_path / "c.toml"))
    assert code == 2 and "Did you mean 'nsga2'" in err
