"""A link that breaks: it stands between the host and a real agent, and does one thing wrong in a job, or none.

`python faulty.py FOLDER SEED SHARE HOME`: jobs are numbered in `FOLDER/count`; `FOLDER/faults` has what was done.
"""

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

FULL = {"error": "the disk of the device is full", "kind": "DeviceFull", "hint": "Free some."}
FAULTS = ("cut", "hang", "full", "truncated", "nonce", "killed", "reboot")


def main(place: Path, seed: int, share: float, home: str) -> None:
    if (place / "off").exists():  # it is rebooting: a few tries find nobody
        left = int((place / "off").read_text()) - 1
        (place / "off").write_text(str(left)) if left else (place / "off").unlink()
        sys.stderr.write("ssh: connect to host board port 22: Connection refused\n")
        sys.exit(255)
    agent = subprocess.Popen(
        [sys.executable, "-m", "profiler.agent.remote", home],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0,
    )  # fmt: skip
    state = {"fault": "", "at": 0, "lines": 0}
    threading.Thread(target=forward, args=(agent, place, seed, share, state), daemon=True).start()
    out = sys.stdout.buffer
    for line in agent.stdout:
        if b'"line"' in line:
            state["lines"] += 1
            if state["fault"] and state["lines"] == state["at"]:
                line = broken(state, line, agent, place)
        out.write(line)
        out.flush()
    os._exit(agent.wait())


def forward(agent, place, seed, share, state):
    """What the host says; a new job may get a fault."""
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        if asked["do"] == "run":
            number = int((place / "count").read_text()) if (place / "count").exists() else 0
            (place / "count").write_text(str(number + 1))
            draw = random.Random(f"{seed} {number}")
            state.update(fault="", lines=0)
            if draw.random() < share:
                state.update(fault=draw.choice(FAULTS), at=draw.randint(2, 14))
                with (place / "faults").open("a") as file:
                    file.write(state["fault"] + "\n")
        if asked["do"] == "put":
            content = sys.stdin.buffer.read(asked["size"])
            if random.Random(f"{seed} {asked['sha256']} {time.time()}").random() < share / 4:
                with (place / "faults").open("a") as file:
                    file.write("full\n")
                answer = {**FULL, "n": asked["n"]}
                sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
                sys.stdout.buffer.flush()
                continue
            line += content
        agent.stdin.write(line)
        agent.stdin.flush()
    agent.stdin.close()


def broken(state, line, agent, place):
    """What becomes of a line."""
    fault = state["fault"]
    told = json.loads(line)
    if fault in ("cut", "reboot"):
        if fault == "reboot":
            (place / "off").write_text("2")
        agent.kill()
        os._exit(255)
    if fault == "hang":
        time.sleep(3600)
    if fault == "killed":  # the worker, as the system does that runs out of memory
        children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
        for pid in children:
            os.kill(int(pid), 9)
        return line
    if fault == "truncated":
        return json.dumps({**told, "line": told["line"][: len(told["line"]) // 2]}).encode() + b"\n"
    if fault == "nonce":
        return json.dumps({**told, "line": told["line"].replace('"nonce":"', '"nonce":"0')}).encode() + b"\n"
    return json.dumps({**FULL, "n": told["n"]}).encode() + b"\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4])
