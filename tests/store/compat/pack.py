#!/usr/bin/env python3
"""Packs the image of a store for a test: runs of zeros are left out.

usage: pack.py STORE > IMAGE

IMAGE: size of the store (8 bytes), then pieces: offset (4), length (4), bytes. All little-endian.
old_store.image was packed from a store that version 0.1.0 had made, before leaves had a second
version:

    pleach mkfs s --size 4MiB --log-size 256KiB
    pleach load s a.jsonl --tree var --node 4096 --batch 20
    pleach load s b.jsonl --tree fixed --key-bytes 8 --value-bytes 8 --node 4096 --batch 20
    pleach put s var large "$(printf 'L%.0s' $(seq 9000))"
    pleach del s var user/0007

a.jsonl: for i in 0..299 key user/%04d, value "value %d " followed by i % 40 times "x";
b.jsonl: for i in 0..199 key k%07d, value v%07d.
"""
import re
import struct
import sys

data = open(sys.argv[1], "rb").read()
out = sys.stdout.buffer
out.write(struct.pack("<Q", len(data)))
at = 0
for gap in list(re.finditer(rb"\0{16,}", data)) + [re.compile(rb"$").search(data, len(data))]:
    if gap.start() > at:
        out.write(struct.pack("<II", at, gap.start() - at) + data[at : gap.start()])
    at = gap.end()
