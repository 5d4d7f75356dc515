"""Many texts at once: a scheduler takes all of them through the model together."""

from __future__ import annotations

import atexit
import collections
import ctypes
import itertools
import queue
import threading
import weakref
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Deque,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Type,
    Union,
)

from ._errors import ArgumentError, BusyError, error_of
from ._library import check, lib
from ._memory import Handle, int32s
from ._sampling import Generation, GenerateOptions
from ._session import Result, StopReason
from ._structs import (
    KV_TYPES,
    OK,
    STOP_REASONS,
    DoneFn,
    Error,
    EventFn,
    RequestParams,
)
from ._structs import SchedulerStats as CSchedulerStats
from ._tokenizer import Messages, Tokenizer

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Unpack

    Events = queue.SimpleQueue[Tuple[int, Optional[str]]]  # number of the prompt, piece of text; None: its end

Prompt = Union[str, Sequence[int], Messages]


def prompt_ids(tokenizer: Tokenizer, prompt: Prompt) -> List[int]:
    """Token ids of a text, of messages, or of ids."""
    items: Any = prompt  # mypy cannot tell the two kinds of sequences apart
    if isinstance(prompt, str):
        ids = tokenizer.encode(prompt)
    elif isinstance(items, (bytes, bytearray)):
        raise TypeError("a prompt is a str, messages or token ids, not bytes; .decode() makes a str of them")
    elif isinstance(items, Mapping):
        raise TypeError("messages are a list, of one message, too: [message]")
    elif not hasattr(items, "__len__") or not hasattr(items, "__getitem__"):
        raise TypeError(f"a prompt is a str, messages or token ids, not {type(items).__name__}")
    elif len(items) and isinstance(items[0], str):
        raise TypeError("a list of texts is several prompts: generate_many() and stream_many() take them")
    elif len(items) and isinstance(items[0], Mapping):
        ids = tokenizer.apply_chat_template(items)
    else:
        ids = list(int32s(items))
    if not ids:
        raise ArgumentError("the prompt is empty; give a text, messages or token ids")
    return ids


@dataclass(frozen=True)
class SchedulerStats:
    """What a scheduler has done so far, and what it holds now."""

    n_running: int
    n_waiting: int
    n_finished: int
    n_cancelled: int
    n_refused: int
    n_failed: int
    n_preempted: int  # how often one gave its memory to others, to go on later
    n_steps: int  # passes over the weights
    prompt_tokens: int  # evaluated
    generated_tokens: int
    cached_tokens: int  # of prompts, evaluated for an earlier one
    kv_blocks: int
    kv_blocks_used: int
    kv_blocks_cached: int
    kv_block_tokens: int
    kv_bytes: int
    step_seconds: float


class _Request:
    """One text under way. C's thread fills it; it knows nothing of who reads it."""

    def __init__(self, index: int, ids: List[int], what: Generation, events: "Events") -> None:
        self.index = index
        self.prompt = ids
        self.seed = what.seed
        self.text: List[str] = []
        self.ids: List[int] = []
        self.cancelled = False
        self.ended = threading.Event()
        self.error: Optional[BaseException] = None
        self.result: Optional[Result] = None
        self._what: Optional[Generation] = what  # with all that C looks at
        self._events = events
        self._lock = threading.Lock()  # the request is C's until on_done returns, and cancel() must not be late
        self._pointer: Optional[int] = None

    def submit(self, scheduler: int) -> None:
        assert self._what
        given, ids, key = self._what.params, int32s(self.prompt), next(_KEYS)
        params = RequestParams(
            ids=ids,
            n_ids=len(ids),
            sampler=given.sampler,
            max_tokens=given.max_tokens,
            stop=given.stop,
            n_stop=given.n_stop,
            ignore_end=given.ignore_end,
            show_special=given.show_special,
            on_event=_ON_EVENT,
            on_done=_ON_DONE,
            user=key,
        )
        pointer, err = ctypes.c_void_p(), Error()
        _REQUESTS[key] = self
        status = lib.tern_scheduler_submit(scheduler, ctypes.byref(params), ctypes.byref(pointer), ctypes.byref(err))
        if status:
            del _REQUESTS[key]
            check(status, err)
        with self._lock:
            if not self.ended.is_set():
                self._pointer = pointer.value

    def cancel(self) -> None:
        """From any thread, at any time. Does not wait."""
        self.cancelled = True  # also what on_event() looks at
        with self._lock:
            if self._pointer is not None:
                lib.tern_request_cancel(self._pointer)

    def on_event(self, event: Any) -> bool:
        if event.id >= 0:
            self.ids.append(event.id)
        if event.n_bytes:
            piece = ctypes.string_at(event.text, event.n_bytes).decode("utf-8", "replace")
            self.text.append(piece)
            self._events.put((self.index, piece))
        return not self.cancelled

    def on_done(self, result: Any) -> None:
        with self._lock:
            self._pointer = None
            if result.status != OK and self.error is None:
                self.error = error_of(result.status, result.err.message.decode("utf-8", "replace"), None)
            reason = StopReason(STOP_REASONS[result.reason])
            n, first = int(result.n_generated), float(result.first_token_seconds)
            self.result = Result(
                text="".join(self.text),
                ids=self.ids,
                reason=reason,
                seed=self.seed,
                n_prompt=result.n_prompt,
                n_cached=result.n_cached,
                n_generated=n,
                prefill_seconds=max(0.0, first - result.queue_seconds),
                decode_seconds=max(0.0, result.total_seconds - first) if n else 0.0,
                first_token_seconds=first,
                n_steps=n if reason is StopReason.END else max(0, n - 1),
                n_drafted=0,
                n_accepted=0,
            )
            self.ended.set()
        self._what = None
        self._events.put((self.index, None))

    def not_begun(self) -> Result:
        """The result of one that was cancelled before it was handed in."""
        return Result("", [], StopReason.CANCELLED, self.seed, len(self.prompt), 0, 0, 0.0, 0.0, 0.0, 0, 0, 0)


_KEYS = itertools.count(1)
_REQUESTS: Dict[int, _Request] = {}  # those that C knows, by what it calls them
_CALLED = threading.local()  # in a callback, in the scheduler's own thread


def _on_event(user: int, event: Any) -> bool:
    _CALLED.back = True
    request = _REQUESTS[user]
    try:
        return request.on_event(event.contents)
    except BaseException as error:  # no memory, say
        request.error = error
        return False
    finally:
        _CALLED.back = False


def _on_done(user: int, result: Any) -> None:
    _CALLED.back = True
    try:
        _REQUESTS.pop(user).on_done(result.contents)
    finally:
        _CALLED.back = False


_ON_EVENT, _ON_DONE = EventFn(_on_event), DoneFn(_on_done)


class ManyStream(Iterator[Tuple[int, str]]):
    """Texts that are being generated: an iterator of (number of the prompt, piece of its text), as they come.

    >>> import tern
    >>> model = tern.Model.from_pretrained("demo")
    >>> texts = ["", ""]
    >>> for i, piece in model.stream_many(["Once upon a time", "The dog"], max_tokens=5):
    ...     texts[i] += piece

    What is not finished is cancelled when nothing refers to the stream any more, at once by `close()` and `with`, and
    by Ctrl-C; one text alone by `cancel(i)`. It belongs to one thread.
    """

    def __init__(self, scheduler: "Scheduler", prompts: Iterable[Prompt], options: "GenerateOptions") -> None:
        """For the package itself; users call `stream_many()`."""
        events: "Events" = queue.SimpleQueue()
        if isinstance(prompts, str):
            raise ArgumentError("the prompts are one text; give a list of them")
        self._scheduler = scheduler
        self._events = events
        self._requests = [
            _Request(i, prompt_ids(scheduler.tokenizer, prompt), Generation(options, scheduler.tokenizer), events)
            for i, prompt in enumerate(prompts)
        ]
        self._waiting: Deque[_Request] = collections.deque(self._requests)
        self._begun: List[_Request] = []
        self._n_running = 0
        weakref.finalize(self, _abandon, self._begun).atexit = False
        try:
            self._fill()
        except BaseException:
            self.close()
            raise

    def _fill(self) -> None:
        """Hand in so many that the scheduler always has one to begin, and no more: others use it, too."""
        while self._waiting and self._n_running < 2 * self._scheduler.max_running:
            request = self._waiting[0]
            if not request.cancelled:
                self._begun.append(request)  # first: from here on it may run
                try:
                    request.submit(self._scheduler._handle.pointer)
                except BusyError:
                    self._begun.pop()
                    if self._n_running == 0:
                        raise
                    return
                except Exception:
                    self._begun.pop()
                    raise
                self._n_running += 1
            self._waiting.popleft()

    def __iter__(self) -> "ManyStream":
        return self

    def __next__(self) -> Tuple[int, str]:
        try:
            while self._n_running:
                index, piece = self._events.get()
                request = self._requests[index]
                if piece is None:
                    self._n_running -= 1
                    if request.error is not None:
                        raise request.error
                    self._fill()
                elif not request.cancelled:
                    return index, piece
        except BaseException:  # Ctrl-C, too
            self.close()
            raise
        raise StopIteration

    def cancel(self, index: int) -> None:
        """Stop one text; the others go on."""
        self._requests[index].cancel()

    def close(self) -> None:
        """Stop all texts, now. What was generated is still in `results`."""
        self._waiting.clear()
        self._n_running = 0
        for request in self._begun:
            request.cancel()
        for request in self._begun:
            request.ended.wait()

    def __enter__(self) -> "ManyStream":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: "Optional[TracebackType]"
    ) -> None:
        self.close()

    @property
    def results(self) -> List[Result]:
        """The whole texts, in the order of the prompts; reads what was not yet read."""
        for _ in self:
            pass
        for request in self._requests:
            if request.error is not None:
                raise request.error
        return [request.result or request.not_begun() for request in self._requests]

    def finish(self, on_text: Optional[Callable[[int, str], Any]] = None) -> List[Result]:
        """Read all to their ends, each piece to `on_text(number, piece)`, which stops that text by returning False."""
        try:
            for index, piece in self:
                if on_text is not None and on_text(index, piece) is False:
                    self.cancel(index)
        finally:
            self.close()
        return self.results


def _abandon(requests: List[_Request]) -> None:
    for request in requests:
        if not request.ended.is_set():
            request.cancel()


class Scheduler:
    """Takes all texts that it is given through the model together, one pass over the weights for all of them
    (continuous batching): several times as many tokens a second as one after the other. Made by `model.scheduler()`.

    >>> import tern
    >>> model = tern.Model.from_pretrained("demo")
    >>> with model.scheduler(max_running=4) as scheduler:
    ...     results = scheduler.generate_many(["Once upon a time", "The dog"], max_tokens=5)
    >>> [result.n_generated for result in results]
    [5, 5]

    Any number of threads may use it at once. A text does not depend on what else runs. Prompts that begin alike share
    what was computed for the beginning, also with earlier ones. It is freed by close(), by the end of a `with`, or when
    nothing refers to it any more; what is under way is then cancelled.
    """

    def __init__(
        self,
        model: Handle,
        tokenizer: Tokenizer,
        n_ctx: Optional[int],
        chunk: Optional[int],
        kv_type: Optional[str],
        max_running: int,
        kv_bytes: Optional[int],
        prefix_cache: bool,
    ) -> None:
        """For the package itself; users call `model.scheduler()`."""
        params = lib.tern_scheduler_defaults()
        for name, value, limit in (
            ("n_ctx", n_ctx, 2**32),
            ("chunk", chunk, 2**32),
            ("max_running", max_running, 2**31),
            ("kv_bytes", kv_bytes, 2**64),
        ):
            if value is not None:
                if not 0 < value < limit:
                    raise ArgumentError(f"{name} of {value} is impossible")
                setattr(params, name, value)
        if kv_type is not None:
            if kv_type not in KV_TYPES:
                raise ArgumentError(f"unknown kv_type {kv_type!r}; there are: {', '.join(KV_TYPES)}")
            params.kv_type = KV_TYPES[kv_type]
        params.no_prefix_cache = not prefix_cache
        pointer, err = ctypes.c_void_p(), Error()
        check(
            lib.tern_scheduler_create(model.pointer, ctypes.byref(params), ctypes.byref(pointer), ctypes.byref(err)),
            err,
        )

        def free(pointer: int) -> None:
            if not getattr(_CALLED, "back", False):
                lib.tern_scheduler_free(pointer)
                return
            # The garbage collector came by in the scheduler's thread, which cannot wait for its own end.
            threading.Thread(target=lambda _model: lib.tern_scheduler_free(pointer), args=(model,), daemon=True).start()

        self.tokenizer = tokenizer
        self.max_running = max_running
        self._handle = Handle(pointer.value or 0, free, "scheduler", model)
        _SCHEDULERS.add(self)

    @property
    def closed(self) -> bool:
        return self._handle.closed

    def close(self) -> None:
        """Free its memory now; cancels what is under way."""
        self._handle.close()

    def __enter__(self) -> "Scheduler":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: "Optional[TracebackType]"
    ) -> None:
        self.close()

    @property
    def stats(self) -> SchedulerStats:
        stats = CSchedulerStats()
        lib.tern_scheduler_get_stats(self._handle.pointer, ctypes.byref(stats))
        return SchedulerStats(**{name: getattr(stats, name) for name, *_ in stats._fields_})

    def stream_many(self, prompts: Iterable[Prompt], **options: "Unpack[GenerateOptions]") -> ManyStream:
        """As generate_many(), but an iterator of (number of the prompt, piece of text) as they come."""
        return ManyStream(self, prompts, options)

    def generate_many(
        self,
        prompts: Iterable[Prompt],
        *,
        on_text: Optional[Callable[[int, str], Any]] = None,
        **options: "Unpack[GenerateOptions]",
    ) -> List[Result]:
        """Generate a text behind each of the prompts, which may be as many as there are: results in their order.
        Options: GenerateOptions, for all of them; `draft` does nothing here. If one fails, all do.

        on_text: called with (number of the prompt, piece of text) as they come; returning False stops that text.
        """
        return self.stream_many(prompts, **options).finish(on_text)

    def generate(self, prompt: Prompt, **options: "Unpack[GenerateOptions]") -> Result:
        """One text; those that other threads ask for meanwhile share the passes over the weights."""
        return self.generate_many([prompt], **options)[0]


_SCHEDULERS: "weakref.WeakSet[Scheduler]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """A thread that calls back when the interpreter is gone would be lost in it."""
    for scheduler in list(_SCHEDULERS):
        scheduler.close()
