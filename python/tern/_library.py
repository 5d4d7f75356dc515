"""Finding and loading libtern, and calling it."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any, Callable, Iterator, List, Optional, Tuple

from ._errors import ArgumentError, UnsupportedError, error_of
from ._structs import FUNCTIONS, Error, ProgressFn
from ._version import __version__

_NAMES = ("libtern.dylib",) if sys.platform == "darwin" else ("libtern.so", "libtern.so.0")


def _candidates() -> Iterator[str]:
    """Where the library may be, best first."""
    here = os.path.dirname(os.path.abspath(__file__))
    for folder in (here, os.path.join(here, "..", "..", "build")):
        for name in _NAMES:
            path = os.path.normpath(os.path.join(folder, name))
            if os.path.exists(path):
                yield path
    # Wherever the dynamic linker looks ($LD_LIBRARY_PATH). Not ctypes.util.find_library(): it asks `ld -o /dev/null`,
    # which, run by root, removes that device when there is no such library.
    yield from _NAMES


def _open(path: str) -> ctypes.CDLL:
    """Load one library; OSError if it is none, or not the one that this package was written for."""
    library = ctypes.CDLL(path)
    try:
        version = library.tern_version
    except AttributeError:
        raise OSError(f"{path}: not a libtern") from None
    version.restype = ctypes.c_char_p
    found = version().decode()
    # Structures may change between versions; reading them by another one's layout would be reading rubbish.
    if found != __version__:
        raise OSError(f"{path}: version {found}, but this package is of version {__version__}")
    return library


def _load() -> Tuple[ctypes.CDLL, str]:
    wanted = os.environ.get("TERN_LIBRARY")
    failures: List[str] = []
    for path in [wanted] if wanted else _candidates():
        try:
            return _open(path), path
        except OSError as error:
            failures.append(str(error))
    raise ImportError(
        "tern: no libtern that can be used (" + "; ".join(failures) + "); build one with `make`, or name it in $TERN_LIBRARY"
    )


_cdll, path = _load()


class _Functions:
    """libtern's functions, with their types. One that is missing is missed only when it is called."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        try:
            restype, argtypes = FUNCTIONS[name]
        except KeyError:
            raise AttributeError(name) from None
        function: Callable[..., Any]
        try:
            function = getattr(_cdll, name)
        except AttributeError:
            raise UnsupportedError(f"{path} has no {name}(): it is older than this package; build it anew") from None
        function.restype, function.argtypes = restype, argtypes  # type: ignore[attr-defined]
        setattr(self, name, function)
        return function


lib = _Functions()


def check(status: int, err: Error, about: Optional[str] = None) -> None:
    """Raise what a failed call says; `about`: the file it was about."""
    if status:
        raise error_of(status, err.message.decode("utf-8", "replace"), about)


def c_string(text: str, what: str) -> bytes:
    """Text for C, which ends at a zero."""
    data = text.encode("utf-8")
    if b"\0" in data:
        raise ArgumentError(f"{what} contains a zero byte; leave it out")
    return data


def c_path(name: "str | os.PathLike[str]") -> bytes:
    return os.fsencode(name)


class Progress:
    """A callback of `progress(done, total)` for C; what it raises stops the work and is raised by `check`.

    There is always one, also when nobody wants to know: it is what lets Ctrl-C in."""

    def __init__(self, progress: Optional[Callable[[int, int], Any]]) -> None:
        self._error: Optional[BaseException] = None
        self._progress = progress
        self.c = ProgressFn(self._call)

    def _call(self, _user: Any, done: int, total: int) -> bool:
        try:
            return self._progress is None or self._progress(done, total) is not False
        except BaseException as error:  # C cannot carry it; check() does
            self._error = error
            return False

    def check(self, status: int, err: Error, about: Optional[str] = None) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error
        check(status, err, about)
