#!/usr/bin/env python3
"""Runs a program as old kernels and some sandboxes do, without the system call openat2: without_openat2.py PROGRAM."""

import ctypes
import errno
import os
import struct
import sys

OPENAT2 = 437
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERROR = 0x7FFF0000, 0x00050000
NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


instructions = [
    (LOAD, 0, 0, 0),
    (JUMP_EQUAL, 0, 1, OPENAT2),
    (RETURN, 0, 0, ERROR | errno.ENOSYS),
    (RETURN, 0, 0, ALLOW),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *instruction) for instruction in instructions))
program = Program(len(instructions), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(SECCOMP, FILTER, ctypes.byref(program), 0, 0):
    sys.exit(f"without_openat2.py: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - the test's own program takes this one's place
