"""`hwnas doctor`."""

from __future__ import annotations

from hwnas_cli.answer import Answer, Json, answers


@answers("doctor")
def doctor(as_json: Json = False) -> Answer:
    """Check whether this machine is ready.

    It looks at packages, the clock, pinning, sensors and the disk.

    Examples:

        hwnas doctor

        hwnas doctor --json
    """
    from device_profiles import doctor as run

    checks = run()
    rows = [["ok" if check.ok else "MISSING", check.name, check.detail] for check in checks]
    hints = [f"hint: {check.name}: {check.hint}" for check in checks if not check.ok]
    lines = [f"{state:8} {name:16} {detail}" for state, name, detail in rows]
    ready = not hints
    data = {
        "ready": ready,
        "checks": [{"name": c.name, "ok": c.ok, "detail": c.detail, "hint": "" if c.ok else c.hint} for c in checks],
    }
    return Answer(data, "\n".join([*lines, *hints]), 0 if ready else 3)
