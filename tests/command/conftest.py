"""The command line, run as other programs run it."""

import json

import pytest

from hwnas_cli.app import main


@pytest.fixture
def hwnas(capsys):
    """Run a command: its exit code, standard output, standard error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return run


@pytest.fixture
def ask(hwnas):
    """Run a command with `--json`: its exit code, and the one object."""

    def run(*arguments):
        code, out, _ = hwnas(*arguments, "--json")
        answer = json.loads(out)
        assert answer["schema"] == f"hwnas.{arguments[0]}/1"
        return code, answer

    return run
