/*
 * Training a byte-level BPE tokenizer (Sennrich et al. 2016; GPT-2's bytes; Llama-3's pre-tokeniser).
 *
 * Pre-tokens of all texts are counted; then, again and again, the pair of neighbouring tokens that comes most often
 * becomes a token. Of pairs that come equally often the one with the smaller left id is taken, then the one with the
 * smaller right id: so the result depends on the texts and the settings alone, not on threads, and is that of Hugging
 * Face's BpeTrainer with the byte alphabet.
 *
 * Ids: the 256 bytes in the order of GPT-2's alphabet, the merged tokens in the order of their making, special tokens.
 */
#ifndef TERN_TRAIN_BPE_TRAIN_H
#define TERN_TRAIN_BPE_TRAIN_H

#include "base/str.h"

typedef struct tern_bpe_params {
    const char *const *texts; /* [n_texts] paths; *.jsonl: the "text" of each line. Cut at <|endoftext|> */
    size_t n_texts;
    uint32_t vocab_size;         /* of the result, exactly: bytes, merged tokens and special ones */
    uint64_t min_count;          /* a pair that comes less often is not merged */
    const char *const *specials; /* [n_specials]: in the order of their ids. The first one is BOS */
    size_t n_specials;
    uint64_t max_bytes;        /* count about so many bytes, evenly spread over the texts; 0: all */
    int n_threads;             /* 0: all CPUs */
    tern_progress_fn counting; /* of bytes; may be NULL */
    tern_progress_fn merging;  /* of merges; may be NULL */
    void *progress_user;
} tern_bpe_params;

typedef struct tern_bpe_result {
    char *json; /* tokenizer.json, to be freed with free() */
    size_t n_json;
    uint64_t n_bytes; /* of text that was counted */
    uint64_t n_pretokens, n_distinct;
    size_t n_merges;
    double count_seconds, merge_seconds;
} tern_bpe_result;

/* TERN_ERR_ARGUMENT if the vocabulary is too small for bytes and special tokens, or larger than the texts allow (the
 * message says how large it can be). */
tern_status tern_bpe_train(const tern_bpe_params *params, tern_bpe_result *result, tern_error *err);

#endif
