"""When a run ends early. Each is one file that defines `STOP`."""
