"""Messages between processes: each is one datagram, or shared memory that is sent with one.

A datagram goes out whole or not at all, whatever a signal handler raises meanwhile, and several processes may send.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping
from typing import Any, Protocol

from jobserver.errors import JobServerError

LONGEST_DATAGRAM = 64 * 1024
LONGEST_MESSAGE = 64 * 1024 * 1024
_IN_MEMORY = b"in memory"
_NUMBER = struct.Struct("i")


class Codec(Protocol):
    """What can be stored can be sent, and nothing that is decoded is code."""

    def encode(self, message: Mapping[str, Any]) -> bytes:
        """Raises DataError for what has no encoding."""
        ...

    def decode(self, encoded: bytes) -> dict[str, Any]:
        """Raises DataError for what is no message."""
        ...

    def check(self, value: Any, *, what: str, limit: int) -> None:
        """Raises DataError that names the key which cannot be stored, or the size over `limit` bytes."""
        ...


class BadMessage(JobServerError):
    """What came through is no message of ours: somebody else writes into that descriptor."""

    def __init__(self, size: int) -> None:
        super().__init__(f"a message of {size:,} bytes is none that this program sends")
        self.size = size


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends that keep messages apart."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(peer: socket.socket, encoded: bytes) -> None:
    """Send one message. Raises OSError."""
    if len(encoded) <= LONGEST_DATAGRAM:
        peer.send(encoded)
        return
    memory = os.memfd_create("message", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(memory), "wb") as stream:
            stream.write(encoded)
        socket.send_fds(peer, [_IN_MEMORY], [memory])
    finally:
        os.close(memory)


def receive(peer: socket.socket, *, limit: int = LONGEST_MESSAGE) -> bytes | None:
    """The next message, None at the end. Raises BadMessage, and BlockingIOError where nobody has sent one."""
    try:
        taken, descriptors = receive_descriptors(peer, 1)
    except ConnectionError:
        return None
    if not descriptors:
        return taken or None
    try:
        return _read(descriptors[0], limit)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def receive_descriptors(peer: socket.socket, most: int) -> tuple[bytes, list[int]]:
    """A datagram and what was sent with it, at most so many; programs that are started do not inherit them."""
    # Not socket.recv_fds: it lets go of its flags.
    room = socket.CMSG_LEN(most * _NUMBER.size)
    taken, extras, _, _ = peer.recvmsg(LONGEST_DATAGRAM, room, socket.MSG_CMSG_CLOEXEC)
    rights = [data for level, kind, data in extras if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)]
    return taken, [number for data in rights for (number,) in _NUMBER.iter_unpack(data)]


def _read(memory: int, limit: int) -> bytes:
    size = os.fstat(memory).st_size
    if size > limit:
        raise BadMessage(size)
    taken = bytearray()
    while len(taken) < size and (piece := os.pread(memory, size - len(taken), len(taken))):
        taken += piece
    return bytes(taken)
