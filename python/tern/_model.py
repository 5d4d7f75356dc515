"""A loaded model, and the most common things to do with it."""

from __future__ import annotations

import ctypes
import math
import os
import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Iterable, List, Optional, Sequence, Tuple, Type, Union, overload

from ._batch import ManyStream, Prompt, Scheduler, prompt_ids
from ._errors import ArgumentError, ContextError, FormatError
from ._library import Progress, c_path, c_string, lib
from ._memory import Handle, Matrix, Vector, as_vector, np
from ._sampling import Generation, GenerateOptions, Sampler, SamplerOptions
from ._session import Result, Session, Stream
from ._structs import ACT_TYPES, NUMA, Error
from ._structs import ModelInfo as CModelInfo
from ._tokenizer import Messages, Tokenizer

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Literal, Unpack


@dataclass(frozen=True)
class ModelInfo:
    """What a loaded model is, and what it takes."""

    name: str
    arch: str
    weight_type: str  # stored type of the linear weights, "I2_S"
    embedding_type: str
    head_type: str
    kernels: str  # in use, "avx512vnni"
    packing: str  # layout of the weights in memory
    n_threads: int
    n_memory_nodes: int
    vocab_size: int
    n_ctx: int
    hidden_size: int
    ffn_size: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    rms_eps: float
    rope_theta: float
    tied_embedding: bool
    n_params: int
    n_ternary: int  # of them ternary
    weight_bytes: int
    screen_bytes: int
    adapter_bytes: int
    loaded_bytes: int  # all that the model keeps in memory
    bytes_per_token: int  # read by one decode step


@dataclass(frozen=True)
class Perplexity:
    """How well a model predicts a text."""

    tokens: int
    bytes: int
    mean_nll: float  # natural logarithm, per token
    perplexity: float  # exp(mean_nll)
    bits_per_byte: float  # comparable between tokenizers


class Model:
    """A language model.

    >>> import tern
    >>> with tern.Model.from_pretrained("demo") as model:
    ...     text = model.generate("Once upon a time", max_tokens=5, temperature=0).text

    It may be used by any number of threads at once. It is freed by close(), by the end of a `with`, or when nothing
    refers to it any more, and then frees its sessions and schedulers first. Load it after fork(), not before: the threads that
    compute do not live on in the child.
    """

    def __init__(
        self, handle: Handle, n_ctx: Optional[int], chunk: Optional[int], kv_type: Optional[str], prefix_cache: bool
    ) -> None:
        """For the package itself; users call `Model.from_pretrained()`."""
        self._handle = handle
        self._defaults = (n_ctx, chunk, kv_type)
        self._prefix_cache = prefix_cache
        self._lock = threading.Lock()
        self._idle: Optional[Session] = None  # of an earlier call, for one that begins with the same tokens
        self._sessions: "weakref.WeakSet[Session]" = weakref.WeakSet()
        self._schedulers: "weakref.WeakSet[Scheduler]" = weakref.WeakSet()
        self._own_scheduler: Optional[Scheduler] = None  # of generate_many(), made when it is first needed
        info = CModelInfo()
        lib.tern_model_get_info(handle.pointer, ctypes.byref(info))
        self._info = ModelInfo(**{name: _plain(getattr(info, name)) for name, *_ in info._fields_})
        self.tokenizer = Tokenizer(handle, lib.tern_model_tokenizer(handle.pointer))

    @classmethod
    def from_pretrained(
        cls,
        path: "str | os.PathLike[str] | None" = None,
        *,
        n_ctx: Optional[int] = None,
        chunk: Optional[int] = None,
        kv_type: Optional[str] = None,
        prefix_cache: bool = True,
        lora: "str | os.PathLike[str] | None" = None,
        act: str = "int8",
        n_threads: Optional[int] = None,
        cpu: Optional[str] = None,
        packing: Optional[str] = None,
        low_memory: bool = False,
        dense_ffn: bool = False,
        exact_head: bool = False,
        pin: bool = False,
        numa: str = "none",
        huge_pages: bool = False,
        mlock: bool = False,
        warm_up: bool = False,
        progress: Optional[Callable[[int, int], Any]] = None,
    ) -> "Model":
        """Load a .gguf file or a Hugging Face folder (config.json, *.safetensors, tokenizer files); None or "demo": the
        model that is built into the library. Nothing is downloaded.

        n_ctx, chunk, kv_type: of the sessions: tokens of context (None: the model's), tokens a prefill step, numbers
            in the KV cache ("q8", "f16", "f32"; None: "q8").
        prefix_cache: keep the context of the last call, so that a prompt which begins with the same tokens, such as
            the next turn of a chat, is only evaluated from where it differs. The text is the same without.
        lora: folder of a LoRA adapter in the form of Hugging Face's PEFT, added to the model.
        act: how the inputs of the matrices are rounded: "int8", as the models are trained, or "int4" (BitNet a4.8).
        n_threads: None: all CPUs that the process may run on.
        low_memory: as little memory of the process's own as possible; slower.
        pin, numa ("none", "interleave", "local"), huge_pages, mlock, warm_up: where threads and memory are, and what
            is done ahead of the first prompt: see tern_model_params in tern.h.
        cpu, packing, dense_ffn, exact_head: for measuring: see there.
        progress: called with bytes (done, total) while it loads; returning False cancels.
        """
        params = lib.tern_model_defaults()
        params.n_threads = _count(n_threads, "n_threads")
        params.cpu = None if cpu is None else c_string(cpu, "cpu")
        params.packing = None if packing is None else c_string(packing, "packing")
        params.lora = None if lora is None else c_path(lora)
        if act not in ACT_TYPES:
            raise ArgumentError(f"unknown act {act!r}; there are: {', '.join(ACT_TYPES)}")
        params.act = ACT_TYPES[act]
        if numa not in NUMA:
            raise ArgumentError(f"unknown numa {numa!r}; there are: {', '.join(NUMA)}")
        params.numa = NUMA[numa]
        params.low_memory, params.dense_ffn, params.exact_head = low_memory, dense_ffn, exact_head
        params.pin, params.huge_pages, params.mlock, params.warm_up = pin, huge_pages, mlock, warm_up
        callback = Progress(progress)
        params.progress = callback.c
        name = c_path("demo" if path is None else path)
        pointer, err = ctypes.c_void_p(), Error()
        status = lib.tern_model_load(name, ctypes.byref(params), ctypes.byref(pointer), ctypes.byref(err))
        handle = None if status else Handle(pointer.value or 0, lib.tern_model_free, "model")
        callback.check(status, err, os.fsdecode(name))
        assert handle
        return cls(handle, n_ctx, chunk, kv_type, prefix_cache)

    # -------------------------------------------------------------- lifetime

    @property
    def closed(self) -> bool:
        return self._handle.closed

    def close(self) -> None:
        """Free its memory now, that of its sessions and schedulers first; cancels what is under way."""
        with self._lock:
            sessions, self._idle = list(self._sessions), None
            schedulers, self._own_scheduler = list(self._schedulers), None
            self._prefix_cache = False
        for scheduler in schedulers:
            scheduler.close()
        for session in sessions:
            session.close()
        self._handle.close()

    def __enter__(self) -> "Model":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: "Optional[TracebackType]"
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<tern.Model {self._info.name!r}, {self._info.n_params:,} parameters{', closed' if self.closed else ''}>"

    @property
    def info(self) -> ModelInfo:
        return self._info

    # -------------------------------------------------------------- sessions

    def session(
        self, *, n_ctx: Optional[int] = None, chunk: Optional[int] = None, kv_type: Optional[str] = None
    ) -> Session:
        """A timeline of one's own, to evaluate, cut and sample token by token; what is not given is as the model was
        loaded with."""
        info, (default_n_ctx, default_chunk, default_kv_type) = self._info, self._defaults
        session = Session(
            self._handle,
            self.tokenizer,
            info.vocab_size,
            info.hidden_size,
            n_ctx if n_ctx is not None else default_n_ctx,
            chunk if chunk is not None else default_chunk,
            kv_type if kv_type is not None else default_kv_type,
        )
        with self._lock:
            self._sessions.add(session)
        return session

    def sampler(self, **options: "Unpack[SamplerOptions]") -> Sampler:
        """For session.sample()."""
        return Sampler(self.tokenizer, self._info.vocab_size, **options)

    def _take(self, ids: List[int]) -> Tuple[Session, int]:
        """A session that holds a beginning of ids, at least one token less -> it, and how many it holds."""
        with self._lock:
            session, self._idle = self._idle, None
        if session is None:
            return self.session(), 0
        held = session.tokens
        n = 0
        for a, b in zip(held, ids[:-1]):
            if a != b:
                break
            n += 1
        session.truncate(n)
        return session, n

    def _give_back(self, session: Session) -> None:
        with self._lock:
            if self._prefix_cache and not session._stale:
                session, self._idle = self._idle or session, session
                if session is self._idle:
                    return
        session.close()

    # ------------------------------------------------------------ generation

    def _prompt(self, prompt: Prompt) -> List[int]:
        return prompt_ids(self.tokenizer, prompt)

    def stream(self, prompt: Prompt, **options: "Unpack[GenerateOptions]") -> Stream:
        """As generate(), but an iterator of the text as it comes; leaving the loop cancels it.

        >>> import tern
        >>> model = tern.Model.from_pretrained("demo")
        >>> for piece in model.stream("Once upon a time", max_tokens=100):
        ...     if "." in piece:
        ...         break
        """
        what = Generation(options, self.tokenizer)
        ids = self._prompt(prompt)
        session, n_cached = self._take(ids)
        return Stream(session, session._ids(ids[n_cached:]), what, n_cached, self._give_back)

    def generate(
        self,
        prompt: Prompt,
        *,
        on_text: Optional[Callable[[str], Any]] = None,
        **options: "Unpack[GenerateOptions]",
    ) -> Result:
        """Generate text behind a prompt: a text (special tokens in it are parsed), messages (as for chat()) or token ids
        (with BOS, if the model wants one). Options: GenerateOptions.

        on_text: called with each piece of text as it comes; returning False stops. What it raises stops, too, and is
            raised here.

        >>> import tern
        >>> model = tern.Model.from_pretrained("demo")
        >>> result = model.generate("Once upon a time", max_tokens=5, temperature=0)
        >>> str(result.reason), result.n_generated, len(result.ids)
        ('length', 5, 5)
        """
        return self.stream(prompt, **options).finish(on_text)

    def chat(
        self,
        messages: Union[str, Messages],
        *,
        on_text: Optional[Callable[[str], Any]] = None,
        **options: "Unpack[GenerateOptions]",
    ) -> Result:
        """The answer to a conversation: [{"role": "system" | "user" | "assistant", "content": text}, ...], or to one
        message of a user. With the answer appended and a new message behind it, the next call evaluates what is new
        only.

        >>> import tern
        >>> model = tern.Model.from_pretrained("demo")
        >>> answer = model.chat("Tell me a story.", max_tokens=20)
        >>> isinstance(answer.text, str)
        True
        """
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        if not messages:
            raise ArgumentError("a conversation begins with a message; there is none")
        return self.generate(messages, on_text=on_text, **options)

    # ------------------------------------------------------------ many at once

    def scheduler(
        self,
        *,
        max_running: int = 16,
        n_ctx: Optional[int] = None,
        chunk: Optional[int] = None,
        kv_type: Optional[str] = None,
        kv_bytes: Optional[int] = None,
        prefix_cache: bool = True,
    ) -> Scheduler:
        """Something that generates several texts at once, in one pass over the weights for all of them.

        max_running: texts that are computed at the same time; others wait.
        chunk: prompt tokens of a pass at most, which all others wait for; None: as the model was loaded with, or 64.
        kv_bytes: memory for all KV caches, kept prefixes included; None: four full contexts.
        n_ctx, kv_type: as the model was loaded with, if not given.
        """
        default_n_ctx, default_chunk, default_kv_type = self._defaults
        scheduler = Scheduler(
            self._handle,
            self.tokenizer,
            n_ctx if n_ctx is not None else default_n_ctx,
            chunk if chunk is not None else default_chunk,
            kv_type if kv_type is not None else default_kv_type,
            max_running,
            kv_bytes,
            prefix_cache,
        )
        with self._lock:
            self._schedulers.add(scheduler)
        return scheduler

    def _many(self) -> Scheduler:
        with self._lock:
            scheduler = self._own_scheduler
        if scheduler is None:
            scheduler = self.scheduler(prefix_cache=self._prefix_cache)
            with self._lock:  # another thread may have been faster
                scheduler = self._own_scheduler = self._own_scheduler or scheduler
        return scheduler

    def stream_many(self, prompts: Iterable[Prompt], **options: "Unpack[GenerateOptions]") -> ManyStream:
        """As generate_many(), but an iterator of (number of the prompt, piece of text) as they come.

        >>> import tern
        >>> model = tern.Model.from_pretrained("demo")
        >>> for i, piece in model.stream_many(["Once upon a time", "The dog"], max_tokens=5):
        ...     assert i in (0, 1) and piece
        """
        return self._many().stream_many(prompts, **options)

    def generate_many(
        self,
        prompts: Iterable[Prompt],
        *,
        on_text: Optional[Callable[[int, str], Any]] = None,
        **options: "Unpack[GenerateOptions]",
    ) -> List[Result]:
        """Generate a text behind each of many prompts, 16 at a time in one pass over the weights (continuous batching):
        results in the order of the prompts, with the same texts as generate() makes of each. Options: GenerateOptions,
        for all of them; `draft` does nothing here. If one prompt fails, all do. Another number than 16, and a memory of
        one's own: scheduler().

        on_text: called with (number of the prompt, piece of text) as they come; returning False stops that text.

        >>> import tern
        >>> model = tern.Model.from_pretrained("demo")
        >>> results = model.generate_many(["Once upon a time", "The dog"], max_tokens=5, temperature=0)
        >>> results[1].text == model.generate("The dog", max_tokens=5, temperature=0).text
        True
        """
        return self._many().generate_many(prompts, on_text=on_text, **options)

    # ---------------------------------------------------------- measurements

    def logits(self, prompt: Prompt) -> Matrix:
        """Logits of what follows each token of a prompt: a float32 numpy array [tokens, vocab_size]; without numpy a
        list of rows.

        >>> import tern
        >>> model = tern.Model.from_pretrained("demo")
        >>> len(model.logits("Once upon a time")) == len(model.tokenizer.encode("Once upon a time"))
        True
        """
        ids = self._prompt(prompt)
        with self.session() as session:
            return session.eval_logits(ids)

    @overload
    def embed(self, text: str, *, pooling: "Literal['mean', 'last']" = "mean", normalize: bool = True) -> Vector: ...

    @overload
    def embed(
        self, text: Sequence[str], *, pooling: "Literal['mean', 'last']" = "mean", normalize: bool = True
    ) -> Matrix: ...

    def embed(
        self, text: Union[str, Sequence[str]], *, pooling: str = "mean", normalize: bool = True
    ) -> Union[Vector, Matrix]:
        """The direction of a text in the space of hidden states: the mean of its tokens', or the last one's, of length
        1 if `normalize`. Texts that are alike have a large inner product. A list of texts gives a matrix, a row each.

        >>> import tern
        >>> model = tern.Model.from_pretrained("demo")
        >>> dog, puppy = model.embed("A dog ran."), model.embed("A puppy ran.")
        >>> bool(sum(a * b for a, b in zip(dog, puppy)) > 0)
        True
        """
        if pooling not in ("mean", "last"):
            raise ArgumentError(f"unknown pooling {pooling!r}; there are: mean, last")
        if isinstance(text, (bytes, bytearray)) or not isinstance(text, Iterable):
            raise TypeError(f"what is embedded is a str or a list of them, not {type(text).__name__}")
        with self.session() as session:
            if isinstance(text, str):
                return as_vector(_embed(session, text, pooling, normalize))
            rows: Any = [as_vector(_embed(session, one, pooling, normalize)) for one in text]
        if np is not None:
            rows = np.array(rows, np.float32).reshape(len(rows), self._info.hidden_size)
        return rows  # type: ignore[no-any-return]

    def perplexity(
        self,
        text: Union[str, bytes],
        *,
        window: Optional[int] = None,
        progress: Optional[Callable[[int, int], Any]] = None,
    ) -> Perplexity:
        """How well the model predicts a text, as `tern perplexity` measures it: the text is encoded without BOS and cut
        into windows of window - 1 tokens, each is evaluated from an empty context behind one BOS, and every token
        counts. window None: 512, or the context if that is smaller. progress: called with tokens (done, total).

        >>> import tern
        >>> model = tern.Model.from_pretrained("demo")
        >>> model.perplexity("Once upon a time, there was a little girl.").perplexity < 100
        True
        """
        bos = self.tokenizer.bos
        data = text.encode("utf-8") if isinstance(text, str) else text
        ids = self.tokenizer.encode(data, bos=False, special=False)
        if bos is None:
            raise ArgumentError("the tokenizer has no BOS token, which every window begins with")
        if not ids:
            raise ArgumentError("the text is empty; there is nothing to measure")
        total = 0.0
        with self.session() as session:
            window = min(512, session.n_ctx) if window is None else window
            if not 2 <= window <= session.n_ctx:
                raise ArgumentError(f"a window of {window} tokens: must be 2 to {session.n_ctx}")
            step = window - 1
            for at in range(0, len(ids), step):
                total += _score(session, bos, ids[at : at + step], self._info.vocab_size)
                if progress is not None:
                    progress(min(at + step, len(ids)), len(ids))
        mean = total / len(ids)
        return Perplexity(len(ids), len(data), mean, math.exp(mean), total / math.log(2) / len(data))


def _plain(value: Any) -> Any:
    """A C string as text, numbers as they are."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _count(n: Optional[int], what: str) -> int:
    if n is None:
        return 0
    if not 0 < n < 2**31:
        raise ArgumentError(f"{what} of {n} is impossible")
    return n


def _embed(session: Session, text: str, pooling: str, normalize: bool) -> List[float]:
    session.truncate()
    ids = session.tokenizer.encode(text, special=False)
    if not ids:
        raise ArgumentError("an empty text has no embedding")
    if len(ids) > session.n_ctx:
        raise ContextError(f"a text of {len(ids)} tokens does not fit into a context of {session.n_ctx}; cut it")
    if pooling == "last":
        session.eval(ids)
        numbers = [float(x) for x in session.embedding()]
    elif np is not None:
        numbers = session.eval_hidden(ids).mean(axis=0, dtype=float).tolist()
    else:
        numbers = [math.fsum(column) / len(ids) for column in zip(*session.eval_hidden(ids))]
    length = math.sqrt(math.fsum(x * x for x in numbers))
    if not 0 < length < math.inf:
        raise FormatError("the model gave NaN, infinite or no hidden states at all: its weights are damaged, or the file is")
    return [x / length for x in numbers] if normalize else numbers


def _score(session: Session, bos: int, ids: List[int], vocab_size: int) -> float:
    """Sum of the negative log-likelihoods of ids behind one BOS; at most 64 MB of logits at a time."""
    inputs = [bos] + ids[:-1]
    slice_ = max(1, (64 << 20) // (4 * vocab_size))
    session.truncate()
    total = 0.0
    for at in range(0, len(ids), slice_):
        logits = session.eval_logits(inputs[at : at + slice_])
        for row, id in zip(logits, ids[at : at + slice_]):
            total += _negative_log_likelihood(row, id)
    return total


def _negative_log_likelihood(logits: Any, id: int) -> float:
    """-log softmax(logits)[id], in double."""
    if np is not None:
        numbers = logits.astype(np.float64)
        largest = numbers.max()
        return float(np.log(np.exp(numbers - largest).sum()) + largest - numbers[id])
    largest = float(max(logits))
    return math.log(math.fsum(math.exp(x - largest) for x in logits)) + largest - float(logits[id])
