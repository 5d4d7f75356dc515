"""A session: one timeline of tokens; and a stream: a text that is being generated in it."""

from __future__ import annotations

import atexit
import ctypes
import enum
import queue
import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Iterator, List, Optional, Sequence, Type, Union

from ._errors import ArgumentError, BusyError, CancelledError, ContextError
from ._library import check, lib
from ._memory import FloatBuffer, Handle, Matrix, Vector, floats_at, int32s
from ._sampling import Generation, GenerateOptions, Sampler
from ._structs import ERR_CANCELLED, KV_TYPES, OK, STOP_REASONS, Error, GenerateResult, SessionParams, TextFn
from ._tokenizer import Tokenizer

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Unpack

_SHORT = 32  # tokens whose evaluation is so short that Ctrl-C may wait for it
_CANCELLED = STOP_REASONS.index("cancelled")


class StopReason(str, enum.Enum):
    """Why a text ended; each is also the string."""

    LENGTH = "length"  # max_tokens
    END = "end"  # the model ended its answer
    STOP = "stop"  # a stop string came up
    CONTEXT = "context"  # the context is full
    CANCELLED = "cancelled"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Result:
    """What was generated; str() is the text."""

    text: str
    ids: List[int]  # without the end token
    reason: StopReason
    seed: int  # with which the same text comes again
    n_prompt: int  # tokens
    n_cached: int  # of them evaluated by an earlier call
    n_generated: int
    prefill_seconds: float
    decode_seconds: float
    first_token_seconds: float  # from the start
    n_steps: int  # passes through the model after the prompt's
    n_drafted: int  # tokens that were guessed ahead
    n_accepted: int  # and of them those that were right

    @property
    def tokens_per_second(self) -> float:
        """Speed of decoding; 0 if nothing was generated."""
        return self.n_generated / self.decode_seconds if self.decode_seconds > 0 else 0.0

    def __str__(self) -> str:
        return self.text


class Session:
    """One timeline of tokens with its KV cache, made by `model.session()`.

    >>> import tern
    >>> model = tern.Model.from_pretrained("demo")
    >>> with model.session() as session:
    ...     session.eval("Once upon a")
    ...     n = len(session)
    ...     best = session.sample()
    ...     session.eval([best])
    ...     session.truncate(n)
    ...     len(session) == n
    True

    It belongs to one thread at a time; a call while another one is under way raises BusyError. Only cancel() and
    close() may be called at any time, from any thread; close() waits for what is under way, which it cancels.
    """

    def __init__(
        self,
        model: Handle,
        tokenizer: Tokenizer,
        vocab_size: int,
        hidden_size: int,
        n_ctx: Optional[int],
        chunk: Optional[int],
        kv_type: Optional[str],
    ) -> None:
        """For the package itself; users call `model.session()`."""
        params = lib.tern_session_defaults()
        params.n_ctx, params.chunk = _size(n_ctx, "n_ctx"), _size(chunk, "chunk")
        if kv_type is not None:
            if kv_type not in KV_TYPES:
                raise ArgumentError(f"unknown kv_type {kv_type!r}; there are: {', '.join(KV_TYPES)}")
            params.kv_type = KV_TYPES[kv_type]
        pointer, err = ctypes.c_void_p(), Error()
        status = lib.tern_session_create(model.pointer, ctypes.byref(params), ctypes.byref(pointer), ctypes.byref(err))
        check(status, err)
        self.tokenizer = tokenizer
        self._handle = Handle(pointer.value or 0, lib.tern_session_free, "session", model)
        self._vocab_size, self._hidden_size = vocab_size, hidden_size
        self._in_use = threading.Lock()  # held while a call is under way; a stream's is released by its thread
        # Guards the pointer against cancel() and close() at once. Reentrant: a signal handler may call cancel().
        self._guard = threading.RLock()
        self._closing = False
        self._running = False  # an evaluation that _interrupt() can stop
        self._interrupted = False  # it was told to
        self._stale = False  # it ended before it saw that: the wish is still there, and not for the next one

    # -------------------------------------------------------------- lifetime

    @property
    def closed(self) -> bool:
        return self._handle.closed

    def close(self) -> None:
        """Free its memory now; cancels what is under way."""
        self._closing = True
        self._interrupt()
        with self._in_use, self._guard:
            self._handle.close()

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: "Optional[TracebackType]"
    ) -> None:
        self.close()

    def cancel(self) -> None:
        """From any thread, also from a signal handler: what is running, or else the next evaluation, ends soon with
        CancelledError, a generation with the reason CANCELLED."""
        with self._guard:
            if not self._handle.closed:
                lib.tern_session_cancel(self._handle.pointer)

    # ------------------------------------------------- one thing at a time

    def _acquire(self) -> int:
        """Take the session for a call -> its pointer."""
        if not self._in_use.acquire(blocking=False):
            raise BusyError("the session is in use, by a stream or another thread; close the stream, or wait")
        try:
            return self._handle.pointer
        except BaseException:
            self._in_use.release()
            raise

    def _begin(self, pointer: int) -> None:
        """An evaluation begins."""
        if self._stale and self.n_ctx > lib.tern_session_n_past(pointer):
            # The first evaluation takes the old wish away; it is cancelled before it has any effect.
            lib.tern_session_eval(pointer, int32s([0]), 1, None)
            self._stale = False
        with self._guard:
            self._running, self._interrupted = True, False

    def _end(self, cancelled: bool) -> None:
        with self._guard:
            self._running = False
            self._stale = self._stale or (self._interrupted and not cancelled)

    def _interrupt(self) -> None:
        """Stop the evaluation that is running, if one is."""
        with self._guard:
            if self._running and not self._interrupted:
                self._interrupted = True
                lib.tern_session_cancel(self._handle.pointer)

    def _evaluate(self, n: int, call: Callable[[int, Error], int]) -> None:
        """Run call(pointer, err), which evaluates n tokens. Long ones run in a thread of their own while this one
        waits: it then hears Ctrl-C, which cancels them."""
        pointer = self._acquire()
        err = Error()
        ended: "queue.SimpleQueue[Optional[int]]" = queue.SimpleQueue()  # its get() hears Ctrl-C

        def work() -> None:
            status: Optional[int] = None
            try:
                self._begin(pointer)
                status = call(pointer, err)
            finally:
                self._end(status == ERR_CANCELLED)
                self._in_use.release()
                ended.put(status)

        if n <= _SHORT or threading.current_thread() is not threading.main_thread():
            work()
            status = ended.get()
        else:
            thread = _Thread(work, "tern-eval")
            try:
                thread.start()
                status = ended.get()
            except BaseException:
                if thread.withdraw():
                    self._in_use.release()
                else:
                    self._interrupt()
                    ended.get()
                raise
        assert status is not None  # call() raised; in a thread of its own that has been reported there
        check(status, err)

    def _locked(self, read: Callable[[int], Any]) -> Any:
        """read(pointer) while nobody else uses the session."""
        pointer = self._acquire()
        try:
            return read(pointer)
        finally:
            self._in_use.release()

    # ----------------------------------------------------------------- state

    @property
    def n_ctx(self) -> int:
        """Tokens it has room for."""
        with self._guard:  # never changes: may be asked for at any time
            return int(lib.tern_session_n_ctx(self._handle.pointer))

    def __len__(self) -> int:
        """Tokens evaluated so far."""
        return int(self._locked(lib.tern_session_n_past))

    def __bool__(self) -> bool:
        return True  # also while it is empty

    @property
    def tokens(self) -> List[int]:
        """The tokens evaluated so far."""

        def read(pointer: int) -> List[int]:
            n = lib.tern_session_n_past(pointer)
            return list(lib.tern_session_tokens(pointer)[:n])

        return list(self._locked(read))

    @property
    def kv_bytes(self) -> int:
        """Memory that the KV cache holds now."""
        return int(self._locked(lib.tern_session_kv_bytes))

    def truncate(self, n: int = 0) -> None:
        """Forget everything from position n on (0: start anew)."""
        if not 0 <= n < 2**32:
            raise ArgumentError(f"cannot keep {n} tokens")
        err = Error()
        check(self._locked(lambda pointer: lib.tern_session_truncate(pointer, n, ctypes.byref(err))), err)

    # ------------------------------------------------------------ evaluation

    def _ids(self, prompt: Union[str, Sequence[int]]) -> Any:
        """Ids of what is to be appended; text gets a BOS token at the beginning only."""
        if isinstance(prompt, str):
            return int32s(self.tokenizer.encode(prompt, bos=len(self) == 0))
        return int32s(prompt)

    def eval(self, prompt: Union[str, Sequence[int]]) -> None:
        """Append a text or token ids. The results do not depend, not by a bit, on how a sequence is split into calls.
        When it fails or is cancelled, the session is as before."""
        ids = self._ids(prompt)
        self._evaluate(len(ids), lambda pointer, err: int(lib.tern_session_eval(pointer, ids, len(ids), ctypes.byref(err))))

    def eval_logits(self, prompt: Union[str, Sequence[int]]) -> Matrix:
        """As eval(), and the logits behind each token: [tokens, vocab_size]."""
        return self._eval_all(prompt, lib.tern_session_eval_logits, self._vocab_size)

    def eval_hidden(self, prompt: Union[str, Sequence[int]]) -> Matrix:
        """As eval(), and the hidden state of each token after the final norm: [tokens, hidden_size]."""
        return self._eval_all(prompt, lib.tern_session_eval_hidden, self._hidden_size)

    def _eval_all(self, prompt: Union[str, Sequence[int]], function: Callable[..., int], columns: int) -> Matrix:
        ids = self._ids(prompt)
        if len(ids) > self.n_ctx:  # before memory is asked for
            raise ContextError(f"{len(ids)} tokens do not fit into a context of {self.n_ctx}; use a shorter text")
        out = FloatBuffer(len(ids), columns)
        self._evaluate(len(ids), lambda pointer, err: function(pointer, ids, len(ids), out.pointer, ctypes.byref(err)))
        return out.matrix()

    def logits(self) -> Vector:
        """Logits of what follows the last token: a copy, [vocab_size]."""
        return self._last(lib.tern_session_logits, self._vocab_size)

    def embedding(self) -> Vector:
        """Hidden state of the last token after the final norm: a copy, [hidden_size]."""
        return self._last(lib.tern_session_embedding, self._hidden_size)

    def _last(self, function: Callable[[int], Any], n: int) -> Vector:
        def read(pointer: int) -> Optional[Vector]:
            at = function(pointer)
            return floats_at(at, n) if at else None

        numbers: Optional[Vector] = self._locked(read)
        if numbers is None:
            raise ArgumentError("the session has no last token: evaluate one first, also after truncate()")
        return numbers

    def sample(self, sampler: Optional[Sampler] = None) -> int:
        """Draw the next token, which is neither evaluated nor accepted by the sampler. Without a sampler: the most
        probable one. Mostly computes only a part of the logits."""
        if sampler is None:
            sampler = Sampler(self.tokenizer, self._vocab_size, temperature=0)
        draw = sampler._handle
        id, err = ctypes.c_int32(), Error()
        check(
            self._locked(
                lambda pointer: lib.tern_session_sample(pointer, draw.pointer, ctypes.byref(id), ctypes.byref(err))
            ),
            err,
        )
        return id.value

    # ------------------------------------------------------------ generation

    def stream(self, prompt: Union[str, Sequence[int]] = (), **options: "Unpack[GenerateOptions]") -> "Stream":
        """Evaluate a prompt behind what the session holds, then generate: an iterator of text. An empty prompt goes
        on from the last token. Afterwards the session holds all tokens but the one that was taken last."""
        return Stream(self, self._ids(prompt), Generation(options, self.tokenizer))

    def generate(self, prompt: Union[str, Sequence[int]] = (), **options: "Unpack[GenerateOptions]") -> Result:
        """As stream(), all at once."""
        return self.stream(prompt, **options).finish()


def _size(n: Optional[int], what: str) -> int:
    """0 stands for "as the model has it" in C."""
    if n is None:
        return 0
    if not 0 < n < 2**32:
        raise ArgumentError(f"{what} of {n} is impossible")
    return n


class _Thread:
    """A thread whose work is either done by it or withdrawn before it began: an exception within start() (Ctrl-C, no
    more threads) does not tell which."""

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self._work = work
        self._claim = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _run(self) -> None:
        if self._claim.acquire(blocking=False):
            self._work()

    def start(self) -> None:
        self._thread.start()

    def withdraw(self) -> bool:
        """True: the work was not begun and never will be."""
        return self._claim.acquire(blocking=False)


class _Run:
    """A generation in a thread of its own. It knows nothing of the Stream that reads it, so that one that nobody
    reads any more is found out (Stream's finalizer) and cancelled."""

    def __init__(
        self, session: Session, ids: Any, what: Generation, on_end: Optional[Callable[[Session], None]]
    ) -> None:
        self.session = session
        self.seed = what.seed
        self.pieces: "queue.SimpleQueue[Optional[str]]" = queue.SimpleQueue()  # None: the end
        self.ended = threading.Event()
        self.ids: List[int] = []
        self.text: List[str] = []
        self.result = GenerateResult()
        self.error: Optional[BaseException] = None
        self._what, self._prompt, self._on_end = what, ids, on_end
        pointer = session._acquire()
        thread = _Thread(lambda: self._work(pointer), "tern-generate")
        try:
            _RUNNING.add(self)
            session._begin(pointer)
            thread.start()
        except BaseException:
            if thread.withdraw():
                _RUNNING.discard(self)
                session._end(False)
                session._in_use.release()
            else:
                self.abandon()
            raise

    def _on_text(self, _user: Any, text: Optional[int], n: int, id: int) -> bool:
        try:
            piece = ctypes.string_at(text, n).decode("utf-8", "replace") if text and n else ""
            if id >= 0:
                self.ids.append(id)
            if piece:
                self.text.append(piece)
                self.pieces.put(piece)
            return True
        except BaseException as error:
            self.error = error
            return False

    def _work(self, pointer: int) -> None:
        err, on_text = Error(), TextFn(self._on_text)
        status = OK
        try:
            status = lib.tern_generate_ids(
                pointer,
                self._prompt,
                len(self._prompt),
                ctypes.byref(self._what.params),
                on_text,
                None,
                ctypes.byref(self.result),
                ctypes.byref(err),
            )
            check(status, err)
        except BaseException as error:
            self.error = error
        cancelled = status == ERR_CANCELLED or (status == OK and self.result.reason == _CANCELLED)
        self.session._end(cancelled)
        self.session._in_use.release()
        try:
            if self._on_end:
                self._on_end(self.session)
        finally:
            self._on_end = None
            _RUNNING.discard(self)
            self.ended.set()
            self.pieces.put(None)

    def abandon(self) -> None:
        """Nobody reads it any more. Does not wait: this may be the garbage collector's call, in any thread."""
        if not self.ended.is_set():
            self.session._interrupt()


_RUNNING: "weakref.WeakSet[_Run]" = weakref.WeakSet()


@atexit.register
def _stop_running() -> None:
    """A thread that comes back from C when the interpreter is gone would be lost in it."""
    for run in list(_RUNNING):
        run.abandon()
    for run in list(_RUNNING):
        run.ended.wait(10)


class Stream(Iterator[str]):
    """A text that is being generated: an iterator of its pieces, each of whole characters.

    >>> import tern
    >>> model = tern.Model.from_pretrained("demo")
    >>> stream = model.stream("Once upon a time", max_tokens=5)
    >>> text = "".join(stream)
    >>> text == stream.result.text, str(stream.result.reason)
    (True, 'length')

    Generation goes on in the background. It is cancelled when the loop is left by `break` or an exception and nothing
    refers to the stream any more; `close()` and `with` do it at once, and wait for it. Ctrl-C cancels it, too.
    """

    def __init__(
        self,
        session: Session,
        ids: Any,
        what: Generation,
        n_cached: int = 0,
        on_end: Optional[Callable[[Session], None]] = None,
    ) -> None:
        """For the package itself; users call `model.stream()` or `session.stream()`."""
        self._n_cached = n_cached
        self._exhausted = False
        self._closed = False
        self._run = run = _Run(session, ids, what, on_end)
        try:
            weakref.finalize(self, _Run.abandon, run).atexit = False
        except BaseException:
            run.abandon()
            raise

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> str:
        if self._exhausted:
            raise StopIteration
        try:
            piece = self._run.pieces.get()
        except BaseException:  # Ctrl-C
            self.close()
            raise
        if piece is not None:
            return piece
        self._exhausted = True
        if self._run.error is not None and not self._closed:
            raise self._run.error
        if self._run.result.reason == _CANCELLED and not self._closed and self._run.session._closing:
            raise CancelledError("the text is cut off here: its session or model was closed under it")
        raise StopIteration

    def close(self) -> None:
        """Stop generating, now. What was generated is still in `result`."""
        self._closed = self._exhausted = True
        self._run.abandon()
        self._run.ended.wait()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: "Optional[TracebackType]"
    ) -> None:
        self.close()

    @property
    def ids(self) -> List[int]:
        """Tokens taken so far; generation may be ahead of what was read."""
        return list(self._run.ids)

    @property
    def result(self) -> Result:
        """The whole text, and how it went; waits for the end."""
        try:
            self._run.ended.wait()
        except BaseException:
            self.close()
            raise
        if self._run.error is not None:
            raise self._run.error
        c = self._run.result
        return Result(
            text="".join(self._run.text),
            ids=list(self._run.ids),
            reason=StopReason(STOP_REASONS[c.reason]),
            seed=self._run.seed,
            n_prompt=c.n_prompt + self._n_cached,
            n_cached=self._n_cached,
            n_generated=c.n_generated,
            prefill_seconds=c.prefill_seconds,
            decode_seconds=c.decode_seconds,
            first_token_seconds=c.first_token_seconds,
            n_steps=c.n_steps,
            n_drafted=c.n_drafted,
            n_accepted=c.n_accepted,
        )

    def finish(self, on_text: Optional[Callable[[str], Any]] = None) -> Result:
        """Read it to its end, each piece to `on_text`, which stops it by returning False."""
        try:
            for piece in self:
                if on_text is not None and on_text(piece) is False:
                    break
        finally:
            self.close()
        return self.result
