"""Who owns what of C's memory, and how numbers get in and out of it."""

from __future__ import annotations

import array
import ctypes
import importlib
import weakref
from typing import TYPE_CHECKING, Any, Callable, Iterable, List, Tuple

from ._errors import ArgumentError

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    Vector = NDArray[numpy.float32]
    Matrix = NDArray[numpy.float32]
else:
    Vector = Matrix = Any

try:
    np: Any = importlib.import_module("numpy")
except ImportError:
    np = None


def _free(free: Callable[[int], None], pointer: int, _keep: Tuple["Handle", ...]) -> None:
    free(pointer)


class Handle:
    """An object of libtern: freed by close(), or when nothing refers to it any more.

    `keep` are the handles that must be freed after it: the finalizer refers to them, so that this order also holds
    when the garbage collector finds all of them at once. At the end of the process nothing is freed: the system
    does, and a thread may still be at work in it."""

    def __init__(self, pointer: int, free: Callable[[int], None], what: str, *keep: "Handle") -> None:
        self._pointer = pointer
        self._what = what
        self._finalize = weakref.finalize(self, _free, free, pointer, keep)
        self._finalize.atexit = False

    @property
    def closed(self) -> bool:
        return not self._finalize.alive

    @property
    def pointer(self) -> int:
        if not self._finalize.alive:
            raise ArgumentError(f"this {self._what} is closed")
        return self._pointer

    def close(self) -> None:
        self._finalize()


def int32s(ids: Iterable[int]) -> Any:
    """Token ids as an int32_t array (len() works)."""
    if isinstance(ids, (str, bytes, bytearray)) or not isinstance(ids, Iterable):
        raise TypeError(f"token ids are a sequence of integers, not {type(ids).__name__}")
    items = list(ids)
    try:
        numbers = array.array("i", items)
    except OverflowError:
        raise ArgumentError("a token id is outside the range of 32 bits") from None
    except TypeError:
        wrong = next(item for item in items if not hasattr(item, "__index__"))
        raise TypeError(f"token ids are integers, and one of them is of type {type(wrong).__name__}") from None
    return (ctypes.c_int32 * len(numbers)).from_buffer(numbers) if numbers else (ctypes.c_int32 * 0)()


class FloatBuffer:
    """Room for [rows, columns] floats that C fills."""

    def __init__(self, rows: int, columns: int) -> None:
        self._rows, self._columns = rows, columns
        if np is not None:
            self._numbers: Any = np.empty((rows, columns), np.float32)
            self.pointer: Any = self._numbers.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        else:
            self._numbers = array.array("f", bytes(4 * rows * columns))
            self.pointer = (ctypes.c_float * (rows * columns)).from_buffer(self._numbers)

    def matrix(self) -> Matrix:
        """numpy array [rows, columns]; without numpy a list of rows."""
        if np is not None:
            return self._numbers  # type: ignore[no-any-return]
        view, n = memoryview(self._numbers), self._columns
        rows: Any = [view[i * n : (i + 1) * n] for i in range(self._rows)]
        return rows  # type: ignore[no-any-return]


def floats_at(pointer: Any, n: int) -> Vector:
    """A copy of n floats of C's: a numpy array, without numpy an array.array("f")."""
    data = ctypes.string_at(pointer, 4 * n)
    if np is not None:
        return np.frombuffer(data, np.float32).copy()  # type: ignore[no-any-return]
    copy: Any = array.array("f", data)
    return copy  # type: ignore[no-any-return]


def as_vector(numbers: List[float]) -> Vector:
    if np is not None:
        return np.array(numbers, np.float32)  # type: ignore[no-any-return]
    vector: Any = array.array("f", numbers)
    return vector  # type: ignore[no-any-return]
