#!/usr/bin/env python3
"""What the training step has to compute, by PyTorch in double precision: tests/data/train/golden.safetensors.

    tools/make_train_golden.py tests/data/train/golden.safetensors        (needs numpy and torch)

A small 2B4T model, a ragged batch with per-token weights (negative and 0 among them) and tokens without a loss: losses,
all gradients, and the parameters after three steps of torch.optim.AdamW, for ternary and float weights; for binary ones
losses and every eleventh gradient. Straight-through gradients are autograd's of x + (Q(x) - x).detach() (training tips).

Written independently of the C code. Parameters and batch come from a counter-based generator that the test repeats, so
that they need not be stored. Each mode's seed is searched so that no int8 or ternary value, in any of the steps, lies
nearer to a rounding boundary than float32 noise reaches: the same integers then for everybody."""
import json
import sys

import numpy as np
import torch

L, D, FF, H, KV, HD, V = 2, 32, 80, 4, 2, 8, 61
EPS, THETA, Z_LOSS = float(np.float32(1e-5)), 10000.0, 0.01
LR, DECAY, GRAD_SCALE, STEPS = 1e-3, 0.1, 0.25, 3
BETAS, ADAM_EPS = (0.9, 0.95), 1e-3  # a large eps: where a gradient is near 0 its noise must not decide the step
LENGTHS = [7, 1, 12, 4]
SHOWN = 11  # every eleventh value of what is not stored whole
CLEAR = 2e-4  # least distance of int8 values from a rounding boundary, in units of the integers
CLEAR_WEIGHT = 2e-6  # of weights, which carry less noise
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)


def draw(seed, stream, n):
    """Uniform in [-0.5, 0.5), multiples of 2^-16: exact in every float format in use (splitmix64 of a counter)."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + (np.uint64(stream) << np.uint64(32))
        z = (z + np.arange(n, dtype=np.uint64)) * np.uint64(0xBF58476D1CE4E5B9) + np.uint64(0x94D049BB133111EB)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        z = z ^ z >> np.uint64(31)
    return (z >> np.uint64(48)).astype(np.float64) / 65536 - 0.5


def parameters(seed):
    """In tern_params' order."""
    shapes = {}
    for i in range(L):
        p = f"model.layers.{i}."
        for name, rows, cols in (("self_attn.q_proj", D, D), ("self_attn.k_proj", KV * HD, D),
                                 ("self_attn.v_proj", KV * HD, D), ("self_attn.o_proj", D, D),
                                 ("mlp.gate_proj", FF, D), ("mlp.up_proj", FF, D), ("mlp.down_proj", D, FF)):
            shapes[p + name + ".weight"] = (rows, cols)
        for name, n in (("input_layernorm", D), ("self_attn.attn_sub_norm", D), ("post_attention_layernorm", D),
                        ("mlp.ffn_sub_norm", FF)):
            shapes[p + name + ".weight"] = (n,)
    shapes["model.embed_tokens.weight"] = (V, D)
    shapes["model.norm.weight"] = (D,)
    values = {}
    for i, (name, shape) in enumerate(shapes.items()):
        x = draw(seed, i, int(np.prod(shape))).reshape(shape)
        values[name] = 1 + x / 2 if len(shape) == 1 else x if "embed" in name else x / 8
    return {name: torch.tensor(x).requires_grad_() for name, x in values.items()}


def batch(seed):
    n = sum(LENGTHS)
    ids = ((draw(seed, 1000, n) + 0.5) * V).astype(np.int64)
    targets = ((draw(seed, 1001, n) + 0.5) * V).astype(np.int64)
    targets[draw(seed, 1002, n) > 0.375] = -1
    weights = draw(seed, 1003, n) + 0.25
    weights[draw(seed, 1004, n) > 0.375] = 0
    return torch.tensor(ids), torch.tensor(targets), torch.tensor(weights)


class Net:
    def __init__(self, values, mode):
        self.p, self.mode, self.clear = values, mode, float("inf")

    def near(self, distances, least):
        """Keep the least distance from a rounding boundary, as a share of what it has to be."""
        self.clear = min(self.clear, float(distances.abs().min()) / least)

    def weight(self, w):
        if self.mode == "float":
            return w
        with torch.no_grad():
            gamma = w.abs().mean().clamp(min=1e-5)
            if self.mode == "ternary":
                self.near((w / gamma).abs() - 0.5, CLEAR_WEIGHT)
                quantised = (w / gamma).round().clamp(-1, 1) * gamma
            else:
                centred = w - w.mean()
                self.near(centred / gamma, CLEAR_WEIGHT)
                quantised = torch.where(centred >= 0, gamma, -gamma)
        return w + (quantised - w).detach()

    def bit(self, x, name):
        if self.mode != "float":
            s = 127 / x.detach().abs().amax(-1, keepdim=True).clamp(min=1e-5)
            scaled = x.detach() * s
            self.near(scaled - scaled.floor() - 0.5, CLEAR)
            x = x + ((x * s).round().clamp(-128, 127) / s - x).detach()
        return x @ self.weight(self.p[name + ".weight"]).T

    def norm(self, x, name):
        return self.p[name + ".weight"] * x * (x.pow(2).mean(-1, keepdim=True) + EPS).rsqrt()

    def rope(self, x):  # [t, heads, HD]
        t = torch.arange(x.shape[0]).double()[:, None] * THETA ** (-2 * torch.arange(HD // 2).double() / HD)
        c, s, a, b = t.cos()[:, None], t.sin()[:, None], x[..., :HD // 2], x[..., HD // 2:]
        return torch.cat([a * c - b * s, b * c + a * s], -1)

    def attention(self, q, k, v):
        t = q.shape[0]
        q, k, v = self.rope(q.view(t, H, HD)), self.rope(k.view(t, KV, HD)), v.view(t, KV, HD)
        k, v = k.repeat_interleave(H // KV, 1), v.repeat_interleave(H // KV, 1)
        scores = torch.einsum("ihd,jhd->hij", q, k) * HD ** -0.5
        scores = scores + torch.full((t, t), float("-inf")).triu(1)
        return torch.einsum("hij,jhd->ihd", scores.softmax(-1), v).reshape(t, D)

    def block(self, x, i):
        p = f"model.layers.{i}."
        n = self.norm(x, p + "input_layernorm")
        q, k, v = (self.bit(n, p + f"self_attn.{j}_proj") for j in "qkv")
        parts = zip(*(z.split(LENGTHS) for z in (q, k, v)))
        a = torch.cat([self.attention(*part) for part in parts])
        x = x + self.bit(self.norm(a, p + "self_attn.attn_sub_norm"), p + "self_attn.o_proj")
        n = self.norm(x, p + "post_attention_layernorm")
        h = torch.relu(self.bit(n, p + "mlp.gate_proj")) ** 2 * self.bit(n, p + "mlp.up_proj")
        return x + self.bit(self.norm(h, p + "mlp.ffn_sub_norm"), p + "mlp.down_proj")

    def loss(self, ids, targets, weights):
        """-> nll [n] (0 where there is no target), and what the gradients are of."""
        e = self.p["model.embed_tokens.weight"]
        x = e[ids]
        for i in range(L):
            x = self.block(x, i)
        logits = self.norm(x, "model.norm") @ e.T
        lse = logits.logsumexp(-1)
        nll = torch.where(targets >= 0, lse - logits.gather(1, targets.clamp(min=0)[:, None])[:, 0], torch.zeros(()))
        return nll, (weights * torch.where(targets >= 0, nll + Z_LOSS * lse ** 2, torch.zeros(()))).sum()


def run(seed, mode):
    """-> tensors to store, the least distance from a boundary."""
    values = parameters(seed)
    data = batch(seed)
    out, clear = {}, float("inf")
    matrices = [p for p in values.values() if p.dim() == 2]
    gains = [p for p in values.values() if p.dim() == 1]
    adam = torch.optim.AdamW([{"params": matrices, "weight_decay": DECAY}, {"params": gains, "weight_decay": 0}],
                             lr=LR, betas=BETAS, eps=ADAM_EPS)
    for step in range(STEPS):
        net = Net(values, mode)
        nll, loss = net.loss(*data)
        adam.zero_grad()
        loss.backward()
        clear = min(clear, net.clear)
        if clear < 1:
            return None, clear
        out[f"{mode}.nll{step}"] = nll.detach()
        if step == 0:
            for name, p in values.items():
                grad = p.grad.clone()
                out[f"{mode}.grad.{name}"] = grad.flatten()[::SHOWN] if mode == "binary" else grad
        for p in values.values():
            p.grad *= GRAD_SCALE
        adam.step()
    for name, p in values.items():
        out[f"{mode}.after.{name}"] = p.detach().flatten()[::SHOWN]
    return out, clear


def search(mode):
    for seed in range(1, 100000):
        out, clear = run(seed, mode)
        if out is not None:
            print(f"{mode}: seed {seed} is clear of boundaries {clear:.2f} times", file=sys.stderr)
            return {**out, f"{mode}.seed": torch.tensor([float(seed)])}
    sys.exit(f"{mode}: no seed is clear of rounding boundaries")


def write(path, tensors, metadata):
    header, data = {"__metadata__": metadata}, b""
    for name, x in tensors.items():
        bytes_ = x.numpy().astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(x.shape), "data_offsets": [len(data), len(data) + len(bytes_)]}
        data += bytes_
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + data)


def main():
    tensors = {name: x for mode in ("ternary", "float", "binary") for name, x in search(mode).items()}
    write(sys.argv[1], tensors, {"made_by": "tools/make_train_golden.py, torch " + torch.__version__,
                                 "arithmetic": "float64, stored as float32"})


main()
