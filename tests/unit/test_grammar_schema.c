/* JSON schemas as grammars: the texts that they allow, what is refused, and that whatever a random text under a schema
 * comes to is JSON of that schema. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <jansson.h>

#include "base/rng.h"
#include "base/str.h"
#include "grammar/matcher.h"
#include "grammar/stacks.h"

static tern_model *model;
static const tern_tokenizer *tokenizer;
static tern_rng rng;

static int setup(void **state) {
    (void)state;
    if (tern_model_load(NULL, &(tern_model_params){.n_threads = 1}, &model, NULL))
        return -1;
    tokenizer = tern_model_tokenizer(model);
    tern_rng_seed(&rng, 1);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    tern_model_free(model);
    return 0;
}

static tern_grammar *parse(const char *schema) {
    tern_grammar *grammar = NULL;
    tern_error err = {0};
    if (tern_grammar_from_schema(tokenizer, schema, &grammar, &err))
        fail_msg("%s: %s", schema, err.message);
    return grammar;
}

static bool accepts(const tern_grammar *grammar, const char *text) {
    tern_stacks stacks;
    assert_int_equal(tern_stacks_init(&stacks, &grammar->net, NULL), TERN_OK);
    uint32_t state = tern_stacks_start(&stacks);
    for (; *text; text++)
        state = tern_stacks_step(&stacks, state, (uint8_t)*text);
    assert_int_equal(stacks.status, TERN_OK);
    bool whole = stacks.states[state].may_end;
    tern_stacks_free(&stacks);
    return whole;
}

typedef struct schema_case {
    const char *schema;
    const char *accepted[12], *rejected[14];
} schema_case;

static const schema_case cases[] = {
    {"{}",
     {"{}", "[]", "null", "true", "-1.5e+3", "\"a\\n\\u00e9\"", "[1, [2], {\"a\":{}}]",
      "{\n  \"a\": 1,\n  \"b\": []\n}", "0", "\"\\ud83d\\ude00\""},
     {"", "tru", "01", "1.", ".5", "\"\n\"", "\"\\x\"", "[1,]", "{\"a\"}", " 1", "\"\\ud83d\"", "\"\\u0000\"", "1e999",
      "12345678901234567890"}},
    {"true", {"{}", "1"}, {"x"}},
    {"{\"type\": \"object\"}", {"{}", "{\"a\": [1]}"}, {"[]", "1"}},
    {"{\"type\": [\"integer\", \"null\"], \"title\": \"x\"}", {"0", "-12", "null"}, {"1.5", "-0", "00", "\"1\""}},
    {"{\"type\": \"integer\", \"nullable\": true}", {"7", "null"}, {"nul", "true"}},
    {"{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"integer\"}, \"b\": {\"type\": \"string\"}, \"c\": "
     "true}, \"required\": [\"b\"]}",
     {"{\"b\":\"\"}", "{\"a\": 1, \"b\": \"x\"}", "{\"b\":\"x\",\"c\":[1]}", "{\"a\":1,\"b\":\"\",\"c\":null}"},
     {"{}", "{\"a\":1}", "{\"b\":1}", "{\"c\":1,\"b\":\"\"}", "{\"b\":\"\",}", "{,\"b\":\"\"}",
      "{\"b\":\"\",\"d\":1}"}},
    {"{\"type\": \"object\", \"properties\": {\"a\": true, \"b\": true, \"c\": true}}",
     {"{}", "{\"a\":1}", "{\"b\":1}", "{\"c\":1}", "{\"a\":1,\"c\":1}", "{\"b\":1,\"c\":1}"},
     {"{\"b\":1,\"a\":1}", "{\"a\":1,\"a\":1}"}},
    {"{\"type\": \"object\", \"properties\": {\"ab\": {\"const\": 1}, \"a\": {\"const\": 2}}, "
     "\"additionalProperties\": {\"type\": \"boolean\"}}",
     {"{}", "{\"ab\":1}", "{\"a\":2}", "{\"x\":true}", "{\"ab\":1,\"a\":2,\"abc\":true,\"\":false}", "{\"b\":true}"},
     {"{\"ab\":true}", "{\"a\":true}", "{\"x\":1}", "{\"x\":true,\"ab\":1}", "{\"\\u0061\":true}"}},
    {"{\"additionalProperties\": {\"type\": \"integer\"}, \"required\": [\"k\"]}",
     {"{\"k\":1}", "{\"k\":1, \"l\":2}"},
     {"{}", "{\"l\":2}", "{\"k\":\"\"}"}},
    {"{\"type\": \"object\", \"properties\": {}, \"additionalProperties\": false}", {"{}", "{ }"}, {"{\"a\":1}"}},
    {"{\"enum\": [\"a\\\"b\", 1, 1.5, null, [1, 2], {\"x\": true}]}",
     {"\"a\\\"b\"", "1", "1.5", "null", "[1,2]", "{\"x\":true}"},
     {"\"a\"", "2", "true"}},
    {"{\"type\": \"string\", \"enum\": [\"x\", 1]}", {"\"x\""}, {"1"}},
    {"{\"const\": \"\\u00e9\"}", {"\"\xc3\xa9\""}, {"\"e\""}},
    {"{\"anyOf\": [{\"type\": \"boolean\"}, {\"type\": \"array\", \"items\": {\"type\": \"null\"}}]}",
     {"true", "[null, null]", "[]"},
     {"null", "[1]"}},
    {"{\"oneOf\": [{\"type\": \"object\", \"properties\": {\"k\": {\"const\": \"a\"}}, \"required\": [\"k\"]}, "
     "{\"type\": "
     "\"object\", \"properties\": {\"k\": {\"const\": \"b\"}, \"v\": {\"type\": \"integer\"}}, \"required\": "
     "[\"k\"]}]}",
     {"{\"k\":\"a\"}", "{\"k\":\"b\",\"v\":3}"},
     {"{\"k\":\"a\",\"v\":3}"}},
    {"{\"allOf\": [{\"$ref\": \"#/$defs/n\"}], \"$defs\": {\"n\": {\"type\": \"integer\"}}}", {"5"}, {"x"}},
    {"{\"type\": \"array\", \"items\": {\"type\": \"integer\"}, \"minItems\": 1, \"maxItems\": 3}",
     {"[1]", "[1,2]", "[1, 2, 3]"},
     {"[]", "[1,2,3,4]", "[1.5]"}},
    {"{\"type\": \"array\", \"maxItems\": 0}", {"[]"}, {"[1]"}},
    {"{\"type\": \"array\", \"minItems\": 2}", {"[1,\"x\"]", "[1,2,3]"}, {"[]", "[1]"}},
    {"{\"type\": \"array\", \"prefixItems\": [{\"type\": \"string\"}, {\"type\": \"integer\"}], \"minItems\": 1, "
     "\"items\": {\"type\": \"null\"}, \"maxItems\": 4}",
     {"[\"a\"]", "[\"a\",1]", "[\"a\",1,null]", "[\"a\",1,null,null]"},
     {"[]", "[1]", "[\"a\",null]", "[\"a\",1,null,null,null]"}},
    {"{\"type\": \"array\", \"prefixItems\": [true, true]}", {"[]", "[1]", "[1,2]"}, {"[1,2,3]"}},
    {"{\"type\": \"string\", \"minLength\": 2, \"maxLength\": 3}",
     {"\"ab\"", "\"a\xc3\xa9\\n\"", "\"\\ud83d\\ude00a\""},
     {"\"a\"", "\"abcd\"", "\"\\ud83d\\ude00\""}},
    {"{\"type\": \"string\", \"maxLength\": 1000}", {"\"\"", "\"abc\""}, {"abc"}},
    {"{\"type\": \"string\", \"pattern\": \"^(a|b)+[0-9]{2}$\"}", {"\"ab12\""}, {"\"12\"", "\"a1\"", "\"a123\""}},
    {"{\"type\": \"string\", \"pattern\": \"b+|^x\"}",
     {"\"b\"", "\"abc\"", "\"xyz\"", "\"\\u0041b\""},
     {"\"a\"", "\"yx\""}},
    {"{\"type\": \"string\", \"pattern\": \"^\\\\w\\\\W\\\\d\\\\D\\\\s.$\"}",
     {"\"_-5a \xc3\xa9\"", "\"z\\\"0\\\\\\t\\\"\""},
     {"\"--5a x\"", "\"_-5a  \\n\""}},
    {"{\"type\": \"string\", \"pattern\": \"^[\\\"\\\\\\\\-]$\"}",
     {"\"\\\"\"", "\"\\\\\"", "\"-\""},
     {"\"a\"", "\"\"\""}},
    {"{\"type\": \"string\", \"format\": \"date\"}",
     {"\"2024-02-28\"", "\"1999-12-31\""},
     {"\"2024-02-30\"", "\"2024-13-01\"", "\"24-01-01\""}},
    {"{\"type\": \"string\", \"format\": \"date-time\"}",
     {"\"2024-02-28T23:59:59.5Z\"", "\"2024-02-28T00:00:00+01:00\""},
     {"\"2024-02-28\"", "\"2024-02-28T24:00:00Z\""}},
    {"{\"type\": \"string\", \"format\": \"time\"}", {"\"12:00:00Z\""}, {"\"12:00\""}},
    {"{\"type\": \"string\", \"format\": \"uuid\"}", {"\"123e4567-e89b-12d3-a456-426614174000\""}, {"\"123e4567\""}},
    {"{\"format\": \"ipv4\"}", {"\"127.0.0.1\"", "\"255.255.255.255\""}, {"\"256.0.0.1\"", "\"1.1.1\""}},
    {"{\"format\": \"email\"}", {"\"a.b@c-d.org\""}, {"\"a@b\"", "\"@b.c\""}},
    {"{\"type\": \"integer\", \"minimum\": 7, \"maximum\": 1200}",
     {"7", "9", "10", "99", "999", "1000", "1199", "1200"},
     {"6", "1201", "0", "-7", "2000", "07"}},
    {"{\"type\": \"integer\", \"minimum\": -15, \"exclusiveMaximum\": 3}",
     {"-15", "-9", "-1", "0", "2"},
     {"-16", "3", "-20", "-0"}},
    {"{\"type\": \"integer\", \"exclusiveMinimum\": 0}", {"1", "123456789012"}, {"0", "-1"}},
    {"{\"type\": \"integer\", \"minimum\": 0.5, \"maximum\": 2.5}", {"1", "2"}, {"0", "3"}},
    {"{\"type\": \"number\", \"minimum\": 0, \"exclusiveMaximum\": 2}",
     {"0", "0.5", "1", "1.999"},
     {"-0.5", "2", "2.1", "-1", "1e5"}},
    {"{\"type\": \"number\", \"exclusiveMinimum\": -1, \"maximum\": 0}", {"0", "-0.5"}, {"-1", "0.1", "-1.1", "1"}},
    {"{\"minimum\": 3}", {"3", "3.5", "10"}, {"2", "\"a\""}},
    {"{\"$defs\": {\"tree\": {\"type\": \"object\", \"properties\": {\"v\": {\"type\": \"integer\"}, \"kids\": "
     "{\"type\": "
     "\"array\", \"items\": {\"$ref\": \"#/$defs/tree\"}}}, \"required\": [\"v\"]}}, \"$ref\": \"#/$defs/tree\"}",
     {"{\"v\":1}", "{\"v\":1,\"kids\":[{\"v\":2,\"kids\":[]}]}"},
     {"{\"kids\":[]}", "{\"v\":1,\"kids\":[1]}"}},
    {"{\"type\": \"object\", \"properties\": {\"next\": {\"$ref\": \"#\"}}}",
     {"{}", "{\"next\":{\"next\":{}}}"},
     {"{\"next\":1}"}},
    {"{\"definitions\": {\"a/b~\": {\"type\": \"null\"}}, \"$ref\": \"#/definitions/a~1b~0\"}", {"null"}, {"1"}},
    {"{\"type\": \"array\", \"items\": {\"type\": \"boolean\"}, \"minLength\": 5, \"x-hint\": 1}", {"[true]"}, {"[1]"}},
};

static void test_cases(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tern_grammar *grammar = parse(cases[i].schema);
        for (size_t k = 0; k < 12 && cases[i].accepted[k]; k++)
            if (!accepts(grammar, cases[i].accepted[k]))
                fail_msg("%s does not allow %s", cases[i].schema, cases[i].accepted[k]);
        for (size_t k = 0; k < 14 && cases[i].rejected[k]; k++)
            if (accepts(grammar, cases[i].rejected[k]))
                fail_msg("%s allows %s", cases[i].schema, cases[i].rejected[k]);
        tern_grammar_free(grammar);
    }
}

/* Every integer of a range and none beside it, for ranges with ends of all kinds. */
static void test_integer_ranges(void **state) {
    (void)state;
    static const int ends[] = {-1000, -999, -110, -100, -99, -10, -9,  -1,  0,   1,
                               5,     9,    10,   11,   19,  99,  100, 105, 999, 1000};
    enum { N = sizeof ends / sizeof *ends };
    for (size_t i = 0; i < N; i++)
        for (size_t k = i; k < N; k++) {
            char schema[100], text[16];
            snprintf(schema, sizeof schema, "{\"type\":\"integer\",\"minimum\":%d,\"maximum\":%d}", ends[i], ends[k]);
            tern_grammar *grammar = parse(schema);
            for (int value = -1101; value <= 1101; value += value > -120 && value < 120 ? 1 : 7) {
                snprintf(text, sizeof text, "%d", value);
                if (accepts(grammar, text) != (value >= ends[i] && value <= ends[k]))
                    fail_msg("%s and %s", schema, text);
            }
            tern_grammar_free(grammar);
        }
}

static const struct {
    const char *schema, *message;
} refusals[] = {
    {"{", "no JSON: line 1"},
    {"{\"type\": \"string\", \"type\": \"null\"}", "no JSON"},
    {"3", "a schema is an object"},
    {"false", "allows no value"},
    {"{\"not\": {}}", "#: the keyword \"not\" is not known"},
    {"{\"type\": \"object\", \"properties\": {\"a\": {\"uniqueItems\": true}}}",
     "#/properties/a: the keyword \"uniqueItems\""},
    {"{\"type\": \"object\", \"patternProperties\": {}}", "patternProperties"},
    {"{\"type\": \"integer\", \"multipleOf\": 3}", "multipleOf"},
    {"{\"if\": {}}", "\"if\""},
    {"{\"type\": \"text\"}", "\"type\" must be"},
    {"{\"type\": []}", "\"type\" must be"},
    {"{\"enum\": []}", "\"enum\" has no value"},
    {"{\"enum\": 3}", "\"enum\" must be a list"},
    {"{\"type\": \"string\", \"enum\": [1]}", "\"enum\" has no value"},
    {"{\"type\": \"string\", \"const\": 1}", "\"const\" is no value"},
    {"{\"anyOf\": []}", "not an empty one"},
    {"{\"anyOf\": [{}], \"oneOf\": [{}]}", "cannot stand beside"},
    {"{\"anyOf\": [{}], \"properties\": {}}", "cannot stand beside"},
    {"{\"$ref\": \"#/$defs/x\"}", "there is no \"#/$defs/x\""},
    {"{\"$ref\": \"http://example.org/s.json\"}", "other files are not read"},
    {"{\"$ref\": \"#\"}", "begins with itself"},
    {"{\"$defs\": {\"a\": {\"$ref\": \"#/$defs/b\"}, \"b\": {\"$ref\": \"#/$defs/a\"}}, \"$ref\": \"#/$defs/a\"}",
     "begins with itself"},
    {"{\"type\": \"object\", \"properties\": {\"a\": {\"$ref\": \"#\"}}, \"required\": [\"a\"]}", "can never end"},
    {"{\"allOf\": [{}, {}]}", "\"allOf\" is known with a single schema"},
    {"{\"oneOf\": [{\"type\": \"integer\"}, {\"type\": \"number\"}]}", "\"oneOf\": alternatives 1 and 2"},
    {"{\"oneOf\": [{\"const\": 1}, {\"enum\": [2, 1.0]}]}", "\"oneOf\": alternatives 1 and 2"},
    {"{\"required\": [\"a\"], \"additionalProperties\": false}", "\"required\" names \"a\""},
    {"{\"type\": \"array\", \"items\": [{}]}", "prefixItems"},
    {"{\"type\": \"array\", \"minItems\": 3, \"maxItems\": 2}", "\"minItems\" asks for more"},
    {"{\"type\": \"array\", \"minItems\": 3, \"items\": false, \"prefixItems\": [true]}", "\"minItems\" asks for more"},
    {"{\"type\": \"array\", \"minItems\": -1}", "whole number"},
    {"{\"type\": \"array\", \"maxItems\": 1000000}", "whole number"},
    {"{\"type\": \"string\", \"minLength\": 3, \"maxLength\": 2}", "\"maxLength\" is less"},
    {"{\"type\": \"string\", \"minLength\": 3, \"pattern\": \"a\"}", "only one can be kept to"},
    {"{\"type\": \"string\", \"format\": \"regex\"}", "the format \"regex\" is not known"},
    {"{\"type\": \"integer\", \"format\": \"int32\"}", "the format \"int32\" is not known"},
    {"{\"type\": \"string\", \"pattern\": \"(?=a)\"}", "look-ahead"},
    {"{\"type\": \"string\", \"pattern\": \"a^\"}", "at the ends only"},
    {"{\"type\": \"string\", \"pattern\": \"(a)\\\\1\"}", "escape that is not known"},
    {"{\"type\": \"string\", \"pattern\": \"\\\\bx\"}", "escape that is not known"},
    {"{\"type\": \"string\", \"pattern\": \"[a\"}", "not closed"},
    {"{\"type\": \"string\", \"pattern\": \"(a\"}", "not closed"},
    {"{\"type\": \"string\", \"pattern\": \"a)\"}", "without its ("},
    {"{\"type\": \"string\", \"pattern\": \"a{2,1}\"}", "the smaller one first"},
    {"{\"type\": \"string\", \"pattern\": \"*\"}", "has to be escaped"},
    {"{\"type\": \"integer\", \"minimum\": 2, \"maximum\": 1}", "there is no number"},
    {"{\"type\": \"integer\", \"minimum\": 0.2, \"maximum\": 0.8}", "there is no number"},
    {"{\"type\": \"integer\", \"minimum\": 1e300}", "2^53"},
    {"{\"type\": \"integer\", \"minimum\": true}", "must be a number"},
};

/* A text, or a value if it begins as one. "#" stays the schema's root. */
static void test_schema_or_text(void **state) {
    static const char schema[] = "{\"type\": \"object\", \"properties\": {\"a\": {\"$ref\": \"#\"}}, "
                                 "\"additionalProperties\": false}";
    static const char *const accepted[] = {"", " \n", "x{", "\xc3\xa9 {}\n", "[1]", " \t1", "{}", "\n {\"a\":{}}"},
                             *const rejected[] = {"{",         "{a}", " {} x", "{\"a\":1}", "{\"a\":\"text\"}",
                                                  "{\"b\":1}", "\xff"};
    tern_grammar *grammar = NULL;
    (void)state;
    assert_int_equal(tern_grammar_from_schema_or_text(tokenizer, schema, &grammar, NULL), TERN_OK);
    for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++)
        if (!accepts(grammar, accepted[i]))
            fail_msg("refused: %s", accepted[i]);
    for (size_t i = 0; i < sizeof rejected / sizeof *rejected; i++)
        if (accepts(grammar, rejected[i]))
            fail_msg("accepted: %s", rejected[i]);
    tern_grammar_free(grammar);
    tern_error err;
    assert_int_equal(tern_grammar_from_schema_or_text(tokenizer, "{\"type\": 1}", &grammar, &err), TERN_ERR_FORMAT);
    assert_int_equal(tern_grammar_from_schema_or_text(tokenizer, "{", &grammar, &err), TERN_ERR_FORMAT);
}

static void check_refused(const char *schema, const char *wanted) {
    tern_grammar *grammar = NULL;
    tern_error err = {0};
    tern_status status = tern_grammar_from_schema(tokenizer, schema, &grammar, &err);
    if (status != TERN_ERR_FORMAT)
        fail_msg("%.300s: status %d", schema, (int)status);
    if (!strstr(err.message, wanted))
        fail_msg("%.300s: \"%s\" does not say \"%s\"", schema, err.message, wanted);
}

static void test_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        check_refused(refusals[i].schema, refusals[i].message);
    tern_buffer deep = {0};
    for (int i = 0; i < 1000; i++)
        tern_buffer_text(&deep, "{\"items\":");
    tern_buffer_text(&deep, "true");
    for (int i = 0; i < 1000; i++)
        tern_buffer_text(&deep, "}");
    check_refused(deep.bytes, "inside each other");
    tern_buffer_free(&deep);
}

/* ------------------------------------------------------------- random texts */

/* A random text of a schema, token by token, made to come to an end: the shorter the allowed tokens the better, after a
 * while. */
static void make_text(const tern_grammar *grammar, size_t vocab_size, tern_buffer *out) {
    tern_matcher *matcher = NULL;
    out->size = 0;
    assert_int_equal(tern_matcher_create(grammar, vocab_size, &matcher, NULL), TERN_OK);
    for (int i = 0; i < 4000; i++) {
        const uint64_t *mask;
        size_t n_allowed, n_bytes, seen = 0;
        int32_t chosen = -1, closing = -1;
        tern_error err = {0};
        if (tern_matcher_mask(matcher, &mask, &n_allowed, &err))
            fail_msg("%s", err.message);
        for (int32_t id = 0; (size_t)id < vocab_size; id++) {
            if (!(mask[id / 64] >> (id % 64) & 1))
                continue;
            const char *bytes = tern_tokenizer_token(tokenizer, id, &n_bytes);
            if (tern_tokenizer_is_end(tokenizer, id) || (n_bytes == 1 && strchr("\"]}", bytes[0])))
                closing = closing < 0 || tern_tokenizer_is_end(tokenizer, id) ? id : closing;
            if (tern_rng_uniform(&rng) * (double)++seen < 1)
                chosen = id;
        }
        if (i > 30 && closing >= 0)
            chosen = closing;
        assert_int_equal(tern_matcher_accept(matcher, chosen, NULL), TERN_OK);
        if (tern_tokenizer_is_end(tokenizer, chosen))
            break;
        const char *bytes = tern_tokenizer_token(tokenizer, chosen, &n_bytes);
        tern_buffer_append(out, bytes, n_bytes);
        assert_true(i < 3999);
    }
    tern_matcher_free(matcher);
}

/* A person as the schema below describes one. */
static bool is_person(const json_t *value, int depth) {
    const json_t *name = json_object_get(value, "name"), *age = json_object_get(value, "age");
    const json_t *tags = json_object_get(value, "tags"), *tag, *friend = json_object_get(value, "friend");
    size_t i, n = 2;
    if (!json_is_string(name) || json_string_length(name) < 1 || !json_is_integer(age) || json_integer_value(age) < 0 ||
        json_integer_value(age) > 150)
        return false;
    n += tags != NULL;
    n += friend != NULL;
    if (tags && (!json_is_array(tags) || json_array_size(tags) > 3))
        return false;
    json_array_foreach(tags, i, tag) {
        const char *text = json_string_value(tag);
        if (!text || (strcmp(text, "a") != 0 && strcmp(text, "b") != 0))
            return false;
    }
    return json_object_size(value) == n && (!friend || json_is_null(friend) || is_person(friend, depth + 1));
}

static void test_random_texts(void **state) {
    (void)state;
    static const char schema[] =
        "{\"$defs\":{\"p\":{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"minLength\":1,"
        "\"maxLength\":20},\"age\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":150},\"tags\":{\"type\":\"array\","
        "\"items\":{\"enum\":[\"a\",\"b\"]},\"maxItems\":3},\"friend\":{\"anyOf\":[{\"$ref\":\"#/$defs/p\"},{\"type\":"
        "\"null\"}]}},\"required\":[\"name\",\"age\"]}},\"$ref\":\"#/$defs/p\"}";
    size_t vocab_size = tern_tokenizer_vocab_size(tokenizer);
    tern_grammar *person = parse(schema), *any = parse("{}");
    tern_buffer text = {0};
    json_error_t error;
    for (int i = 0; i < 60; i++) {
        make_text(i % 2 ? person : any, vocab_size, &text);
        json_t *value = json_loadb(text.bytes, text.size, JSON_DECODE_ANY, &error);
        if (!value)
            fail_msg("%s: %.*s", error.text, (int)text.size, text.bytes);
        if (i % 2 && !is_person(value, 0))
            fail_msg("no person: %.*s", (int)text.size, text.bytes);
        json_decref(value);
    }
    tern_buffer_free(&text);
    tern_grammar_free(person);
    tern_grammar_free(any);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schema_or_text), cmocka_unit_test(test_cases),
        cmocka_unit_test(test_integer_ranges), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_random_texts),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
