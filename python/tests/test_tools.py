"""inspect, convert, synth, model options; the examples in the documentation."""

import array
import contextlib
import doctest
import io
import json
import os
import re
import struct
import tempfile
import unittest

import support
import tern
from support import PROMPT


class Files(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def test_inspect(self):
        found = tern.inspect()
        self.assertEqual(found.format, "GGUF v3")
        self.assertGreater(found.file_bytes, 1 << 20)
        info = tern.Model.from_pretrained().info
        self.assertEqual(sum(tensor.n_parameters for tensor in found.tensors), info.n_params)
        embedding = max(found.tensors, key=lambda tensor: tensor.shape[0])
        self.assertEqual(embedding.shape, (info.vocab_size, info.hidden_size))
        self.assertIn("general.architecture", [entry.key for entry in found.metadata])

    def test_convert(self):
        out = self.path("fast.gguf")
        progress = []
        self.assertIsInstance(tern.convert(None, out, progress=lambda done, total: progress.append((done, total))), bool)
        self.assertTrue(progress and progress[-1][0] == progress[-1][1])
        wanted = tern.Model.from_pretrained().generate(PROMPT, max_tokens=8, temperature=0).ids
        named = self.path("named.gguf")
        tern.convert(out, named, name="another")
        self.assertIn(("general.name", "another"), [(entry.key, entry.value) for entry in tern.inspect(named).metadata])
        with tern.Model.from_pretrained(out) as model:
            self.assertEqual(model.generate(PROMPT, max_tokens=8, temperature=0).ids, wanted)
        other = self.path("i2s.gguf")
        tern.convert(out, other, type="I2_S", embedding_type="Q8_0")
        self.assertIn("I2_S", {tensor.type for tensor in tern.inspect(other).tensors})
        with self.assertRaises(ValueError):
            tern.convert(out, self.path("x.gguf"), type="Q99")
        with self.assertRaises(OSError):
            tern.convert(out, self.path("no/folder.gguf"))

    def test_progress_stops(self):
        with self.assertRaises(tern.CancelledError):
            tern.convert(None, self.path("x.gguf"), progress=lambda done, total: False)
        with self.assertRaises(KeyError):
            tern.convert(None, self.path("x.gguf"), progress=lambda done, total: {}["mine"])
        self.assertEqual(os.listdir(self.folder), [])
        with self.assertRaises(tern.CancelledError):
            tern.Model.from_pretrained(progress=lambda done, total: False)

    def test_synth(self):
        out = self.path("tiny.gguf")
        tern.synth(out, "tiny", seed=3, n_layers=2, weight_type="TQ1_0")
        with tern.Model.from_pretrained(out, n_threads=1) as model:
            self.assertEqual((model.info.n_layers, model.info.weight_type, model.info.n_threads), (2, "TQ1_0", 1))
        for bad in ({"shape": "huge"}, {"seed": -1}, {"n_layers": -1}, {"weight_type": "Q99"}):
            with self.assertRaises(ValueError):
                tern.synth(out, **bad)
        with self.assertRaises(TypeError):
            tern.synth(out, layers=3)

    def test_load_options(self):
        wanted = tern.Model.from_pretrained().generate(PROMPT, max_tokens=8, temperature=0).ids
        for options in ({"low_memory": True}, {"exact_head": True}, {"n_threads": 1, "warm_up": True}, {"kv_type": "f32"}):
            with self.subTest(**options), tern.Model.from_pretrained("demo", **options) as model:
                got = model.generate(PROMPT, max_tokens=8, temperature=0).ids
                if "kv_type" not in options:  # that one may differ
                    self.assertEqual(got, wanted)
        for bad in ({"n_threads": 0}, {"numa": "far"}, {"cpu": "z80"}, {"packing": "x"}):
            with self.subTest(**bad), self.assertRaises((ValueError, tern.UnsupportedError)):
                tern.Model.from_pretrained(**bad)
        with self.assertRaises(tern.TernError):
            tern.Model.from_pretrained(lora=self.folder)


def write_adapter(folder, info, value):
    """A LoRA adapter of rank 1 on every layer's up_proj, all its numbers `value`, in PEFT's form."""
    header, data = {}, b""
    for layer in range(info.n_layers):
        for half, shape in (("A", (1, info.hidden_size)), ("B", (info.ffn_size, 1))):
            numbers = array.array("f", [value] * (shape[0] * shape[1])).tobytes()
            name = f"base_model.model.model.layers.{layer}.mlp.up_proj.lora_{half}.weight"
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": (len(data), len(data) + len(numbers))}
            data += numbers
    text = json.dumps(header).encode()
    with open(os.path.join(folder, "adapter_model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
    with open(os.path.join(folder, "adapter_config.json"), "w") as file:
        json.dump({"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["up_proj"]}, file)


class Adapters(unittest.TestCase):
    def test_lora(self):
        base = tern.Model.from_pretrained()
        wanted = [list(row) for row in base.logits(PROMPT)]
        for value in (0.0, 0.3):
            with self.subTest(value=value), tempfile.TemporaryDirectory() as folder:
                write_adapter(folder, base.info, value)
                with tern.Model.from_pretrained(lora=folder) as model:
                    self.assertGreater(model.info.adapter_bytes, 0)
                    self.assertEqual([list(row) for row in model.logits(PROMPT)] == wanted, value == 0)


class Documentation(unittest.TestCase):
    def test_docstrings(self):
        import importlib

        attempted = 0
        for name in (
            "tern",
            "tern._batch",
            "tern._model",
            "tern._sampling",
            "tern._session",
            "tern._tokenizer",
            "tern._tools",
        ):
            finder = doctest.DocTestFinder(exclude_empty=True)
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
            for test in finder.find(importlib.import_module(name)):
                if "tern.Grammar(" in test.docstring and not hasattr(tern._library._cdll, "tern_grammar_parse"):
                    continue
                result = runner.run(test)
                self.assertEqual(result.failed, 0, test.name)
                attempted += result.attempted
        self.assertGreater(attempted, 30)

    def test_markdown(self):
        """The Python blocks of README.md and docs/PYTHON.md run one after the other."""
        found = 0
        for path in (os.path.join(support.PACKAGE, "README.md"), os.path.join(support.ROOT, "docs", "PYTHON.md")):
            if not os.path.exists(path):
                continue
            with open(path) as file:
                blocks = re.findall(r"```python\n(.*?)```", file.read(), flags=re.S)
            names, here = {}, os.getcwd()
            with tempfile.TemporaryDirectory() as folder:
                try:
                    os.chdir(folder)
                    for block in blocks:
                        with self.subTest(file=os.path.basename(path), block=block):
                            with contextlib.redirect_stdout(io.StringIO()):
                                exec(compile(block, path, "exec"), names)
                            found += 1
                finally:
                    os.chdir(here)
        if not found:
            self.skipTest("no documentation here")


if __name__ == "__main__":
    support.main()
