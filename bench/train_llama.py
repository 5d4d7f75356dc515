#!/usr/bin/env python3
"""Example:
  build/tern train tokenizer stories.txt --vocab-size 2048 -o tokenizer.json
  bench/train_llama.py stories.txt tokenizer.json llama/ --minutes 5
  build/tern quantize llama/ -o ternary.gguf --calibrate stories.txt --text heldout.txt

Train a small ordinary model (LLaMA's layout, float weights) with PyTorch and transformers, which is what tern quantize
is for and tern train does not make. Texts are divided by <|endoftext|>. Prints loss and tokens on standard error.
"""
import argparse
import json
import pathlib
import shutil
import sys
import time

import tokenizers
import torch
import transformers


def read_tokens(text, tokenizer):
    """All documents in one row, each behind a BOS."""
    bos = tokenizer.token_to_id("<|begin_of_text|>")
    documents = [d.strip() for d in text.split("<|endoftext|>")]
    ids = []
    for encoded in tokenizer.encode_batch([d for d in documents if d], add_special_tokens=False):
        ids += [bos, *encoded.ids]
    return torch.tensor(ids)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("tokenizer", type=pathlib.Path, help="of tern train tokenizer")
    parser.add_argument("out", type=pathlib.Path, help="a folder that is made")
    parser.add_argument("--minutes", type=float, default=5, help="of this process's CPU time (default: 5)")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--ffn", type=int, default=768)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    tokenizer = tokenizers.Tokenizer.from_file(str(args.tokenizer))
    ids = read_tokens(args.text.read_text(), tokenizer)
    config = transformers.LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=args.hidden, intermediate_size=args.ffn,
        num_hidden_layers=args.layers, num_attention_heads=args.hidden // 64, num_key_value_heads=args.hidden // 128,
        max_position_embeddings=512, tie_word_embeddings=True, torch_dtype="bfloat16",
        bos_token_id=tokenizer.token_to_id("<|begin_of_text|>"), eos_token_id=tokenizer.token_to_id("<|end_of_text|>"))
    model = transformers.LlamaForCausalLM(config).float()
    print(f"{model.num_parameters()} parameters, {len(ids)} tokens of text", file=sys.stderr)

    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.95), weight_decay=0.1)
    step, losses, start = 0, [], time.process_time()
    while (done := (time.process_time() - start) / (60 * args.minutes)) < 1:
        for group in optimizer.param_groups:  # a short rise, then a straight line to nothing by the time that is left
            group["lr"] = args.lr * min((step + 1) / 20, 1 - done)
        at = torch.randint(len(ids) - args.context, (args.batch,))
        rows = torch.stack([ids[i:i + args.context] for i in at])
        loss = model(input_ids=rows, labels=rows).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        step += 1
        if step % 50 == 0:
            print(f"step {step}, {step * args.batch * args.context} tokens, {100 * done:.0f}% of the time, "
                  f"loss {sum(losses[-50:]) / 50:.3f}", file=sys.stderr)

    model.to(torch.bfloat16).save_pretrained(args.out)
    shutil.copy(args.tokenizer, args.out / "tokenizer.json")
    (args.out / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin_of_text|>",
         "eos_token": "<|end_of_text|>"}) + "\n")
    print(f"{args.out}: {step} steps, {step * args.batch * args.context} tokens", file=sys.stderr)


if __name__ == "__main__":
    main()
