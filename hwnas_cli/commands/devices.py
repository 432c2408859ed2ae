"""`hwnas devices`: list, show, detect, add, deploy, check."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas_cli.answer import Answer, Json, answers, say, table

if TYPE_CHECKING:
    from device_profiles.profile import Target

devices = typer.Typer(no_args_is_help=True, help="Targets: a device plus the way it runs models.")


@devices.command("list")
@answers("devices")
def list_targets(as_json: Json = False) -> Answer:
    """List the targets that ship with the toolkit, and the devices that were measured for it.

    Examples:

        hwnas devices list

        hwnas devices list --json
    """
    import device_profiles
    from device_profiles import measured

    targets = [device_profiles.load(name) for name in device_profiles.names()]
    data = [
        {"name": t.name, "description": t.description, "runtime": t.runtime.name, "threads": t.runtime.threads}
        for t in targets
    ]
    rows = [[t.name, t.runtime.name, str(t.runtime.threads), t.description] for t in targets]
    text = table(["name", "runtime", "threads", "description"], rows)
    shipped = measured.names()
    if shipped:
        text += f"\nmeasured, for hwnas predict NAME --model FILE and hwnas fit --from NAME: {', '.join(shipped)}"
    return Answer({"devices": data, "measured": list(shipped)}, text)


@devices.command()
@answers("devices")
def show(
    target: Annotated[str, typer.Argument(help="A shipped name or a TOML file.")], as_json: Json = False
) -> Answer:
    """Show one target as TOML.

    Examples:

        hwnas devices show local-onnxruntime

        hwnas devices show my-board.toml
    """
    import device_profiles
    from device_profiles import measured
    from device_profiles.profile import to_plain, to_toml

    found = measured.target(target) or device_profiles.load(target)
    return Answer({"target": to_plain(found)}, to_toml(found).rstrip())


@devices.command()
@answers("devices")
def detect(
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the target to this TOML file.")] = None,
    as_json: Json = False,
) -> Answer:
    """Describe this machine as a target; what cannot be known says why.

    Examples:

        hwnas devices detect

        hwnas devices detect -o this-machine.toml
    """
    import device_profiles
    from device_profiles.facts import Unknown
    from device_profiles.profile import save, to_plain, to_toml

    found = device_profiles.detect()
    unknown = {n: f.reason for n, f in device_profiles.host_facts().items() if isinstance(f, Unknown)}
    if output is not None:
        save(found, output)
    notes = [f"# {name} is unknown: {reason}" for name, reason in unknown.items()]
    written = [f"# written to {output}"] if output is not None else []
    data = {"target": to_plain(found), "unknown": unknown, "path": None if output is None else str(output)}
    return Answer(data, "\n".join([to_toml(found).rstrip(), *notes, *written]))


@devices.command()
@answers("devices")
def add(
    name: Annotated[str, typer.Argument(help="How commands shall call the device.")],
    ssh: Annotated[list[str] | None, typer.Option(help="A Linux board: HOST or USER@HOST; or several.")] = None,
    adb: Annotated[list[str] | None, typer.Option(help="An Android phone: its serial number; or several.")] = None,
    port: Annotated[int | None, typer.Option(help="Of ssh, if it is not that of ~/.ssh/config.")] = None,
    runtime: Annotated[str, typer.Option(help="What runs the models there.")] = "onnxruntime",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The TOML file; else NAME.toml.")] = None,
    as_json: Json = False,
) -> Answer:
    """Describe another device as a target: it is asked what it is, and nothing is left on it.

    Equal devices are a fleet: they share campaigns, side by side, and one that turns out to differ is set aside.

    Examples:

        hwnas devices add pi --ssh pi@raspberry.local

        hwnas devices add pis --ssh pi@one.local --ssh pi@two.local

        hwnas devices add phone --adb 9A251FFAZ00A --json
    """
    from device_profiles.errors import UsageError
    from device_profiles.profile import Fact, from_plain, save, to_plain, to_toml
    from profiler import deploying, runtimes

    if bool(ssh) == bool(adb):
        raise UsageError("a device is behind --ssh or behind --adb", hint="hwnas devices add pi --ssh pi@HOST")
    if port is not None and not ssh:
        raise UsageError("--port is of --ssh", hint="Leave it out.")
    runtimes.REGISTRY.get(runtime)
    kind, (address, *fleet) = ("ssh", ssh) if ssh else ("adb", adb or [""])
    access = {"transport": kind, "address": address, "options": {} if port is None else {"port": port}}
    access |= {"fleet": fleet} if fleet else {}
    made = from_plain({"name": name, "access": access, "runtime": {"name": runtime}})
    facts = deploying.detect_alike(made)
    known = {fact: Fact(value=value, source=f"the device, over {kind}") for fact, value in facts.items()}
    number = f"{1 + len(fleet)} times " if fleet else ""
    board = facts.get("board") or facts.get("cpu_model") or facts.get("machine")
    made = made.model_copy(update={"hardware": known, "description": f"{number}{board}, {runtime} on one thread"})
    path = output or Path(f"{name}.toml")
    save(made, path)
    data = {"target": to_plain(made), "path": str(path)}
    return Answer(data, f"{to_toml(made).rstrip()}\n# written to {path}; next: hwnas devices deploy {path}")


@devices.command()
@answers("devices")
def deploy(
    target: Annotated[str, typer.Argument(help="A shipped name or a TOML file.")],
    wheels: Annotated[Path | None, typer.Option(help="A folder of wheels, for a device without a network.")] = None,
    python: Annotated[Path | None, typer.Option(help="A folder with a Python, for a phone: it is pushed.")] = None,
    as_json: Json = False,
) -> Answer:
    """Install the agent, and its runtime where that is missing, on a device; one kernel is run to see that it works.

    Examples:

        hwnas devices deploy pi.toml

        hwnas devices deploy pi.toml --wheels wheels --json
    """
    from dataclasses import asdict

    import device_profiles
    from device_profiles.errors import UsageError
    from profiler import deploying, transports
    from profiler.transports.adb import AdbTransport

    found = device_profiles.load(target)
    rows: list[dict[str, Any]] = []
    lines: list[str] = []
    for one in found.each_device():
        device = transports.elsewhere_or_refuse(one)
        if python is not None:
            if not isinstance(device, AdbTransport):
                raise UsageError("--python is for phones: a board has its own", hint="Leave it out.")
            say(f"pushing {python}")
            device.push(python)
        made = deploying.deploy(device, found.runtime.name, wheels=wheels)
        one_ms = deploying.try_out(one)
        rows.append({**asdict(made), "kernel_ms": one_ms})
        lines.append(
            f"{_called(one, found)}: Python {made.python} on {made.machine}; installed "
            f"{', '.join(made.installed) or 'nothing'}; a convolution took {one_ms:.3g} ms"
        )
    return Answer(_of_each(found, rows), "\n".join([*lines, f"next: hwnas devices check {target}"]))


@devices.command()
@answers("devices")
def check(
    target: Annotated[str, typer.Argument(help="A shipped name or a TOML file.")],
    seconds: Annotated[str, typer.Option(help="How long the device is watched.")] = "30s",
    as_json: Json = False,
) -> Answer:
    """Watch a device for half a minute: what would disturb a campaign, and what to do about it.

    Examples:

        hwnas devices check local-onnxruntime

        hwnas devices check pi.toml --json
    """
    import device_profiles
    from device_profiles.units import parse_duration_s
    from profiler import steadiness, transports

    found, watched_s = device_profiles.load(target), parse_duration_s(seconds)
    rows: list[dict[str, Any]] = []
    lines: list[str] = []
    for one in found.each_device():
        say(f"watching {_called(one, found)} for {watched_s:.0f} s")
        said = dict(transports.of(one).check(watched_s, found.runtime.name))
        judged = steadiness.judge(said)
        row = {
            "steady": not judged.disturbances,
            "sentinel_ms": judged.sentinel_ms,
            "slow_share": judged.slow_share,
            "spread": judged.spread,
            "temperatures_c": said["after_c"],
            "runtime": said.get("runtime"),
            "disturbances": [{"what": what, "remedy": remedy} for what, remedy in judged.disturbances],
        }
        rows.append(row)
        lines.append(
            f"{_called(one, found)}: sentinel {judged.sentinel_ms:.3g} ms, deciles {judged.spread:.0%} apart, "
            f"slow {judged.slow_share:.0%} of the time"
        )
        lines += [f"{what}: {remedy}" for what, remedy in judged.disturbances]
    steady = all(row["steady"] for row in rows)
    lines += ["nothing would disturb a campaign"] if steady else []
    return Answer({**_of_each(found, rows), "steady": steady}, "\n".join(lines), 0 if steady else 1)


def _of_each(target: Target, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What was found of a device; of a fleet what was found of the first, and of each."""
    each = zip(target.each_device(), rows, strict=True)
    fleet = [{"address": one.access.address, **row} for one, row in each]
    return {"target": target.name, **rows[0], **({"fleet": fleet} if target.access.fleet else {})}


def _called(device: Target, target: Target) -> str:
    """What people call a target, or one device of a fleet."""
    return device.access.address if target.access.fleet else target.name
