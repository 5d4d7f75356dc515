#include "train/bpe_json.h"

#include <jansson.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tokenizer/alphabet.h"
#include "tokenizer/pretokenize.h"

/* The tokens in the file's spelling. */
typedef struct spelling {
    tern_arena arena;
    tern_view *texts; /* [n_tokens], zero-terminated */
} spelling;

static bool spell_all(const tern_bpe_vocab *vocab, spelling *out) {
    tern_alphabet alphabet;
    tern_alphabet_make(&alphabet);
    out->texts = tern_alloc_array(vocab->n_tokens, sizeof *out->texts);
    for (size_t i = 0; out->texts && i < vocab->n_tokens; i++) {
        char *text = tern_arena_alloc(&out->arena, 2 * vocab->tokens[i].size + 1);
        if (!text)
            return false;
        size_t size = tern_alphabet_spell(&alphabet, vocab->tokens[i], text);
        text[size] = 0;
        out->texts[i] = (tern_view){text, size};
    }
    return out->texts != NULL;
}

/* NULL: no memory. */
static json_t *make_added(const tern_bpe_vocab *vocab) {
    json_t *list = json_array();
    for (size_t i = 0; i < vocab->n_specials; i++) {
        json_t *token = json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id",
                                  (json_int_t)vocab->n_tokens + (json_int_t)i, "content", vocab->specials[i],
                                  "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1);
        if (json_array_append_new(list, token)) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *make_byte_level(int add_prefix_space, int trim_offsets, int use_regex) {
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", add_prefix_space, "trim_offsets",
                     trim_offsets, "use_regex", use_regex);
}

static json_t *make_pre_tokenizer(void) {
    return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, o]}", "type", "Sequence", "pretokenizers", "type", "Split",
                     "pattern", "Regex", tern_llama3_pattern, "behavior", "Isolated", "invert", 0,
                     make_byte_level(0, 1, 0));
}

/* BOS, then the text, as Llama-3's. */
static json_t *make_post_processor(const char *bos, size_t id) {
    json_t *template = json_pack(
        "{s:s, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}], s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}],"
        " s:{s:{s:s, s:[I], s:[s]}}}",
        "type", "TemplateProcessing",                                                           //
        "single", "SpecialToken", "id", bos, "type_id", 0, "Sequence", "id", "A", "type_id", 0, //
        "pair", "SpecialToken", "id", bos, "type_id", 0, "Sequence", "id", "A", "type_id", 0,   //
        "SpecialToken", "id", bos, "type_id", 1, "Sequence", "id", "B", "type_id", 1,           //
        "special_tokens", bos, "id", bos, "ids", (json_int_t)id, "tokens", bos);
    return json_pack("{s:s, s:[o, o]}", "type", "Sequence", "processors", make_byte_level(1, 0, 1), template);
}

static json_t *make_model(const tern_bpe_vocab *vocab, const spelling *spelt) {
    json_t *tokens = json_object(), *merges = json_array();
    char *line = NULL;
    size_t capacity = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < vocab->n_tokens; i++)
        ok = json_object_set_new(tokens, spelt->texts[i].bytes, json_integer((json_int_t)i)) == 0;
    for (size_t i = 0; ok && i < vocab->n_merges; i++) {
        tern_view left = spelt->texts[vocab->merges[i].left], right = spelt->texts[vocab->merges[i].right];
        ok = tern_grow_array((void **)&line, &capacity, left.size + right.size + 2, 1);
        if (!ok)
            break;
        memcpy(line, left.bytes, left.size);
        line[left.size] = ' ';
        memcpy(line + left.size + 1, right.bytes, right.size);
        ok = json_array_append_new(merges, json_stringn(line, left.size + 1 + right.size)) == 0;
    }
    free(line);
    if (!ok) {
        json_decref(tokens);
        json_decref(merges);
        return NULL;
    }
    return json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
                     "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
                     "ignore_merges", 1, "vocab", tokens, "merges", merges);
}

/* One text with two ids is a file that nobody loads. */
static tern_status check_specials(const tern_bpe_vocab *vocab, const spelling *spelt, tern_error *err) {
    for (size_t i = 0; i < vocab->n_specials; i++)
        for (size_t k = 0; k < vocab->n_tokens; k++)
            if (strcmp(vocab->specials[i], spelt->texts[k].bytes) == 0)
                return tern_fail(err, TERN_ERR_ARGUMENT,
                                 "special token %s: the vocabulary has such a token without it; take a text that does "
                                 "not occur, like <|%s|>",
                                 vocab->specials[i], vocab->specials[i]);
    return TERN_OK;
}

tern_status tern_bpe_json(const tern_bpe_vocab *vocab, char **json, size_t *n_bytes, tern_error *err) {
    spelling spelt = {0};
    json_t *root = NULL;
    char *text = NULL;
    bool spelt_all = spell_all(vocab, &spelt);
    tern_status status = spelt_all ? check_specials(vocab, &spelt, err) : TERN_OK;
    if (spelt_all && !status)
        root = json_pack("{s:s, s:n, s:n, s:o, s:n, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation", "padding",
                         "added_tokens", make_added(vocab), "normalizer", "pre_tokenizer", make_pre_tokenizer(),
                         "post_processor", make_post_processor(vocab->specials[0], vocab->n_tokens), "decoder",
                         make_byte_level(1, 1, 1), "model", make_model(vocab, &spelt));
    if (root)
        text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    tern_arena_free(&spelt.arena);
    free(spelt.texts);
    if (status)
        return status;
    if (!text)
        return tern_fail_memory(err, "tokenizer.json");
    *n_bytes = strlen(text);
    *json = text;
    return TERN_OK;
}
