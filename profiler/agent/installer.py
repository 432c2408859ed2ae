"""Runs on the device, before anything of ours is there: `python -c CODE deploy|detect HOME PACKAGE ...`.

It reads an archive from standard input and writes one line of JSON. What it cannot do it says in a line of standard
error that begins with `hwnas: `. Standard library alone; any Python 3 can read it, to say that it is too old.
"""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, NoReturn

DESCRIBE = "import json; from profiler.agent.checks import hardware; print(json.dumps(hardware()))"
VERSIONS = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def main(what: str, named: str, packages: list[str]) -> dict[str, Any]:
    """Unpack the archive, and do what is asked."""
    if sys.version_info < (3, 11):  # noqa: UP036 - it runs before we know
        stop(f"its Python is {platform.python_version()}, and the agent needs 3.11 or later")
    home = Path.home() / named
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=home) as place:
            unpack(Path(place))
            return describe(Path(place)) if what == "detect" else deploy(home, Path(place), packages)
    except (OSError, tarfile.TarError, EOFError) as error:
        stop(str(error))


def unpack(place: Path) -> None:
    """Files of the archive alone; Pythons before 3.11.4 have no filter of their own."""
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|gz") as archive:
        for entry in archive:
            content = archive.extractfile(entry)
            if content is None or ".." in Path(entry.name).parts or Path(entry.name).is_absolute():
                stop(f"the archive holds what is no file of ours: {entry.name!r}")
            path = place / entry.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read())


def describe(place: Path) -> dict[str, Any]:
    """What the device is; nothing stays."""
    said = run([sys.executable, "-c", DESCRIBE], cwd=place / "agent")
    if said.returncode:
        stop(f"it cannot be described: {last(said.stderr)}")
    return {"facts": json.loads(said.stdout)}


def deploy(home: Path, place: Path, packages: list[str]) -> dict[str, Any]:
    """Packages that are missing, the agent, and what starts it."""
    own = home / "python" / "bin" / "python"
    python = str(own) if own.exists() else sys.executable
    missing = [name for name in packages if name not in versions(python, packages)]
    if missing and python != str(own):
        made = run([sys.executable, "-m", "venv", "--system-site-packages", str(home / "python")])
        if made.returncode:
            stop(f"it cannot make a virtual environment (apt install python3-venv): {last(made.stdout + made.stderr)}")
        python = str(own)
    if missing:
        wheels = place / "wheels"
        source = ["--no-index", "--find-links", str(wheels)] if wheels.is_dir() else []
        quietly = ["--quiet", "--disable-pip-version-check"]
        done = run([python, "-m", "pip", "install", *quietly, *source, *missing])
        if done.returncode:
            stop(f"it cannot install {', '.join(missing)}: {last(done.stderr)}")
    agent = home / "agent"
    with tempfile.TemporaryDirectory(prefix=".old-", dir=home) as old:
        if agent.exists():
            agent.rename(Path(old) / "agent")
        (place / "agent").rename(agent)
    starts = shlex.join([python, "-m", "profiler.agent.remote", str(home)])
    new = home / "run.new"
    new.write_text(f"#!/bin/sh\ncd {shlex.quote(str(agent))} && exec {starts}\n")
    new.chmod(0o755)
    new.replace(home / "run")
    about = {"python": platform.python_version(), "machine": platform.machine()}
    return {**about, "packages": versions(python, packages), "installed": missing}


def versions(python: str, packages: list[str]) -> dict[str, str]:
    """Of those packages that an interpreter has."""
    found: dict[str, str] = json.loads(run([python, "-c", VERSIONS, *packages]).stdout)
    return found


def run(command: list[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command, with what it says."""
    return subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def last(words: str) -> str:
    """The last line."""
    return (words.strip().splitlines() or ["no message"])[-1]


def stop(words: str) -> NoReturn:
    """Say why not."""
    sys.stderr.write(f"hwnas: {words}\n")
    sys.exit(1)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], sys.argv[2], sys.argv[3:])) + "\n")
