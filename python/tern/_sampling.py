"""What is said about a generation: sampling, penalties, grammars, where to stop."""

from __future__ import annotations

import ctypes
import json
import os
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Type, TypedDict, Union

from ._errors import ArgumentError
from ._library import c_string, check, lib
from ._memory import Handle, int32s
from ._structs import Error, GenerateParams, LogitBias, SamplerParams
from ._tokenizer import Tokenizer

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Unpack


class SamplerOptions(TypedDict, total=False):
    """How the next token is chosen. Stages in order: logit bias, penalties, (temperature 0: the most probable one)
    top-k, temperature, top-p, min-p, draw. What is not given, or None, is as for `tern run`: temperature 0.8, top-k 40,
    top-p 0.95, min-p 0.05."""

    temperature: Optional[float]  # 0: always the most probable token, the same text every time
    top_k: Optional[int]  # 0: off
    top_p: Optional[float]  # 1: off
    min_p: Optional[float]  # 0: off
    seed: Optional[int]  # None: another one each time
    repeat_penalty: Optional[float]  # 1: off
    frequency_penalty: Optional[float]  # 0: off
    presence_penalty: Optional[float]  # 0: off
    penalty_window: Optional[int]  # last tokens that penalties look at; -1: all
    logit_bias: Optional[Mapping[int, float]]  # token id: what is added to its logit
    grammar: "Union[str, Grammar, None]"  # GBNF, or compiled: only texts of it are generated
    json_schema: "Union[str, Mapping[str, Any], bool, None]"  # only JSON that it allows; True: any JSON object


class GenerateOptions(SamplerOptions, total=False):
    """SamplerOptions, and when to stop."""

    max_tokens: Optional[int]  # None: until the model ends or the context is full
    stop: Union[str, Sequence[str], None]  # the text ends before the first of these
    ignore_end: bool  # go on past the model's end token
    show_special: bool  # special tokens' text, too
    draft: Optional[int]  # guess at most so many tokens ahead; changes the speed, never the text; None: what pays


class Grammar:
    """What a text may look like, compiled for a tokenizer (docs/GRAMMAR.md). Immutable, for any number of threads.

    >>> import tern
    >>> model = tern.Model.from_pretrained("demo")
    >>> grammar = tern.Grammar(model.tokenizer, 'root ::= "yes" | "no"')
    >>> model.generate("Is it?", grammar=grammar).text in ("yes", "no")
    True
    """

    def __init__(self, tokenizer: Tokenizer, gbnf: str) -> None:
        """From GBNF, the notation of llama.cpp's grammars. FormatError says in which line what is wrong."""
        self._handle = self._make(tokenizer, "tern_grammar_parse", c_string(gbnf, "the grammar"))

    @classmethod
    def from_schema(cls, tokenizer: Tokenizer, schema: Union[str, Mapping[str, Any], bool]) -> "Grammar":
        """From a JSON schema, as text or as Python objects. True: any JSON object."""
        text = None
        if schema is not True:
            text = c_string(schema if isinstance(schema, str) else json.dumps(schema), "the schema")
        grammar = cls.__new__(cls)
        grammar._handle = cls._make(tokenizer, "tern_grammar_from_schema", text)
        return grammar

    @staticmethod
    def _make(tokenizer: Tokenizer, function: str, text: Optional[bytes]) -> Handle:
        pointer, err = ctypes.c_void_p(), Error()
        check(getattr(lib, function)(tokenizer._pointer, text, ctypes.byref(pointer), ctypes.byref(err)), err)
        return Handle(pointer.value or 0, lib.tern_grammar_free, "grammar", tokenizer._owner)

    def close(self) -> None:
        """Free it now. It must not be in use."""
        self._handle.close()

    def __enter__(self) -> "Grammar":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: "Optional[TracebackType]"
    ) -> None:
        self.close()


_NUMBERS = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repeat_penalty",
    "frequency_penalty",
    "presence_penalty",
    "penalty_window",
)
_SAMPLER_NAMES = frozenset(SamplerOptions.__annotations__)
_GENERATE_NAMES = frozenset(GenerateOptions.__annotations__) | _SAMPLER_NAMES


def _check_names(options: Mapping[str, Any], known: "frozenset[str]") -> None:
    for name in options:
        if name not in known:
            raise TypeError(f"unknown option {name!r}; there are: {', '.join(sorted(known))}")


def _set(params: Any, name: str, value: Any) -> None:
    """A field of a structure; what is no number of the right kind is refused rather than cut to size."""
    kind = dict(params._fields_)[name]
    if value is None or (kind is ctypes.c_int32 and not -(2**31) <= value < 2**31):
        raise ArgumentError(f"{name} of {value!r} is impossible")
    setattr(params, name, value)


def _fill_sampler(params: SamplerParams, options: Mapping[str, Any], tokenizer: Tokenizer) -> List[Any]:
    """Returns what must live as long as the parameters."""
    keep: List[Any] = []
    for name in _NUMBERS:
        if options.get(name) is not None:
            _set(params, name, options[name])
    seed = options.get("seed")
    if seed is None:
        seed = int.from_bytes(os.urandom(4), "little")  # 32 bits: short enough to type again
    if not 0 <= seed < 2**64:
        raise ArgumentError(f"a seed of {seed} is impossible: 0 to 2^64 - 1")
    params.seed = seed
    bias = options.get("logit_bias")
    if bias:
        ids = int32s(bias)
        array = (LogitBias * len(bias))(*[LogitBias(id, value) for id, value in zip(ids, bias.values())])
        params.logit_bias, params.n_logit_bias = array, len(array)
        keep.append(array)
    grammar, schema = options.get("grammar"), options.get("json_schema")
    if grammar is not None and schema is not None and schema is not False:
        raise ArgumentError("grammar and json_schema exclude each other: give one")
    if isinstance(grammar, str):
        grammar = Grammar(tokenizer, grammar)
    elif schema is not None and schema is not False:
        grammar = Grammar.from_schema(tokenizer, schema)
    if grammar is not None:
        params.grammar = grammar._handle.pointer
        keep.append(grammar)
    return keep


class Generation:
    """The parameters of a generation as C takes them, with all that they point at."""

    def __init__(self, options: "GenerateOptions", tokenizer: Tokenizer) -> None:
        _check_names(options, _GENERATE_NAMES)
        self.params = lib.tern_generate_defaults()
        self._keep = _fill_sampler(self.params.sampler, options, tokenizer)
        self.seed = int(self.params.sampler.seed)
        max_tokens = options.get("max_tokens")
        if max_tokens is not None:
            if not -1 <= max_tokens < 2**63:
                raise ArgumentError(f"max_tokens of {max_tokens} is impossible")
            self.params.max_tokens = max_tokens
        stop = options.get("stop") or ()
        stops = [c_string(text, "a stop string") for text in ([stop] if isinstance(stop, str) else stop)]
        if stops:
            array = (ctypes.c_char_p * len(stops))(*stops)
            self.params.stop, self.params.n_stop = array, len(array)
            self._keep.append(array)
        self.params.ignore_end = bool(options.get("ignore_end"))
        self.params.show_special = bool(options.get("show_special"))
        draft = options.get("draft")
        if draft is not None:
            _set(self.params, "draft", draft)


class Sampler:
    """Draws tokens, for loops of one's own: `session.sample(sampler)`, then `sampler.accept(id)`.

    `model.sampler(...)` makes one. It belongs to one thread at a time.

    >>> import tern
    >>> model = tern.Model.from_pretrained("demo")
    >>> with model.session() as session:
    ...     sampler = model.sampler(temperature=0)
    ...     session.eval("Once upon a")
    ...     id = session.sample(sampler)
    ...     sampler.accept(id)
    >>> 0 <= id < model.info.vocab_size
    True
    """

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, **options: "Unpack[SamplerOptions]") -> None:
        values: Dict[str, Any] = dict(options)
        _check_names(values, _SAMPLER_NAMES)
        params = lib.tern_sampler_defaults()
        self._keep = _fill_sampler(params, values, tokenizer)
        self.seed = int(params.seed)
        self._vocab_size = vocab_size  # the model's, which may be more than the tokenizer's
        pointer, err = ctypes.c_void_p(), Error()
        status = lib.tern_sampler_create(
            ctypes.byref(params), self._vocab_size, ctypes.byref(pointer), ctypes.byref(err)
        )
        check(status, err)
        needed = [item._handle for item in self._keep if isinstance(item, Grammar)]
        self._handle = Handle(pointer.value or 0, lib.tern_sampler_free, "sampler", *needed)

    def accept(self, id: int) -> None:
        """Tell it of a token that penalties and grammar shall know, of the prompt or of the answer."""
        err = Error()
        check(lib.tern_sampler_accept(self._handle.pointer, id, ctypes.byref(err)), err)

    def sample(self, logits: Sequence[float]) -> int:
        """Draw from logits of the whole vocabulary; the token is not yet accepted."""
        if len(logits) != self._vocab_size:
            raise ArgumentError(f"{len(logits)} logits for a vocabulary of {self._vocab_size}")
        numbers = (ctypes.c_float * len(logits))(*logits)
        id, err = ctypes.c_int32(), Error()
        check(lib.tern_sampler_sample(self._handle.pointer, numbers, ctypes.byref(id), ctypes.byref(err)), err)
        return id.value

    def close(self) -> None:
        """Free it now."""
        self._handle.close()

    def __enter__(self) -> "Sampler":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: "Optional[TracebackType]"
    ) -> None:
        self.close()
