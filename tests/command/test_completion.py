"""Completion: scripts that name what there is, and that shells read."""

import re
import shlex
import shutil
import subprocess
from functools import partial

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


def in_bash(shell, path, *words):
    line = " ".join(map(shlex.quote, words))
    asked = f"source {shlex.quote(str(path))}; COMP_WORDS=(hwnas {line}); COMP_CWORD={len(words)}; _hwnas; "
    asked += 'printf "%s\\n" "${COMPREPLY[@]}"'
    found = subprocess.run([shell, "--norc", "-c", asked], capture_output=True, text=True, check=True)
    assert found.stderr == ""
    return set(found.stdout.split())


def in_fish(shell, path, *words):
    line = shlex.join(["hwnas", *words])
    asked = f"source {shlex.quote(str(path))}; complete -C {shlex.quote(line)}"
    found = subprocess.run([shell, "--no-config", "-c", asked], capture_output=True, text=True, check=True)
    assert found.stderr == ""
    return {offer.partition("\t")[0] for offer in found.stdout.splitlines()}


#: What shows the offers of one line that is being typed: a terminal with the editor of zsh, which ^T asks for a list.
#: Nothing is typed before the prompt is there: until then the terminal itself would take keys for its own.
ZSH = """
zmodload zsh/zpty
zpty inner {shell} -f -i
zpty -w inner "PS1= PS2= LISTMAX=9999; unsetopt zle_bracketed_paste; stty cols 300; bindkey '^T' list-choices"
zpty -w inner "autoload -Uz compinit; compinit -D -u; source {path}; zstyle ':completion:*' completer _complete"
zpty -w inner "zstyle ':completion:*' list-prompt ''; zstyle ':completion:*' force-list always; PS1='rea''dy>'"
zpty -r inner found '*ready>*'
zpty -w -n inner {line}$'\\x14'$'\\x15'"print en''ded"$'\\n'
zpty -r inner found '*ended*'
print -r -- "$found"
"""


def in_zsh(shell, path, *words):
    line = shlex.quote(shlex.join(["hwnas", *words]))
    asked = ZSH.format(shell=shlex.quote(shell), path=shlex.quote(str(path)), line=line)
    found = subprocess.run([shell, "-f", "-c", asked], capture_output=True, text=True, check=True, timeout=60)
    assert found.stderr == ""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x07", "", found.stdout).replace("\r", "\n")
    return {word for row in plain.splitlines() for word in row.split() if word.startswith(words[-1])} - {*words}


@pytest.fixture(scope="module", params=SHELLS)
def completed(request, tmp_path_factory):
    """What a shell offers for a line whose last word is being typed."""
    shell = shutil.which(request.param)
    if shell is None:
        pytest.skip(f"{request.param} is not here")
    path = tmp_path_factory.mktemp("completion") / "hwnas.sh"
    values = {"--space": nas.spaces.names(), "--strategy": nas.strategies.names()}
    path.write_text(script(request.param, words_of(command(), values)))
    ask = {"bash": in_bash, "zsh": in_zsh, "fish": in_fish}[request.param]
    return partial(ask, shell, path)


def test_a_shell_completes(completed):
    assert completed("se") == {"search"}
    assert completed("s") == {"search", "spaces", "status", "strategies"}
    assert completed("search", "--ev") == {"--evaluations"}
    assert completed("search", "-o", "x", "--strategy", "nsga") == {"nsga2", "nsga3", "nsganet", "nsganetv2"}
    assert completed("search", "--space", "nasb") == {"nasbench201", "nasbot"}
    assert completed("devices", "d") == {"detect", "deploy"}
    assert completed("devices", "detect", "--o") == {"--output"}


def test_files_are_for_bash_itself(tmp_path):
    if BASH is None:
        pytest.skip("bash is not here")
    path = tmp_path / "hwnas.sh"
    path.write_text(script("bash", words_of(command(), {})))
    assert in_bash(BASH, path, "report", "ru") == set()
