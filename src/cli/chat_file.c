/* /save and /load: the chat as JSON. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "cli/chat_history.h"

#define MAX_FILE_BYTES ((size_t)16 << 20)
#define MAX_MESSAGES 10000

/* Length of the well-formed UTF-8 character at `at` (Unicode 15, table 3-7);
 * 0 if there is none. The zero byte at the end stops every look ahead. */
static size_t character_length(const unsigned char *at) {
    static const struct {
        unsigned char first, last, second_min, second_max, length;
    } rows[] = {
        {0x01, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (*at < rows[i].first || *at > rows[i].last)
            continue;
        if (rows[i].length > 1 && (at[1] < rows[i].second_min || at[1] > rows[i].second_max))
            return 0;
        for (size_t j = 2; j < rows[i].length; j++)
            if (at[j] < 0x80 || at[j] > 0xbf)
                return 0;
        return rows[i].length;
    }
    return 0;
}

/* JSON holds only UTF-8: U+FFFD for each byte that is none. NULL: no memory. */
static json_t *json_text(const char *text) {
    tern_buffer clean = {0};
    for (const char *at = text; *at;) {
        size_t length = character_length((const unsigned char *)at);
        tern_buffer_append(&clean, length ? at : "\xef\xbf\xbd", length ? length : 3);
        at += length ? length : 1;
    }
    size_t size;
    char *bytes = tern_buffer_take(&clean, &size);
    json_t *string = bytes ? json_stringn(bytes, size) : NULL;
    free(bytes);
    return string;
}

static json_t *history_to_json(const tern_history *history, const char *model) {
    json_t *messages = json_array();
    bool good = messages != NULL;
    for (size_t i = 0; good && i < history->count; i++) {
        json_t *message = json_object();
        good = message && json_object_set_new(message, "role", json_string(history->messages[i].role)) == 0 &&
               json_object_set_new(message, "content", json_text(history->messages[i].content)) == 0;
        if (json_array_append_new(messages, message))
            good = false;
    }
    json_t *root = json_object();
    if (!root || json_object_set_new(root, "model", json_text(model)) || json_object_set(root, "messages", messages))
        good = false;
    json_decref(messages);
    if (good)
        return root;
    json_decref(root);
    return NULL;
}

/* A device or a pipe is written to, not replaced by a file of that name. */
static tern_status write_special(const char *path, const json_t *root, tern_error *err) {
    /* a pipe that nobody reads must not hang the chat; once open, it may make us wait */
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    FILE *file = fd < 0 || fcntl(fd, F_SETFL, 0) ? NULL : fdopen(fd, "w");
    if (!file) {
        tern_fail(err, TERN_ERR_IO, "%s: cannot write: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return TERN_ERR_IO;
    }
    errno = 0;
    bool bad = json_dumpf(root, file, JSON_INDENT(2)) || fputc('\n', file) == EOF || fflush(file);
    int code = errno;
    if (fclose(file) && !bad) {
        bad = true;
        code = errno;
    }
    return bad ? tern_fail(err, TERN_ERR_IO, "%s: cannot write: %s", path, strerror(code ? code : EIO)) : TERN_OK;
}

static tern_status write_regular(const char *path, const json_t *root, tern_error *err) {
    tern_writer writer;
    tern_status status = tern_writer_open(path, &writer, err);
    if (status)
        return status;
    errno = 0;
    if (json_dumpf(root, writer.file, JSON_INDENT(2)) || fputc('\n', writer.file) == EOF) {
        status = tern_fail(err, TERN_ERR_IO, "%s: cannot write: %s", path, strerror(errno ? errno : EIO));
        tern_writer_abort(&writer);
        return status;
    }
    return tern_writer_commit(&writer, err);
}

tern_status tern_history_save(const tern_history *history, const char *model, const char *path, tern_error *err) {
    struct stat info;
    bool exists = stat(path, &info) == 0;
    if (exists && S_ISDIR(info.st_mode))
        return tern_fail(err, TERN_ERR_IO, "%s: is a directory: name a file", path);
    json_t *root = history_to_json(history, model);
    if (!root)
        return tern_fail_memory(err, "the chat's file");
    tern_status status =
        exists && !S_ISREG(info.st_mode) ? write_special(path, root, err) : write_regular(path, root, err);
    json_decref(root);
    return status;
}

static tern_status read_messages(const json_t *array, const char *path, tern_history *history, tern_error *err) {
    static const char *const roles[] = {"system", "user", "assistant"};
    size_t n = json_array_size(array);
    if (!json_is_array(array))
        return tern_fail(err, TERN_ERR_FORMAT, "%s: not a chat: no array of messages, as /save writes it", path);
    if (n > MAX_MESSAGES)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: %zu messages, more than %d", path, n, MAX_MESSAGES);
    for (size_t i = 0; i < n; i++) {
        const json_t *message = json_array_get(array, i), *content = json_object_get(message, "content");
        const char *name = json_string_value(json_object_get(message, "role")), *role = NULL;
        for (size_t j = 0; name && j < sizeof roles / sizeof *roles; j++)
            if (strcmp(name, roles[j]) == 0)
                role = roles[j];
        if (!role)
            return tern_fail(err, TERN_ERR_FORMAT, "%s: message %zu: the role must be system, user or assistant", path,
                             i + 1);
        if (i > 0 && role == roles[0])
            return tern_fail(err, TERN_ERR_FORMAT, "%s: message %zu: a system message can only be the first", path,
                             i + 1);
        if (!json_is_string(content))
            return tern_fail(err, TERN_ERR_FORMAT, "%s: message %zu: the content must be a string", path, i + 1);
        if (!tern_history_add(history, role, json_string_value(content), json_string_length(content)))
            return tern_fail_memory(err, path);
    }
    return TERN_OK;
}

tern_status tern_history_load(tern_history *history, const char *path, tern_error *err) {
    char *text;
    size_t size;
    if (strcmp(path, "-") == 0)
        return tern_fail(err, TERN_ERR_ARGUMENT, "-: the chat cannot come from standard input: name a file");
    tern_status status = tern_read_regular(path, MAX_FILE_BYTES, &text, &size, err);
    if (status)
        return status;
    json_error_t json_error;
    json_t *root = tern_json_load(text, size, JSON_REJECT_DUPLICATES, &json_error);
    free(text);
    if (!root)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: line %d: not JSON: %s", path, json_error.line, json_error.text);
    tern_history loaded = {0};
    status = read_messages(json_is_object(root) ? json_object_get(root, "messages") : root, path, &loaded, err);
    json_decref(root);
    if (status) {
        tern_history_free(&loaded);
        return status;
    }
    tern_history_free(history);
    *history = loaded;
    return TERN_OK;
}
