/* text -> ids and back. */
#include <stdlib.h>

#include "base/mem.h"
#include "tokenizer/bpe.h"
#include "tokenizer/internal.h"

#define REMEMBER_FROM 4096 /* bytes of text from which the memo of bpe.h pays for its allocation */

typedef struct encoder {
    const tern_tokenizer *tokenizer;
    tern_bpe bpe;
    tern_cutter cutter;
    tern_error *err;
} encoder;

/* Text without special tokens. */
static tern_status encode_plain(encoder *enc, const char *text, size_t n_bytes) {
    const tern_tokenizer *tokenizer = enc->tokenizer;
    tern_status status = tern_cutter_open(&enc->cutter, tokenizer->pattern, text, n_bytes, enc->err);
    for (size_t start = 0, end = 0; status == TERN_OK && end < n_bytes;) {
        if (tokenizer->pattern) {
            status = tern_cutter_next(&enc->cutter, &start, &end, enc->err);
            if (status)
                break;
        } else {
            start = end;
            end = tern_llama3_pretoken((const uint8_t *)text, n_bytes, start);
        }
        if (!tern_bpe_append(&enc->bpe, &tokenizer->vocab, tokenizer->ignore_merges, text + start, end - start))
            status = tern_fail_memory(enc->err, "tokens");
    }
    return status;
}

/* Narrow added[*low .. *high) to those whose byte `at` is `byte`; all in the range are longer than `at` bytes or are
 * the first ones. */
static void narrow(const tern_tokenizer *tokenizer, size_t *low, size_t *high, size_t at, uint8_t byte) {
    for (int side = 0; side < 2; side++) { /* the lower bound, then the upper */
        size_t from = *low, to = *high;
        while (from < to) {
            size_t middle = from + (to - from) / 2;
            tern_view token = tern_vocab_bytes(&tokenizer->vocab, (size_t)tokenizer->added[middle]);
            int have = token.size > at ? (uint8_t)token.bytes[at] : -1;
            if (have < byte || (side && have == byte))
                from = middle + 1;
            else
                to = middle;
        }
        if (side)
            *high = from;
        else
            *low = from;
    }
}

/* The longest special token at text [n_bytes]; control tokens only if they end within n_control. -1: none. */
static int32_t match_added(const tern_tokenizer *tokenizer, const char *text, size_t n_bytes, size_t n_control,
                           size_t *size) {
    size_t low = tokenizer->added_from[(uint8_t)text[0]], high = tokenizer->added_from[(uint8_t)text[0] + 1];
    int32_t found = -1;
    for (size_t n = 1; low < high; n++) {
        int32_t id = tokenizer->added[low]; /* in byte order the shortest of a range comes first */
        if (tokenizer->vocab.spans[id].size == n &&
            (tokenizer->vocab.kinds[id] != TERN_KIND_CONTROL || n <= n_control)) {
            found = id;
            *size = n;
        }
        if (n == n_bytes)
            break;
        narrow(tokenizer, &low, &high, n, (uint8_t)text[n]);
    }
    return found;
}

static tern_status encode_text(encoder *enc, const char *text, size_t n_bytes, bool control,
                               const tern_text_span *plain, size_t n_plain) {
    const tern_tokenizer *tokenizer = enc->tokenizer;
    size_t done = 0, next_plain = 0;
    tern_status status = TERN_OK;
    for (size_t pos = 0; tokenizer->n_added && pos < n_bytes && status == TERN_OK;) {
        uint8_t first = (uint8_t)text[pos];
        if (tokenizer->added_from[first] == tokenizer->added_from[first + 1]) {
            pos++;
            continue;
        }
        while (next_plain < n_plain && plain[next_plain].end <= pos)
            next_plain++;
        size_t limit = control ? n_bytes : pos, size;
        if (control && next_plain < n_plain)
            limit = plain[next_plain].start > pos ? plain[next_plain].start : pos;
        int32_t id = match_added(tokenizer, text + pos, n_bytes - pos, limit - pos, &size);
        if (id < 0) {
            pos++;
            continue;
        }
        status = encode_plain(enc, text + done, pos - done);
        if (status == TERN_OK && !tern_bpe_push(&enc->bpe, id))
            status = tern_fail_memory(enc->err, "tokens");
        done = pos += size;
    }
    return status ? status : encode_plain(enc, text + done, n_bytes - done);
}

tern_status tern_tokenize_spans(const tern_tokenizer *tokenizer, const char *text, size_t n_bytes, unsigned flags,
                                const tern_text_span *plain, size_t n_plain, int32_t **ids, size_t *n_ids,
                                tern_error *err) {
    if (!tokenizer || (!text && n_bytes) || !ids || !n_ids)
        return tern_fail(err, TERN_ERR_ARGUMENT, "tern_tokenize: a NULL argument");
    encoder enc = {.tokenizer = tokenizer, .err = err};
    if (n_bytes >= REMEMBER_FROM)
        tern_bpe_remember(&enc.bpe);
    bool bos = (flags & TERN_TOKENIZE_BOS) && tokenizer->bos_id >= 0 && tokenizer->add_bos != 0;
    /* Room for most texts at once; the BOS keeps place 0, which is given back if the text brings its own. */
    tern_status status = tern_grow_array((void **)&enc.bpe.ids, &enc.bpe.capacity, n_bytes / 4 + 16, sizeof(int32_t))
                             ? TERN_OK
                             : tern_fail_memory(err, "tokens");
    if (status == TERN_OK && bos)
        enc.bpe.ids[enc.bpe.n_ids++] = tokenizer->bos_id;
    if (status == TERN_OK && n_bytes)
        status = encode_text(&enc, text, n_bytes, flags & TERN_TOKENIZE_SPECIAL, plain, n_plain);
    tern_cutter_free(&enc.cutter);
    if (status == TERN_OK) {
        if (bos && enc.bpe.n_ids > 1 && enc.bpe.ids[1] == tokenizer->bos_id)
            memmove(enc.bpe.ids, enc.bpe.ids + 1, --enc.bpe.n_ids * sizeof(int32_t));
        *ids = enc.bpe.ids;
        *n_ids = enc.bpe.n_ids;
        enc.bpe.ids = NULL;
    }
    tern_bpe_free(&enc.bpe);
    return status;
}

tern_status tern_tokenize(const tern_tokenizer *tokenizer, const char *text, size_t n_bytes, unsigned flags,
                          int32_t **ids, size_t *n_ids, tern_error *err) {
    return tern_tokenize_spans(tokenizer, text, n_bytes, flags, NULL, 0, ids, n_ids, err);
}

tern_status tern_detokenize(const tern_tokenizer *tokenizer, const int32_t *ids, size_t n_ids, bool skip_special,
                            char **text, size_t *n_bytes, tern_error *err) {
    if (!tokenizer || (!ids && n_ids) || !text || !n_bytes)
        return tern_fail(err, TERN_ERR_ARGUMENT, "tern_detokenize: a NULL argument");
    tern_buffer out = {0};
    for (size_t i = 0; i < n_ids; i++) {
        size_t size;
        const char *bytes = tern_tokenizer_token(tokenizer, ids[i], &size);
        if (!bytes) {
            tern_buffer_free(&out);
            return tern_fail(err, TERN_ERR_ARGUMENT, "token id %d is outside the vocabulary of %zu", ids[i],
                             tokenizer->vocab.n);
        }
        if (!(skip_special && tern_tokenizer_is_special(tokenizer, ids[i])))
            tern_buffer_append(&out, bytes, size);
    }
    char *taken = tern_buffer_take(&out, n_bytes);
    if (!taken)
        return tern_fail_memory(err, "text");
    *text = taken;
    return TERN_OK;
}
