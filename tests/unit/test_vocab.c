/* The tokenizer of a checkpoint: which chat template counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "model/demo.h"
#include "model/vocab.h"

static tern_error err;

/* The demo model's tokenizer as if its file carried this template. */
static tern_tokenizer *with_template(const char *source) {
    tern_checkpoint *checkpoint = NULL;
    tern_tokenizer *tokenizer = NULL;
    assert_int_equal(tern_open_model(NULL, &checkpoint, &err), TERN_OK);
    tern_checkpoint changed = *checkpoint;
    changed.chat_template = source;
    assert_int_equal(tern_vocab_from_checkpoint(&changed, &tokenizer, &err), TERN_OK);
    tern_checkpoint_close(checkpoint);
    return tokenizer;
}

static const tern_message hello = {"user", "Hello"};

static void check_rendering(const char *source, const char *wanted) {
    tern_tokenizer *tokenizer = with_template(source);
    char *text = NULL;
    size_t n_bytes;
    assert_int_equal(tern_chat_render(tokenizer, &hello, 1, true, &text, &n_bytes, &err), TERN_OK);
    assert_string_equal(text, wanted);
    tern_free(text);
    tern_tokenizer_free(tokenizer);
}

static void test_templates(void **state) {
    (void)state;
    check_rendering(NULL, "User: Hello<|eot_id|>Assistant: ");
    check_rendering("{{ messages[0]['content'] }}!", "Hello!");
    /* the official GGUF's template is known to be wrong (numerics.md section 7, trap 1) */
    check_rendering("{% for m in messages %}Human: {{ m['content'] }}\n\nBITNETAssistant: {% endfor %}",
                    "User: Hello<|eot_id|>Assistant: ");
}

static void test_unusable_template(void **state) {
    (void)state;
    tern_tokenizer *tokenizer = with_template("{% macro f() %}{% endmacro %}");
    char *text = NULL;
    int32_t *ids = NULL;
    size_t n;
    assert_int_equal(tern_chat_render(tokenizer, &hello, 1, true, &text, &n, &err), TERN_ERR_UNSUPPORTED);
    assert_null(text);
    assert_non_null(strstr(err.message, "demo: the model's chat template cannot be used"));
    assert_non_null(strstr(err.message, "macro"));
    assert_int_equal(tern_chat_tokenize(tokenizer, &hello, 1, true, 0, &ids, &n, &err), TERN_ERR_UNSUPPORTED);
    assert_int_equal(tern_tokenize(tokenizer, "Hello", 5, 0, &ids, &n, &err), TERN_OK);
    tern_free(ids);
    assert_int_equal(tern_tokenizer_set_template(tokenizer, NULL, &err), TERN_OK);
    assert_int_equal(tern_chat_render(tokenizer, &hello, 1, true, &text, &n, &err), TERN_OK);
    tern_free(text);
    tern_tokenizer_free(tokenizer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_templates),
        cmocka_unit_test(test_unusable_template),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
