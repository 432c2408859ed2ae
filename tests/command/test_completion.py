"""Completion: scripts that name what there is, and that shells read."""

import re
import shlex
import shutil
import subprocess

import pytest

import nas
from hwnas_cli.app import command
from hwnas_cli.completing import SHELLS, script, words_of

BASH = shutil.which("bash")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_names_commands_options_and_what_is_registered(ask, hwnas, shell):
    code, answer = ask("completion", shell)
    assert code == 0 and answer["shell"] == shell
    said = set(re.findall(r"[\w-]+", answer["script"]))
    assert set(command().commands) <= said
    assert {"list", "show", *nas.strategies.names(), *nas.spaces.names(), "gdas", "lookup", "local-torch"} <= said
    assert {"--evaluations", "--json"} <= said or {"evaluations", "json"} <= said
    assert hwnas("completion", shell)[1] == answer["script"] + "\n"


def test_another_shell_is_refused(ask):
    code, answer = ask("completion", "zhs")
    assert code == 2 and "Did you mean 'zsh'?" in answer["error"]["hint"]


@pytest.mark.parametrize("shell", SHELLS)
def test_names_that_a_shell_would_run_are_left_out(shell):
    words = words_of(command(), {"--space": ["plain", "$(touch x)", "a b", "`x`", "mine-2"]})
    text = script(shell, words)
    assert "plain" in text and "mine-2" in text and "touch" not in text and "`" not in text


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_reads_its_script(hwnas, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here")
    text = hwnas("completion", shell)[1]
    subprocess.run([shutil.which(shell), "-n"], input=text, text=True, check=True, capture_output=True)


@pytest.fixture(scope="module")
def completed(tmp_path_factory):
    """What bash offers for a line whose last word is being typed."""
    if BASH is None:
        pytest.skip("bash is not here")
    path = tmp_path_factory.mktemp("completion") / "hwnas.sh"
    values = {"--space": nas.spaces.names(), "--strategy": nas.strategies.names()}
    path.write_text(script("bash", words_of(command(), values)))

    def offers(*words):
        line = " ".join(map(shlex.quote, words))
        asked = f"source {shlex.quote(str(path))}; COMP_WORDS=(hwnas {line}); COMP_CWORD={len(words)}; _hwnas; "
        asked += 'printf "%s\\n" "${COMPREPLY[@]}"'
        found = subprocess.run([BASH, "--norc", "-c", asked], capture_output=True, text=True, check=True)
        assert found.stderr == ""
        return set(found.stdout.split())

    return offers


def test_bash_completes(completed):
    assert completed("se") == {"search"}
    assert completed("s") == {"search", "spaces", "status", "strategies"}
    assert completed("search", "--ev") == {"--evaluations"}
    assert completed("search", "-o", "x", "--strategy", "nsga") == {"nsga2", "nsga3", "nsganet", "nsganetv2"}
    assert completed("search", "--space", "nasb") == {"nasbench201", "nasbot"}
    assert completed("devices", "d") == {"detect", "deploy"}
    assert completed("devices", "detect", "--o") == {"--output"}
    assert completed("report", "ru") == set(), "files are for bash itself"
