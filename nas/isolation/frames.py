"""Frames between a search and the process in which code of others runs: a JSON header and bytes. No pickle."""

from __future__ import annotations

import json
import selectors
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

Header = dict[str, Any]

_LENGTHS = struct.Struct("<II")
#: Most bytes of a header, and of what follows it: a million rows of a hundred genes.
_MOST_HEADER, _MOST_PAYLOAD = 1 << 20, 1 << 30
_PIECE = 1 << 18


def readable(sockets: Sequence[socket.socket], seconds: float | None) -> list[socket.socket]:
    """Those that can be read, as soon as there is one, or none after so many seconds; any number of open files."""
    with selectors.DefaultSelector() as selector:
        for one in sockets:
            selector.register(one, selectors.EVENT_READ, one)
        return [key.data for key, _ in selector.select(None if seconds is None else max(seconds, 0))]


class Malformed(Exception):
    """What came is no frame."""


class Channel:
    """One end of a connection.

    Args:
        connection: of a socket pair.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._buffer = bytearray()

    def send(self, header: Mapping[str, Any], payload: bytes = b"") -> None:
        """Send a frame."""
        text = json.dumps(header).encode()
        self.connection.sendall(_LENGTHS.pack(len(text), len(payload)) + text + payload)

    def receive(
        self, until: float | None = None, beside: Sequence[socket.socket] = ()
    ) -> tuple[Header, bytes] | socket.socket | None:
        """The next frame; or one of `beside` where that can be read and no frame came; or None when it is too late.

        Args:
            until: by `time.monotonic`, or None to wait for ever.
            beside: other sockets to watch.

        Raises:
            EOFError: the other end is closed.
            Malformed: what came is no frame.
        """
        while (found := self._frame()) is None:
            ready = readable([self.connection, *beside], None if until is None else until - time.monotonic())
            if self.connection in ready:
                piece = self.connection.recv(_PIECE)
                if not piece:
                    raise EOFError
                self._buffer += piece
            elif ready:
                other: socket.socket = ready[0]
                return other
            elif until is not None and time.monotonic() >= until:
                return None
        return found

    def _frame(self) -> tuple[Header, bytes] | None:
        if len(self._buffer) < _LENGTHS.size:
            return None
        header, payload = _LENGTHS.unpack_from(self._buffer)
        if header > _MOST_HEADER or payload > _MOST_PAYLOAD:
            raise Malformed
        start, end = _LENGTHS.size + header, _LENGTHS.size + header + payload
        if len(self._buffer) < end:
            return None
        try:
            read = json.loads(bytes(self._buffer[_LENGTHS.size : start]))
        except (ValueError, RecursionError) as error:
            raise Malformed from error
        if not isinstance(read, dict):
            raise Malformed
        data = bytes(self._buffer[start:end])
        del self._buffer[:end]
        return read, data
