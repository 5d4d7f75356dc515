/* A tokenizer as the arrays that a GGUF carries: the other direction of load_arrays.c. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tokenizer/alphabet.h"
#include "tokenizer/internal.h"

enum { GGUF_NORMAL = 1, GGUF_CONTROL = 3, GGUF_USER_DEFINED = 4, GGUF_UNUSED = 5 };

static bool export_token(const tern_vocab *vocab, const tern_alphabet *a, size_t id, tern_vocab_export *out) {
    static const int32_t types[] = {[TERN_KIND_HOLE] = GGUF_UNUSED,
                                    [TERN_KIND_NORMAL] = GGUF_NORMAL,
                                    [TERN_KIND_CONTROL] = GGUF_CONTROL,
                                    [TERN_KIND_ADDED] = GGUF_USER_DEFINED,
                                    [TERN_KIND_UNUSED] = GGUF_UNUSED};
    tern_view bytes = tern_vocab_bytes(vocab, id);
    char hole[32], *text;
    out->types[id] = types[vocab->kinds[id]];
    if (vocab->kinds[id] == TERN_KIND_HOLE) /* what converters write where no token is */
        bytes = (tern_view){hole, (size_t)snprintf(hole, sizeof hole, "[PAD%zu]", id)};
    if (vocab->kinds[id] != TERN_KIND_NORMAL) {
        text = tern_arena_copy(&out->arena, bytes.bytes, bytes.size);
        out->tokens[id] = (tern_view){text, bytes.size};
        return text != NULL;
    }
    text = tern_arena_alloc(&out->arena, 2 * bytes.size + 1);
    if (!text)
        return false;
    out->tokens[id] = (tern_view){text, tern_alphabet_spell(a, bytes, text)};
    text[out->tokens[id].size] = 0;
    return true;
}

static int compare_merges(const void *a, const void *b) {
    const tern_merge_slot *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return (x->pair > y->pair) - (x->pair < y->pair);
}

/* By rank; where several merges share one (tiktoken: the rank of what they make), by left, then right, as Hugging
 * Face's converter orders them. */
static bool export_merges(const tern_vocab *vocab, tern_vocab_export *out) {
    size_t n_slots = (size_t)(UINT64_MAX >> vocab->merge_shift) + 1, n = 0;
    for (size_t i = 0; vocab->merges && i < n_slots; i++)
        n += vocab->merges[i].pair != UINT64_MAX;
    tern_merge_slot *sorted = tern_alloc_array(n + 1, sizeof *sorted);
    out->merges = tern_alloc_array(n + 1, sizeof *out->merges);
    bool ok = sorted && out->merges;
    for (size_t i = 0, at = 0; ok && at < n; i++)
        if (vocab->merges[i].pair != UINT64_MAX)
            sorted[at++] = vocab->merges[i];
    if (ok)
        qsort(sorted, n, sizeof *sorted, compare_merges);
    for (size_t i = 0; ok && i < n; i++) {
        tern_view left = out->tokens[sorted[i].pair >> 32], right = out->tokens[sorted[i].pair & UINT32_MAX];
        char *line = tern_arena_alloc(&out->arena, left.size + right.size + 1);
        ok = line != NULL;
        if (!ok)
            break;
        memcpy(line, left.bytes, left.size);
        line[left.size] = ' ';
        memcpy(line + left.size + 1, right.bytes, right.size);
        out->merges[out->n_merges++] = (tern_view){line, left.size + 1 + right.size};
    }
    free(sorted);
    return ok;
}

tern_status tern_tokenizer_export(const tern_tokenizer *tokenizer, tern_vocab_export *out, tern_error *err) {
    const tern_vocab *vocab = &tokenizer->vocab;
    tern_alphabet a;
    tern_alphabet_make(&a);
    *out = (tern_vocab_export){.n_tokens = vocab->n,
                               .bos_id = tokenizer->bos_id,
                               .eos_id = tokenizer->eos_id,
                               .add_bos = tokenizer->bos_id >= 0 && tokenizer->add_bos != 0,
                               .merge_tokens = !tokenizer->ignore_merges,
                               .pattern = tern_pattern_source(tokenizer->pattern)};
    out->tokens = tern_calloc_array(vocab->n + 1, sizeof *out->tokens);
    out->types = tern_calloc_array(vocab->n + 1, sizeof *out->types);
    bool ok = out->tokens && out->types;
    for (size_t id = 0; ok && id < vocab->n; id++)
        ok = export_token(vocab, &a, id, out);
    ok = ok && export_merges(vocab, out);
    if (ok)
        return TERN_OK;
    tern_vocab_export_free(out);
    return tern_fail_memory(err, "the vocabulary");
}

void tern_vocab_export_free(tern_vocab_export *out) {
    tern_arena_free(&out->arena);
    free(out->tokens);
    free(out->types);
    free(out->merges);
    *out = (tern_vocab_export){0};
}
