"""`hwnas doctor`."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from hwnas_cli.answer import Answer, Json, answers, say


@answers("doctor")
def doctor(
    install: Annotated[str | None, typer.Option(help="Install a converter in an environment of its own.")] = None,
    as_json: Json = False,
) -> Answer:
    """Check whether this machine is ready.

    It looks at packages, the clock, pinning, sensors and the disk, at the runtimes, and at the converters that some of
    them need, each in an environment of its own.

    Examples:

        hwnas doctor

        hwnas doctor --install litert

        hwnas doctor --json
    """
    from device_profiles import Check
    from device_profiles import doctor as run
    from device_profiles.errors import UnknownName
    from profiler.compilers import converters

    known = {converter.name: converter for converter in converters.known()}
    if install is not None:
        if install not in known:
            raise UnknownName("converter", install, known)
        say(f"installing {' '.join(known[install].requirements)} in {known[install].folder}")
        known[install].install()
    meters = _meters()
    readable = ", ".join(row["name"] for row in meters if row["state"] == "ok")
    checks = [*run(), Check("energy", True, f"by {readable}" if readable else "no meter can be read here, see below")]
    rows = [["ok" if check.ok else "MISSING", check.name, check.detail] for check in checks]
    hints = [f"hint: {check.name}: {check.hint}" for check in checks if not check.ok]
    lines = [f"{state:8} {name:16} {detail}" for state, name, detail in rows]
    runtimes = _runtimes()
    lines += [f"{row['state']:8} runtime {row['name']}: {row['detail']}" for row in runtimes]
    lines += [
        f"{'ok' if one.installed else '-':8} converter {name}"
        + (f": {one.folder}" if one.installed else f": not installed; {one.command}")
        for name, one in known.items()
    ]
    lines += [f"{row['state']:8} meter {row['name']}: {row['detail']}" for row in meters]
    ready = not hints
    data = {
        "ready": ready,
        "runtimes": runtimes,
        "meters": meters,
        "converters": [{"name": n, "installed": c.installed, "install": c.command} for n, c in known.items()],
        "checks": [{"name": c.name, "ok": c.ok, "detail": c.detail, "hint": "" if c.ok else c.hint} for c in checks],
    }
    return Answer(data, "\n".join([*lines, *hints]), 0 if ready else 3)


def _runtimes() -> list[dict[str, str]]:
    """Each runtime: the versions of its packages, or the one command that installs it."""
    from device_profiles.errors import DeviceError
    from profiler import runtimes

    found = []
    for name, runtime in runtimes.REGISTRY:
        traits = runtime.traits
        try:
            state, detail = "ok", ", ".join(f"{package} {version(package)}" for package in traits.packages)
        except PackageNotFoundError:
            wanted = f"'hwnas[{traits.extra}]'" if traits.extra else " ".join(traits.packages)
            state, detail = "-", f"not installed; pip install {wanted}"
        else:
            if traits.device != "cpu":  # packages alone say nothing of it
                try:
                    runtimes.load(name)
                except DeviceError as error:
                    state, detail = "-", f"{error.message}; {error.hint}"
        found.append({"name": name, "state": state, "detail": detail or "simulated"})
    return found


def _meters() -> list[dict[str, str]]:
    """Each meter of energy: that it can be read, or why not and what to do."""
    from profiler import meters

    found = []
    for name in meters.names():
        if name != meters.NONE:
            missing = meters.load(name).available()
            detail = "can be read" if missing is None else missing.reason
            found.append({"name": name, "state": "ok" if missing is None else "-", "detail": detail})
    return found
