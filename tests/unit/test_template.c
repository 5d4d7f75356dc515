/* The chat template: against Jinja's own results, its limits, its errors, and where message text is tracked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>

#include "base/file.h"
#include "tokenizer/template.h"
#include "tokenizer/tokenizer.h"

static tern_error err;
static tern_buffer text, taint;

static tern_status render(const char *source, const tern_message *messages, size_t n, bool prompt) {
    tern_template *parsed = NULL;
    tern_buffer_free(&text);
    tern_buffer_free(&taint);
    tern_status status = tern_template_parse(source, &parsed, &err);
    if (status)
        return status;
    assert_string_equal(tern_template_source(parsed), source);
    tern_template_input input = {messages, n, prompt, tern_view_of("<|begin_of_text|>"),
                                 tern_view_of("<|end_of_text|>")};
    status = tern_template_render(parsed, &input, &text, &taint, &err);
    tern_template_free(parsed);
    assert_int_equal(text.size, taint.size);
    return status;
}

static int free_buffers(void **state) {
    (void)state;
    tern_buffer_free(&text);
    tern_buffer_free(&taint);
    return 0;
}

static void test_golden(void **state) {
    (void)state;
    char *lines;
    size_t size, same = 0, refused = 0, random = 0;
    assert_int_equal(
        tern_read_file(TERN_SOURCE_DIR "/tests/data/tokenizer/templates.jsonl", 1 << 24, &lines, &size, &err), TERN_OK);
    for (char *line = strtok(lines, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *value = json_loads(line, 0, NULL), *list = json_object_get(value, "messages"), *message;
        const char *source = json_string_value(json_object_get(value, "template"));
        const json_t *wanted = json_object_get(value, "text");
        tern_message messages[8];
        size_t i;
        json_array_foreach(list, i, message) messages[i] =
            (tern_message){json_string_value(json_object_get(message, "role")),
                           json_string_value(json_object_get(message, "content"))};
        tern_status status =
            render(source, messages, json_array_size(list), json_is_true(json_object_get(value, "generation_prompt")));
        bool is_random = json_is_true(json_object_get(value, "random"));
        random += is_random;
        if (status == TERN_OK) {
            if (!wanted || text.size != json_string_length(wanted) ||
                (text.size && memcmp(text.bytes, json_string_value(wanted), text.size) != 0))
                fail_msg("other text than Jinja's for %s", source);
            same++;
        } else {
            if (wanted && !is_random)
                fail_msg("%s for %s", err.message, source);
            refused++;
        }
        json_decref(value);
    }
    free(lines);
    assert_true(same >= 220 && random >= 150);
    assert_true(refused < 40); /* templates that Jinja refuses too, and random ones beyond the subset */
}

/* Errors name what is not understood and its line. */
static void test_errors(void **state) {
    (void)state;
    static const struct {
        const char *source, *message;
        tern_status status;
    } cases[] = {
        {"a\nb {{ x | tojson }}", "line 2: filter \"tojson\" is not supported", TERN_ERR_UNSUPPORTED},
        {"{% macro f() %}", "line 1: tag \"macro\" is not supported", TERN_ERR_UNSUPPORTED},
        {"\n\n{{ strftime_now('%d') }}", "line 3: function \"strftime_now\" is not supported", TERN_ERR_UNSUPPORTED},
        {"{{ messages[0].content.split('x') }}", "line 1: method \"split\" is not supported", TERN_ERR_UNSUPPORTED},
        {"{{ x is mapping }}", "line 1: test \"mapping\" is not supported", TERN_ERR_UNSUPPORTED},
        {"{% if x %}", "line 1: the \"if\" of line 1 is never closed", TERN_ERR_FORMAT},
        {"{% for m in messages %}\nx\n", "the \"for\" of line 1 is never closed", TERN_ERR_FORMAT},
        {"{% endif %}", "line 1: expected a tag that opens something, not \"endif\"", TERN_ERR_FORMAT},
        {"{{ x", "line 1: a tag is never closed", TERN_ERR_FORMAT},
        {"{{ 'x }}", "line 1: a string is never closed", TERN_ERR_FORMAT},
        {"{# x", "line 1: a comment is never closed", TERN_ERR_FORMAT},
        {"{{ 1.5 }}", "line 1: numbers with a fraction are not supported", TERN_ERR_UNSUPPORTED},
        {"{{ ? }}", "line 1: unexpected character '?'", TERN_ERR_FORMAT},
        {"{{ {} }}", "line 1: a dictionary \"{\" is not supported", TERN_ERR_UNSUPPORTED},
        {"{{ 'a' }}\n{{ missing.x }}", "line 2: \"x\" is asked of something undefined", TERN_ERR_FORMAT},
        {"{{ 1 + 'a' }}", "line 1: a number and a string cannot be combined", TERN_ERR_FORMAT},
        {"{{ raise_exception('Only\nusers') }}", "chat template: Only?users", TERN_ERR_ARGUMENT},
        {"{{ 99999999999999999999 }}", "line 1: a number is too large", TERN_ERR_UNSUPPORTED},
        {"{{ messages }}", "line 1: a list cannot be used as text", TERN_ERR_UNSUPPORTED},
        {"{% for a, b in messages %}", "line 1: a for that goes on with \",\" is not supported", TERN_ERR_UNSUPPORTED},
        {"{% for m in messages %}{% else %}{% endfor %}", "in a for loop the tag \"else\" is not",
         TERN_ERR_UNSUPPORTED},
        {"{{ loop.index }}", "\"index\" is asked of something undefined", TERN_ERR_FORMAT},
        {"{% for m in messages %}{{ loop.cycle }}{% endfor %}", "loop.cycle is not supported", TERN_ERR_FORMAT},
    };
    const tern_message message = {"user", "hi"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tern_status status = render(cases[i].source, &message, 1, true);
        if (status != cases[i].status || !strstr(err.message, cases[i].message))
            fail_msg("%s: status %d, \"%s\"", cases[i].source, (int)status, err.message);
        assert_true(strstr(err.message, "chat template") == err.message);
    }
    const tern_message broken = {"user", NULL};
    assert_int_equal(render("{{ 1 }}", &broken, 1, true), TERN_ERR_ARGUMENT);
}

static char *repeat(const char *head, const char *part, size_t n, const char *tail) {
    tern_buffer out = {0};
    tern_buffer_text(&out, head);
    while (n-- > 0)
        tern_buffer_text(&out, part);
    tern_buffer_text(&out, tail);
    return tern_buffer_take(&out, NULL);
}

/* Nothing hangs, overflows the stack or eats the memory. */
static void test_bounds(void **state) {
    (void)state;
    static const struct {
        const char *head, *part;
        size_t n;
        const char *tail;
    } cases[] = {
        {"{{ ", "(", 5000, "1"},
        {"{{ 1", " + 1", 5000, " }}"},
        {"{{ x", ".a", 5000, " }}"},
        {"{{ x", "|trim", 5000, " }}"},
        {"{{ ", "not ", 5000, "x }}"},
        {"{{ ", "-", 5000, "1 }}"},
        {"{{ ", "[", 5000, ""},
        {"{{ 'a'", " 'b'", 5000, " }}"},
        {"{{ 1", " if 1 else 1", 5000, " }}"},
        {"", "{% if 1 %}", 5000, ""},
        {"{% set a = [0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0] %}", "{% for x in a %}", 12,
         "{% endfor %}{% endfor %}{% endfor %}"
         "{% endfor %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}{% endfor "
         "%}"},
        {"{% set a = 'xxxxxxxxxxxxxxxx' %}", "{% set a = a + a %}", 100, "{{ a }}"},
        {"{% set a = 'xxxxxxxxxxxxxxxx' %}", "{% set a = a + a %}", 18,
         "{% for m in [a,a,a,a,a,a,a] %}{{ m }}{{ m }}{% endfor %}{{ a|upper }}{{ a|lower }}"},
        {"{% set a = [1] %}", "{% set a = [a] %}", 20000, "{{ a == a }}"},
        {"x", "y", 2000000, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *source = repeat(cases[i].head, cases[i].part, cases[i].n, cases[i].tail);
        tern_status status = render(source, NULL, 0, false);
        if (status != TERN_ERR_UNSUPPORTED && status != TERN_ERR_FORMAT)
            fail_msg("%.40s...: status %d", source, (int)status);
        free(source);
    }
    /* Looking through the variables is work too. */
    tern_buffer sets = {0};
    for (int i = 0; i < 50000; i++)
        tern_buffer_printf(&sets, "{%% set a%d=1 %%}", i);
    assert_false(sets.failed);
    assert_int_equal(render(sets.bytes, NULL, 0, false), TERN_ERR_UNSUPPORTED);
    tern_buffer_free(&sets);
    /* Long but honest ones work. */
    char *comments = repeat("", "{# c #}", 20000, "x"),
         *chain = repeat("{% if 0 %}", "{% elif 0 %}", 20000, "{% else %}x{% endif %}");
    assert_int_equal(render(comments, NULL, 0, false), TERN_OK);
    assert_string_equal(text.bytes, "x");
    assert_int_equal(render(chain, NULL, 0, false), TERN_OK);
    assert_string_equal(text.bytes, "x");
    free(comments);
    free(chain);
    /* And a long conversation does not run into the limits. */
    const size_t n = 3000;
    tern_message *messages = malloc(n * sizeof *messages);
    char *content = repeat(" ", "word ", 400, "\n");
    for (size_t i = 0; i < n; i++)
        messages[i] = (tern_message){i % 2 ? "assistant" : "user", content};
    assert_int_equal(render(tern_default_template, messages, n, true), TERN_OK);
    assert_true(text.size > n * 1990);
    free(messages);
    free(content);
}

/* The bytes that came out of a message, whatever happened to them, and no others. */
static void check_taint(const char *source, const tern_message *messages, size_t n, const char *wanted,
                        const char *marks) {
    assert_int_equal(render(source, messages, n, false), TERN_OK);
    assert_string_equal(text.bytes, wanted);
    for (size_t i = 0; i < text.size; i++)
        if (taint.bytes[i] != (marks[i] == '^'))
            fail_msg("%s: byte %zu of \"%s\"", source, i, text.bytes);
}

static void test_taint(void **state) {
    (void)state;
    const tern_message messages[] = {{"uSER", "  Hi! \n"}, {"bot", "é\xff"}};
    check_taint(tern_default_template, messages, 1, "User: Hi!<|eot_id|>", "^^^^  ^^^          ");
    check_taint("{% set x = '[' ~ messages[0].content.strip() ~ ']' %}{{ (x + x)[1:6] | upper }}", messages, 2, "HI!][",
                "^^^  ");
    check_taint("{{ 'a' + messages[1].content | upper + 'b' }}", messages, 2,
                "aÉ\xff"
                "b",
                " ^^^ ");
    check_taint("{{ messages[0].content | length }}{{ messages[0].role[0] }}{{ messages[0].name | default('d') }}",
                messages, 2, "7ud", " ^ ");
    check_taint("{{ 'x' if messages[0].content else 'y' }}{{ messages[0].content and 'z' }}", messages, 2, "xz", "  ");
    check_taint("{{ '' ~ messages[0].role }}{{ messages[0].role ~ '' }}", messages, 1, "uSERuSER", "^^^^^^^^");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden), cmocka_unit_test(test_errors),
                                       cmocka_unit_test(test_bounds), cmocka_unit_test(test_taint)};
    return cmocka_run_group_tests(tests, NULL, free_buffers);
}
