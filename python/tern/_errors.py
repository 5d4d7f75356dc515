"""Exceptions: one class a tern_status, each also what Python calls such a failure."""

from __future__ import annotations

import errno
import os
from typing import Dict, Optional, Type

__all__ = [
    "ArgumentError",
    "BusyError",
    "CancelledError",
    "ContextError",
    "FileError",
    "FormatError",
    "MissingFileError",
    "OutOfMemoryError",
    "TernError",
    "UnsupportedError",
]


class TernError(Exception):
    """What every failure of tern is; ``str(error)`` is one line that says what is wrong and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class ArgumentError(TernError, ValueError):
    """An argument is impossible."""


class FileError(TernError, OSError):
    """A file cannot be opened, read or written."""


class MissingFileError(FileError, FileNotFoundError):
    """There is no such file."""

    def __init__(self, message: str, filename: Optional[str] = None) -> None:
        super().__init__(message)
        self.errno = errno.ENOENT
        self.filename = filename


class FormatError(TernError, ValueError):
    """A file's contents, or a grammar's, are not what they must be."""


class UnsupportedError(TernError):
    """Valid, but not something tern can run."""


class OutOfMemoryError(TernError, MemoryError):
    """Out of memory."""


class ContextError(TernError):
    """The context is full: the text does not fit."""


class CancelledError(TernError):
    """The evaluation was cancelled."""


class BusyError(TernError):
    """A session is in use by another thread or by a stream."""


_CLASSES: Dict[int, Type[TernError]] = {
    1: ArgumentError,
    2: FileError,
    3: FormatError,
    4: UnsupportedError,
    5: OutOfMemoryError,
    6: ContextError,
    7: CancelledError,
    8: BusyError,
}


def error_of(status: int, message: str, path: Optional[str] = None) -> TernError:
    """The exception for a tern_status; `path`: the file that the call was about."""
    if status == 2 and path is not None and not os.path.lexists(path):
        return MissingFileError(message, path)
    return _CLASSES.get(status, TernError)(message)
