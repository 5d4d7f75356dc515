/* A tokenizer from Hugging Face's tokenizer.json. What the file asks for and tern does not do is refused by name:
 * ignoring it would give other ids without a word. */
#include <jansson.h>
#include <stdlib.h>

#include "base/json.h"
#include "tokenizer/internal.h"

#define MAX_JSON (256u << 20) /* bytes; Llama-3's has 9 million */

typedef struct json_loader {
    const char *name;
    tern_tokenizer *tokenizer;
    tern_error *err;
} json_loader;

static tern_status bad(const json_loader *load, const char *what) {
    return tern_fail(load->err, TERN_ERR_FORMAT, "%s: %s", load->name, what);
}

static tern_status unsupported(const json_loader *load, const char *what, const char *which) {
    return tern_fail(load->err, TERN_ERR_UNSUPPORTED, "%s: %s \"%.60s\" is not supported", load->name, what,
                     which ? which : "(none)");
}

static bool is_set(const json_t *value) { return value && !json_is_null(value); }

static const char *type_of(const json_t *object) { return json_string_value(json_object_get(object, "type")); }

static bool is_type(const json_t *object, const char *type) {
    const char *have = type_of(object);
    return have && strcmp(have, type) == 0;
}

/* ------------------------------------------------------------ pre_tokenizer */

static tern_status set_pattern(json_loader *load, const char *source, size_t n_bytes) {
    if (n_bytes == strlen(tern_llama3_pattern) && memcmp(source, tern_llama3_pattern, n_bytes) == 0)
        return TERN_OK;
    return tern_pattern_create(load->name, source, n_bytes, &load->tokenizer->pattern, load->err);
}

static tern_status read_split(json_loader *load, const json_t *split) {
    const json_t *regex = json_object_get(json_object_get(split, "pattern"), "Regex");
    const char *behaviour = json_string_value(json_object_get(split, "behavior"));
    if (!json_is_string(regex))
        return unsupported(load, "a Split pre-tokeniser without", "Regex");
    if (!behaviour || strcmp(behaviour, "Isolated") != 0)
        return unsupported(load, "the Split behavior", behaviour);
    if (json_is_true(json_object_get(split, "invert")))
        return unsupported(load, "the Split option", "invert");
    return set_pattern(load, json_string_value(regex), json_string_length(regex));
}

static tern_status read_byte_level(json_loader *load, const json_t *level, bool have_split) {
    if (json_is_true(json_object_get(level, "add_prefix_space")))
        return unsupported(load, "the ByteLevel option", "add_prefix_space");
    bool use_regex = !json_is_false(json_object_get(level, "use_regex")); /* true if absent */
    if (use_regex && have_split)
        return unsupported(load, "a Split followed by the ByteLevel option", "use_regex");
    return use_regex ? set_pattern(load, tern_gpt2_pattern, strlen(tern_gpt2_pattern)) : TERN_OK;
}

/* ByteLevel, or a Sequence of Split and ByteLevel. */
static tern_status read_pre_tokenizer(json_loader *load, const json_t *pre) {
    json_t *parts = is_type(pre, "Sequence") ? json_object_get(pre, "pretokenizers") : NULL;
    size_t n = parts ? json_array_size(parts) : 1;
    bool have_split = false, have_level = false;
    for (size_t i = 0; i < n; i++) {
        const json_t *part = parts ? json_array_get(parts, i) : pre;
        tern_status status = TERN_OK;
        if (is_type(part, "Split") && !have_split && !have_level) {
            status = read_split(load, part);
            have_split = true;
        } else if (is_type(part, "ByteLevel") && !have_level) {
            status = read_byte_level(load, part, have_split);
            have_level = true;
        } else {
            return unsupported(load, "here the pre-tokeniser", type_of(part));
        }
        if (status)
            return status;
    }
    return have_level ? TERN_OK : unsupported(load, "a pre-tokeniser without", "ByteLevel");
}

/* ----------------------------------------------------------- post_processor */

/* The single template: [BOS] then the text. */
static tern_status read_template(json_loader *load, const json_t *processor) {
    json_t *single = json_object_get(processor, "single");
    size_t n = json_array_size(single);
    const char *first =
        json_string_value(json_object_get(json_object_get(json_array_get(single, 0), "SpecialToken"), "id"));
    if (n == 1 && json_object_get(json_array_get(single, 0), "Sequence"))
        return TERN_OK;
    if (n != 2 || !first || !json_object_get(json_array_get(single, 1), "Sequence"))
        return unsupported(load, "a post-processor that does not put", "one token, then the text");
    json_t *ids = json_object_get(json_object_get(json_object_get(processor, "special_tokens"), first), "ids");
    json_t *id = json_array_get(ids, 0);
    if (json_array_size(ids) != 1 || !json_is_integer(id) || json_integer_value(id) < 0 ||
        (size_t)json_integer_value(id) >= load->tokenizer->vocab.n)
        return bad(load, "the post-processor's special token has no single valid id");
    load->tokenizer->bos_id = (int32_t)json_integer_value(id);
    load->tokenizer->add_bos = 1;
    return TERN_OK;
}

static tern_status read_post_processor(json_loader *load, const json_t *post) {
    load->tokenizer->add_bos = 0;
    json_t *parts = is_type(post, "Sequence") ? json_object_get(post, "processors") : NULL;
    size_t n = !is_set(post) ? 0 : parts ? json_array_size(parts) : 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *part = parts ? json_array_get(parts, i) : post;
        if (is_type(part, "ByteLevel")) /* concerns offsets only */
            continue;
        tern_status status = is_type(part, "TemplateProcessing")
                                 ? read_template(load, part)
                                 : unsupported(load, "the post-processor", type_of(part));
        if (status)
            return status;
    }
    return TERN_OK;
}

/* -------------------------------------------------------------------- model */

static tern_status check_model(json_loader *load, const json_t *root, const json_t *model) {
    static const char *const refused[] = {"byte_fallback", "dropout", "continuing_subword_prefix",
                                          "end_of_word_suffix"};
    if (!json_is_object(model))
        return bad(load, "no \"model\"; this is no tokenizer.json");
    if (is_set(json_object_get(model, "type")) && !is_type(model, "BPE")) /* old files leave it out */
        return unsupported(load, "the model type", type_of(model));
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const json_t *value = json_object_get(model, refused[i]);
        bool off = !is_set(value) || json_is_false(value) || (json_is_string(value) && !json_string_length(value)) ||
                   (json_is_number(value) && json_number_value(value) == 0);
        if (!off)
            return unsupported(load, "the model option", refused[i]);
    }
    if (is_set(json_object_get(root, "normalizer")))
        return unsupported(load, "the normalizer", type_of(json_object_get(root, "normalizer")));
    return TERN_OK;
}

/* The highest id of vocabulary and added tokens, checked: ids are integers, and not far apart. */
static tern_status count_ids(json_loader *load, json_t *vocab, const json_t *added, size_t *n) {
    json_int_t highest = -1;
    const char *key;
    json_t *value;
    size_t index;
    json_object_foreach(vocab, key, value) {
        if (!json_is_integer(value) || json_integer_value(value) < 0)
            return bad(load, "a vocabulary id is no number");
        highest = json_integer_value(value) > highest ? json_integer_value(value) : highest;
    }
    json_array_foreach(added, index, value) {
        const json_t *id = json_object_get(value, "id");
        if (!json_is_integer(id) || json_integer_value(id) < 0)
            return bad(load, "an added token has no id");
        highest = json_integer_value(id) > highest ? json_integer_value(id) : highest;
    }
    size_t n_tokens = json_object_size(vocab) + json_array_size(added);
    if (highest >= (json_int_t)TERN_MAX_IDS || (size_t)(highest + 1) > 2 * n_tokens + 1024)
        return tern_fail(load->err, TERN_ERR_FORMAT, "%s: token id %lld with only %zu tokens", load->name,
                         (long long)highest, n_tokens);
    *n = (size_t)(highest + 1);
    return TERN_OK;
}

static tern_status put_added(json_loader *load, const json_t *token, json_t *vocab) {
    static const char *const refused[] = {"single_word", "lstrip", "rstrip"};
    const json_t *content = json_object_get(token, "content");
    if (!json_is_string(content))
        return bad(load, "an added token has no \"content\"");
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (json_is_true(json_object_get(token, refused[i])))
            return unsupported(load, "the added token option", refused[i]);
    json_int_t id = json_integer_value(json_object_get(token, "id"));
    /* Some files list an added token in the vocabulary too; one id must then be meant. */
    const json_t *listed = json_object_get(vocab, json_string_value(content));
    if (listed && json_integer_value(listed) != id)
        return tern_fail(load->err, TERN_ERR_FORMAT, "%s: added token %lld is in the vocabulary as %lld", load->name,
                         (long long)id, (long long)json_integer_value(listed));
    int kind = json_is_true(json_object_get(token, "special")) ? TERN_KIND_CONTROL : TERN_KIND_ADDED;
    return tern_vocab_put(&load->tokenizer->vocab, load->name, (size_t)id, kind,
                          (tern_view){json_string_value(content), json_string_length(content)}, load->err);
}

static tern_status read_tokens(json_loader *load, json_t *vocab, const json_t *added) {
    tern_vocab *out = &load->tokenizer->vocab;
    const char *key;
    json_t *value;
    size_t index;
    tern_status status = TERN_OK;
    json_array_foreach(added, index, value) {
        status = put_added(load, value, vocab);
        if (status)
            return status;
    }
    json_object_foreach(vocab, key, value) {
        size_t id = (size_t)json_integer_value(value), size = strlen(key);
        bool is_added = out->kinds[id] == TERN_KIND_CONTROL || out->kinds[id] == TERN_KIND_ADDED;
        if (is_added && tern_view_equal(tern_vocab_bytes(out, id), (tern_view){key, size}))
            continue;
        status = tern_vocab_put_encoded(out, load->name, id, (tern_view){key, size}, load->err);
        if (status)
            return status;
    }
    return tern_vocab_index(out, load->name, load->err);
}

static tern_view view_of(const json_t *string) {
    return json_is_string(string) ? (tern_view){json_string_value(string), json_string_length(string)} : (tern_view){0};
}

static tern_status read_merges(json_loader *load, const json_t *merges) {
    tern_vocab *vocab = &load->tokenizer->vocab;
    if (!json_is_array(merges))
        return bad(load, "the model has no list of \"merges\"");
    tern_status status = tern_vocab_reserve_merges(vocab, load->name, json_array_size(merges), load->err);
    size_t index;
    json_t *merge;
    json_array_foreach(merges, index, merge) {
        if (status)
            break;
        if (json_is_string(merge))
            status = tern_vocab_add_merge_line(vocab, load->name, (uint32_t)index, view_of(merge), load->err);
        else if (json_array_size(merge) == 2)
            status = tern_vocab_add_merge(vocab, load->name, (uint32_t)index, view_of(json_array_get(merge, 0)),
                                          view_of(json_array_get(merge, 1)), load->err);
        else
            status = bad(load, "a merge is neither \"left right\" nor [\"left\", \"right\"]");
    }
    return status;
}

static tern_status read_root(json_loader *load, json_t *root) {
    json_t *model = json_object_get(root, "model"), *vocab = json_object_get(model, "vocab");
    const json_t *added = json_object_get(root, "added_tokens");
    size_t n = 0;
    tern_status status = check_model(load, root, model);
    if (status)
        return status;
    if (!json_is_object(vocab))
        return bad(load, "the model has no \"vocab\"");
    if (is_set(added) && !json_is_array(added))
        return bad(load, "\"added_tokens\" is no list");
    status = count_ids(load, vocab, added, &n);
    if (status == TERN_OK)
        status = tern_tokenizer_new(load->name, n, &load->tokenizer, load->err);
    if (status)
        return status;
    load->tokenizer->ignore_merges = json_is_true(json_object_get(model, "ignore_merges"));
    status = read_pre_tokenizer(load, json_object_get(root, "pre_tokenizer"));
    if (status == TERN_OK)
        status = read_tokens(load, vocab, added);
    if (status == TERN_OK)
        status = read_merges(load, json_object_get(model, "merges"));
    if (status == TERN_OK)
        status = read_post_processor(load, json_object_get(root, "post_processor"));
    return status ? status : tern_tokenizer_finish(load->tokenizer, load->name, load->err);
}

tern_status tern_tokenizer_from_json(const char *name, const char *json, size_t n_bytes, tern_tokenizer **tokenizer,
                                     tern_error *err) {
    if (n_bytes > MAX_JSON)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: %zu bytes are too many for a tokenizer.json", name, n_bytes);
    json_error_t error;
    json_t *root = tern_json_load(json, n_bytes, JSON_REJECT_DUPLICATES, &error);
    if (!root && tern_json_no_memory(&error))
        return tern_fail_memory(err, name);
    if (!root)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: line %d: %s", name, error.line, error.text);
    json_loader load = {name, NULL, err};
    tern_status status = read_root(&load, root);
    json_decref(root);
    if (status)
        tern_tokenizer_free(load.tokenizer);
    else
        *tokenizer = load.tokenizer;
    return status;
}
