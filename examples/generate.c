/*
 * Load a model and stream a text: all that a program needs of libtern.
 *
 *     cc generate.c $(pkg-config --cflags --libs tern) -o generate
 *     ./generate [MODEL [PROMPT]]
 */
#include <stdio.h>
#include <string.h>

#include <tern/tern.h>

/* Called with whole characters as they come; false would stop. */
static bool on_text(void *user, const char *text, size_t n_bytes, int32_t id) {
    (void)id;
    return fwrite(text, 1, n_bytes, user) == n_bytes && fflush(user) == 0;
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : NULL; /* NULL: the model that is built into the library */
    const char *prompt = argc > 2 ? argv[2] : "Once upon a time";
    tern_error err;
    tern_model *model = NULL;
    tern_session *session = NULL;
    tern_generate_params params = tern_generate_defaults();
    params.max_tokens = 40;
    params.sampler.temperature = 0; /* greedy: the same text every time, everywhere */

    tern_status status = tern_model_load(path, NULL, &model, &err);
    if (!status)
        status = tern_session_create(model, NULL, &session, &err);
    if (!status) {
        fputs(prompt, stdout);
        status = tern_generate(session, prompt, strlen(prompt), &params, on_text, stdout, NULL, &err);
        putchar('\n');
    }
    if (status)
        fprintf(stderr, "generate: %s\n", err.message);
    tern_session_free(session); /* both accept NULL, so one way out serves every failure */
    tern_model_free(model);
    return status ? 1 : 0;
}
