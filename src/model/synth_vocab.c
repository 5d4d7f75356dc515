/* The vocabulary of a random model: made up, or taken from a tokenizer file. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/synth_parts.h"
#include "model/vocab.h"

typedef struct vocab {
    tern_arena arena;  /* all strings */
    tern_view *tokens; /* [n] in GPT-2's byte-to-character alphabet; special ones as they are */
    float *scores;     /* [n] */
    int32_t *types;    /* [n] */
    size_t n;
    tern_view *merges; /* [n_merges] "left right" */
    size_t n_merges, merge_capacity;
    int32_t bos, eos;
    const char *chat_template; /* in the arena or static */
} vocab;

enum { TYPE_NORMAL = 1, TYPE_CONTROL = 3, N_BYTES = 256, MAX_SPECIALS = 256, MIN_SPECIALS = 12 };

static void free_vocab(vocab *v) {
    tern_arena_free(&v->arena);
    free(v->tokens);
    free(v->scores);
    free(v->types);
    free(v->merges);
}

static bool allocate(vocab *v, size_t n) {
    v->n = n;
    v->tokens = tern_calloc_array(n, sizeof *v->tokens);
    v->scores = tern_calloc_array(n, sizeof *v->scores);
    v->types = tern_calloc_array(n, sizeof *v->types);
    return v->tokens && v->scores && v->types;
}

/* ----------------------------------------------------- GPT-2's alphabet of bytes */

static bool is_printable(unsigned byte) {
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

/* Printable bytes stand for themselves, the others for the characters from U+0100 on, in order. */
static size_t put_byte(unsigned byte, char *out) {
    unsigned character = byte;
    if (!is_printable(byte)) {
        character = 256;
        for (unsigned other = 0; other < byte; other++)
            character += !is_printable(other);
    }
    if (character < 128) {
        out[0] = (char)character;
        return 1;
    }
    out[0] = (char)(0xc0 | character >> 6);
    out[1] = (char)(0x80 | (character & 63));
    return 2;
}

/* bytes [n] in that alphabet, in the arena; .bytes NULL: no memory. */
static tern_view spell(tern_arena *arena, const char *bytes, size_t n) {
    char *text = n <= SIZE_MAX / 2 - 1 ? tern_arena_alloc(arena, 2 * n + 1) : NULL;
    if (!text)
        return (tern_view){0};
    size_t size = 0;
    for (size_t i = 0; i < n; i++)
        size += put_byte((unsigned char)bytes[i], text + size);
    text[size] = 0;
    return (tern_view){text, size};
}

static bool add_merge(vocab *v, tern_view left, tern_view right) {
    char *text = tern_arena_alloc(&v->arena, left.size + right.size + 2);
    if (!text || !tern_grow_array((void **)&v->merges, &v->merge_capacity, v->n_merges + 1, sizeof *v->merges))
        return false;
    memcpy(text, left.bytes, left.size);
    text[left.size] = ' ';
    memcpy(text + left.size + 1, right.bytes, right.size);
    v->merges[v->n_merges++] = (tern_view){text, left.size + 1 + right.size};
    return true;
}

static bool set_special(vocab *v, size_t id, const char *text, size_t n) {
    char *copy = tern_arena_copy(&v->arena, text, n);
    v->tokens[id] = (tern_view){copy, n};
    v->types[id] = TYPE_CONTROL;
    v->scores[id] = -1000;
    return copy != NULL;
}

/* ------------------------------------------------------------------ made up */

/* The special tokens of Llama 3, counted from the first. */
static bool set_llama_special(vocab *v, size_t first, size_t i) {
    static const char *const names[] = {[0] = "<|begin_of_text|>",
                                        [1] = "<|end_of_text|>",
                                        [6] = "<|start_header_id|>",
                                        [7] = "<|end_header_id|>",
                                        [9] = "<|eot_id|>"};
    tern_buffer name = {0};
    if (i < sizeof names / sizeof *names && names[i])
        tern_buffer_text(&name, names[i]);
    else
        tern_buffer_printf(&name, "<|reserved_special_token_%zu|>", i < 6 ? i - 2 : i == 8 ? 4 : i - 5);
    bool ok = !name.failed && set_special(v, first + i, name.bytes, name.size);
    tern_buffer_free(&name);
    return ok;
}

/* The k-th made-up word: a blank or a letter, then letters, all of length 2 first, then of length 3, ... Each is an
 * earlier word (or a byte) and one letter, so that one merge makes it. Frequent letters first: what
 * fits into the vocabulary then covers English text best. Returns the length. */
static size_t made_up_word(size_t k, char word[16]) {
    static const char letters[] = " etaoinshrdlcumwfgypbvkjxqz";
    size_t length = 2, count = 27 * 26;
    while (k >= count)
        k -= count, count *= 26, length++;
    for (size_t i = length; i-- > 1; k /= 26)
        word[i] = letters[1 + k % 26];
    word[0] = letters[k];
    return length;
}

static bool make_up(vocab *v, size_t n) {
    if (!allocate(v, n))
        return false;
    /* a small vocabulary would be nothing but special tokens: then only the 12 that a chat needs */
    size_t n_specials = n >= 2 * MAX_SPECIALS + N_BYTES ? MAX_SPECIALS : MIN_SPECIALS, n_words = n - n_specials, id = 0;
    tern_view bytes[N_BYTES];
    for (unsigned pass = 0; pass < 2; pass++) /* printable bytes first, as in tiktoken's files */
        for (unsigned byte = 0; byte < N_BYTES; byte++)
            if (is_printable(byte) == (pass == 0))
                bytes[byte] = v->tokens[id++] = spell(&v->arena, &(char){(char)byte}, 1);
    bool ok = true;
    for (size_t k = 0; ok && id < n_words; id++, k++) {
        char word[16];
        size_t length = made_up_word(k, word);
        tern_view left = spell(&v->arena, word, length - 1), last = bytes[(unsigned char)word[length - 1]];
        v->tokens[id] = spell(&v->arena, word, length);
        ok = left.bytes && last.bytes && v->tokens[id].bytes && add_merge(v, left, last);
    }
    for (size_t i = 0; i < n_words; i++) {
        v->types[i] = TYPE_NORMAL;
        ok = ok && v->tokens[i].bytes;
    }
    for (size_t i = 0; ok && i < n_specials; i++)
        ok = set_llama_special(v, n_words, i);
    v->bos = (int32_t)n_words;
    v->eos = (int32_t)n_words + 1;
    v->chat_template = tern_default_template;
    return ok;
}

/* -------------------------------------------------------------- from a tokenizer */

/* Bytes of a normal token -> its id: open addressing, at most half full. */
typedef struct id_table {
    int32_t *ids; /* [mask + 1], -1: empty */
    size_t mask;
    const tern_tokenizer *tokenizer;
} id_table;

static size_t hash_bytes(const char *bytes, size_t n) { /* FNV-1a */
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001b3u;
    return (size_t)(hash ^ hash >> 32);
}

/* The slot that holds these bytes, or the empty one where they belong. */
static int32_t *find_slot(const id_table *table, const char *bytes, size_t n) {
    for (size_t at = hash_bytes(bytes, n);; at++) {
        int32_t *slot = &table->ids[at & table->mask];
        size_t size;
        if (*slot < 0)
            return slot;
        const char *token = tern_tokenizer_token(table->tokenizer, *slot, &size);
        if (size == n && memcmp(token, bytes, n) == 0)
            return slot;
    }
}

static bool fill_table(id_table *table, const tern_tokenizer *tokenizer, size_t n_tokens) {
    size_t size = 16;
    while (size < 2 * n_tokens)
        size *= 2;
    *table = (id_table){tern_alloc_array(size, sizeof *table->ids), size - 1, tokenizer};
    if (!table->ids)
        return false;
    for (size_t i = 0; i < size; i++)
        table->ids[i] = -1;
    for (size_t id = 0; id < n_tokens; id++) {
        size_t n;
        const char *bytes = tern_tokenizer_token(tokenizer, (int32_t)id, &n);
        if (!n || tern_tokenizer_is_special(tokenizer, (int32_t)id))
            continue;
        int32_t *slot = find_slot(table, bytes, n);
        if (*slot < 0)
            *slot = (int32_t)id;
    }
    return true;
}

typedef struct split {
    int32_t left, right;
} split;

static int compare_splits(const void *a, const void *b) {
    const split *x = a, *y = b;
    return x->left != y->left ? (x->left < y->left ? -1 : 1) : (x->right > y->right) - (x->right < y->right);
}

enum { MAX_TOKEN = 4096 };

/* Every way to split a token into two tokens, by (left, right): how Hugging Face's converter makes merges of a
 * vocabulary that is ranks only (numerics.md section 7). */
static bool add_splits(vocab *v, const id_table *table, int32_t id, split *splits) {
    size_t n, count = 0;
    const char *bytes = tern_tokenizer_token(table->tokenizer, id, &n);
    for (size_t at = 1; at < n && n <= MAX_TOKEN; at++) {
        int32_t left = *find_slot(table, bytes, at), right = *find_slot(table, bytes + at, n - at);
        if (left >= 0 && right >= 0)
            splits[count++] = (split){left, right};
    }
    qsort(splits, count, sizeof *splits, compare_splits);
    for (size_t i = 0; i < count; i++)
        if (!add_merge(v, v->tokens[splits[i].left], v->tokens[splits[i].right]))
            return false;
    return true;
}

static bool copy_tokens(vocab *v, const tern_tokenizer *tokenizer) {
    size_t n = tern_tokenizer_vocab_size(tokenizer);
    if (!allocate(v, n))
        return false;
    for (size_t id = 0; id < n; id++) {
        size_t size;
        const char *bytes = tern_tokenizer_token(tokenizer, (int32_t)id, &size);
        if (tern_tokenizer_is_special(tokenizer, (int32_t)id)) {
            if (!set_special(v, id, bytes, size))
                return false;
            continue;
        }
        v->types[id] = TYPE_NORMAL;
        v->tokens[id] = spell(&v->arena, bytes, size);
        if (!v->tokens[id].bytes)
            return false;
    }
    id_table table = {0};
    split *splits = tern_alloc_array(MAX_TOKEN, sizeof *splits);
    bool ok = splits && fill_table(&table, tokenizer, n);
    for (size_t id = 0; ok && id < n; id++)
        if (v->types[id] == TYPE_NORMAL)
            ok = add_splits(v, &table, (int32_t)id, splits);
    free(splits);
    free(table.ids);
    const char *source = tern_tokenizer_template(tokenizer);
    v->chat_template = ok ? tern_arena_copy(&v->arena, source, strlen(source)) : NULL;
    v->bos = tern_tokenizer_bos(tokenizer);
    v->eos = tern_tokenizer_eos(tokenizer);
    return v->chat_template != NULL;
}

static tern_status take_from_file(const tern_synth_params *params, vocab *v, tern_error *err) {
    tern_tokenizer *tokenizer = NULL;
    tern_status status = tern_vocab_from_path(params->tokenizer, &tokenizer, err);
    if (status)
        return status;
    size_t n = tern_tokenizer_vocab_size(tokenizer);
    if (n != params->vocab_size)
        status = tern_fail(err, TERN_ERR_ARGUMENT,
                           "%s: has %zu tokens, but the model shall have %" PRIu32 "; make the vocabulary %zu",
                           params->tokenizer, n, params->vocab_size, n);
    else if (tern_tokenizer_bos(tokenizer) < 0 || tern_tokenizer_eos(tokenizer) < 0)
        status = tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: has no begin and end of text token", params->tokenizer);
    else if (!copy_tokens(v, tokenizer))
        status = tern_fail_memory(err, "the vocabulary");
    tern_tokenizer_free(tokenizer);
    return status;
}

tern_status tern_synth_put_vocab(const tern_synth_params *params, tern_gguf_writer *writer, tern_error *err) {
    vocab v = {0};
    tern_status status = TERN_OK;
    if (params->tokenizer)
        status = take_from_file(params, &v, err);
    else if (!make_up(&v, params->vocab_size))
        status = tern_fail_memory(err, "the vocabulary");
    if (!status) {
        tern_gguf_put_string(writer, "tokenizer.ggml.model", "gpt2");
        tern_gguf_put_strings(writer, "tokenizer.ggml.tokens", v.tokens, v.n);
        tern_gguf_put_f32s(writer, "tokenizer.ggml.scores", v.scores, v.n);
        tern_gguf_put_i32s(writer, "tokenizer.ggml.token_type", v.types, v.n);
        tern_gguf_put_strings(writer, "tokenizer.ggml.merges", v.merges, v.n_merges);
        tern_gguf_put_u32(writer, "tokenizer.ggml.bos_token_id", (uint32_t)v.bos);
        tern_gguf_put_u32(writer, "tokenizer.ggml.eos_token_id", (uint32_t)v.eos);
        tern_gguf_put_u32(writer, "tokenizer.ggml.padding_token_id", (uint32_t)v.eos);
        tern_gguf_put_string(writer, "tokenizer.chat_template", v.chat_template);
    }
    free_vocab(&v);
    return status;
}
