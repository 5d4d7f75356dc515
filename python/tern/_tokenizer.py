"""Text <-> token ids."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any, Iterable, List, Mapping, Optional, Sequence, Union, overload

from ._errors import ArgumentError
from ._library import c_path, c_string, check, lib
from ._memory import Handle, int32s
from ._structs import TOKENIZE_BOS, TOKENIZE_SPECIAL, Error, Message

if TYPE_CHECKING:
    from typing import Literal

Messages = Sequence[Mapping[str, str]]


class Tokenizer:
    """Text to token ids and back, by the vocabulary of a model.

    >>> import tern
    >>> tokenizer = tern.Tokenizer.from_pretrained("demo")
    >>> ids = tokenizer.encode("Once upon a time")
    >>> tokenizer.decode(ids)
    'Once upon a time'

    It is immutable and may be used by any number of threads.
    """

    def __init__(self, owner: Handle, pointer: int) -> None:
        """For the package itself; users have `Tokenizer.from_pretrained` and `model.tokenizer`."""
        self._owner = owner  # the model, or the tokenizer itself
        self._at = pointer

    @classmethod
    def from_pretrained(cls, path: "str | os.PathLike[str] | None" = None) -> "Tokenizer":
        """Load only a tokenizer: from a .gguf, a Hugging Face folder, a tokenizer.json or a tiktoken
        tokenizer.model. None or "demo": the built-in model's."""
        pointer, err = ctypes.c_void_p(), Error()
        name = c_path("demo" if path is None else path)
        check(lib.tern_tokenizer_load(name, ctypes.byref(pointer), ctypes.byref(err)), err, os.fsdecode(name))
        handle = Handle(pointer.value or 0, lib.tern_tokenizer_free, "tokenizer")
        return cls(handle, handle.pointer)

    @property
    def _pointer(self) -> int:
        self._owner.pointer  # raises when it is closed
        return self._at

    @property
    def vocab_size(self) -> int:
        return int(lib.tern_tokenizer_vocab_size(self._pointer))

    def __len__(self) -> int:
        return self.vocab_size

    @property
    def bos(self) -> Optional[int]:
        """The token that a text begins with; None if the model has none."""
        id = int(lib.tern_tokenizer_bos(self._pointer))
        return id if id >= 0 else None

    @property
    def eos(self) -> Optional[int]:
        id = int(lib.tern_tokenizer_eos(self._pointer))
        return id if id >= 0 else None

    def is_end(self, id: int) -> bool:
        """Does this token end an answer?"""
        return bool(lib.tern_tokenizer_is_end(self._pointer, id))

    def is_special(self, id: int) -> bool:
        return bool(lib.tern_tokenizer_is_special(self._pointer, id))

    def token(self, id: int) -> bytes:
        """The bytes of one token, which need not be whole characters."""
        n = ctypes.c_size_t()
        at = lib.tern_tokenizer_token(self._pointer, id, ctypes.byref(n))
        if not at:
            raise ArgumentError(f"token id {id} is outside the vocabulary (0 to {self.vocab_size - 1})")
        return ctypes.string_at(at, n.value)

    def find_special(self, text: str) -> Optional[int]:
        """The id of a special token's exact text, such as "<|eot_id|>"; None if there is none."""
        id = int(lib.tern_tokenizer_find_special(self._pointer, c_string(text, "the token")))
        return id if id >= 0 else None

    def encode(self, text: Union[str, bytes], *, bos: bool = True, special: bool = True) -> List[int]:
        """Token ids of a text. `bos`: put the BOS token first, if the model wants one and the text has none yet.
        `special`: text such as "<|eot_id|>" becomes the special token; give False for text from strangers."""
        if not isinstance(text, (str, bytes, bytearray)):
            raise TypeError(f"a text is a str or bytes, not {type(text).__name__}")
        data = text.encode("utf-8") if isinstance(text, str) else bytes(text)
        flags = (TOKENIZE_BOS if bos else 0) | (TOKENIZE_SPECIAL if special else 0)
        ids, n, err = ctypes.POINTER(ctypes.c_int32)(), ctypes.c_size_t(), Error()
        status = lib.tern_tokenize(
            self._pointer, data, len(data), flags, ctypes.byref(ids), ctypes.byref(n), ctypes.byref(err)
        )
        check(status, err)
        return _take_ids(ids, n.value)

    def decode_bytes(self, ids: Iterable[int], *, skip_special: bool = True) -> bytes:
        """The exact bytes of a text."""
        numbers = int32s(ids)
        text, n, err = ctypes.c_void_p(), ctypes.c_size_t(), Error()
        status = lib.tern_detokenize(
            self._pointer, numbers, len(numbers), skip_special, ctypes.byref(text), ctypes.byref(n), ctypes.byref(err)
        )
        check(status, err)
        return _take_bytes(text, n.value)

    def decode(self, ids: Iterable[int], *, skip_special: bool = True, errors: str = "replace") -> str:
        """The text of token ids. Tokens may end within a character: `errors` as for bytes.decode()."""
        return self.decode_bytes(ids, skip_special=skip_special).decode("utf-8", errors)

    @overload
    def apply_chat_template(
        self, messages: Messages, *, tokenize: "Literal[True]" = True, add_generation_prompt: bool = True
    ) -> List[int]: ...

    @overload
    def apply_chat_template(
        self, messages: Messages, *, tokenize: "Literal[False]", add_generation_prompt: bool = True
    ) -> str: ...

    def apply_chat_template(
        self, messages: Messages, *, tokenize: bool = True, add_generation_prompt: bool = True
    ) -> Union[List[int], str]:
        """Messages through the model's chat template: as token ids, or as text with tokenize=False.

        Special tokens inside a message's content stay plain text in the ids, so that a user cannot forge a turn.

        >>> import tern
        >>> tokenizer = tern.Tokenizer.from_pretrained("demo")
        >>> text = tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], tokenize=False)
        >>> "Hello" in text
        True
        """
        array = (Message * len(messages))()
        for item, message in zip(array, messages):
            item.role = _role(_field(message, "role"))
            item.content = c_string(_field(message, "content"), "a message's content")
        n, err = ctypes.c_size_t(), Error()
        if tokenize:
            ids = ctypes.POINTER(ctypes.c_int32)()
            status = lib.tern_chat_tokenize(
                self._pointer,
                array,
                len(array),
                add_generation_prompt,
                TOKENIZE_BOS,
                ctypes.byref(ids),
                ctypes.byref(n),
                ctypes.byref(err),
            )
            check(status, err)
            return _take_ids(ids, n.value)
        text = ctypes.c_void_p()
        status = lib.tern_chat_render(
            self._pointer,
            array,
            len(array),
            add_generation_prompt,
            ctypes.byref(text),
            ctypes.byref(n),
            ctypes.byref(err),
        )
        check(status, err)
        return _take_bytes(text, n.value).decode("utf-8", "replace")


def _field(message: Mapping[str, str], name: str) -> str:
    value = message.get(name) if isinstance(message, Mapping) else None
    if not isinstance(value, str):
        raise ArgumentError(f'a message is a dict like {{"role": "user", "content": "Hello"}}; this one has no {name}')
    return value


_ROLES = {"system": b"system", "developer": b"system", "user": b"user", "assistant": b"assistant"}


def _role(role: str) -> bytes:
    """"developer" is OpenAI's newer name of "system"."""
    if role not in _ROLES:
        raise ArgumentError(f'a message\'s role is "system", "user" or "assistant", not {role!r}')
    return _ROLES[role]


def _take_ids(ids: Any, n: int) -> List[int]:
    """C's array as a list; frees it."""
    try:
        return list(ids[:n])
    finally:
        lib.tern_free(ctypes.cast(ids, ctypes.c_void_p))


def _take_bytes(text: ctypes.c_void_p, n: int) -> bytes:
    try:
        return ctypes.string_at(text, n)
    finally:
        lib.tern_free(text)
