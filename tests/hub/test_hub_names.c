/* Names, redirects and what an unfinished file remembers: the parts of src/hub that ask nobody. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "hub/client.h"
#include "hub/part.h"

typedef struct parsed {
    const char *text, *repo, *revision, *file; /* repo NULL: no name */
} parsed;

static const parsed names[] = {
    {"org/name", "org/name", "main", ""},
    {"gpt2", "gpt2", "main", ""},
    {"microsoft/bitnet-b1.58-2B-4T-gguf", "microsoft/bitnet-b1.58-2B-4T-gguf", "main", ""},
    {"org/name:a/b c.gguf", "org/name", "main", "a/b c.gguf"},
    {"org/name@v1:x@y:z", "org/name", "v1", "x@y:z"},
    {"org/name@refs/pr/1", "org/name", "refs/pr/1", ""},
    {"https://huggingface.co/org/name", "org/name", "main", ""},
    {"hf.co/org/name:i2_s", "org/name", "main", "i2_s"},
    {"", NULL, NULL, NULL},
    {"org/", NULL, NULL, NULL},
    {"/org", NULL, NULL, NULL},
    {"a/b/c", NULL, NULL, NULL},
    {"../b", NULL, NULL, NULL},
    {"a/..", NULL, NULL, NULL},
    {"a/.b", NULL, NULL, NULL},
    {"a--b/c", NULL, NULL, NULL},
    {"a/b@", NULL, NULL, NULL},
    {"a/b@../c", NULL, NULL, NULL},
    {"a/b:", NULL, NULL, NULL},
    {"a/b:../c", NULL, NULL, NULL},
    {"a/b:c/", NULL, NULL, NULL},
    {"a/b:c\n", NULL, NULL, NULL},
    {"https://example.com/org/name", NULL, NULL, NULL},
};

static void parses_names(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        tern_hub_name name;
        tern_error err;
        tern_status status = tern_hub_parse_name(names[i].text, &name, &err);
        assert_int_equal(status, names[i].repo ? TERN_OK : TERN_ERR_ARGUMENT);
        assert_int_equal(tern_hub_looks_like_name(names[i].text), names[i].repo && strchr(names[i].repo, '/'));
        if (status)
            continue;
        assert_string_equal(name.repo, names[i].repo);
        assert_string_equal(name.revision, names[i].revision);
        assert_string_equal(name.file, names[i].file);
    }
}

/* Who may see the token: the hub's own scheme, host and port, and nothing that only looks like them. */
static void keeps_the_token(void **state) {
    char endpoint[] = "https://huggingface.co/mirror", token[] = "hf_secret";
    const tern_hub hub = {.endpoint = endpoint, .token = token};
    static const char *const ours[] = {"https://huggingface.co/x", "https://huggingface.co", "HTTPS://HuggingFace.co?x",
                                       "https://huggingface.co/mirror/x"};
    static const char *const others[] = {"http://huggingface.co/x",
                                         "https://huggingface.co:8443/x",
                                         "https://huggingface.co.evil.com/x",
                                         "https://evil.com/https://huggingface.co/",
                                         "https://huggingface.co@evil.com/",
                                         "https://huggingface.co\\@evil.com/",
                                         "https://huggingface.c",
                                         "https://cdn.huggingface.co/x",
                                         "//huggingface.co/x",
                                         "huggingface.co/x",
                                         ""};
    (void)state;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        assert_ptr_equal(tern_hub_token_for(&hub, ours[i]), token);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_null(tern_hub_token_for(&hub, others[i]));
    assert_true(tern_hub_may_redirect("https://a", "https://b"));
    assert_true(tern_hub_may_redirect("http://a", "https://b"));
    assert_true(tern_hub_may_redirect("http://a", "http://b"));
    assert_false(tern_hub_may_redirect("https://a", "http://b"));
    assert_false(tern_hub_may_redirect("http://a", "file:///etc/passwd"));
    assert_false(tern_hub_may_redirect("https://a", "ftp://b"));
}

static void escapes(void **state) {
    (void)state;
    char *with = tern_hub_escape("a/b c%#?\xc3\xa9.gguf", true), *without = tern_hub_escape("refs/pr/1", false);
    assert_string_equal(with, "a/b%20c%25%23%3F%C3%A9.gguf");
    assert_string_equal(without, "refs%2Fpr%2F1");
    free(with);
    free(without);
}

static void waits_longer_and_longer(void **state) {
    tern_http_request request = {.status = 503};
    (void)state;
    assert_true(tern_hub_delay(&request, 1) == 0.5);
    assert_true(tern_hub_delay(&request, 2) == 1.0);
    assert_true(tern_hub_delay(&request, 100) == 20.0);
    request.retry_after = 7; /* what the hub asks for, if that is longer */
    assert_true(tern_hub_delay(&request, 1) == 7.0);
    assert_true(tern_hub_delay(&request, 100) == 20.0);
    assert_true(tern_hub_is_transient(&request));
    request.status = 429;
    request.retry_after = 3600;
    assert_false(tern_hub_is_transient(&request));
    request.status = 404;
    assert_false(tern_hub_is_transient(&request));
}

/* Chunks written in any order are there for the next process, to the byte. */
static void remembers_what_came(void **state) {
    enum { SIZE = 10000, CHUNK = 3000 };
    char path[] = "/tmp/tern-part-XXXXXX", final[64];
    uint8_t bytes[SIZE], back[SIZE];
    tern_part part;
    tern_error err;
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    close(fd);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)(i * 7);
    assert_int_equal(tern_part_open(path, SIZE, CHUNK, &part, &err), TERN_OK);
    assert_int_equal(part.n_chunks, 4);
    assert_int_equal(tern_part_chunk_size(&part, 3), 1000);
    assert_false(part.resumed);
    assert_int_equal(tern_part_write(&part, 3, bytes + 9000, 1000, &err), TERN_OK);
    assert_int_equal(tern_part_write(&part, 1, bytes + 3000, 100, &err), TERN_OK);
    tern_part_close(&part, false);

    assert_int_equal(tern_part_open(path, SIZE, 1, &part, &err), TERN_OK); /* in the chunks it was begun with */
    assert_true(part.resumed);
    assert_int_equal(part.n_chunks, 4);
    assert_int_equal(tern_part_done(&part), 1100);
    assert_int_equal(part.come[1], 100);
    assert_int_equal(tern_part_write(&part, 1, bytes + 3100, 2900, &err), TERN_OK);
    assert_int_equal(tern_part_write(&part, 0, bytes, 3000, &err), TERN_OK);
    assert_int_equal(tern_part_write(&part, 2, bytes + 6000, 3000, &err), TERN_OK);
    assert_int_equal(tern_part_done(&part), SIZE);
    snprintf(final, sizeof final, "%s.done", path);
    assert_int_equal(tern_part_commit(&part, final, &err), TERN_OK);
    tern_part_close(&part, false);
    FILE *file = fopen(final, "rb");
    assert_non_null(file);
    assert_int_equal(fread(back, 1, SIZE, file), SIZE);
    assert_int_equal(fgetc(file), EOF);
    assert_memory_equal(back, bytes, SIZE);
    fclose(file);
    unlink(final);
    assert_int_not_equal(access(path, F_OK), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses_names),
        cmocka_unit_test(keeps_the_token),
        cmocka_unit_test(escapes),
        cmocka_unit_test(waits_longer_and_longer),
        cmocka_unit_test(remembers_what_came),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
