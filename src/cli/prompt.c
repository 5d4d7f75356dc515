#include "cli/prompt.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"

#define MAX_PROMPT_BYTES ((size_t)64 << 20)
#define MAX_TEXT_BYTES ((size_t)1 << 30)

static const char default_prompt[] = "Once upon a time";

static void drop_last_newline(char *text, size_t *size) {
    if (*size && text[*size - 1] == '\n')
        --*size;
    if (*size && text[*size - 1] == '\r')
        --*size;
    text[*size] = 0;
}

int tern_cli_read_prompt(const char *text, const char *file, bool demo, tern_prompt *prompt) {
    tern_error err;
    char *read = NULL;
    size_t size = 0;
    bool given = text || file;
    *prompt = (tern_prompt){0};
    if (!given && isatty(STDIN_FILENO)) {
        if (!demo)
            return tern_cli_usage("run", "no prompt: give one with -p TEXT, -f FILE or on standard input");
    } else if (!given && fcntl(STDIN_FILENO, F_GETFD) >= 0) { /* a closed standard input is an empty one */
        file = "-";
    }
    if (file) {
        if (tern_read_file(file, MAX_PROMPT_BYTES, &read, &size, &err))
            return tern_cli_error(&err);
        drop_last_newline(read, &size);
    }
    prompt->is_default = demo && !given && size == 0;
    if (prompt->is_default)
        text = default_prompt;

    tern_buffer buffer = {0};
    if (text)
        tern_buffer_text(&buffer, text);
    if (text && size && buffer.size && buffer.bytes[buffer.size - 1] != '\n')
        tern_buffer_text(&buffer, "\n");
    tern_buffer_append(&buffer, read, size);
    free(read);
    prompt->text = tern_buffer_take(&buffer, &prompt->size);
    return prompt->text ? 0 : tern_cli_fail("out of memory for the prompt");
}

int tern_cli_read_text(const char *command, const char *text, const char *file, char **bytes, size_t *n_bytes) {
    tern_error err;
    if (text && file)
        return tern_cli_usage(command, "give either -p or -f, not both");
    if (text) {
        *bytes = strdup(text);
        *n_bytes = strlen(text);
        return *bytes ? 0 : tern_cli_fail("out of memory for the text");
    }
    if (!file && isatty(STDIN_FILENO))
        return tern_cli_usage(command, "no text: give it with -p TEXT, -f FILE or on standard input");
    if (tern_read_file(file ? file : "-", MAX_TEXT_BYTES, bytes, n_bytes, &err))
        return tern_cli_error(&err);
    return 0;
}
