"""The structures of tern.h. tests/test_layout.py proves that they lie in memory as the C compiler lays them out."""

from __future__ import annotations

import ctypes as c
from typing import Any, Dict, Tuple, Type

OK, ERR_CANCELLED = 0, 7
TOKENIZE_BOS, TOKENIZE_SPECIAL = 1, 2
KV_TYPES = {"f16": 0, "f32": 1, "q8": 2}
ACT_TYPES = {"int8": 0, "int4": 1}
NUMA = {"none": 0, "interleave": 1, "local": 2}
STOP_REASONS = ("length", "end", "stop", "context", "cancelled")

ProgressFn = c.CFUNCTYPE(c.c_bool, c.c_void_p, c.c_uint64, c.c_uint64)
TextFn = c.CFUNCTYPE(c.c_bool, c.c_void_p, c.c_void_p, c.c_size_t, c.c_int32)


class Error(c.Structure):
    status: int
    message: bytes
    _fields_ = [("status", c.c_int), ("message", c.c_char * 512)]


class ModelParams(c.Structure):
    _fields_ = [
        ("n_threads", c.c_int),
        ("cpu", c.c_char_p),
        ("packing", c.c_char_p),
        ("dense_ffn", c.c_bool),
        ("low_memory", c.c_bool),
        ("exact_head", c.c_bool),
        ("pin", c.c_bool),
        ("numa", c.c_int),
        ("huge_pages", c.c_bool),
        ("mlock", c.c_bool),
        ("warm_up", c.c_bool),
        ("lora", c.c_char_p),
        ("act", c.c_int),
        ("progress", ProgressFn),
        ("progress_user", c.c_void_p),
    ]


class ModelInfo(c.Structure):
    _fields_ = [
        ("name", c.c_char_p),
        ("arch", c.c_char_p),
        ("weight_type", c.c_char_p),
        ("embedding_type", c.c_char_p),
        ("head_type", c.c_char_p),
        ("kernels", c.c_char_p),
        ("packing", c.c_char_p),
        ("n_threads", c.c_int),
        ("n_memory_nodes", c.c_int),
        ("vocab_size", c.c_uint32),
        ("n_ctx", c.c_uint32),
        ("hidden_size", c.c_uint32),
        ("ffn_size", c.c_uint32),
        ("n_layers", c.c_uint32),
        ("n_heads", c.c_uint32),
        ("n_kv_heads", c.c_uint32),
        ("head_dim", c.c_uint32),
        ("rms_eps", c.c_float),
        ("rope_theta", c.c_float),
        ("tied_embedding", c.c_bool),
        ("n_params", c.c_uint64),
        ("n_ternary", c.c_uint64),
        ("weight_bytes", c.c_uint64),
        ("screen_bytes", c.c_uint64),
        ("adapter_bytes", c.c_uint64),
        ("loaded_bytes", c.c_uint64),
        ("bytes_per_token", c.c_uint64),
    ]


class TensorInfo(c.Structure):
    _fields_ = [
        ("name", c.c_char_p),
        ("type", c.c_char_p),
        ("n_dims", c.c_uint32),
        ("shape", c.c_uint64 * 4),
        ("bytes", c.c_uint64),
        ("has_scale", c.c_bool),
        ("scale", c.c_float),
        ("packing", c.c_char_p),
        ("n_parameters", c.c_uint64),
        ("scale_columns", c.c_uint32),
    ]


class MetadataInfo(c.Structure):
    _fields_ = [("key", c.c_char_p), ("type", c.c_char_p), ("value", c.c_char_p)]


class Message(c.Structure):
    _fields_ = [("role", c.c_char_p), ("content", c.c_char_p)]


class SessionParams(c.Structure):
    _fields_ = [("n_ctx", c.c_uint32), ("chunk", c.c_uint32), ("kv_type", c.c_int)]


class LogitBias(c.Structure):
    _fields_ = [("id", c.c_int32), ("bias", c.c_float)]


class SamplerParams(c.Structure):
    _fields_ = [
        ("temperature", c.c_float),
        ("top_k", c.c_int32),
        ("top_p", c.c_float),
        ("min_p", c.c_float),
        ("repeat_penalty", c.c_float),
        ("frequency_penalty", c.c_float),
        ("presence_penalty", c.c_float),
        ("penalty_window", c.c_int32),
        ("seed", c.c_uint64),
        ("logit_bias", c.POINTER(LogitBias)),
        ("n_logit_bias", c.c_size_t),
        ("grammar", c.c_void_p),
    ]


class GenerateParams(c.Structure):
    _fields_ = [
        ("sampler", SamplerParams),
        ("max_tokens", c.c_int64),
        ("stop", c.POINTER(c.c_char_p)),
        ("n_stop", c.c_size_t),
        ("ignore_end", c.c_bool),
        ("show_special", c.c_bool),
        ("draft", c.c_int32),
    ]


class GenerateResult(c.Structure):
    _fields_ = [
        ("reason", c.c_int),
        ("n_prompt", c.c_uint64),
        ("n_generated", c.c_uint64),
        ("prefill_seconds", c.c_double),
        ("decode_seconds", c.c_double),
        ("first_token_seconds", c.c_double),
        ("n_steps", c.c_uint64),
        ("n_drafted", c.c_uint64),
        ("n_accepted", c.c_uint64),
    ]


class SchedulerParams(c.Structure):
    _fields_ = [
        ("n_ctx", c.c_uint32),
        ("max_running", c.c_uint32),
        ("max_waiting", c.c_uint32),
        ("chunk", c.c_uint32),
        ("kv_bytes", c.c_uint64),
        ("kv_type", c.c_int),
        ("no_prefix_cache", c.c_bool),
    ]


class TokenLogprob(c.Structure):
    _fields_ = [("id", c.c_int32), ("logprob", c.c_float)]


class RequestEvent(c.Structure):
    _fields_ = [
        ("text", c.c_void_p),
        ("n_bytes", c.c_size_t),
        ("id", c.c_int32),
        ("prompt", c.c_bool),
        ("logprob", c.c_float),
        ("top", c.POINTER(TokenLogprob)),
        ("n_top", c.c_size_t),
    ]


class RequestResult(c.Structure):
    _fields_ = [
        ("status", c.c_int),
        ("err", Error),
        ("reason", c.c_int),
        ("timed_out", c.c_bool),
        ("n_prompt", c.c_uint64),
        ("n_cached", c.c_uint64),
        ("n_generated", c.c_uint64),
        ("queue_seconds", c.c_double),
        ("first_token_seconds", c.c_double),
        ("total_seconds", c.c_double),
        ("embedding", c.POINTER(c.c_float)),
    ]


EventFn = c.CFUNCTYPE(c.c_bool, c.c_void_p, c.POINTER(RequestEvent))
DoneFn = c.CFUNCTYPE(None, c.c_void_p, c.POINTER(RequestResult))


class RequestParams(c.Structure):
    _fields_ = [
        ("ids", c.POINTER(c.c_int32)),
        ("n_ids", c.c_size_t),
        ("sampler", SamplerParams),
        ("max_tokens", c.c_int64),
        ("stop", c.POINTER(c.c_char_p)),
        ("n_stop", c.c_size_t),
        ("ignore_end", c.c_bool),
        ("show_special", c.c_bool),
        ("logprobs", c.c_bool),
        ("n_top", c.c_uint32),
        ("prompt_logprobs", c.c_bool),
        ("embedding", c.c_bool),
        ("cache_scope", c.c_uint64),
        ("deadline_seconds", c.c_double),
        ("on_event", EventFn),
        ("on_done", DoneFn),
        ("user", c.c_void_p),
    ]


class SchedulerStats(c.Structure):
    _fields_ = [
        ("n_running", c.c_uint32),
        ("n_waiting", c.c_uint32),
        ("n_finished", c.c_uint64),
        ("n_cancelled", c.c_uint64),
        ("n_refused", c.c_uint64),
        ("n_failed", c.c_uint64),
        ("n_preempted", c.c_uint64),
        ("n_steps", c.c_uint64),
        ("prompt_tokens", c.c_uint64),
        ("generated_tokens", c.c_uint64),
        ("cached_tokens", c.c_uint64),
        ("kv_blocks", c.c_uint64),
        ("kv_blocks_used", c.c_uint64),
        ("kv_blocks_cached", c.c_uint64),
        ("kv_block_tokens", c.c_uint64),
        ("kv_bytes", c.c_uint64),
        ("step_seconds", c.c_double),
    ]


class SynthParams(c.Structure):
    _fields_ = [
        ("vocab_size", c.c_uint32),
        ("n_ctx", c.c_uint32),
        ("hidden_size", c.c_uint32),
        ("ffn_size", c.c_uint32),
        ("n_layers", c.c_uint32),
        ("n_heads", c.c_uint32),
        ("n_kv_heads", c.c_uint32),
        ("rope_theta", c.c_float),
        ("rms_eps", c.c_float),
        ("tied_embedding", c.c_bool),
        ("weight_type", c.c_char_p),
        ("embedding_type", c.c_char_p),
        ("seed", c.c_uint64),
        ("ffn_sparsity", c.c_float),
        ("tokenizer", c.c_char_p),
        ("progress", ProgressFn),
        ("progress_user", c.c_void_p),
        ("binary", c.c_bool),
        ("llama", c.c_bool),
    ]


class ConvertParams(c.Structure):
    _fields_ = [
        ("type", c.c_char_p),
        ("embedding_type", c.c_char_p),
        ("packing", c.c_char_p),
        ("name", c.c_char_p),
        ("no_screen", c.c_bool),
        ("screen_missing", c.POINTER(c.c_bool)),
        ("n_threads", c.c_int),
        ("progress", ProgressFn),
        ("progress_user", c.c_void_p),
        ("binarize", c.c_bool),
        ("dtype", c.c_char_p),
        ("only_tern", c.POINTER(c.c_bool)),
    ]


STRUCTS: Dict[str, Type[c.Structure]] = {
    "tern_error": Error,
    "tern_model_params": ModelParams,
    "tern_model_info": ModelInfo,
    "tern_tensor_info": TensorInfo,
    "tern_metadata_info": MetadataInfo,
    "tern_message": Message,
    "tern_session_params": SessionParams,
    "tern_logit_bias": LogitBias,
    "tern_sampler_params": SamplerParams,
    "tern_generate_params": GenerateParams,
    "tern_generate_result": GenerateResult,
    "tern_scheduler_params": SchedulerParams,
    "tern_token_logprob": TokenLogprob,
    "tern_request_event": RequestEvent,
    "tern_request_result": RequestResult,
    "tern_request_params": RequestParams,
    "tern_scheduler_stats": SchedulerStats,
    "tern_synth_params": SynthParams,
    "tern_convert_params": ConvertParams,
}

_P, _S = c.c_void_p, c.c_int  # a handle; a tern_status
_ERR = c.POINTER(Error)
_OUT = c.POINTER(c.c_void_p)
_N = c.POINTER(c.c_size_t)
_IDS = c.POINTER(c.c_int32)
_FLOATS = c.POINTER(c.c_float)

# name: (what it returns, what it takes), for each function that is used
FUNCTIONS: Dict[str, Tuple[Any, Tuple[Any, ...]]] = {
    "tern_version": (c.c_char_p, ()),
    "tern_free": (None, (_P,)),
    "tern_model_defaults": (ModelParams, ()),
    "tern_model_load": (_S, (c.c_char_p, c.POINTER(ModelParams), _OUT, _ERR)),
    "tern_model_free": (None, (_P,)),
    "tern_model_get_info": (None, (_P, c.POINTER(ModelInfo))),
    "tern_model_tokenizer": (_P, (_P,)),
    "tern_inspect": (_S, (c.c_char_p, _OUT, _ERR)),
    "tern_inspection_free": (None, (_P,)),
    "tern_inspection_format": (c.c_char_p, (_P,)),
    "tern_inspection_chat_template": (c.c_char_p, (_P,)),
    "tern_inspection_file_bytes": (c.c_uint64, (_P,)),
    "tern_inspection_n_tensors": (c.c_size_t, (_P,)),
    "tern_inspection_tensor": (None, (_P, c.c_size_t, c.POINTER(TensorInfo))),
    "tern_inspection_n_metadata": (c.c_size_t, (_P,)),
    "tern_inspection_metadata": (None, (_P, c.c_size_t, c.POINTER(MetadataInfo))),
    "tern_tokenizer_load": (_S, (c.c_char_p, _OUT, _ERR)),
    "tern_tokenizer_free": (None, (_P,)),
    "tern_tokenizer_vocab_size": (c.c_size_t, (_P,)),
    "tern_tokenizer_bos": (c.c_int32, (_P,)),
    "tern_tokenizer_eos": (c.c_int32, (_P,)),
    "tern_tokenizer_is_end": (c.c_bool, (_P, c.c_int32)),
    "tern_tokenizer_is_special": (c.c_bool, (_P, c.c_int32)),
    "tern_tokenizer_token": (_P, (_P, c.c_int32, _N)),
    "tern_tokenizer_find_special": (c.c_int32, (_P, c.c_char_p)),
    "tern_tokenize": (_S, (_P, c.c_char_p, c.c_size_t, c.c_uint, c.POINTER(_IDS), _N, _ERR)),
    "tern_detokenize": (_S, (_P, _IDS, c.c_size_t, c.c_bool, _OUT, _N, _ERR)),
    "tern_tokenizer_chat_template": (c.c_char_p, (_P,)),
    "tern_chat_render": (_S, (_P, c.POINTER(Message), c.c_size_t, c.c_bool, _OUT, _N, _ERR)),
    "tern_chat_tokenize": (
        _S,
        (_P, c.POINTER(Message), c.c_size_t, c.c_bool, c.c_uint, c.POINTER(_IDS), _N, _ERR),
    ),
    "tern_session_defaults": (SessionParams, ()),
    "tern_session_create": (_S, (_P, c.POINTER(SessionParams), _OUT, _ERR)),
    "tern_session_free": (None, (_P,)),
    "tern_session_n_ctx": (c.c_uint32, (_P,)),
    "tern_session_n_past": (c.c_uint32, (_P,)),
    "tern_session_tokens": (_IDS, (_P,)),
    "tern_session_kv_bytes": (c.c_uint64, (_P,)),
    "tern_session_truncate": (_S, (_P, c.c_uint32, _ERR)),
    "tern_session_eval": (_S, (_P, _IDS, c.c_size_t, _ERR)),
    "tern_session_eval_logits": (_S, (_P, _IDS, c.c_size_t, _FLOATS, _ERR)),
    "tern_session_eval_hidden": (_S, (_P, _IDS, c.c_size_t, _FLOATS, _ERR)),
    "tern_session_logits": (_FLOATS, (_P,)),
    "tern_session_embedding": (_FLOATS, (_P,)),
    "tern_session_cancel": (None, (_P,)),
    "tern_grammar_parse": (_S, (_P, c.c_char_p, _OUT, _ERR)),
    "tern_grammar_from_schema": (_S, (_P, c.c_char_p, _OUT, _ERR)),
    "tern_grammar_free": (None, (_P,)),
    "tern_sampler_defaults": (SamplerParams, ()),
    "tern_sampler_create": (_S, (c.POINTER(SamplerParams), c.c_size_t, _OUT, _ERR)),
    "tern_sampler_free": (None, (_P,)),
    "tern_sampler_accept": (_S, (_P, c.c_int32, _ERR)),
    "tern_sampler_sample": (_S, (_P, _FLOATS, _IDS, _ERR)),
    "tern_session_sample": (_S, (_P, _P, _IDS, _ERR)),
    "tern_generate_defaults": (GenerateParams, ()),
    "tern_generate_ids": (
        _S,
        (_P, _IDS, c.c_size_t, c.POINTER(GenerateParams), TextFn, _P, c.POINTER(GenerateResult), _ERR),
    ),
    "tern_scheduler_defaults": (SchedulerParams, ()),
    "tern_scheduler_create": (_S, (_P, c.POINTER(SchedulerParams), _OUT, _ERR)),
    "tern_scheduler_free": (None, (_P,)),
    "tern_scheduler_submit": (_S, (_P, c.POINTER(RequestParams), _OUT, _ERR)),
    "tern_request_cancel": (None, (_P,)),
    "tern_scheduler_get_stats": (None, (_P, c.POINTER(SchedulerStats))),
    "tern_synth_shape": (_S, (c.c_char_p, c.POINTER(SynthParams), _ERR)),
    "tern_synth": (_S, (c.c_char_p, c.POINTER(SynthParams), _ERR)),
    "tern_convert": (_S, (c.c_char_p, c.c_char_p, c.POINTER(ConvertParams), _ERR)),
}
