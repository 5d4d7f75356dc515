#!/usr/bin/env python3
"""shuffle_gguf.py IN.gguf OUT.gguf SEED [ALIGNMENT]: the same file with keys and tensors in another order, as another
program might write them; with the key general.alignment in the middle of the others if an alignment is given."""
import os
import random
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from convert_matrix import read_gguf  # noqa: E402


def text(name):
    return struct.pack("<Q", len(name.encode())) + name.encode()


def main():
    source, target, seed = sys.argv[1:4]
    alignment = int(sys.argv[4]) if len(sys.argv) > 4 else 32
    keys, tensors = read_gguf(source)
    keys.pop("general.alignment", None)
    if len(sys.argv) > 4:
        keys["general.alignment"] = struct.pack("<II", 4, alignment)
    rng = random.Random(int(seed))
    keys, tensors = list(keys.items()), list(tensors.items())
    rng.shuffle(keys)
    rng.shuffle(tensors)
    out = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)))
    for name, value in keys:
        out += text(name) + value
    at, data = 0, bytearray()
    for name, (kind, shape, values) in tensors:
        out += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        out += struct.pack("<IQ", kind, at)
        data += values + bytes(-len(values) % alignment)
        at = len(data)
    with open(target, "wb") as file:
        file.write(out + bytes(-len(out) % alignment) + data)


if __name__ == "__main__":
    main()
