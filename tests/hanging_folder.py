#!/usr/bin/env python3
"""A filesystem that hangs on command: hanging_folder.py FOLDER mounts it there, with the file `card` in it.

It speaks just enough of FUSE for that. Says `ready` once it is mounted; after a line on stdin it answers nobody any
more, after another it goes on. Root only. The folder is unmounted when stdin ends.
"""

import ctypes
import os
import selectors
import struct
import sys

CARD = b"inside"
ROOT, FILE = 1, 2
LOOKUP, GETATTR, OPEN, READ, OPENDIR, INIT = 1, 3, 14, 15, 27, 26
RELEASE, FLUSH, RELEASEDIR = 18, 25, 29
UNANSWERED = {2, 36, 42}  # FORGET, INTERRUPT, BATCH_FORGET
NOT_FOUND, NOT_IMPLEMENTED = 2, 38
DIRECT_IO = 1

libc = ctypes.CDLL(None, use_errno=True)


def attributes(node: int) -> bytes:
    mode, size = (0o040755, 0) if node == ROOT else (0o100644, len(CARD))
    return struct.pack("<6Q10I", node, size, 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 512, 0)


def response(opcode: int, node: int, body: bytes) -> bytes | int:
    """What answers a request: bytes, or the number of an error. The kernel may remember nothing of it."""
    if opcode == INIT:
        return struct.pack("<4I2H2I2H8I", 7, 31, 0, 0, 8, 8, 4096, 1, 1, 0, *[0] * 8)
    if opcode == GETATTR:
        return struct.pack("<QII", 0, 0, 0) + attributes(node)
    if opcode == LOOKUP:
        found = body.rstrip(b"\0") == b"card"
        return struct.pack("<4Q2I", FILE, 0, 0, 0, 0, 0) + attributes(FILE) if found else NOT_FOUND
    if opcode in (OPEN, OPENDIR):
        return struct.pack("<Q2I", 0, DIRECT_IO, 0)
    if opcode == READ:
        _, offset, size = struct.unpack_from("<QQI", body)
        return CARD[offset : offset + size]
    return b"" if opcode in (RELEASE, FLUSH, RELEASEDIR) else NOT_IMPLEMENTED


def answer(device: int) -> None:
    request = os.read(device, 1 << 17)
    _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
    if opcode in UNANSWERED:
        return
    said = response(opcode, node, request[40:])
    error, data = (said, b"") if isinstance(said, int) else (0, said)
    os.write(device, struct.pack("<IiQ", 16 + len(data), -error, unique) + data)


def main() -> None:
    folder = sys.argv[1].encode()
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if libc.mount(b"hanging", folder, b"fuse.hanging", 0, options) != 0:
        sys.exit(f"hanging_folder.py: {os.strerror(ctypes.get_errno())}")
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    selector.register(device, selectors.EVENT_READ)
    print("ready", flush=True)
    answers = True
    while True:
        for key, _ in selector.select():
            if key.fileobj is not sys.stdin:
                answer(device)
                continue
            if not os.read(0, 1):
                libc.umount2(folder, 2)
                return
            answers = not answers
            (selector.register(device, selectors.EVENT_READ) if answers else selector.unregister(device))
            print("answers" if answers else "hangs", flush=True)


main()
