/*
 * tern.h - run BitNet b1.58 (ternary) language models.
 *
 * The one public header of libtern. Everything is an opaque handle; nothing in
 * the library prints, exits or keeps global state beyond the CPU detection.
 *
 *     tern_error err;
 *     tern_model *model = NULL;
 *     if (tern_model_load("model.gguf", NULL, &model, &err))
 *         return fprintf(stderr, "%s\n", err.message), 1;
 *     tern_session *session = NULL;
 *     tern_session_create(model, NULL, &session, &err);
 *     tern_generate_params params = tern_generate_defaults();
 *     tern_generate(session, "Once upon a time", 16, &params, on_text, user, NULL, &err);
 *     tern_session_free(session);
 *     tern_model_free(model);
 *
 * Errors: every call that can fail returns a tern_status (0 is success) and, if
 * `err` is not NULL, fills it with one line that says what is wrong and what to
 * do. On failure output arguments are left untouched unless stated otherwise.
 *
 * Ownership: what a function allocates for the caller is freed with the
 * matching _free function, plain memory with tern_free(). All _free functions
 * accept NULL. A model is freed after its sessions.
 *
 * Threads: a tern_model and a tern_tokenizer are immutable and may be used from
 * any number of threads. A tern_session is one timeline and belongs to one
 * thread at a time; only tern_session_cancel() may be called from another.
 */
#ifndef TERN_TERN_H
#define TERN_TERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TERN_VERSION "0.1.0"

#if defined(__GNUC__)
#define TERN_API __attribute__((visibility("default")))
#else
#define TERN_API
#endif

/* ------------------------------------------------------------------ errors */

typedef enum tern_status {
    TERN_OK = 0,
    TERN_ERR_ARGUMENT,    /* the caller passed something impossible */
    TERN_ERR_IO,          /* a file cannot be opened, read or written */
    TERN_ERR_FORMAT,      /* a file's contents are not what its format demands */
    TERN_ERR_UNSUPPORTED, /* valid, but not something tern can run */
    TERN_ERR_MEMORY,      /* out of memory */
    TERN_ERR_CONTEXT,     /* the context is full */
    TERN_ERR_CANCELLED,   /* tern_session_cancel() or a callback stopped it */
    TERN_ERR_BUSY,        /* a scheduler's queue is full */
} tern_status;

#define TERN_ERROR_SIZE 512

typedef struct tern_error {
    tern_status status;
    char message[TERN_ERROR_SIZE]; /* one line, no newline, always terminated */
} tern_error;

TERN_API const char *tern_version(void);
TERN_API void tern_free(void *memory);

/* ------------------------------------------------------------------- model */

typedef struct tern_model tern_model;
typedef struct tern_tokenizer tern_tokenizer;
typedef struct tern_session tern_session;

/* Called while something long is under way; `done` of `total` units (bytes).
 * Return false to cancel. */
typedef bool (*tern_progress_fn)(void *user, uint64_t done, uint64_t total);

/* On which memory nodes the packed weights lie, on a machine that has several. */
typedef enum tern_numa {
    TERN_NUMA_NONE = 0,   /* wherever the system puts them */
    TERN_NUMA_INTERLEAVE, /* on all nodes in turn: every thread gets its share of every node's bandwidth */
    TERN_NUMA_LOCAL,      /* each thread's share on its own node; pins the threads */
} tern_numa;

/* How the inputs of the matrices are rounded, per token (docs/MODEL.md). */
typedef enum tern_act_type {
    TERN_ACT_INT8 = 0, /* as the models are trained */
    TERN_ACT_INT4,     /* as in BitNet a4.8: int4 into attention and FFN, int8 of the larger half of what the attention
                          gives. Another result, worse unless the model was trained for it, at the same speed */
} tern_act_type;

typedef struct tern_model_params {
    int n_threads;       /* 0: all CPUs this process may run on */
    const char *cpu;     /* force a kernel rung ("ref", "avx2", ...); NULL: $TERN_CPU, else the best */
    const char *packing; /* force a packing of the weights ("t5r16", "t2r16", "b1r16"); NULL: $TERN_PACKING, else b1r16
                            if no weight is zero (docs/BINARY.md), else the one that the kernels name first unless
                            another measures 20% faster */
    bool dense_ffn;   /* decode reads the whole FFN, also the rows and columns that do not matter; for measuring. Only
                         packing t5r16 leaves them out; with others it changes nothing */
    bool low_memory;  /* as little memory of the process's own as possible: no screen of the LM head is made (one that
                         lies in the file, in tern's own layout, is used), and sessions take small prefill steps */
    bool exact_head;  /* no screen of the LM head: decode reads all of it; for measuring, or to save the memory */
    bool pin;         /* keep each thread on a CPU of its own, physical cores first. The thread that evaluates is one
                         of them, only while it does. TERN_ERR_UNSUPPORTED where the system cannot */
    tern_numa numa;   /* changes nothing on a machine with one memory node */
    bool huge_pages;  /* packed weights in reserved huge pages (hugetlbfs); fails if there are too few */
    bool mlock;       /* keep weights, embedding and head in memory, never swapped or dropped; fails if the system
                         does not allow so much (ulimit -l) */
    bool warm_up;     /* touch the weights, have embedding and head read from the disk and run a throw-away pass, so
                         that the first prompt is no slower than the next ones */
    const char *lora; /* folder of a LoRA adapter in the form of Hugging Face's PEFT (adapter_config.json,
                         adapter_model.safetensors) that is added to the model; NULL: none. It is mapped as long as the
                         model lives; one that was made for another base model is TERN_ERR_FORMAT, one that is more than
                         plain LoRA on attention and FFN matrices TERN_ERR_UNSUPPORTED */
    tern_act_type act;
    tern_progress_fn progress;
    void *progress_user;
} tern_model_params;

TERN_API tern_model_params tern_model_defaults(void);

/* Load a model: a .gguf file or a Hugging Face folder (config.json,
 * *.safetensors, tokenizer files). `path` NULL or "demo" is the model that is
 * built into the library. `params` may be NULL. */
TERN_API tern_status tern_model_load(const char *path, const tern_model_params *params, tern_model **model,
                                     tern_error *err);
TERN_API void tern_model_free(tern_model *model);

typedef struct tern_model_info {
    const char *name;           /* general.name or the folder's name */
    const char *arch;           /* "bitnet-b1.58", ... */
    const char *weight_type;    /* stored type of the linear weights, "I2_S" */
    const char *embedding_type; /* stored type of the embedding, "F16" */
    const char *head_type;      /* stored type of the LM head (the embedding's if tied) */
    const char *kernels;        /* rung in use, "avx512vnni" */
    const char *packing;        /* layout of the weights in memory, "t2r16"; "none": floats, as they are stored */
    int n_threads;
    int n_memory_nodes; /* NUMA nodes of this machine; 1: tern_model_params.numa changes nothing */
    uint32_t vocab_size, n_ctx, hidden_size, ffn_size, n_layers, n_heads, n_kv_heads, head_dim;
    float rms_eps, rope_theta;
    bool tied_embedding;
    uint64_t n_params;        /* all parameters, the tied embedding once */
    uint64_t n_ternary;       /* of them ternary weights */
    uint64_t weight_bytes;    /* packed ternary weights in memory */
    uint64_t screen_bytes;    /* of the LM head's screen in memory; 0: there is none */
    uint64_t adapter_bytes;   /* of the LoRA adapter's matrices; 0: there is none */
    uint64_t loaded_bytes;    /* everything the loaded model keeps: packed weights, embedding, head, norms, adapter */
    uint64_t bytes_per_token; /* weight, adapter and head bytes that one decode step reads (without the KV cache) */
} tern_model_info;

/* The strings belong to the model. */
TERN_API void tern_model_get_info(const tern_model *model, tern_model_info *info);

/* What the model's single-token steps have read so far, over all sessions. */
typedef struct tern_model_stats {
    uint64_t ffn_up_rows, ffn_up_rows_all;           /* rows of `up` read, of those there are */
    uint64_t ffn_down_columns, ffn_down_columns_all; /* columns of `down` */
    uint64_t
        screen_extra_bytes; /* of the LM head, beyond the screen's first plane, which each token reads: the parts of
                               the second plane and the exact rows that the first one left open. Of batches, too */
} tern_model_stats;

TERN_API void tern_model_get_stats(const tern_model *model, tern_model_stats *stats);

/* The model's tokenizer; belongs to the model. */
TERN_API const tern_tokenizer *tern_model_tokenizer(const tern_model *model);

/* ----------------------------------------------------------------- inspect */

/* What a file holds, without loading it: for people (`tern inspect`) and for
 * programs. `path` as for tern_model_load(). All strings belong to the
 * inspection. For an index out of range *info is all zero, its name or key
 * NULL. */
typedef struct tern_inspection tern_inspection;

typedef struct tern_tensor_info {
    const char *name;
    const char *type; /* "I2_S", "BF16", ... */
    uint32_t n_dims;
    uint64_t shape[4]; /* outermost first; [out, in] for a matrix, as stored */
    uint64_t bytes;
    bool has_scale; /* a per-tensor weight scale (ternary types) */
    float scale;
    const char *packing;    /* of a ternary matrix in tern's own layout, "t5r16"; else NULL */
    uint64_t n_parameters;  /* weights in it; 0: it only helps to compute with others (scales, the head's screen) */
    uint32_t scale_columns; /* of a ternary matrix whose rows have scales of their own: the columns of a row that share
                               one; else 0 */
} tern_tensor_info;

typedef struct tern_metadata_info {
    const char *key;
    const char *type;  /* "string", "u32", "array[string]", ... */
    const char *value; /* as text; long strings and arrays are shortened */
} tern_metadata_info;

TERN_API tern_status tern_inspect(const char *path, tern_inspection **inspection, tern_error *err);
TERN_API void tern_inspection_free(tern_inspection *inspection);
TERN_API const char *tern_inspection_format(const tern_inspection *inspection); /* "GGUF v3", "Hugging Face (packed)" */
TERN_API const char *tern_inspection_chat_template(const tern_inspection *inspection); /* as stored; NULL if none */
TERN_API uint64_t tern_inspection_file_bytes(const tern_inspection *inspection);
TERN_API size_t tern_inspection_n_tensors(const tern_inspection *inspection);
TERN_API void tern_inspection_tensor(const tern_inspection *inspection, size_t index, tern_tensor_info *info);
TERN_API size_t tern_inspection_n_metadata(const tern_inspection *inspection);
TERN_API void tern_inspection_metadata(const tern_inspection *inspection, size_t index, tern_metadata_info *info);

/* --------------------------------------------------------------- tokenizer */

enum {
    TERN_TOKENIZE_BOS = 1,     /* put the BOS token first if the model wants one and the text has none yet */
    TERN_TOKENIZE_SPECIAL = 2, /* text such as "<|eot_id|>" becomes the special token */
};

/* Load only a tokenizer: from a .gguf, a Hugging Face folder, a tokenizer.json
 * or a tiktoken tokenizer.model. */
TERN_API tern_status tern_tokenizer_load(const char *path, tern_tokenizer **tokenizer, tern_error *err);
TERN_API void tern_tokenizer_free(tern_tokenizer *tokenizer);

TERN_API size_t tern_tokenizer_vocab_size(const tern_tokenizer *tokenizer);
TERN_API int32_t tern_tokenizer_bos(const tern_tokenizer *tokenizer); /* -1: none */
TERN_API int32_t tern_tokenizer_eos(const tern_tokenizer *tokenizer); /* -1: none */
/* True for tokens that end an answer: EOS and <|eot_id|>. */
TERN_API bool tern_tokenizer_is_end(const tern_tokenizer *tokenizer, int32_t id);
TERN_API bool tern_tokenizer_is_special(const tern_tokenizer *tokenizer, int32_t id);
/* The bytes of one token (not terminated); belongs to the tokenizer. NULL and
 * *len = 0 for an id out of range. */
TERN_API const char *tern_tokenizer_token(const tern_tokenizer *tokenizer, int32_t id, size_t *len);
/* The id of a special token's exact text; -1 if there is none. */
TERN_API int32_t tern_tokenizer_find_special(const tern_tokenizer *tokenizer, const char *text);

/* text [n_bytes], any bytes (invalid UTF-8 round-trips) -> *ids [*n_ids], to be
 * freed with tern_free(). `flags`: TERN_TOKENIZE_*. */
TERN_API tern_status tern_tokenize(const tern_tokenizer *tokenizer, const char *text, size_t n_bytes, unsigned flags,
                                   int32_t **ids, size_t *n_ids, tern_error *err);

/* ids [n_ids] -> *text [*n_bytes], also zero-terminated, to be freed with
 * tern_free(). Special tokens are left out if `skip_special`. */
TERN_API tern_status tern_detokenize(const tern_tokenizer *tokenizer, const int32_t *ids, size_t n_ids,
                                     bool skip_special, char **text, size_t *n_bytes, tern_error *err);

/* The model's chat template as text (Jinja), for programs that render it themselves; belongs to the tokenizer. NULL if
 * the model has one that tern does not understand. */
TERN_API const char *tern_tokenizer_chat_template(const tern_tokenizer *tokenizer);

typedef struct tern_message {
    const char *role;    /* "system", "user", "assistant" */
    const char *content; /* zero-terminated */
} tern_message;

/* Messages through the model's chat template -> text, to be freed with
 * tern_free(). */
TERN_API tern_status tern_chat_render(const tern_tokenizer *tokenizer, const tern_message *messages, size_t n_messages,
                                      bool generation_prompt, char **text, size_t *n_bytes, tern_error *err);

/* The same as token ids with one BOS. Special tokens of the template are
 * parsed; special tokens inside a message's content are parsed only with
 * TERN_TOKENIZE_SPECIAL (what Hugging Face does), otherwise they stay plain
 * text, so that a user cannot forge a turn. `flags` may hold TERN_TOKENIZE_BOS. */
TERN_API tern_status tern_chat_tokenize(const tern_tokenizer *tokenizer, const tern_message *messages,
                                        size_t n_messages, bool generation_prompt, unsigned flags, int32_t **ids,
                                        size_t *n_ids, tern_error *err);

/* ----------------------------------------------------------------- session */

/* Numbers in the KV cache. Q8 (8 bits, one scale a key and a value; the default of tern_session_defaults()) is the
 * fastest in long contexts and costs no measurable perplexity (docs/MODEL.md); F16 is the precise one. */
typedef enum tern_kv_type { TERN_KV_F16 = 0, TERN_KV_F32, TERN_KV_Q8 } tern_kv_type;

typedef struct tern_session_params {
    uint32_t n_ctx; /* tokens of context; 0: the model's */
    uint32_t chunk; /* tokens a prefill step; 0: default */
    tern_kv_type kv_type;
} tern_session_params;

TERN_API tern_session_params tern_session_defaults(void);
TERN_API tern_status tern_session_create(tern_model *model, const tern_session_params *params, tern_session **session,
                                         tern_error *err);
TERN_API void tern_session_free(tern_session *session);

TERN_API uint32_t tern_session_n_ctx(const tern_session *session);
TERN_API uint32_t tern_session_n_past(const tern_session *session);       /* tokens evaluated so far */
TERN_API const int32_t *tern_session_tokens(const tern_session *session); /* [n_past]; valid until the next call */
TERN_API uint64_t tern_session_kv_bytes(const tern_session *session);     /* memory the KV cache holds now */

/* Forget everything from position n_past on (0: start anew). */
TERN_API tern_status tern_session_truncate(tern_session *session, uint32_t n_past, tern_error *err);

/* Append ids [n_ids] to the timeline. Results do not depend on how a sequence
 * is split into calls or chunks, nor on the number of threads: logits are
 * bit-identical. When it fails or is cancelled, the timeline is as before the call.
 * TERN_ERR_CONTEXT if they do not fit. */
TERN_API tern_status tern_session_eval(tern_session *session, const int32_t *ids, size_t n_ids, tern_error *err);

/* As tern_session_eval, and the logits of every one of the ids:
 * logits [n_ids, vocab_size], caller's memory; rubbish in it after a failure. */
TERN_API tern_status tern_session_eval_logits(tern_session *session, const int32_t *ids, size_t n_ids, float *logits,
                                              tern_error *err);

/* As tern_session_eval, and the hidden state of every one of the ids after the
 * final norm: hidden [n_ids, hidden_size], caller's memory; rubbish in it after
 * a failure. Their mean is what a text's embedding is mostly made of. */
TERN_API tern_status tern_session_eval_hidden(tern_session *session, const int32_t *ids, size_t n_ids, float *hidden,
                                              tern_error *err);

/* Logits of the last evaluated token: [vocab_size], belongs to the session,
 * valid until its next call. Computed on first request. NULL if nothing was
 * evaluated since the session was made or tokens were cut off it, or a GPU
 * failed. */
TERN_API const float *tern_session_logits(tern_session *session);

/* Hidden state of the last evaluated token after the final norm:
 * [hidden_size]; as above. */
TERN_API const float *tern_session_embedding(tern_session *session);

/* From any thread, also from a signal handler: make the evaluation that is
 * running (or else the next one) return TERN_ERR_CANCELLED soon. */
TERN_API void tern_session_cancel(tern_session *session);

/* ----------------------------------------------------------------- grammar */

/* What a text may look like, compiled for a tokenizer: a sampler that is given one only draws tokens with which the
 * text so far can still become a text of the grammar, and an end token only where it may end. Immutable; any number of
 * samplers may use one at a time, which it must outlive. */
typedef struct tern_grammar tern_grammar;

/* From GBNF, the notation of llama.cpp's grammars (docs/GRAMMAR.md); the text begins with the rule "root".
 * TERN_ERR_FORMAT says in which line what is wrong, or that the grammar is too large. */
TERN_API tern_status tern_grammar_parse(const tern_tokenizer *tokenizer, const char *gbnf, tern_grammar **grammar,
                                        tern_error *err);
/* From a JSON schema (text): JSON values that the schema allows; what of JSON Schema is known stands in
 * docs/GRAMMAR.md, and what is not known is refused, never ignored. "{}": any JSON value; NULL: any object. */
TERN_API tern_status tern_grammar_from_schema(const tern_tokenizer *tokenizer, const char *schema,
                                              tern_grammar **grammar, tern_error *err);
/* Such a value, or any text that does not begin, behind blanks, with '{': who may answer or call a function, and says
 * '{', calls. */
TERN_API tern_status tern_grammar_from_schema_or_text(const tern_tokenizer *tokenizer, const char *schema,
                                                      tern_grammar **grammar, tern_error *err);
TERN_API void tern_grammar_free(tern_grammar *grammar);

/* ---------------------------------------------------------------- sampling */

typedef struct tern_logit_bias {
    int32_t id;
    float bias; /* added to the logit */
} tern_logit_bias;

/* Stages in order: logit bias, penalties, (temperature 0: argmax) top-k,
 * temperature, top-p, min-p, draw. top_p < 1 with top_k 0 takes its share of the sum over the whole vocabulary: such a
 * sampler always computes the full LM head, with no screen, where the others mostly read a part of it. */
typedef struct tern_sampler_params {
    float temperature;       /* 0: greedy */
    int32_t top_k;           /* 0: off */
    float top_p;             /* 1: off */
    float min_p;             /* 0: off */
    float repeat_penalty;    /* 1: off; divides positive and multiplies negative logits (CTRL, Keskar et al. 2019) */
    float frequency_penalty; /* 0: off; times the count (OpenAI API) */
    float presence_penalty;  /* 0: off */
    int32_t penalty_window;  /* last tokens that penalties look at; -1: all, 0: none */
    uint64_t seed;
    const tern_logit_bias *logit_bias;
    size_t n_logit_bias;
    const tern_grammar *grammar; /* NULL: any text. Tokens that are accepted before the first draw (a prompt) are not
                                    part of the grammar's text */
} tern_sampler_params;

typedef struct tern_sampler tern_sampler;

TERN_API tern_sampler_params
tern_sampler_defaults(void); /* temperature 0.8, top-k 40, top-p 0.95, min-p 0.05, seed 0 */
TERN_API tern_status tern_sampler_create(const tern_sampler_params *params, size_t vocab_size, tern_sampler **sampler,
                                         tern_error *err);
TERN_API void tern_sampler_free(tern_sampler *sampler);
/* Tell the sampler of a token that the penalties shall know (prompt or answer). */
TERN_API tern_status tern_sampler_accept(tern_sampler *sampler, int32_t id, tern_error *err);
/* Draw from logits [vocab_size] (not changed) -> *id, which is not yet accepted. */
TERN_API tern_status tern_sampler_sample(tern_sampler *sampler, const float *logits, int32_t *id, tern_error *err);

/* Draw from the logits of the session's last token -> *id, which is not yet accepted: the token that
 * tern_sampler_sample() gives for tern_session_logits(), mostly without computing all of them. */
TERN_API tern_status tern_session_sample(tern_session *session, tern_sampler *sampler, int32_t *id, tern_error *err);

/* ------------------------------------------------------------------- batch */

/* Several sessions of one model in one pass over its weights: what a server does with its requests. Reading the
 * weights is most of the work of a single token, so n sessions together take much less than n times as long.
 *
 *     for (;;) { // n sessions that have their prompts, ids [n] with the last token of each
 *         if (tern_batch_eval(sessions, pointers, ones, n, &err)) // pointers[i] = &ids[i], ones[i] = 1
 *             break;
 *         tern_batch_sample(sessions, samplers, n, ids, &err);
 *         ...
 *     }
 */

/* Append ids[i] [n_ids[i]] to sessions[i], for i in [0, n): the sessions are different ones of one model, and none may
 * be in use elsewhere. One may get a single token while another one gets its prompt; each n_ids is at least 1. More
 * tokens than the largest chunk of the sessions (or n, if that is more) are cut into several passes. The results are
 * those of tern_session_eval() for each session alone, bit by bit. When it fails, all timelines are as before the call.
 * A session that is cancelled makes the whole batch return TERN_ERR_CANCELLED before its next pass. */
TERN_API tern_status tern_batch_eval(tern_session *const *sessions, const int32_t *const *ids, const size_t *n_ids,
                                     size_t n, tern_error *err);

/* tern_session_sample() for each of n sessions -> ids [n], with one pass over the LM head. Each has a sampler of its
 * own. After a failure some of the samplers may have drawn. */
TERN_API tern_status tern_batch_sample(tern_session *const *sessions, tern_sampler *const *samplers, size_t n,
                                       int32_t *ids, tern_error *err);

/* ---------------------------------------------------------------- generate */

typedef enum tern_stop_reason {
    TERN_STOP_LENGTH = 0, /* max_tokens reached */
    TERN_STOP_END,        /* the model ended its answer */
    TERN_STOP_STRING,     /* a stop string came up */
    TERN_STOP_CONTEXT,    /* the context is full */
    TERN_STOP_CANCELLED,  /* tern_session_cancel() or the callback */
} tern_stop_reason;

typedef struct tern_generate_params {
    tern_sampler_params sampler;
    int64_t max_tokens;      /* -1: until the model ends or the context is full */
    const char *const *stop; /* stop strings [n_stop]; not part of the output */
    size_t n_stop;
    bool ignore_end;   /* go on past EOS */
    bool show_special; /* emit special tokens' text */
    int32_t draft;     /* at most so many tokens are guessed from repetitions in the text and checked in one pass, which
                          changes the speed, never the text; -1: as many as pay, by what passes are measured to cost;
                          0: none */
} tern_generate_params;

typedef struct tern_generate_result {
    tern_stop_reason reason;
    uint64_t n_prompt, n_generated; /* tokens */
    double prefill_seconds, decode_seconds, first_token_seconds;
    uint64_t n_steps;               /* passes through the model after the prompt's */
    uint64_t n_drafted, n_accepted; /* tokens that were guessed, and of them those that were right */
} tern_generate_result;

/* `text` [n_bytes] is always whole UTF-8 characters (invalid bytes that the
 * model made pass as they are); it may be empty when a token completed none.
 * `id` is the token that was just taken, -1 for text that was held back and is
 * now flushed. Return false to stop: it is then not called again. */
typedef bool (*tern_text_fn)(void *user, const char *text, size_t n_bytes, int32_t id);

TERN_API tern_generate_params tern_generate_defaults(void);

/* Evaluate ids [n_ids] after what the session holds, then generate. `params`,
 * `on_text` and `result` may be NULL. A prompt that does not fit is TERN_ERR_CONTEXT;
 * a context that fills up while generating, or a cancellation, is no error but a
 * reason. n_ids 0 goes on from the logits that the session has.
 *
 * Afterwards the session holds all tokens but the one that was sampled last, which
 * was not evaluated: the last one of the text, with which the next prompt should
 * begin, or (TERN_STOP_END) the end token, which is not shown and not counted. */
TERN_API tern_status tern_generate_ids(tern_session *session, const int32_t *ids, size_t n_ids,
                                       const tern_generate_params *params, tern_text_fn on_text, void *user,
                                       tern_generate_result *result, tern_error *err);

/* The same from text; BOS goes in front if the session is empty. Special
 * tokens in the text are parsed. */
TERN_API tern_status tern_generate(tern_session *session, const char *text, size_t n_bytes,
                                   const tern_generate_params *params, tern_text_fn on_text, void *user,
                                   tern_generate_result *result, tern_error *err);

/* --------------------------------------------------------------- schedule */

/* Many requests over one model, each from its own thread's or connection's point of view alone: a scheduler has one
 * thread that, step by step, takes all running requests through the model in one pass over its weights. Requests join
 * and leave between steps; a long prompt goes through in chunks, beside which the others go on. What a request gets
 * does not depend on who else runs, bit by bit. Its KV cache is cut into blocks from one budget; the blocks of a
 * prompt stay, while there is room, for requests that begin alike. */
typedef struct tern_scheduler tern_scheduler;
typedef struct tern_request tern_request;

typedef struct tern_scheduler_params {
    uint32_t n_ctx;       /* tokens that a request may have, answer included, but for its last one, which is not
                             evaluated; 0: the model's */
    uint32_t max_running; /* requests in a step at most; 0: 16 */
    uint32_t max_waiting; /* requests that wait beside max_running others; further ones are TERN_ERR_BUSY; 0: 256 */
    uint32_t chunk;       /* prompt tokens of a step at most, all requests together: what a running answer has to wait
                             for at worst; 0: 64 */
    uint64_t kv_bytes;    /* of all KV caches together, kept prefixes included; 0: four full contexts, or an eighth of
                             the machine's memory if that is less. At least one full context */
    tern_kv_type kv_type;
    bool no_prefix_cache; /* keep no prefixes: for measuring */
} tern_scheduler_params;

TERN_API tern_scheduler_params tern_scheduler_defaults(void); /* KV cache of 8 bits; else zero */
/* The model must outlive the scheduler. `params` may be NULL. */
TERN_API tern_status tern_scheduler_create(tern_model *model, const tern_scheduler_params *params,
                                           tern_scheduler **scheduler, tern_error *err);
/* Cancels what waits or runs (each request's on_done is called), then frees. */
TERN_API void tern_scheduler_free(tern_scheduler *scheduler);

typedef struct tern_token_logprob {
    int32_t id;
    float logprob; /* natural logarithm of the probability before temperature and filters */
} tern_token_logprob;

/* One step forward of a request. */
typedef struct tern_request_event {
    const char *text; /* [n_bytes] whole UTF-8 characters that can now be shown; may be empty (TERN_STOP_STRING...) */
    size_t n_bytes;
    int32_t id;                    /* the token that was just taken; -1: text that was held back and is now flushed */
    bool prompt;                   /* a token of the prompt (prompt_logprobs); text is then the token's bytes */
    float logprob;                 /* of the token; NaN if none was asked for, and for the first token of a prompt */
    const tern_token_logprob *top; /* [n_top] the most probable ones at its place, best first */
    size_t n_top;
} tern_request_event;

typedef struct tern_request_result {
    tern_status status; /* TERN_OK, also when it was cancelled; or why it failed: err says more */
    tern_error err;
    tern_stop_reason reason; /* TERN_STOP_CANCELLED also when a deadline passed: timed_out says so */
    bool timed_out;
    uint64_t n_prompt, n_cached, n_generated; /* tokens; of the prompt so many were there from earlier requests */
    double queue_seconds, first_token_seconds, total_seconds; /* all since it was submitted */
    const float *embedding;                                   /* [hidden_size] if asked for */
} tern_request_result;

typedef struct tern_request_params {
    const int32_t *ids; /* [n_ids] the prompt, BOS included; at least one; copied */
    size_t n_ids;
    tern_sampler_params sampler; /* logit_bias is copied; the grammar must live until on_done */
    int64_t max_tokens;          /* -1: until the model ends or the context is full; 0: evaluate the prompt only */
    const char *const *stop;     /* stop strings [n_stop], copied; not part of the output */
    size_t n_stop;
    bool ignore_end, show_special;
    bool logprobs;        /* tell each token's probability ... */
    uint32_t n_top;       /* ... and those of so many of the most probable ones */
    bool prompt_logprobs; /* and of the prompt's tokens too, one event each: such a prompt is evaluated as a whole */
    bool embedding;       /* the mean of the prompt's hidden states after the final norm, of length 1; max_tokens 0 */
    uint64_t cache_scope; /* prefixes are shared only with requests of the same scope: else the time that a prompt takes
                             would tell what others have sent */
    double deadline_seconds; /* cancelled when it takes longer, waiting included; 0: none */
    /* Called from the scheduler's thread, one at a time, in order; they must not block nor call tern_scheduler_*, but
     * for tern_request_cancel(). on_event returning false cancels. on_done comes exactly once, last; the request is
     * gone when it returns. */
    bool (*on_event)(void *user, const tern_request_event *event);
    void (*on_done)(void *user, const tern_request_result *result);
    void *user;
} tern_request_params;

/* Hand in a request, from any thread. TERN_ERR_BUSY: the queue is full; TERN_ERR_CONTEXT: the prompt does not fit;
 * TERN_ERR_ARGUMENT: something impossible. After a failure no callback comes. *request (may be NULL) is valid until
 * on_done returns. */
TERN_API tern_status tern_scheduler_submit(tern_scheduler *scheduler, const tern_request_params *params,
                                           tern_request **request, tern_error *err);
/* From any thread, before its on_done has returned: stop it soon; its blocks are free before the next step. */
TERN_API void tern_request_cancel(tern_request *request);

typedef struct tern_scheduler_stats {
    uint32_t n_running, n_waiting;
    uint64_t n_finished, n_cancelled, n_refused, n_failed; /* requests */
    uint64_t n_preempted;                                  /* how often one gave its blocks to others, to go on later */
    uint64_t n_steps, prompt_tokens, generated_tokens;     /* evaluated; drawn and shown */
    uint64_t cached_tokens;                                /* of prompts that were there already and not evaluated */
    uint64_t kv_blocks, kv_blocks_used, kv_blocks_cached;  /* in all; of running requests; of kept prefixes only */
    uint64_t kv_block_tokens, kv_bytes;
    double step_seconds; /* spent in steps, in all */
} tern_scheduler_stats;

TERN_API void tern_scheduler_get_stats(tern_scheduler *scheduler, tern_scheduler_stats *stats);

/* ----------------------------------------------------------------- measure */

/* What this machine can do at most, to hold a model's speed against in the same minute: machines that are shared drift
 * by a third within minutes. A meter has threads of its own and a block of memory far larger than any cache; it
 * belongs to one thread at a time. */
typedef struct tern_meter tern_meter;

/* `n_threads` and `cpu` as in tern_model_params. TERN_ERR_MEMORY if there is no room for the block. */
TERN_API tern_status tern_meter_create(int n_threads, const char *cpu, tern_meter **meter, tern_error *err);
TERN_API void tern_meter_free(tern_meter *meter);
/* Memory that the meter holds, all of it resident. */
TERN_API uint64_t tern_meter_bytes(const tern_meter *meter);
/* Bytes per second that the threads together read from memory: the best of a few passes, 0.1 s or so in all. */
TERN_API double tern_meter_memory(tern_meter *meter);
/* How alone that was, of the last call of it: the share of the time for which the threads had a CPU, and the slowest
 * pass's rate as a share of the best one's. Of a machine that does nothing else both are nearly 1. */
typedef struct tern_meter_quiet {
    double cpu_share, slowest;
} tern_meter_quiet;
TERN_API tern_meter_quiet tern_meter_how_quiet(const tern_meter *meter);
/* int8 multiply-adds per second that the threads together do on registers with the dot product of the kernels in use:
 * the best of a few passes, 0.05 s or so in all. */
TERN_API double tern_meter_macs(tern_meter *meter);
/* That instruction, "vpdpbusd zmm". */
TERN_API const char *tern_meter_instruction(const tern_meter *meter);

/* ------------------------------------------------------------------- synth */

typedef struct tern_synth_params {
    uint32_t vocab_size, n_ctx, hidden_size, ffn_size, n_layers, n_heads, n_kv_heads;
    float rope_theta, rms_eps;
    bool tied_embedding;
    const char *weight_type;    /* "I2_S", "TQ1_0", "TQ2_0", "F16", "BF16", "F32" */
    const char *embedding_type; /* "F16", "BF16", "F32", "Q8_0", "Q6_K", "Q4_0"; head the same */
    uint64_t seed;
    float ffn_sparsity;    /* wanted share of zeros among the int8 values before `down`; 0: leave as it falls */
    const char *tokenizer; /* take the vocabulary from this tokenizer file; NULL: a made-up one */
    tern_progress_fn progress;
    void *progress_user;
    bool binary; /* matrices of -1 and 1 only */
    bool llama;  /* LLaMA's layout: no sub norms, SiLU; matrices of F16, BF16 or F32 stay floats when it is loaded */
} tern_synth_params;

/* Shapes by name: "2b4t", "tiny", "0.7b", "3b", ...; TERN_ERR_ARGUMENT with the
 * list in the message if unknown. */
TERN_API tern_status tern_synth_shape(const char *name, tern_synth_params *params, tern_error *err);
/* Write a random model as GGUF v3 (first to a temporary name, renamed when whole). */
TERN_API tern_status tern_synth(const char *path, const tern_synth_params *params, tern_error *err);

/* -------------------------------------------------------------------- size */

/* What a model takes in memory, and what decoding a token reads of it, computed from its shape: nothing is loaded, and
 * there need not even be a file. */
typedef struct tern_shape {
    uint32_t vocab_size, n_ctx, hidden_size, ffn_size, n_layers, n_heads, n_kv_heads, head_dim;
    bool tied_embedding;
    char name[64];
    char weight_type[16]; /* what its matrices are stored as, "I2_S", or, in tern's own layout, packed as, "t5r16" */
    char embedding_type[16], head_type[16]; /* "F16"; the same if tied */
    bool no_sub_norms;                      /* LLaMA's layout */
    bool binary;                            /* no weight is zero: "b1r16" can hold them */
    uint64_t float_bytes; /* of matrices that stay floats, as they lie in memory when loaded; 0: they are ternary */
    uint32_t scale_columns[7]; /* of attn_q, k, v, output, ffn_gate, up, down: columns of a row that share a scale, of
                                  layers that differ the fewest; 0: one scale for the whole matrix */
} tern_shape;

/* The shape of a file or folder (as for tern_model_load()). Its head is read, and of ternary matrices so much that it
 * is known whether they hold zeros (their first rows, or all if there are none) and whether rows have scales of their
 * own (of types with a scale in each block: all blocks). */
TERN_API tern_status tern_shape_of(const char *path, tern_shape *shape, tern_error *err);
/* One of tern_synth_shape()'s, by name. */
TERN_API tern_status tern_shape_named(const char *name, tern_shape *shape, tern_error *err);

typedef struct tern_size_params {
    const char *weight_type; /* what the matrices lie in memory as: a type as other programs read it where it is mapped
                                ("I2_S", "TQ1_0", "TQ2_0", "F16", "BF16", "F32"; of matrices of floats also "Q8_0",
                                "Q6_K", "Q4_0"), or a packing of tern's, in which any of these files is computed with
                                ("t5r16", "t2r16"; "b1r16" if no weight is zero, which nobody looks for here), or
                                "none": floats as they are, with tern. NULL: the shape's */
    const char
        *embedding_type; /* of embedding and head: "F16", "BF16", "F32", "Q8_0", "Q6_K", "Q4_0"; NULL: the shape's */
    bool exact_head;     /* as in tern_model_params: with tern's packings, too, the whole head is read */
} tern_size_params;

typedef struct tern_size {
    uint64_t n_params, n_ternary;
    uint64_t weight_bytes;    /* the matrices */
    uint64_t embedding_bytes; /* embedding and, if that is another one, head */
    uint64_t norm_bytes;
    uint64_t screen_bytes;    /* of the LM head's screen; 0: there is none (tern's packings only) */
    uint64_t total_bytes;     /* all of these */
    uint64_t bytes_per_token; /* that one decode step reads without the KV cache: tern_model_info.bytes_per_token */
} tern_size;

/* `params` may be NULL. TERN_ERR_ARGUMENT: no such type, or rows that cannot be stored as that type. */
TERN_API tern_status tern_size_of(const tern_shape *shape, const tern_size_params *params, tern_size *size,
                                  tern_error *err);
/* Bytes of keys and values that a decode step reads when `tokens` tokens are in the cache; their size, too, but for the
 * rest of the last block of 64 tokens. */
TERN_API double tern_shape_kv_bytes(const tern_shape *shape, tern_kv_type type, double tokens);

/* ----------------------------------------------------------------- convert */

typedef struct tern_convert_params {
    const char *type; /* "tern": tern's own layout, which loads at once (docs/FORMAT.md); NULL: that. "b1": the same
                         with one bit a weight, which a model with zeros among its weights is refused (docs/BINARY.md).
                         "I2_S", "TQ1_0", "TQ2_0", "F16", "BF16", "F32": matrices of that type, as other programs read
                         them. "hf-packed": a Hugging Face folder of a BitNet model, four weights to a byte; `packing`,
                         `no_screen`, `name` and `embedding_type` do not go with it */
    const char
        *embedding_type; /* of embedding and head: "F16", "BF16", "F32", "Q8_0", "Q6_K", "Q4_0"; NULL: as it is */
    const char *packing; /* "t5r16", "t2r16", "b1r16"; NULL: b1r16 if no weight is zero, else what this machine's best
                            kernels read */
    const char *name;    /* general.name, UTF-8; NULL: as it is, and a folder's own name where there is none */
    bool no_screen;      /* leave the screen of the LM head out: a smaller file, from which it is built while loading */
    bool *screen_missing; /* NULL, or told whether a screen that pays had to be left out because the kernels in use
                             ($TERN_CPU, else this machine's best) cannot make one */
    int n_threads;        /* 0: all CPUs this process may run on */
    tern_progress_fn progress;
    void *progress_user;
    bool binarize; /* of master weights W (F32, F16, BF16): T = sign(W - mean W), 0 counting as 1, with the scale mean
                      |W|, instead of what the file stands for. Another model, which computes well only if it was
                      trained for that */
    const char *dtype; /* of all floats of an hf-packed folder: "BF16", as the published one has them, to which what
                          does not fit is rounded; "F32"; NULL: BF16 if that holds every value, else F32 */
    bool *only_tern;   /* NULL, or told whether the heads of the BitNet model that is written for other programs do not
                          make its hidden size, which those expect (docs/PRUNE.md) */
} tern_convert_params;

/* Write the model `in` (as for tern_model_load()) to `out`, first to a temporary name, renamed when whole. What it
 * computes stays the same, bit by bit, but for what is rounded: the scales, to 16 bits, where the type is TQ1_0, TQ2_0,
 * F16 or BF16 (I2_S, F32 and hf-packed without `dtype` keep them), and embedding and head where another type is asked
 * for. A folder in the place of the new one is replaced if it holds nothing but a model. `out` must not be `in`;
 * `params` may be NULL.
 */
TERN_API tern_status tern_convert(const char *in, const char *out, const tern_convert_params *params, tern_error *err);

#ifdef __cplusplus
}
#endif
#endif
