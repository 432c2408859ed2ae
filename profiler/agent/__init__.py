"""The agent: what runs on the device.

It reads a job, times its models under the protocol, and writes what it saw, one JSON object a line. It judges nothing
and needs Python, numpy and the runtime alone: its files import the standard library, numpy, `device_profiles.errors`,
`device_profiles.registry`, `profiler.runtimes` and each other. It is started as `python -m profiler.agent JOB.json`.
"""
