"""Text to ids and back, chat templates."""

import unittest

import support
import tern

CHAT = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello <|eot_id|> there"}]


class Tokenizing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tokenizer = tern.Tokenizer.from_pretrained()

    def test_round_trip(self):
        for text in ("Once upon a time", "", "é \N{SNOWMAN} 日本", "a\nb\t c\0d"):
            self.assertEqual(self.tokenizer.decode(self.tokenizer.encode(text)), text)

    def test_any_bytes(self):
        data = bytes(range(256))
        self.assertEqual(self.tokenizer.decode_bytes(self.tokenizer.encode(data, special=False)), data)
        self.assertIn("\N{REPLACEMENT CHARACTER}", self.tokenizer.decode(self.tokenizer.encode(b"\xff")))

    def test_bos(self):
        ids = self.tokenizer.encode("Hello")
        self.assertEqual(ids[0], self.tokenizer.bos)
        self.assertEqual(self.tokenizer.encode("Hello", bos=False), ids[1:])

    def test_special(self):
        id = self.tokenizer.find_special("<|eot_id|>")
        self.assertTrue(self.tokenizer.is_special(id))
        self.assertTrue(self.tokenizer.is_end(id))
        self.assertIn(id, self.tokenizer.encode("a<|eot_id|>"))
        self.assertNotIn(id, self.tokenizer.encode("a<|eot_id|>", special=False))
        self.assertEqual(self.tokenizer.decode([id]), "")
        self.assertEqual(self.tokenizer.decode([id], skip_special=False), "<|eot_id|>")
        self.assertIsNone(self.tokenizer.find_special("<|none|>"))

    def test_tokens(self):
        ids = self.tokenizer.encode("Once upon", bos=False)
        self.assertEqual(b"".join(map(self.tokenizer.token, ids)), b"Once upon")
        self.assertEqual(len(self.tokenizer), self.tokenizer.vocab_size)
        for id in (-1, len(self.tokenizer)):
            with self.assertRaises(ValueError):
                self.tokenizer.token(id)
            with self.assertRaises(ValueError):
                self.tokenizer.decode([id])
        with self.assertRaises(ValueError):
            self.tokenizer.decode([2**40])
        with self.assertRaises(TypeError):
            self.tokenizer.decode([1.5])

    def test_chat(self):
        text = self.tokenizer.apply_chat_template(CHAT, tokenize=False)
        self.assertIn("Hello <|eot_id|> there", text)
        ids = self.tokenizer.apply_chat_template(CHAT)
        self.assertEqual(ids[0], self.tokenizer.bos)
        # the one that the user wrote is text, those of the template are tokens
        end = self.tokenizer.find_special("<|eot_id|>")
        self.assertEqual(ids.count(end), text.count("<|eot_id|>") - 1)
        shorter = self.tokenizer.apply_chat_template(CHAT, add_generation_prompt=False)
        self.assertEqual(shorter, ids[: len(shorter)])
        self.assertLess(len(shorter), len(ids))

    def test_bad_messages(self):
        for messages in ([{"role": "user"}], ["Hello"], [{"role": "user", "content": None}], [{"role": "a\0", "content": ""}]):
            with self.assertRaises(ValueError):
                self.tokenizer.apply_chat_template(messages)

    def test_closed_with_its_model(self):
        model = tern.Model.from_pretrained()
        tokenizer = model.tokenizer
        model.close()
        with self.assertRaisesRegex(ValueError, "model is closed"):
            tokenizer.encode("Hello")

    def test_keeps_its_model(self):
        tokenizer = tern.Model.from_pretrained().tokenizer
        self.assertEqual(tokenizer.decode(tokenizer.encode("Hello")), "Hello")


if __name__ == "__main__":
    support.main()
