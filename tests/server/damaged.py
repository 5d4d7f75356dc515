"""A model that computes what is no number, made of the built-in one."""
import struct


def damage(data, token):
    """A GGUF file whose embedding of one token is NaN; `data` is that of models/demo.gguf, or like it: the embedding is the
    first tensor, of 16 bits."""
    n_tensors, = struct.unpack_from("<Q", data, 8)
    at = data.index(b"token_embd.weight") - 8
    for i in range(n_tensors):
        n_name, = struct.unpack_from("<Q", data, at)
        n_dims, = struct.unpack_from("<I", data, at + 8 + n_name)
        if i == 0:
            width, _, kind, offset = struct.unpack_from("<QQIQ", data, at + 12 + n_name)
        at += 12 + n_name + 8 * n_dims + 12
    assert kind == 1  # F16
    row = (at + 31) // 32 * 32 + offset + 2 * width * token
    return data[:row] + b"\0\x7e" * width + data[row + 2 * width:]
