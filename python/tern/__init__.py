"""Run ternary (BitNet b1.58) language models.

>>> import tern
>>> model = tern.Model.from_pretrained("demo")  # or a .gguf file, or a Hugging Face folder
>>> text = model.generate("Once upon a time", max_tokens=50).text

A thin layer over libtern, the C library; what it does is documented in tern.h and docs/PYTHON.md.
"""

from ._batch import ManyStream, Scheduler, SchedulerStats
from ._errors import (
    ArgumentError,
    BusyError,
    CancelledError,
    ContextError,
    FileError,
    FormatError,
    MissingFileError,
    OutOfMemoryError,
    TernError,
    UnsupportedError,
)
from ._library import path as library_path
from ._model import Model, ModelInfo, Perplexity
from ._sampling import GenerateOptions, Grammar, Sampler, SamplerOptions
from ._session import Result, Session, StopReason, Stream
from ._tokenizer import Tokenizer
from ._tools import Inspection, Metadata, TensorInfo, convert, inspect, synth
from ._version import __version__

__all__ = [
    "ArgumentError",
    "BusyError",
    "CancelledError",
    "ContextError",
    "FileError",
    "FormatError",
    "GenerateOptions",
    "Grammar",
    "Inspection",
    "ManyStream",
    "Metadata",
    "MissingFileError",
    "Model",
    "ModelInfo",
    "OutOfMemoryError",
    "Perplexity",
    "Result",
    "Sampler",
    "SamplerOptions",
    "Scheduler",
    "SchedulerStats",
    "Session",
    "StopReason",
    "Stream",
    "TensorInfo",
    "TernError",
    "Tokenizer",
    "UnsupportedError",
    "__version__",
    "convert",
    "inspect",
    "library_path",
    "synth",
]
