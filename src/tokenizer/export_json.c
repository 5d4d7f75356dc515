/* A tokenizer as Hugging Face's tokenizer.json: the other direction of load_json.c. */
#include <jansson.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "tokenizer/internal.h"
#include "tokenizer/unicode.h"

/* GGUF's types; others have no place in a tokenizer.json, where ids may be left out. */
enum { NORMAL = 1, CONTROL = 3, USER_DEFINED = 4 };

static bool is_added(const tern_vocab_export *vocab, size_t id) {
    return vocab->types[id] == CONTROL || vocab->types[id] == USER_DEFINED;
}

/* Readers number added tokens from the size of the vocabulary on. Where theirs are other ids, the vocabulary must list
 * them, too. */
static bool added_follow(const tern_vocab_export *vocab) {
    size_t n_normal = 0, id;
    while (n_normal < vocab->n_tokens && vocab->types[n_normal] == NORMAL)
        n_normal++;
    for (id = n_normal; id < vocab->n_tokens && is_added(vocab, id); id++) {
    }
    while (id < vocab->n_tokens && vocab->types[id] != NORMAL && !is_added(vocab, id))
        id++;
    return id == vocab->n_tokens;
}

static json_t *make_added(const tern_vocab_export *vocab) {
    json_t *list = json_array();
    for (size_t id = 0; list && id < vocab->n_tokens; id++) {
        if (!is_added(vocab, id))
            continue;
        json_t *token = json_pack("{s:I, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)id, "content",
                                  json_stringn(vocab->tokens[id].bytes, vocab->tokens[id].size), "single_word", 0,
                                  "lstrip", 0, "rstrip", 0, "normalized", 0, "special", vocab->types[id] == CONTROL);
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

static json_t *make_pre_tokenizer(const char *pattern) {
    return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, o]}", "type", "Sequence", "pretokenizers", "type", "Split",
                     "pattern", "Regex", pattern, "behavior", "Isolated", "invert", 0, make_byte_level(0, 1, 0));
}

/* BOS, then the text, as Llama-3's. */
static json_t *make_template(const char *bos, size_t id) {
    return json_pack(
        "{s:s, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}], s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}],"
        " s:{s:{s:s, s:[I], s:[s]}}}",
        "type", "TemplateProcessing",                                                           //
        "single", "SpecialToken", "id", bos, "type_id", 0, "Sequence", "id", "A", "type_id", 0, //
        "pair", "SpecialToken", "id", bos, "type_id", 0, "Sequence", "id", "A", "type_id", 0,   //
        "SpecialToken", "id", bos, "type_id", 1, "Sequence", "id", "B", "type_id", 1,           //
        "special_tokens", bos, "id", bos, "ids", (json_int_t)id, "tokens", bos);
}

static json_t *make_post_processor(const tern_vocab_export *vocab) {
    if (!vocab->add_bos || vocab->bos_id < 0 || (size_t)vocab->bos_id >= vocab->n_tokens)
        return make_byte_level(1, 0, 1);
    return json_pack("{s:s, s:[o, o]}", "type", "Sequence", "processors", make_byte_level(1, 0, 1),
                     make_template(vocab->tokens[vocab->bos_id].bytes, (size_t)vocab->bos_id));
}

static json_t *make_model(const tern_vocab_export *vocab) {
    json_t *tokens = json_object(), *merges = json_array();
    bool ok = tokens && merges, list_added = !added_follow(vocab);
    for (size_t id = 0; ok && id < vocab->n_tokens; id++)
        if (vocab->types[id] == NORMAL || (list_added && is_added(vocab, id)))
            ok = json_object_set_new(tokens, vocab->tokens[id].bytes, json_integer((json_int_t)id)) == 0;
    for (size_t i = 0; ok && i < vocab->n_merges; i++)
        ok = json_array_append_new(merges, json_stringn(vocab->merges[i].bytes, vocab->merges[i].size)) == 0;
    if (!ok) {
        json_decref(tokens);
        json_decref(merges);
        return NULL;
    }
    return json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
                     "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
                     "ignore_merges", !vocab->merge_tokens, "vocab", tokens, "merges", merges);
}

/* UTF-8 without a zero byte. Not asked of jansson, which does not tell a text that is none from one that it has no
 * memory for. */
static bool is_text(tern_view token) {
    uint32_t c = 0;
    for (size_t at = 0; at < token.size && c != TERN_BAD_CHAR;) {
        at += tern_utf8_decode((const uint8_t *)token.bytes + at, token.size - at, &c);
        if (c == 0)
            return false;
    }
    return c != TERN_BAD_CHAR;
}

/* JSON is UTF-8; and where the vocabulary lists added tokens, a text with two ids would lose one. */
static tern_status check_text(const tern_vocab_export *vocab, size_t id, json_t *normal, tern_error *err) {
    const char *bytes = vocab->tokens[id].bytes;
    if (!is_text(vocab->tokens[id]))
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "token %zu is no text in UTF-8 and cannot stand in a tokenizer.json", id);
    if (json_object_get(normal, bytes))
        return tern_fail(err, TERN_ERR_UNSUPPORTED,
                         "the text of token %zu is another one's, too, which a tokenizer.json cannot say", id);
    return TERN_OK;
}

static tern_status check_texts(const tern_vocab_export *vocab, tern_error *err) {
    json_t *normal = json_object();
    bool ok = normal != NULL;
    tern_status status = TERN_OK;
    for (size_t id = 0; ok && id < vocab->n_tokens; id++)
        if (vocab->types[id] == NORMAL)
            ok = json_object_set_new(normal, vocab->tokens[id].bytes, json_true()) == 0;
    if (!ok)
        status = tern_fail_memory(err, "tokenizer.json");
    for (size_t id = 0; !status && id < vocab->n_tokens; id++)
        if (is_added(vocab, id))
            status = check_text(vocab, id, normal, err);
    json_decref(normal);
    return status;
}

tern_status tern_vocab_export_json(const tern_vocab_export *vocab, char **json, size_t *n_bytes, tern_error *err) {
    const char *pattern = vocab->pattern ? vocab->pattern : tern_llama3_pattern;
    char *text = NULL;
    tern_status status = check_texts(vocab, err);
    if (status)
        return status;
    json_t *root = json_pack("{s:s, s:n, s:n, s:o, s:n, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation", "padding",
                             "added_tokens", make_added(vocab), "normalizer", "pre_tokenizer",
                             make_pre_tokenizer(pattern), "post_processor", make_post_processor(vocab), "decoder",
                             make_byte_level(1, 1, 1), "model", make_model(vocab));
    if (root)
        text = tern_json_dump(root, JSON_INDENT(2));
    json_decref(root);
    if (!text)
        return tern_fail_memory(err, "tokenizer.json");
    *n_bytes = strlen(text);
    *json = text;
    return TERN_OK;
}
