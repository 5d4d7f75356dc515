#!/usr/bin/env python3
"""convert_matrix.py TERN [--memory]: which conversions there and back again give the same file, as the tables that
docs/FORMAT.md shows; or the peak memory of conversions. Exit status 1 if ternary values, metadata, tokenizer or template
are lost anywhere, or memory grows with the file."""
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MATRICES = ("tern", "I2_S", "F32", "TQ1_0", "TQ2_0", "F16", "BF16")
EMBEDDINGS = ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q4_0")
FOLDER = "HF packed"
TEXT = "Once upon a time, 12345 bees\n\n don't <|eot_id|> \u20ac \U0001f426"


class Converter:
    def __init__(self, tern, folder):
        self.tern, self.folder, self.n = tern, folder, 0
        self.environment = {**os.environ, "ASAN_OPTIONS": "quarantine_size_mb=1:" + os.environ.get("ASAN_OPTIONS", "")}
        self.environment.pop("TERN_CPU", None)

    def path(self, name):
        return os.path.join(self.folder, name)

    def run(self, *arguments):
        done = subprocess.run([self.tern, *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              env=self.environment)
        if done.returncode:
            raise SystemExit(f"tern {' '.join(arguments)}: status {done.returncode}: {done.stderr.decode()}")
        return done.stdout

    def convert(self, source, matrices, embedding=None):
        """-> a new file."""
        self.n += 1
        out = self.path(f"{self.n}.gguf")
        options = ["--type", matrices.lower(), "-t", "1"]
        if matrices == "tern":
            options += ["--packing", "t2r16"]
        elif embedding:
            options += ["--embedding-type", embedding.lower()]
        self.run("convert", source, out, *options)
        return out

    def to_folder(self, source, name):
        """-> a new folder of packed matrices, called so: its name becomes the model's."""
        self.n += 1
        os.mkdir(self.path(str(self.n)))
        out = os.path.join(self.path(str(self.n)), name)
        self.run("convert", source, out, "--type", "hf-packed", "-t", "1")
        return out

    def peak(self, source, out, *options):
        """Converts -> the process's highest resident bytes."""
        process = subprocess.Popen([self.tern, "convert", source, out, "--force", "-t", "1", *options],
                                   stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"tern convert {source}: status {process.returncode}")
        return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# ------------------------------------------------------------------------------------------------ reading GGUF
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


def value_end(data, at, kind):
    if kind == 8:
        return at + 8 + struct.unpack_from("<Q", data, at)[0]
    if kind == 9:
        inner, n = struct.unpack_from("<IQ", data, at)
        at += 12
        if inner in SIZES:
            return at + n * SIZES[inner]
        for _ in range(n):
            at = value_end(data, at, inner)
        return at
    return at + SIZES[kind]


def read_gguf(path):
    """-> ({key: its bytes}, {tensor: (type, shape, its bytes up to the next tensor)}), without padding between them"""
    with open(path, "rb") as file:
        data = file.read()
    n_tensors, n_keys = struct.unpack_from("<QQ", data, 8)
    at, keys, tensors, alignment = 24, {}, {}, 32
    for _ in range(n_keys):
        n = struct.unpack_from("<Q", data, at)[0]
        name = data[at + 8:at + 8 + n].decode()
        kind = struct.unpack_from("<I", data, at + 8 + n)[0]
        end = value_end(data, at + 12 + n, kind)
        keys[name] = data[at + 8 + n:end]
        if name == "general.alignment":
            alignment = struct.unpack("<I", data[end - 4:end])[0]
        at = end
    offsets = []
    for _ in range(n_tensors):
        n = struct.unpack_from("<Q", data, at)[0]
        name = data[at + 8:at + 8 + n].decode()
        n_dims = struct.unpack_from("<I", data, at + 8 + n)[0]
        shape = struct.unpack_from(f"<{n_dims}Q", data, at + 12 + n)
        kind, offset = struct.unpack_from("<IQ", data, at + 12 + n + 8 * n_dims)
        offsets.append((offset, name, kind, shape))
        at += 24 + n + 8 * n_dims
    start = (at + alignment - 1) // alignment * alignment
    offsets.sort()
    ends = [start + row[0] for row in offsets[1:]] + [len(data)]
    for (offset, name, kind, shape), end in zip(offsets, ends):
        tensors[name] = (kind, shape, data[start + offset:end])
    return keys, tensors


def same(a, b):
    """Two files, byte for byte; of tern's own layout every key and tensor, but for what the matrices once were."""
    with open(a, "rb") as one, open(b, "rb") as other:
        equal = one.read() == other.read()
    (keys_a, tensors_a), (keys_b, tensors_b) = read_gguf(a), read_gguf(b)
    own = "tern.layout.source" in keys_a and "tern.layout.source" in keys_b
    for keys in (keys_a, keys_b):
        if keys.pop("tern.layout.source", None):
            keys.pop("general.file_type", None)
    if keys_a != keys_b:  # metadata, tokenizer and template survive every conversion, the lossy ones, too
        raise SystemExit(f"{a}, {b}: other keys: "
                         f"{sorted(k for k in {**keys_a, **keys_b} if keys_a.get(k) != keys_b.get(k))}")
    if {n: t[:2] for n, t in tensors_a.items()} != {n: t[:2] for n, t in tensors_b.items()}:
        raise SystemExit(f"{a}, {b}: other tensors")
    return tensors_a == tensors_b if own else equal


def trits(converter, path):
    """Of all matrices, without their scales: I2_S has these in its last 32 bytes."""
    _, tensors = read_gguf(converter.convert(path, "I2_S"))
    return {name: data[:shape[0] * shape[1] // 4] for name, (kind, shape, data) in tensors.items() if kind == 36}


# ------------------------------------------------------------------------------- Hugging Face folders, made up
def write_folder(folder, packed):
    """One layer of hidden size 256 with random weights; configuration and tokenizer of tests/data/golden/small."""
    golden = os.path.join(ROOT, "tests", "data", "golden", "small", "hf-bf16")
    os.mkdir(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        with open(os.path.join(golden, name), "rb") as source, open(os.path.join(folder, name), "wb") as target:
            target.write(source.read())
    with open(os.path.join(golden, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    config.update(hidden_size=256, intermediate_size=512, num_hidden_layers=1, num_attention_heads=4,
                  num_key_value_heads=2, head_dim=64)
    config["quantization_config"] = {"quant_method": "bitnet", "linear_class": "autobitlinear",
                                     "quantization_mode": "offline" if packed else "online"}
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    rng = random.Random(1)
    valid = [c for c in range(256) if all((c >> s & 3) < 3 for s in (0, 2, 4, 6))]
    codes = bytes(valid[i % len(valid)] for i in range(256))
    high = bytes((0x3c if i & 1 else 0x3d) | (i & 2) << 6 for i in range(256))  # of +-0.0078 to +-0.12
    tensors = []

    def floats(name, *shape):
        n = 1
        for size in shape:
            n *= size
        values = bytearray(rng.randbytes(2 * n))
        values[1::2] = values[1::2].translate(high)
        tensors.append((name, "BF16", shape, bytes(values)))

    def matrix(name, rows, cols):
        if packed:
            tensors.append((name + ".weight", "U8", (rows // 4, cols), rng.randbytes(rows * cols // 4).translate(codes)))
            floats(name + ".weight_scale", 1)
            scale = bytearray(tensors[-1][3])
            scale[1] &= 0x7f
            tensors[-1] = (*tensors[-1][:3], bytes(scale))
        else:
            floats(name + ".weight", rows, cols)

    floats("model.embed_tokens.weight", config["vocab_size"], 256)
    floats("model.norm.weight", 256)
    layer = "model.layers.0."
    for name, size in (("input_layernorm", 256), ("post_attention_layernorm", 256), ("self_attn.attn_sub_norm", 256),
                       ("mlp.ffn_sub_norm", 512)):
        floats(f"{layer}{name}.weight", size)
    for name, rows, cols in (("self_attn.q_proj", 256, 256), ("self_attn.k_proj", 128, 256),
                             ("self_attn.v_proj", 128, 256), ("self_attn.o_proj", 256, 256),
                             ("mlp.gate_proj", 512, 256), ("mlp.up_proj", 512, 256), ("mlp.down_proj", 256, 512)):
        matrix(layer + name, rows, cols)
    header, at = {}, 0
    for name, kind, shape, data in tensors:
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(t[3] for t in tensors))


# ------------------------------------------------------------------------------------------------ the tables
def print_table(title, first, columns, rows):
    print(title + "\n")
    print(f"| {first} | " + " | ".join(columns) + " |")
    print("|---|" + "---|" * len(columns))
    for name, cells in rows:
        print(f"| {name} | " + " | ".join(cells) + " |")
    print()


def matrix_table(converter):
    """A -> B -> A of a model whose scales are any 32-bit floats; where that rounds them, of one whose scales are
    numbers of F16; then of BF16."""
    wide = converter.path("wide.gguf")
    converter.run("synth", wide, "--shape", "tiny", "--layers", "1", "--vocab", "512")
    bases = [("same", wide)]
    for name in ("F16", "BF16"):
        bases.append((name, converter.convert(converter.convert(wide, name), "I2_S")))
    begins, rows = {}, []
    for a in MATRICES:
        for name, base in bases:
            begins[a, name] = converter.convert(base, a)
    values = {name: trits(converter, base) for name, base in bases}
    for a in MATRICES:
        cells = []
        for b in MATRICES:
            cells.append("" if a == b else "differs")
            for name, _ in bases if a != b else ():
                begin = begins[a, name]
                back = converter.convert(converter.convert(begin, b), a)
                if same(begin, back):
                    cells[-1] = name
                    break
                if trits(converter, back) != values[name]:
                    raise SystemExit(f"{a} -> {b} -> {a}: other ternary values")
        rows.append((a, cells))
    print_table("Matrices:", "", MATRICES, rows)


def embedding_table(converter):
    base = converter.path("floats.gguf")  # any 32-bit floats
    converter.run("synth", base, "--shape", "tiny", "--layers", "1", "--vocab", "512", "--embedding-type", "f32")
    rows = []
    for a in EMBEDDINGS:
        begin = converter.convert(base, "I2_S", a)
        cells = []
        for b in EMBEDDINGS:
            back = converter.convert(converter.convert(begin, "I2_S", b), "I2_S", a)
            cells.append("" if a == b else "same" if same(begin, back) else "rounds")
        own = converter.convert(converter.convert(begin, "tern"), "I2_S")
        cells.append("same" if same(begin, own) else "rounds")
        rows.append((a, cells))
    print_table("Embedding and LM head:", "",
                (*EMBEDDINGS, "tern"), rows)


def folder_table(converter):
    """A folder -> B -> I2_S against the folder -> I2_S; its tokenizer and template against B's."""
    rows = []
    for name, packed in (("HF bf16 master", False), ("HF packed", True)):
        folder = converter.path("packed" if packed else "master")
        write_folder(folder, packed)
        straight = converter.convert(folder, "I2_S")
        ids = converter.run("tokenize", folder, "-p", TEXT)
        with open(os.path.join(folder, "tokenizer_config.json"), encoding="utf-8") as file:
            template = json.load(file).get("chat_template")
        cells = []
        for b in MATRICES:
            made = converter.convert(folder, b)
            back = converter.convert(made, "I2_S")
            whole = same(straight, back)
            if not whole and trits(converter, straight) != trits(converter, back):
                raise SystemExit(f"{name} -> {b}: other ternary values")
            if converter.run("tokenize", made, "-p", TEXT) != ids:
                raise SystemExit(f"{name} -> {b}: another tokenizer")
            stored = read_gguf(made)[0].get("tokenizer.chat_template")
            if template and (stored is None or stored[12:].decode() != template):
                raise SystemExit(f"{name} -> {b}: another template")
            cells.append("same" if whole else "rounds")
        rows.append((name, cells))
    print_table("Hugging Face folders:", "", MATRICES, rows)


def read_safetensors(folder):
    """-> {tensor: (type, shape, its bytes)}"""
    with open(os.path.join(folder, "model.safetensors"), "rb") as file:
        data = file.read()
    start = 8 + struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[start + t["data_offsets"][0]:start + t["data_offsets"][1]])
            for name, t in header.items()}


def described(path):
    """What a folder says of a model, too: the sizes, the tokenizer and the template."""
    others = ("general.", "tern.", "tokenizer.ggml.pre", "tokenizer.ggml.scores", "tokenizer.ggml.padding_token_id")
    return {key: value for key, value in read_gguf(path)[0].items() if not key.startswith(others)}


def stored(path):
    """The tensors, but for an embedding's type: a folder has F32 for all floats if bf16 does not hold them."""
    tensors = read_gguf(path)[1]
    del tensors["token_embd.weight"]
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("screen.")}


def packed_table(converter):
    """A -> a folder -> A, with scales that are any 32-bit floats, and a folder -> A -> a folder."""
    wide = converter.path("wide.gguf")
    folder = converter.path("packed")  # which folder_table() has made
    first, texts = read_safetensors(folder), {}
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        with open(os.path.join(converter.to_folder(folder, "again"), name), encoding="utf-8") as file:
            texts[name] = json.load(file)
    there, back_again = [], []
    master = converter.path("master")
    if stored(converter.convert(master, "I2_S")) != stored(converter.convert(converter.to_folder(master, "made"), "I2_S")):
        raise SystemExit(f"HF bf16 master -> {FOLDER}: other matrices or norms")
    for a in MATRICES:
        begin = converter.convert(wide, a)
        made = converter.to_folder(begin, "made")
        back = converter.convert(made, a)
        if described(begin) != described(back):
            raise SystemExit(f"{a} -> {FOLDER} -> {a}: other metadata: "
                             f"{sorted(k for k, _ in described(begin).items() ^ described(back).items())}")
        there.append("same" if stored(begin) == stored(back) else "rounds")
        if trits(converter, begin) != trits(converter, made):
            raise SystemExit(f"{a} -> {FOLDER}: other ternary values")
        made = converter.to_folder(converter.convert(folder, a), "packed")
        back_again.append("same" if read_safetensors(made) == first else "rounds")
        with open(os.path.join(made, "tokenizer_config.json"), encoding="utf-8") as file:
            if json.load(file).get("chat_template") != texts["tokenizer_config.json"].get("chat_template"):
                raise SystemExit(f"{FOLDER} -> {a} -> {FOLDER}: another template")
        with open(os.path.join(made, "tokenizer.json"), encoding="utf-8") as file:
            model, wanted = json.load(file)["model"], texts["tokenizer.json"]["model"]
        merges = [m if isinstance(m, str) else " ".join(m) for m in wanted["merges"]]
        if model["vocab"] != wanted["vocab"] or model["merges"] != merges:
            raise SystemExit(f"{FOLDER} -> {a} -> {FOLDER}: another vocabulary")
        if converter.run("tokenize", made, "-p", TEXT) != converter.run("tokenize", folder, "-p", TEXT):
            raise SystemExit(f"{FOLDER} -> {a} -> {FOLDER}: another tokenizer")
    print_table("To and from packed folders:", "through a folder, and from a folder back to one", MATRICES,
                [(f"to {FOLDER} and back", there), (f"{FOLDER} to it and back", back_again)])


def memory_table(converter):
    """Twelve layers against three: what is kept in memory must not grow with the file."""
    few, many, hidden, ffn = 3, 12, 1024, 2816
    ways = {"I2_S to tern": (False, ["--packing", "t2r16"]), "I2_S to TQ1_0": (False, ["--type", "tq1_0"]),
            "I2_S to F16": (False, ["--type", "f16"]), "tern to I2_S": (True, ["--type", "i2_s"])}
    peaks, sizes, rows, failed = {}, {}, [], []
    for layers in (few, many):
        source, own, out = (converter.path(name) for name in ("deep.gguf", "own.gguf", "out.gguf"))
        converter.run("synth", source, "--shape", "tiny", "--hidden", str(hidden), "--ffn", str(ffn), "--heads", "8",
                      "--kv-heads", "4", "--layers", str(layers), "--vocab", "2048", "--force")
        converter.run("convert", source, own, "--force", "--packing", "t2r16")
        for name, (is_own, options) in ways.items():
            begin = own if is_own else source
            peaks[name, layers] = converter.peak(begin, out, *options)
            sizes[name, layers] = os.path.getsize(begin) + os.path.getsize(out)
    for name in ways:
        if peaks[name, many] - peaks[name, few] > (sizes[name, many] - sizes[name, few]) / 6:
            failed.append(name)
        rows.append((name, [f"{sizes[name, n] / 1e6:.0f} MB, {peaks[name, n] / 1e6:.0f} MB" for n in (few, many)]))
    source, out = converter.path("broad.gguf"), converter.path("broad-out")
    converter.run("synth", source, "--shape", "tiny", "--hidden", "1024", "--heads", "8", "--layers", "1", "--vocab", "40000")
    for options in (["--type", "hf-packed", "--dtype", "bf16"], ["--type", "i2_s", "--embedding-type", "q8_0"]):
        peak = converter.peak(source, out, *options)
        if peak > os.path.getsize(source) / 2:  # nearly all of it embedding
            failed.append(f"{' '.join(options)}: {peak / 1e6:.0f} MB")
        shutil.rmtree(out, ignore_errors=True)
    print_table(f"Both files together, and the process's peak memory; largest matrix {hidden * ffn / 1e6:.1f} M weights:",
                "", (f"{few} layers", f"{many} layers"), rows)
    if failed:
        raise SystemExit(f"the memory of a conversion grows with the file: {', '.join(failed)}")


def main():
    tern = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        converter = Converter(tern, folder)
        if "--memory" in sys.argv:
            memory_table(converter)
            return
        matrix_table(converter)
        embedding_table(converter)
        folder_table(converter)
        packed_table(converter)


if __name__ == "__main__":
    main()
