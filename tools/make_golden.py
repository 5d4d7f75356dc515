#!/usr/bin/env python3
"""Make the golden files of the tests: small random models in every file form, and what each must compute.

    python3 tools/make_golden.py [OUT]       # OUT: tests/data/golden

Needs numpy and nothing else; gives the same bytes every time. Written from docs/MODEL.md, sharing nothing with the C
code: the forward pass below works in float64 on plain matrices, with the ternary products as integers.

Rounding to int8 amplifies: where a value times its scale falls next to a rounding tie, a correct float32 program may
land on the other side. Prompts and texts are therefore drawn until every such value keeps its distance (TIE) and every
greedy choice has a margin (MARGIN); golden.json records both.
"""
import json
import math
import pathlib
import re
import struct
import sys

import numpy as np

TIE = 4e-5  # least distance of x * s from a rounding tie; float32 noise is about 1e-5
MARGIN = 0.02  # least gap between the two best logits in the greedy continuation
N_PROMPT, N_GREEDY, CONTEXT = 18, 12, 24

MODELS = {
    # rows of whole 256-value blocks, so that every weight and embedding type fits
    "plain": dict(arch="bitnet-b1.58", vocab=300, hidden=256, ffn=256, layers=1, heads=4, kv=2, tied=True, seed=11,
                  embed_std=0.2),
    # nothing divides by anything: hidden 144, head_dim 48, multi-query, odd vocabulary, head of its own
    "odd": dict(arch="bitnet-25", vocab=301, hidden=144, ffn=176, layers=2, heads=3, kv=1, tied=False, seed=22,
                embed_std=0.25),
    # cheap enough for the 16- and 32-bit forms
    "small": dict(arch="bitnet", vocab=277, hidden=64, ffn=64, layers=2, heads=2, kv=1, tied=True, seed=33,
                  embed_std=0.35),
}
# model, form, (container, weight type, embedding type, more)
FORMS = [
    ("plain", "model-i2_s.gguf", "gguf", "I2_S", "F16"),
    ("plain", "model-tq1_0-q6_k.gguf", "gguf", "TQ1_0", "Q6_K"),
    ("plain", "model-tq2_0-q8_0.gguf", "gguf", "TQ2_0", "Q8_0"),
    ("plain", "model-tq1_0-q4_0.gguf", "gguf", "TQ1_0", "Q4_0"),
    ("odd", "hf-packed", "hf", "PACKED", "BF16"),
    ("odd", "model-i2_s.gguf", "gguf", "I2_S", "F16"),
    ("small", "hf-bf16", "hf", "BF16", "BF16"),
    ("small", "hf-packed-sharded", "hf-sharded", "PACKED", "BF16"),
    ("small", "hf-bitlinear", "hf-bitlinear", "PACKED_INVERSE", "BF16"),
    ("small", "model-f16.gguf", "gguf", "F16", "F16"),
    ("small", "model-bf16.gguf", "gguf", "BF16", "BF16"),
    ("small", "model-f32.gguf", "gguf", "F32", "F32"),
    ("small", "model-i2_s-f32-v2.gguf", "gguf-v2", "I2_S", "F32"),
]

# ----------------------------------------------------------------------------------------------------- number formats


def f32(x):
    return np.asarray(x, np.float32)


def to_bf16_bits(x):
    bits = np.atleast_1d(f32(x)).view(np.uint32).astype(np.int64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def bf16(x):
    """Rounded to bfloat16, as float64."""
    return (to_bf16_bits(x).astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def f16(x):
    return f32(x).astype(np.float16).astype(np.float64)


def float_bytes(x, kind):
    if kind == "F32":
        return f32(x).tobytes()
    if kind == "F16":
        return f32(x).astype("<f2").tobytes()
    return to_bf16_bits(x).astype("<u2").tobytes()


# GGUF block types of float matrices: x [rows, cols] -> (bytes, the values that the bytes stand for)


def encode_q8_0(x):
    blocks = x.reshape(-1, 32)
    d = f16(np.abs(blocks).max(1) / 127)
    q = np.clip(np.rint(blocks / d[:, None]), -127, 127)
    data = b"".join(struct.pack("<e32b", s, *map(int, row)) for s, row in zip(d, q))
    return data, (q * d[:, None]).reshape(x.shape)


def encode_q4_0(x):
    blocks = x.reshape(-1, 32)
    d = f16(np.abs(blocks).max(1) / 7.5)
    q = np.clip(np.rint(blocks / d[:, None]) + 8, 0, 15).astype(np.uint8)
    data = b"".join(struct.pack("<e", s) + (row[:16] | row[16:] << 4).tobytes() for s, row in zip(d, q))
    return data, ((q - 8.0) * d[:, None]).reshape(x.shape)


def encode_q6_k(x):
    data, values = [], []
    for block in x.reshape(-1, 256):
        groups = block.reshape(16, 16)
        want = np.abs(groups).max(1) / 31  # one 8-bit scale for 16 values, one f16 for them all
        d = float(f16(want.max() / 127))
        scales = np.maximum(np.rint(want / d), 1)
        q = np.clip(np.rint(groups / (d * scales[:, None])), -32, 31)
        values.append((q * (d * scales[:, None])).reshape(256))
        codes = (q.reshape(2, 4, 32) + 32).astype(np.uint8)  # halves of 128: four runs of 32
        low = b"".join(bytes(h[0] & 15 | (h[2] & 15) << 4) + bytes(h[1] & 15 | (h[3] & 15) << 4) for h in codes)
        high = b"".join(bytes(h[0] >> 4 | h[1] >> 4 << 2 | h[2] >> 4 << 4 | h[3] >> 4 << 6) for h in codes)
        data.append(low + high + scales.astype(np.int8).tobytes() + struct.pack("<e", d))
    return b"".join(data), np.array(values).reshape(x.shape)


def encode_float(x, kind):
    if kind in ("F32", "F16", "BF16"):
        rounded = {"F32": lambda v: f32(v).astype(np.float64), "F16": f16, "BF16": bf16}[kind](x)
        return float_bytes(x, kind), rounded
    return {"Q8_0": encode_q8_0, "Q4_0": encode_q4_0, "Q6_K": encode_q6_k}[kind](x)


# Ternary types: T [rows, cols] of -1, 0, 1 and the mean -> bytes


def encode_i2_s(t, mean):
    codes = (t.reshape(-1, 4, 32) + 1).astype(np.uint8)  # 128 values in 32 bytes, running through the whole matrix
    data = codes[:, 0] << 6 | codes[:, 1] << 4 | codes[:, 2] << 2 | codes[:, 3]
    return data.tobytes() + struct.pack("<f", mean) + bytes(28)


def encode_tq2_0(t, mean):
    out = []
    for block in (t.reshape(-1, 2, 4, 32) + 1).astype(np.uint8):
        out.append((block[:, 0] | block[:, 1] << 2 | block[:, 2] << 4 | block[:, 3] << 6).tobytes())
        out.append(struct.pack("<e", mean))
    return b"".join(out)


def encode_tq1_0(t, mean):
    def digits(rows):  # [n, bytes]: the first row is the most significant of five base-3 digits
        number = np.zeros(rows.shape[1], int)
        for row in rows:
            number = number * 3 + row
        number *= 3 ** (5 - len(rows))
        return ((number * 256 + 242) // 243).astype(np.uint8).tobytes()

    out = []
    for block in t.reshape(-1, 256).astype(int) + 1:
        out.append(digits(block[:160].reshape(5, 32)) + digits(block[160:240].reshape(5, 16)) +
                   digits(block[240:].reshape(4, 4)) + struct.pack("<e", mean))
    return b"".join(out)


def encode_packed(t):
    quarter = len(t) // 4
    codes = (t + 1).astype(np.uint8).reshape(4, quarter, -1)  # byte r holds rows r, r + R, r + 2R, r + 3R
    return (codes[0] | codes[1] << 2 | codes[2] << 4 | codes[3] << 6).tobytes()


# ---------------------------------------------------------------------------------------------------------- tokenizer

SPECIALS = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
            "<|reserved_special_token_2|>", "<|reserved_special_token_3|>", "<|start_header_id|>",
            "<|end_header_id|>", "<|reserved_special_token_4|>", "<|eot_id|>", "<|reserved_special_token_5|>",
            "<|reserved_special_token_6|>"]
REGEX = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")
# The same for ASCII text, which is all that is encoded here.
ASCII_REGEX = re.compile(REGEX.replace(r"[^\r\n\p{L}\p{N}]", r"[^\r\nA-Za-z0-9]").replace(
    r"[^\s\p{L}\p{N}]", r"[^\sA-Za-z0-9]").replace(r"\p{L}", "[A-Za-z]").replace(r"\p{N}", "[0-9]"))
TEMPLATE = ("{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = message['role'] | "
            "capitalize + ': '+ message['content'] | trim + '<|eot_id|>' %}{{ content }}{% endfor %}"
            "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}")
WORDS = ("the a small tern bird sea wind flew over under far north south and then it was in on an island ship old "
         "storm light day night home said he she they").split()


def byte_alphabet():
    """GPT-2's byte -> printable character."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(rest)}


ALPHABET = byte_alphabet()


class Tokenizer:
    """Byte-level BPE: 256 bytes, merges learned from WORDS, then the special tokens."""

    def __init__(self, vocab_size):
        self.tokens = list(ALPHABET.values())
        self.merges = []
        words = [[ALPHABET[b] for b in (" " + w).encode()] for w in WORDS]
        while len(self.tokens) < vocab_size - len(SPECIALS):
            counts = {}
            for word in words:
                for pair in zip(word, word[1:]):
                    counts[pair] = counts.get(pair, 0) + 1
            pair = min(counts, key=lambda p: (-counts[p], p))
            self.merges.append(pair)
            self.tokens.append(pair[0] + pair[1])
            words = [self.merge(word, pair) for word in words]
        self.ids = {t: i for i, t in enumerate(self.tokens)}
        self.bos, self.eos = len(self.tokens), len(self.tokens) + 1
        self.all = self.tokens + SPECIALS

    @staticmethod
    def merge(word, pair):
        out = []
        for piece in word:
            if out and (out[-1], piece) == pair:
                out[-1] += piece
            else:
                out.append(piece)
        return out

    def encode(self, text):
        ids = []
        for match in ASCII_REGEX.finditer(text):
            word = [ALPHABET[b] for b in match.group().encode()]
            if "".join(word) in self.ids:
                word = ["".join(word)]
            for pair in self.merges:
                word = self.merge(word, pair)
            ids += [self.ids[piece] for piece in word]
        return ids

    def json(self):
        def special(i, text):
            return {"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
                    "normalized": False, "special": True}

        split = {"type": "Split", "pattern": {"Regex": REGEX}, "behavior": "Isolated", "invert": False}
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        bos = {"SpecialToken": {"id": SPECIALS[0], "type_id": 0}}
        text = {"Sequence": {"id": "A", "type_id": 0}}
        template = {"type": "TemplateProcessing", "single": [bos, text], "pair": [bos, text, text],
                    "special_tokens": {SPECIALS[0]: {"id": SPECIALS[0], "ids": [self.bos], "tokens": [SPECIALS[0]]}}}
        return {"version": "1.0", "truncation": None, "padding": None,
                "added_tokens": [special(self.bos + i, s) for i, s in enumerate(SPECIALS)], "normalizer": None,
                "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]}, "post_processor": template,
                "decoder": {"type": "ByteLevel"},
                "model": {"type": "BPE", "ignore_merges": True, "vocab": self.ids,
                          "merges": [" ".join(p) for p in self.merges]}}


# -------------------------------------------------------------------------------------------------------------- model


def make_model(name, seed):
    """Random BF16 masters with the oddities of the published ones: dead channels of 1e-32 and 1e-34."""
    m = dict(MODELS[name], name=name)
    rng = np.random.RandomState(seed)
    m["tokenizer"] = Tokenizer(m["vocab"])
    head_dim = m["hidden"] // m["heads"]
    kv_size = m["kv"] * head_dim
    shapes = {"attn_q": (m["hidden"], m["hidden"]), "attn_k": (kv_size, m["hidden"]), "attn_v": (kv_size, m["hidden"]),
              "attn_output": (m["hidden"], m["hidden"]), "ffn_gate": (m["ffn"], m["hidden"]),
              "ffn_up": (m["ffn"], m["hidden"]), "ffn_down": (m["hidden"], m["ffn"])}

    def gain(size, typical):
        g = typical * np.exp(0.3 * rng.randn(size))
        g[rng.randint(size, size=2)] = 1e-32
        return bf16(g)

    def master(shape):
        while True:
            w = rng.randn(*shape) * 0.08
            w[:, rng.randint(shape[1])] = 1e-34
            w = bf16(w)
            mean = f32(np.abs(w).mean())
            # the ternary values must not depend on the last bit of the mean
            if np.abs(np.abs(w) / float(mean) - 0.5).min() > 1e-5:
                return w

    m["layers"] = [dict({k: master(s) for k, s in shapes.items()}, attn_norm=gain(m["hidden"], 1.0),
                        attn_sub_norm=gain(m["hidden"], 0.7), ffn_norm=gain(m["hidden"], 1.0),
                        ffn_sub_norm=gain(m["ffn"], 0.7)) for _ in range(MODELS[name]["layers"])]
    m["matrices"] = list(shapes)
    m["output_norm"] = gain(m["hidden"], 1.0)
    m["embed"] = bf16(rng.randn(m["vocab"], m["hidden"]) * m["embed_std"])
    m["head"] = None if m["tied"] else bf16(rng.randn(m["vocab"], m["hidden"]) * m["embed_std"])
    return m


def ternary(w):
    """(T, mean), absmean with round half to even."""
    mean = float(max(f32(np.abs(w).mean()), f32(1e-5)))
    return np.clip(np.rint(w * float(f32(1) / f32(mean))), -1, 1), mean


SCALE_OF = {"PACKED": lambda mean: bf16(mean).item(), "PACKED_INVERSE": lambda mean: 1 / bf16(1 / mean).item(),
            "I2_S": float, "TQ1_0": lambda mean: float(f16(mean)), "TQ2_0": lambda mean: float(f16(mean)),
            "BF16": float, "F16": float, "F32": float}


class NearTie(Exception):
    """Some value lies so near a rounding tie that a correct program may differ."""


class Engine:
    """The forward pass in float64; `tie` is the least distance from a rounding tie since it was last set."""

    def __init__(self, m, weights, embedding):
        self.m, self.tie = m, math.inf
        self.linear = [{k: ternary(layer[k]) for k in m["matrices"]} for layer in m["layers"]]
        self.scale = SCALE_OF[weights]
        self.embed = encode_float(m["embed"], embedding)[1]
        self.head = self.embed if m["tied"] else encode_float(m["head"], embedding)[1]
        # Tokens that are clear of ties before they meet any context; the others would spoil every prompt.
        first = self.norm(self.embed, m["layers"][0]["attn_norm"])
        self.clear = np.array([self.distance(row) >= TIE for row in first])

    def norm(self, x, gain):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * gain

    @staticmethod
    def distance(x):
        v = x * (127 / np.maximum(np.abs(x).max(-1, keepdims=True), 1e-5))
        return np.abs(v - np.floor(v) - 0.5).min()

    def quantize(self, x):
        self.tie = min(self.tie, self.distance(x))
        if self.tie < TIE:
            raise NearTie
        s = 127 / np.maximum(np.abs(x).max(-1, keepdims=True), 1e-5)
        return np.clip(np.rint(x * s), -128, 127), s

    def bitlinear(self, quantized, pair):
        q, s = quantized
        t, mean = pair
        return (q @ t.T) / s * self.scale(mean)

    def rope(self, x):
        n, _, d = x.shape
        inv_freq = f32(500000.0 ** (-2.0 * np.arange(d // 2) / d))
        angle = (f32(np.arange(n))[:, None] * inv_freq).astype(np.float64)[:, None, :]  # angles are float32
        a, b = x[..., :d // 2], x[..., d // 2:]
        return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], -1)

    def attention(self, q, k, v):
        n, heads, d = q.shape
        group = heads // k.shape[1]
        out = np.empty_like(q)
        future = np.triu(np.full((n, n), -np.inf), 1)
        for h in range(heads):
            scores = q[:, h] @ k[:, h // group].T * d ** -0.5 + future
            e = np.exp(scores - scores.max(1, keepdims=True))
            out[:, h] = e / e.sum(1, keepdims=True) @ v[:, h // group]
        return out.reshape(n, -1)

    def logits(self, ids):
        m, x, n = self.m, self.embed[ids], len(ids)
        for layer, linear in zip(m["layers"], self.linear):
            a = self.quantize(self.norm(x, layer["attn_norm"]))
            q, k, v = (self.bitlinear(a, linear[key]).reshape(n, heads, -1)
                       for key, heads in (("attn_q", m["heads"]), ("attn_k", m["kv"]), ("attn_v", m["kv"])))
            o = self.attention(self.rope(q), self.rope(k), v)
            x = x + self.bitlinear(self.quantize(self.norm(o, layer["attn_sub_norm"])), linear["attn_output"])
            b = self.quantize(self.norm(x, layer["ffn_norm"]))
            h = np.maximum(self.bitlinear(b, linear["ffn_gate"]), 0) ** 2 * self.bitlinear(b, linear["ffn_up"])
            x = x + self.bitlinear(self.quantize(self.norm(h, layer["ffn_sub_norm"])), linear["ffn_down"])
        return self.norm(x, m["output_norm"]) @ self.head.T


# ------------------------------------------------------------------------------------------------------------ goldens


def find_prompt(engine, seed):
    """Random ids behind a BOS whose logits and greedy continuation are free of doubt."""
    tok = engine.m["tokenizer"]
    clear = [i for i in range(len(tok.tokens)) if engine.clear[i]]
    for attempt in range(100000):
        rng = np.random.RandomState(seed + attempt)
        ids = [tok.bos, *(clear[i] for i in rng.randint(len(clear), size=N_PROMPT - 1))]
        engine.tie, margin, greedy = math.inf, math.inf, []
        try:
            logits = engine.logits(ids)
            last = logits[-1]
            while len(greedy) < N_GREEDY and margin >= MARGIN:
                second, best = np.argsort(last)[-2:]
                margin = min(margin, last[best] - last[second])
                greedy.append(int(best))
                last = engine.logits(ids + greedy)[-1]
        except NearTie:
            continue
        if margin >= MARGIN and tok.eos not in greedy:
            return ids, logits, greedy, short(engine.tie), short(margin)
    raise SystemExit("no prompt found")


def find_text(engine, seed):
    """A line of words, half of them made up, and its mean negative log-likelihood in windows of CONTEXT - 1 tokens
    behind a BOS."""
    tok = engine.m["tokenizer"]
    for attempt in range(100000):
        rng = np.random.RandomState(seed + attempt)
        words = [WORDS[i] if i < len(WORDS) else "".join(chr(97 + c) for c in rng.randint(26, size=2 + i % 5))
                 for i in rng.randint(2 * len(WORDS), size=12)]
        text = " ".join(words)
        ids = tok.encode(text)
        if not engine.clear[ids].all() or len(ids) % (CONTEXT - 1) == 0:  # the last window shall be a shorter one
            continue
        engine.tie, nll = math.inf, []
        try:
            for start in range(0, len(ids), CONTEXT - 1):
                window = ids[start:start + CONTEXT - 1]
                logits = engine.logits([tok.bos] + window[:-1])
                top = logits.max(1)
                total = np.log(np.exp(logits - top[:, None]).sum(1)) + top
                nll += (total - logits[np.arange(len(window)), window]).tolist()
        except NearTie:
            continue
        mean = math.fsum(nll) / len(nll)
        return {"text": text, "context": CONTEXT, "tokens": len(ids), "mean_nll": short(mean),
                "perplexity": short(math.exp(mean)), "bits_per_byte": short(math.fsum(nll) / math.log(2) / len(text)),
                "text_tie_distance": short(engine.tie)}
    raise SystemExit("no text found")


def clear_model(name):
    """The first seed whose BOS, which stands at the head of everything, meets no tie in any form."""
    for seed in range(MODELS[name]["seed"], MODELS[name]["seed"] + 1000):
        m = make_model(name, seed)
        try:
            engines = {form: Engine(m, weights, embedding) for model, form, _, weights, embedding in FORMS
                       if model == name}
            for engine in engines.values():
                engine.logits([m["tokenizer"].bos])
            return m, engines
        except NearTie:
            pass
    raise SystemExit("no model found")


# -------------------------------------------------------------------------------------------------------- file formats

GGUF_TYPE = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 8, "Q6_K": 14, "BF16": 30, "TQ1_0": 34, "TQ2_0": 35, "I2_S": 36}
TERNARY = {"I2_S": encode_i2_s, "TQ1_0": encode_tq1_0, "TQ2_0": encode_tq2_0}


def gguf_string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf_value(value):
    """(type, value) -> bytes; an array is (type, list)."""
    kind, v = value
    code = {"u32": 4, "i32": 5, "f32": 6, "bool": 7, "str": 8}[kind]
    pack = {"u32": "<I", "i32": "<i", "f32": "<f", "bool": "<?"}
    one = gguf_string if kind == "str" else lambda item: struct.pack(pack[kind], item)
    if isinstance(v, list):
        return struct.pack("<IIQ", 9, code, len(v)) + b"".join(map(one, v))
    return struct.pack("<I", code) + one(v)


def gguf_keys(m, weights):
    tok, arch = m["tokenizer"], m["arch"]
    keys = {"general.architecture": ("str", arch), "general.name": ("str", "golden-" + m["name"]),
            f"{arch}.vocab_size": ("u32", m["vocab"]), f"{arch}.context_length": ("u32", 128),
            f"{arch}.embedding_length": ("u32", m["hidden"]), f"{arch}.block_count": ("u32", len(m["layers"])),
            f"{arch}.feed_forward_length": ("u32", m["ffn"]),
            f"{arch}.rope.dimension_count": ("u32", m["hidden"] // m["heads"]),
            f"{arch}.attention.head_count": ("u32", m["heads"]), f"{arch}.attention.head_count_kv": ("u32", m["kv"]),
            "tokenizer.ggml.add_bos_token": ("bool", True),
            f"{arch}.attention.layer_norm_rms_epsilon": ("f32", 1e-5), f"{arch}.rope.freq_base": ("f32", 500000.0),
            "general.file_type": ("u32", 40 if weights == "I2_S" else 1), "tokenizer.ggml.model": ("str", "gpt2")}
    if m["name"] == "odd":  # the official file has no such key; others do
        keys["tokenizer.ggml.pre"] = ("str", "llama-bpe")
    n = len(tok.tokens)
    keys |= {"tokenizer.ggml.tokens": ("str", tok.all), "tokenizer.ggml.scores": ("f32", [0.0] * len(tok.all)),
             "tokenizer.ggml.token_type": ("i32", [1] * n + [3] * len(SPECIALS)),
             "tokenizer.ggml.merges": ("str", [" ".join(p) for p in tok.merges]),
             "tokenizer.ggml.bos_token_id": ("u32", tok.bos), "tokenizer.ggml.eos_token_id": ("u32", tok.eos),
             "tokenizer.ggml.padding_token_id": ("u32", tok.eos), "tokenizer.chat_template": ("str", TEMPLATE),
             "general.quantization_version": ("u32", 2)}
    return keys


def write_gguf(path, m, weights, embedding, version):
    tensors = [("token_embd", m["embed"].shape, embedding, encode_float(m["embed"], embedding)[0])]
    for i, layer in enumerate(m["layers"]):
        for key in ("attn_norm", "ffn_down", "ffn_gate", "ffn_up", "ffn_sub_norm", "ffn_norm", "attn_sub_norm",
                    "attn_k", "attn_output", "attn_q", "attn_v"):
            w = layer[key]
            if key.endswith("norm"):
                kind, data = "F32", float_bytes(w, "F32")
            elif weights in TERNARY:
                kind, data = weights, TERNARY[weights](*ternary(w))
            else:
                kind, data = weights, float_bytes(w, weights)
            tensors.append((f"blk.{i}.{key}", w.shape, kind, data))
    tensors.append(("output_norm", m["output_norm"].shape, "F32", float_bytes(m["output_norm"], "F32")))
    if not m["tied"]:
        tensors.append(("output", m["head"].shape, embedding, encode_float(m["head"], embedding)[0]))
    keys = gguf_keys(m, weights)
    out = bytearray(struct.pack("<4sIQQ", b"GGUF", version, len(tensors), len(keys)))
    for key, value in keys.items():
        out += gguf_string(key) + gguf_value(value)
    offset = 0
    for name, shape, kind, data in tensors:
        out += gguf_string(name + ".weight") + struct.pack("<I", len(shape))
        out += struct.pack(f"<{len(shape)}Q", *reversed(shape)) + struct.pack("<IQ", GGUF_TYPE[kind], offset)
        offset += (len(data) + 31) // 32 * 32
    for _, _, _, data in tensors:
        out += bytes(-len(out) % 32) + data
    path.write_bytes(out + bytes(-len(out) % 32))


def write_safetensors(path, tensors):
    """tensors: {name: (dtype, shape, bytes)}"""
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(t[2] for t in tensors.values()))


HF_NAME = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
           "attn_sub_norm": "self_attn.attn_sub_norm", "ffn_sub_norm": "mlp.ffn_sub_norm", "attn_q": "self_attn.q_proj",
           "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
           "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def hf_tensors(m, weights):
    tensors = {"model.embed_tokens.weight": ("BF16", m["embed"].shape, float_bytes(m["embed"], "BF16"))}
    for i, layer in enumerate(m["layers"]):
        for key, hf in HF_NAME.items():
            w, name = layer[key], f"model.layers.{i}.{hf}.weight"
            if key.endswith("norm") or weights == "BF16":
                tensors[name] = ("BF16", w.shape, float_bytes(w, "BF16"))
                continue
            t, mean = ternary(w)
            tensors[name] = ("U8", (w.shape[0] // 4, w.shape[1]), encode_packed(t))
            stored = 1 / mean if weights == "PACKED_INVERSE" else mean
            tensors[name + "_scale"] = ("BF16", (1,), float_bytes([stored], "BF16"))
    tensors["model.norm.weight"] = ("BF16", m["output_norm"].shape, float_bytes(m["output_norm"], "BF16"))
    if not m["tied"]:
        tensors["lm_head.weight"] = ("BF16", m["head"].shape, float_bytes(m["head"], "BF16"))
    return tensors


def short(x):
    """Nine digits: what lies behind them depends on the order in which numpy adds."""
    return float(f"{x:.9g}")


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=True) + "\n")


def write_hf(path, m, container, weights):
    tok = m["tokenizer"]
    config = {"architectures": ["BitNetForCausalLM"], "bos_token_id": tok.bos, "eos_token_id": tok.eos,
              "hidden_act": "relu2", "hidden_size": m["hidden"], "initializer_range": 0.02,
              "intermediate_size": m["ffn"], "max_position_embeddings": 128, "model_type": "bitnet",
              "rms_norm_eps": 1e-5, "num_attention_heads": m["heads"], "num_hidden_layers": len(m["layers"]),
              "num_key_value_heads": m["kv"], "rope_theta": 500000.0, "tie_word_embeddings": m["tied"],
              "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": m["vocab"],
              "quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear",
                                      "quantization_mode": "online" if weights == "BF16" else "offline"}}
    if container == "hf-bitlinear":  # older checkpoints: the stored scale is the reciprocal
        config["quantization_config"] = {"quant_method": "bitnet", "linear_class": "bitlinear"}
    path.mkdir(exist_ok=True)
    tensors = hf_tensors(m, weights)
    if container == "hf-sharded":  # and the key names of newer libraries
        config["rope_parameters"] = {"rope_type": "default", "rope_theta": config.pop("rope_theta")}
        config["dtype"] = config.pop("torch_dtype")
        names = list(tensors)
        shards = [names[:len(names) // 2], names[len(names) // 2:]]
        where = {}
        for i, part in enumerate(shards):
            file = f"model-{i + 1:05d}-of-00002.safetensors"
            write_safetensors(path / file, {name: tensors[name] for name in part})
            where |= {name: file for name in part}
        size = sum(len(t[2]) for t in tensors.values())
        write_json(path / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": where})
    else:
        write_safetensors(path / "model.safetensors", tensors)
    write_json(path / "config.json", config)
    (path / "tokenizer.json").write_text(json.dumps(tok.json(), separators=(",", ":")) + "\n")
    write_json(path / "tokenizer_config.json", {"bos_token": SPECIALS[0], "eos_token": SPECIALS[1],
                                                "chat_template": TEMPLATE,
                                                "tokenizer_class": "PreTrainedTokenizerFast"})


def main():
    default = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "golden"
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    golden, logits = {}, {}
    for name in MODELS:
        m, engines = clear_model(name)
        (out / name).mkdir(parents=True, exist_ok=True)
        for number, (model, form, container, weights, embedding) in enumerate(FORMS):
            if model != name:
                continue
            path = out / name / form
            if container.startswith("gguf"):
                write_gguf(path, m, weights, embedding, 2 if container == "gguf-v2" else 3)
            else:
                write_hf(path, m, container, weights)
            engine = engines[form]
            ids, values, greedy, tie, margin = find_prompt(engine, 1000000 * (number + 1))
            key = f"{name}/{form}"
            golden[key] = {"weights": weights, "embedding": embedding, "prompt": ids, "greedy": greedy,
                           "tie_distance": tie, "greedy_margin": margin,
                           **find_text(engine, 1000000 * (number + 1) + 500000)}
            logits[key] = ("F32", values.shape, float_bytes(values, "F32"))
            print(f"{key}: tie distance {tie:.2g}, margin {margin:.3f}, logits std {values.std():.2f}, "
                  f"perplexity {golden[key]['perplexity']:.2f}", file=sys.stderr)
    write_json(out / "golden.json", golden)
    write_safetensors(out / "golden.safetensors", logits)


if __name__ == "__main__":
    main()
