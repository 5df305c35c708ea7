#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Writes kerneldumpheader-v4.bin: <sys/kerneldump.h>, field by field."""
import struct
import sys

header = struct.pack(
    ">20s12sIIQQII64s192s175sBQ4x",
    b"FreeBSD Kernel Dump",         # kdh_magic
    b"amd64",                       # kdh_architecture
    4,                              # kdh_version: KERNELDUMPVERSION
    2,                              # kdh_architectureversion
    0x0123_4567_89AB,               # kdh_dumplength
    0x6553_F100,                    # kdh_dumptime
    0,                              # kdh_dumpkeysize
    4096,                           # kdh_blocksize
    b"host.example.org",            # kdh_hostname
    b"FreeBSD 15.1-RELEASE-p1 releng/15.1 GENERIC\n",  # kdh_versionstring
    b"",                            # kdh_panicstring
    2,                              # kdh_compression: KERNELDUMP_COMP_ZSTD
    0x0FED_CBA9_8765,               # kdh_dumpextent
)
parity = 0                          # kdh_parity: kerneldump_parity()
for (word,) in struct.iter_unpack("=I", header):
    parity ^= word
sys.stdout.buffer.write(header + struct.pack("=I", parity))
