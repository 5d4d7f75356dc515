/*
 * text <-> ids: Llama-3 byte-level BPE. The public part (tern_tokenize, ...) is
 * declared and documented in tern/tern.h and implemented in this room; here is
 * how a tokenizer is made from what the formats carry.
 */
#ifndef TERN_TOKENIZER_TOKENIZER_H
#define TERN_TOKENIZER_TOKENIZER_H

#include "base/mem.h"
#include "base/str.h"
#include "tern/tern.h"

/* A GGUF's arrays. Views need to live only during the call. */
typedef struct tern_vocab_arrays {
    const tern_view *tokens; /* [n_tokens] in GPT-2's byte-to-character alphabet; control tokens as they are */
    size_t n_tokens;
    const int32_t *types;    /* [n_tokens] GGUF token types (3 control, 4 user-defined, ...) or NULL */
    const tern_view *merges; /* [n_merges] "left right", best first */
    size_t n_merges;
    const char *pre; /* pre-tokeniser name; NULL means llama3. llama3, llama-bpe, llama-v3 are known; others fail */
    int32_t bos_id, eos_id; /* -1: look for <|begin_of_text|>, <|end_of_text|> */
    int add_bos;            /* 1, 0, -1: not said, then yes if there is a BOS */
    /* what GGUF has no keys for (docs/FORMAT.md) */
    const char *pattern; /* of a pre-tokeniser that has no name; NULL: by `pre` */
    bool merge_tokens;   /* a pre-token that is a token is merged all the same (Hugging Face: ignore_merges false) */
} tern_vocab_arrays;

tern_status tern_tokenizer_from_arrays(const tern_vocab_arrays *arrays, tern_tokenizer **tokenizer, tern_error *err);
/* A Hugging Face tokenizer.json. `name` is for messages. */
tern_status tern_tokenizer_from_json(const char *name, const char *json, size_t n_bytes, tern_tokenizer **tokenizer,
                                     tern_error *err);
/* A tiktoken file: lines of base64 and rank; the Llama-3 special tokens follow the last rank. `vocab_size` 0: 256
 * specials; else as many as fill it. */
tern_status tern_tokenizer_from_tiktoken(const char *name, const char *text, size_t n_bytes, size_t vocab_size,
                                         tern_tokenizer **tokenizer, tern_error *err);

/* Set the chat template (a Jinja subset); NULL: that of 2B4T. Fails, saying where, if it cannot be parsed; the
 * tokenizer then keeps what it had. */
tern_status tern_tokenizer_set_template(tern_tokenizer *tokenizer, const char *source, tern_error *err);
/* The model has a template that set_template() refused, for this reason: chat calls fail with it from now on (the
 * default template would give the model prompts it was not made for), everything else works. */
void tern_tokenizer_refuse_chat(tern_tokenizer *tokenizer, const char *reason);
const char *tern_tokenizer_template(const tern_tokenizer *tokenizer);
/* The template in the 2B4T repository (numerics.md section 7). */
extern const char tern_default_template[];

/* The other direction: a tokenizer of any origin as arrays from which tern_tokenizer_from_arrays() makes one that gives
 * the same ids. */
typedef struct tern_vocab_export {
    tern_arena arena;  /* all texts */
    tern_view *tokens; /* [n_tokens], zero-terminated; ids that no token has are called "[PADn]", of type 5 */
    int32_t *types;    /* [n_tokens] */
    size_t n_tokens;
    tern_view *merges; /* [n_merges] */
    size_t n_merges;
    int32_t bos_id, eos_id; /* -1: none */
    bool add_bos, merge_tokens;
    const char *pattern; /* the tokenizer's; NULL: Llama-3's */
} tern_vocab_export;

/* To be freed with tern_vocab_export_free(); needs none after a failure. */
tern_status tern_tokenizer_export(const tern_tokenizer *tokenizer, tern_vocab_export *out, tern_error *err);
void tern_vocab_export_free(tern_vocab_export *out);
/* The same as a tokenizer.json: zero-terminated text, to be freed with free(). Ids of types that are no token's are
 * left out. Tokens that are no UTF-8, or two with one text, are TERN_ERR_UNSUPPORTED. */
tern_status tern_vocab_export_json(const tern_vocab_export *vocab, char **json, size_t *n_bytes, tern_error *err);

/* A conversation to learn from. The tokens are those that the model has before it and behind it when it answers: up to
 * each answer what tern_chat_tokenize() gives with a generation prompt, then the answer on its own, so that no token
 * reaches over the place where generating begins. What follows the last answer is left out. */
typedef struct tern_chat_lesson {
    int32_t *ids;        /* [n] */
    uint8_t *mask;       /* [n]: 1 for the tokens of answers and the end token of each */
    size_t n;            /* 0: there is no answer */
    size_t answer_bytes; /* of the messages that are learnt */
} tern_chat_lesson;

/* `last_only`: mask the last answer only. Special tokens inside a message stay plain text. TERN_ERR_UNSUPPORTED if the
 * template does not put an answer behind its generation prompt. Free with tern_chat_lesson_free(). */
tern_status tern_chat_learn(const tern_tokenizer *tokenizer, const tern_message *messages, size_t n_messages,
                            bool last_only, tern_chat_lesson *lesson, tern_error *err);
void tern_chat_lesson_free(tern_chat_lesson *lesson);

void tern_tokenizer_set_ids(tern_tokenizer *tokenizer, int32_t bos_id, int32_t eos_id); /* -1: keep */

#endif
