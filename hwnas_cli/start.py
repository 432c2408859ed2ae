"""What the process `hwnas` does first: take care of interrupts and of its streams, then load the command and run it.

Importing it is the start: it is the entry point of the command, and of nothing else.
"""

from __future__ import annotations

from hwnas_cli import interrupts

interrupts.end_at_once()

import io  # noqa: E402 - what is loaded from here on may be interrupted
import os  # noqa: E402
import sys  # noqa: E402


def main() -> None:
    """Run the command line and end with its code."""
    _own_streams()
    from hwnas_cli.app import main as run

    run()


def _own_streams() -> None:
    """Keep standard output to the answer, and let no text fail to be written.

    Descriptor 1 becomes standard error, so that a library or a worker that prints cannot spoil the one JSON object; the
    answer goes to a copy of what it was. A descriptor that was closed is filled: the next file that is opened would
    take its number, and what is printed would go into a store.
    """
    while (lowest := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(lowest, True)
    os.close(lowest)
    if sys.stderr is None:
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", "backslashreplace", write_through=True)
    out = os.dup(1)
    interrupts.end_at_once(out)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    os.dup2(2, 1)
    sys.stdout = io.TextIOWrapper(io.FileIO(out, "w"), encoding, "backslashreplace", line_buffering=True)
