"""Files of models: what is in them, other forms of them, random ones."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import Any, Callable, List, Optional, Tuple

from ._errors import ArgumentError
from ._library import Progress, c_path, c_string, check, lib
from ._memory import Handle
from ._structs import ConvertParams, Error, SynthParams
from ._structs import MetadataInfo as CMetadataInfo
from ._structs import TensorInfo as CTensorInfo

ProgressCallback = Callable[[int, int], Any]


@dataclass(frozen=True)
class TensorInfo:
    name: str
    type: str  # "I2_S", "BF16", ...
    shape: Tuple[int, ...]  # outermost first; (out, in) for a matrix
    bytes: int
    scale: Optional[float]  # of a ternary tensor that has one
    packing: Optional[str]  # of a ternary matrix in tern's own layout
    n_parameters: int  # 0: it only helps to compute with others


@dataclass(frozen=True)
class Metadata:
    key: str
    type: str  # "string", "u32", "array[string]", ...
    value: str  # as text; long ones are shortened


@dataclass(frozen=True)
class Inspection:
    """What a model file holds."""

    format: str  # "GGUF v3", "Hugging Face (packed)"
    file_bytes: int
    chat_template: Optional[str]
    tensors: List[TensorInfo]
    metadata: List[Metadata]


def inspect(path: "str | os.PathLike[str] | None" = None) -> Inspection:
    """What a .gguf file or a Hugging Face folder holds, without loading it. None or "demo": the built-in model.

    >>> import tern
    >>> tern.inspect("demo").format
    'GGUF v3'
    """
    name = c_path("demo" if path is None else path)
    pointer, err = ctypes.c_void_p(), Error()
    check(lib.tern_inspect(name, ctypes.byref(pointer), ctypes.byref(err)), err, os.fsdecode(name))
    handle = Handle(pointer.value or 0, lib.tern_inspection_free, "inspection")
    try:
        at = handle.pointer
        template = lib.tern_inspection_chat_template(at)
        return Inspection(
            format=_text(lib.tern_inspection_format(at)),
            file_bytes=lib.tern_inspection_file_bytes(at),
            chat_template=None if template is None else _text(template),
            tensors=[_tensor(at, i) for i in range(lib.tern_inspection_n_tensors(at))],
            metadata=[_metadata(at, i) for i in range(lib.tern_inspection_n_metadata(at))],
        )
    finally:
        handle.close()


def _text(data: Optional[bytes]) -> str:
    return (data or b"").decode("utf-8", "replace")


def _tensor(inspection: int, index: int) -> TensorInfo:
    info = CTensorInfo()
    lib.tern_inspection_tensor(inspection, index, ctypes.byref(info))
    return TensorInfo(
        name=_text(info.name),
        type=_text(info.type),
        shape=tuple(info.shape[: info.n_dims]),
        bytes=info.bytes,
        scale=info.scale if info.has_scale else None,
        packing=None if info.packing is None else _text(info.packing),
        n_parameters=info.n_parameters,
    )


def _metadata(inspection: int, index: int) -> Metadata:
    info = CMetadataInfo()
    lib.tern_inspection_metadata(inspection, index, ctypes.byref(info))
    return Metadata(_text(info.key), _text(info.type), _text(info.value))


def convert(
    source: "str | os.PathLike[str] | None",
    out: "str | os.PathLike[str]",
    *,
    type: Optional[str] = None,
    embedding_type: Optional[str] = None,
    packing: Optional[str] = None,
    name: Optional[str] = None,
    dtype: Optional[str] = None,
    screen: bool = True,
    binarize: bool = False,
    n_threads: int = 0,
    progress: Optional[ProgressCallback] = None,
) -> bool:
    """Write a model to `out` in another form; the file is replaced whole or not at all.

    type: "tern", tern's own layout, which loads at once (also None); "b1", the same with one bit a weight, for models
        without zeros among them (docs/BINARY.md); "I2_S", "TQ1_0", "TQ2_0", "F16", "BF16", "F32":
        as other programs read them; "hf-packed": a Hugging Face folder.
    embedding_type: of embedding and head: "F16", "BF16", "F32", "Q8_0", "Q6_K", "Q4_0"; None: as it is.
    name: the model's name in the file (general.name); None: as it is.
    dtype: of all floats of an "hf-packed" folder: "BF16", to which they are rounded, "F32"; None: BF16 if it holds them.
    packing, screen: of the layout "tern": see tern_convert_params in tern.h.
    binarize: of master weights, make binary ones, sign(W - mean W) with the scale mean |W|: another model.
    progress: called with bytes (done, total); returning False cancels.

    Returns False if a screen of the LM head that would pay had to be left out, because this machine cannot make it.
    """
    missing = ctypes.c_bool(False)
    callback = Progress(progress)
    params = ConvertParams(
        type=_optional(type, "type"),
        embedding_type=_optional(embedding_type, "embedding_type"),
        packing=_optional(packing, "packing"),
        name=_optional(name, "name"),
        dtype=_optional(dtype, "dtype"),
        no_screen=not screen,
        screen_missing=ctypes.pointer(missing),
        binarize=binarize,
        n_threads=n_threads,
        progress=callback.c,
    )
    path, err = c_path("demo" if source is None else source), Error()
    status = lib.tern_convert(path, c_path(out), ctypes.byref(params), ctypes.byref(err))
    callback.check(status, err, os.fsdecode(path))
    return not missing.value


def synth(
    out: "str | os.PathLike[str]",
    shape: str = "tiny",
    *,
    seed: int = 0,
    progress: Optional[ProgressCallback] = None,
    **changes: Any,
) -> None:
    """Write a random model of a shape ("tiny", "2b4t", "0.7b", "3b", ...), for tests and measurements.

    changes: single numbers of the shape, by their names in tern_synth_params: vocab_size, n_ctx, hidden_size, ffn_size,
        n_layers, n_heads, n_kv_heads, rope_theta, rms_eps, tied_embedding, weight_type, embedding_type, ffn_sparsity,
        tokenizer.
    """
    params, err = SynthParams(), Error()
    check(lib.tern_synth_shape(c_string(shape, "the shape"), ctypes.byref(params), ctypes.byref(err)), err)
    if not 0 <= seed < 2**64:
        raise ArgumentError(f"a seed of {seed} is impossible: 0 to 2^64 - 1")
    params.seed = seed
    kinds = {name: kind for name, kind, *_ in SynthParams._fields_ if name not in ("seed", "progress", "progress_user")}
    for name, value in changes.items():
        if name not in kinds:
            raise TypeError(f"unknown option {name!r}; there are: {', '.join(sorted(kinds))}")
        if kinds[name] is ctypes.c_char_p:
            value = _optional(value, name)
        elif kinds[name] is ctypes.c_uint32 and not 0 <= value < 2**32:
            raise ArgumentError(f"{name} of {value} is impossible")
        setattr(params, name, value)
    callback = Progress(progress)
    params.progress = callback.c
    callback.check(lib.tern_synth(c_path(out), ctypes.byref(params), ctypes.byref(err)), err)


def _optional(text: "str | os.PathLike[str] | None", what: str) -> Optional[bytes]:
    return None if text is None else c_string(os.fspath(text), what)
