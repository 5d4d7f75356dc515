"""Models of Hugging Face folders by transformers against tern: python3 transformers_check.py IDS [FOLDER LOGITS TYPE]...

LOGITS is what `tern logits FOLDER --ids IDS` wrote; TYPE is what transformers computes with: float32 or bfloat16. Prints a
line for each folder: the largest difference of the logits, their largest value, the share of tokens with the same first
choice, and the ids of a text. Exit status 77: torch, accelerate or a transformers with BitNet is not there.
"""
import sys

try:
    import numpy as np
    import torch
    import transformers
    from transformers import BitNetForCausalLM  # since 4.52
except ImportError as problem:
    print(problem)
    sys.exit(77)

TEXT = "Once upon a time there was a tern."
ids = [int(i) for i in sys.argv[1].split(",")]
torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
for folder, logits, dtype in zip(*[iter(sys.argv[2:])] * 3):
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, torch_dtype=getattr(torch, dtype))
    except ImportError as problem:  # accelerate, which it wants for quantised models
        print(problem)
        sys.exit(77)
    assert isinstance(model, BitNetForCausalLM), f"{folder}: is a {type(model).__name__}"
    made = type(model.model.layers[0].self_attn.q_proj).__name__
    assert made == "AutoBitLinear", f"{folder}: layers are {made}"
    with torch.no_grad():
        theirs = model(torch.tensor([ids])).logits[0].float().numpy()
    own = np.fromfile(logits, dtype="<f4").reshape(len(ids), -1)
    assert theirs.shape == own.shape, (folder, theirs.shape, own.shape)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    print("%.3g %.3g %.3g" % (np.abs(theirs - own).max(), np.abs(own).max(), (theirs.argmax(1) == own.argmax(1)).mean()),
          ",".join(str(i) for i in tokenizer(TEXT)["input_ids"]))
