#!/usr/bin/env python3
"""Tiny LLaMA models and what transformers makes of them: tests/data/llama.

    python3 -m venv venv && venv/bin/pip install torch transformers accelerate
    venv/bin/python tools/make_llama_golden.py tests/data/llama

plain/   an ordinary model in bf16: untied head, two KV heads for four heads, Llama 3's RoPE scaling
         (Vocabularies are as large as the tokenizer of tests/data/golden/small, which tests put beside them.)
packed/  a ternary one as the published ones are (quantization_config bitnet, U8 weights with weight_scale): tied head
         logits.f32 in each: float32 [tokens, vocabulary] of the ids that this file prints, evaluated in float32

Every weight of plain/ is a multiple of 2^-10 below 2^-2, so that bf16, f16 and f32 all hold it exactly: tests write the
same model in all three and want the same bits. Before anything is written, what llama.cpp's files mean is checked, too:
Q and K with the halves of each head interleaved, under a RoPE that rotates neighbours, must give the same logits.
"""
import json
import pathlib
import struct
import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

VOCAB, HIDDEN, FFN, LAYERS, HEADS, KV_HEADS, TOKENS = 277, 32, 48, 2, 4, 2, 24
HEAD = HIDDEN // HEADS
SCALING = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           "original_max_position_embeddings": 32}
IDS = [(7 * i * i + 31 * i + 1) % VOCAB for i in range(TOKENS)]


def config(**more):
    return {"architectures": ["LlamaForCausalLM"], "attention_bias": False, "bos_token_id": 265, "eos_token_id": 266,
            "head_dim": HEAD, "hidden_act": "silu", "hidden_size": HIDDEN, "intermediate_size": FFN,
            "max_position_embeddings": 64, "mlp_bias": False, "model_type": "llama", "num_attention_heads": HEADS,
            "num_hidden_layers": LAYERS, "num_key_value_heads": KV_HEADS, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "torch_dtype": "bfloat16", "vocab_size": VOCAB, **more}


SHAPES = {"self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (KV_HEADS * HEAD, HIDDEN),
          "self_attn.v_proj": (KV_HEADS * HEAD, HIDDEN), "self_attn.o_proj": (HIDDEN, HIDDEN),
          "mlp.gate_proj": (FFN, HIDDEN), "mlp.up_proj": (FFN, HIDDEN), "mlp.down_proj": (HIDDEN, FFN)}


def steps(rng, *shape):
    """Normal numbers of standard deviation 0.08 on the grid."""
    return np.clip(np.round(rng.normal(0, 0.08, shape) * 1024), -255, 255).astype(np.float32) / 1024


def gains(rng, n):
    return (1 + np.round(rng.normal(0, 0.2, n) * 64) / 64).astype(np.float32)


def norms(rng):
    names = [f"model.layers.{i}.{n}.weight" for i in range(LAYERS)
             for n in ("input_layernorm", "post_attention_layernorm")]
    return {name: gains(rng, HIDDEN) for name in names + ["model.norm.weight"]}


def make_plain(rng):
    tensors = {"model.embed_tokens.weight": 4 * steps(rng, VOCAB, HIDDEN), "lm_head.weight": 2 * steps(rng, VOCAB, HIDDEN)}
    tensors |= {f"model.layers.{i}.{n}.weight": steps(rng, *SHAPES[n]) * (2.5 if "_proj" in n else 1)
                for i in range(LAYERS) for n in SHAPES}
    tensors = {n: np.clip(np.round(t * 1024), -255, 255).astype(np.float32) / 1024 for n, t in tensors.items()}
    return tensors | norms(rng)


def make_packed(rng):
    tensors = {"model.embed_tokens.weight": 8 * steps(rng, VOCAB, HIDDEN)}
    for i in range(LAYERS):
        for name, (rows, cols) in SHAPES.items():
            trits = rng.integers(-1, 2, (4, rows // 4, cols))
            packed = sum((trits[j] + 1) << 2 * j for j in range(4)).astype(np.uint8)  # rows a quarter apart in a byte
            tensors[f"model.layers.{i}.{name}.weight"] = packed
            tensors[f"model.layers.{i}.{name}.weight_scale"] = np.full(1, 4.0 + i + len(name) / 8, np.float32)  # divides
    return tensors | norms(rng)


def bf16(values):
    bits = values.view(np.uint32)
    assert not (bits & 0xFFFF).any(), "not a bf16 number"
    return (bits >> 16).astype(np.uint16)


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, values in sorted(tensors.items()):
        packed = values.dtype == np.uint8
        raw = (values if packed else bf16(np.ascontiguousarray(values))).tobytes()
        header[name] = {"dtype": "U8" if packed else "BF16", "shape": list(values.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps({"__metadata__": {"format": "pt"}} | header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_model(folder, settings, tensors):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
    write_safetensors(folder / "model.safetensors", tensors)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    print(folder, type(model).__name__, type(model.model.layers[0].mlp.gate_proj).__name__)
    with torch.no_grad():
        logits = model(torch.tensor([IDS])).logits[0].float().numpy()
    logits.astype("<f4").tofile(folder / "logits.f32")
    return model, logits


def check_interleaved(logits, tensors):
    """transformers' model with llama.cpp's Q and K and llama.cpp's RoPE."""
    import transformers.models.llama.modeling_llama as llama

    def interleave(weight, heads):  # as llama.cpp's converter: LlamaModel.permute
        return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)

    def rotate_neighbours(q, k, cos, sin, **_):
        def turn(x):
            a, b = x[..., 0::2], x[..., 1::2]
            c, s = (t[..., : HEAD // 2].unsqueeze(1) for t in (cos, sin))
            return torch.stack([a * c - b * s, b * c + a * s], -1).flatten(-2)
        return turn(q), turn(k)

    model = LlamaForCausalLM(LlamaConfig(**config(tie_word_embeddings=False, rope_scaling=SCALING)))
    heads = {"q_proj": HEADS, "k_proj": KV_HEADS}
    state = {n: interleave(t, heads[n.split(".")[-2]]) if n.split(".")[-2] in heads else t for n, t in tensors.items()}
    model.load_state_dict({n: torch.tensor(t) for n, t in state.items()})
    ours, llama.apply_rotary_pos_emb = llama.apply_rotary_pos_emb, rotate_neighbours
    with torch.no_grad():
        other = model(torch.tensor([IDS])).logits[0].numpy()
    llama.apply_rotary_pos_emb = ours
    print("interleaved: largest difference", np.abs(other - logits).max())
    assert np.abs(other - logits).max() < 1e-4


def main():
    torch.set_num_threads(1)
    out = pathlib.Path(sys.argv[1])
    tensors = make_plain(np.random.default_rng(1))
    _, logits = write_model(out / "plain", config(tie_word_embeddings=False, rope_scaling=SCALING), tensors)
    check_interleaved(logits, tensors)
    quantization = {"modules_to_not_convert": None, "quant_method": "bitnet"}
    write_model(out / "packed", config(tie_word_embeddings=True, quantization_config=quantization),
                make_packed(np.random.default_rng(2)))
    print("ids:", ", ".join(map(str, IDS)))


main()
