"""`hwnas devices`: list, show, detect, deploy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas_cli.answer import Answer, Json, answers, table

devices = typer.Typer(no_args_is_help=True, help="Targets: a device plus the way it runs models.")


@devices.command("list")
@answers("devices")
def list_targets(as_json: Json = False) -> Answer:
    """List the targets that ship with the toolkit.

    Examples:

        hwnas devices list

        hwnas devices list --json
    """
    import device_profiles

    targets = [device_profiles.load(name) for name in device_profiles.names()]
    data = [
        {"name": t.name, "description": t.description, "runtime": t.runtime.name, "threads": t.runtime.threads}
        for t in targets
    ]
    rows = [[t.name, t.runtime.name, str(t.runtime.threads), t.description] for t in targets]
    return Answer({"devices": data}, table(["name", "runtime", "threads", "description"], rows))


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
    from device_profiles.profile import to_plain, to_toml

    found = device_profiles.load(target)
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
def deploy(
    target: Annotated[str, typer.Argument(help="A shipped name or a TOML file.")], as_json: Json = False
) -> Answer:
    """Install the agent on a remote device. Not part of this version.

    Examples:

        hwnas devices deploy my-board.toml

        hwnas devices deploy phone --json
    """
    from device_profiles.errors import UsageError

    raise UsageError("devices deploy is not part of this version", hint="Local targets need no deployment.")
