/* tern tokenize: text -> ids and back. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/json.h"
#include "base/str.h"
#include "cli/prompt.h"

typedef struct tokenize_options {
    const char *prompt, *file, *jsonl;
    bool no_bos, no_special, json, decode, count;
} tokenize_options;

#define FIELD(name) offsetof(tokenize_options, name)

static const tern_option tokenize_table[] = {
    {"prompt", 'p', TERN_OPTION_STRING, FIELD(prompt), "TEXT", "the text", 0, 0, NULL, NULL},
    {"file", 'f', TERN_OPTION_FILE, FIELD(file), "FILE",
     "read the text from FILE, every byte of it; - is standard\ninput", 0, 0, NULL, NULL},
    {"no-bos", 0, TERN_OPTION_FLAG, FIELD(no_bos), NULL,
     "no BOS token in front; with --decode: a BOS in front\nis written out too", 0, 0, NULL, NULL},
    {"no-special", 0, TERN_OPTION_FLAG, FIELD(no_special), NULL,
     "special tokens written in the text stay plain text;\nwith --decode: they are left out", 0, 0, NULL, NULL},
    {"decode", 0, TERN_OPTION_FLAG, FIELD(decode), NULL, "the text is a list of ids: write the bytes they stand for", 0,
     0, NULL, NULL},
    {"count", 0, TERN_OPTION_FLAG, FIELD(count), NULL, "print only the number of tokens", 0, 0, NULL, NULL},
    {"json", 0, TERN_OPTION_FLAG, FIELD(json), NULL, "print a JSON array (with --count: an object)", 0, 0, NULL, NULL},
    {"jsonl", 0, TERN_OPTION_FILE, FIELD(jsonl), "FILE",
     "read JSON lines (kind text, special, bytes or chat) and\nprint one JSON array of ids for each", 0, 0, NULL, NULL},
    {0},
};

static const tokenize_options defaults = {0};

static void print_ids(const int32_t *ids, size_t n, bool json) {
    /* by hand: printf() for each id would dominate the time for a book */
    char digits[16];
    if (json)
        putchar('[');
    for (size_t i = 0; i < n; i++) {
        char *at = digits + sizeof digits;
        uint32_t value = (uint32_t)ids[i];
        do
            *--at = (char)('0' + value % 10);
        while (value /= 10);
        if (i)
            fputs(json ? ", " : " ", stdout);
        fwrite(at, 1, (size_t)(digits + sizeof digits - at), stdout);
    }
    fputs(json ? "]\n" : "\n", stdout);
}

static int encode(const tern_tokenizer *tokenizer, const tokenize_options *options, const char *text, size_t n_bytes) {
    unsigned flags = (options->no_bos ? 0 : TERN_TOKENIZE_BOS) | (options->no_special ? 0 : TERN_TOKENIZE_SPECIAL);
    tern_error err;
    int32_t *ids;
    size_t n;
    if (tern_tokenize(tokenizer, text, n_bytes, flags, &ids, &n, &err))
        return tern_cli_error(&err);
    if (options->count)
        printf(options->json ? "{\"tokens\": %zu, \"bytes\": %zu}\n" : "%zu tokens, %zu bytes\n", n, n_bytes);
    else
        print_ids(ids, n, options->json);
    tern_free(ids);
    return 0;
}

/* What encode() made with the same options comes back as the same bytes: the
 * BOS that it adds is taken off again. */
static int decode(const tern_tokenizer *tokenizer, const tokenize_options *options, const char *text, size_t n_bytes) {
    tern_error err;
    int32_t *ids = NULL;
    size_t n = 0, size;
    const char *bad;
    char *bytes;
    size_t vocab_size = tern_tokenizer_vocab_size(tokenizer);
    if (strlen(text) != n_bytes)
        return tern_cli_fail("--decode: not a list of token ids: zero byte at %zu", strlen(text));
    if (!tern_parse_int_list(text, 0, (int64_t)vocab_size - 1, &ids, &n, &bad))
        return bad ? tern_cli_fail("--decode: not a list of token ids below %zu, at '%.20s'", vocab_size, bad)
                   : tern_cli_fail("out of memory for the ids");
    size_t first = !options->no_bos && n && ids[0] == tern_tokenizer_bos(tokenizer);
    tern_status status =
        n > first ? tern_detokenize(tokenizer, ids + first, n - first, options->no_special, &bytes, &size, &err) : 0;
    if (!status && n > first) {
        fwrite(bytes, 1, size, stdout);
        tern_free(bytes);
    }
    free(ids);
    return status ? tern_cli_error(&err) : 0;
}

/* ------------------------------------------------------------------ JSON lines */

static int hex_digit(char digit) {
    const char *digits = "0123456789abcdef", *at = digit ? strchr(digits, digit | 0x20) : NULL;
    return at && digit > ' ' ? (int)(at - digits) : -1;
}

static tern_status line_bytes(const tern_tokenizer *tokenizer, const json_t *line, int32_t **ids, size_t *n,
                              tern_error *err) {
    const char *hex = json_string_value(json_object_get(line, "hex"));
    size_t size = hex ? strlen(hex) : 1;
    if (size % 2)
        return tern_fail(err, TERN_ERR_FORMAT, "\"hex\" must be a string of pairs of hexadecimal digits");
    char *bytes = malloc(size / 2 + 1);
    if (!bytes)
        return tern_fail_memory(err, "the line's bytes");
    tern_status status = TERN_OK;
    for (size_t i = 0; i < size / 2 && !status; i++) {
        int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);
        bytes[i] = (char)(high * 16 + low);
        if (high < 0 || low < 0)
            status = tern_fail(err, TERN_ERR_FORMAT, "\"hex\" must be a string of pairs of hexadecimal digits");
    }
    if (!status)
        status = tern_tokenize(tokenizer, bytes, size / 2, 0, ids, n, err);
    free(bytes);
    return status;
}

static tern_status line_plain(const tern_tokenizer *tokenizer, const json_t *line, int32_t **ids, size_t *n,
                              tern_error *err, unsigned flags) {
    const json_t *text = json_object_get(line, "text");
    if (!json_is_string(text))
        return tern_fail(err, TERN_ERR_FORMAT, "\"text\" must be a string");
    return tern_tokenize(tokenizer, json_string_value(text), json_string_length(text), flags, ids, n, err);
}

static tern_status line_text(const tern_tokenizer *tokenizer, const json_t *line, int32_t **ids, size_t *n,
                             tern_error *err) {
    return line_plain(tokenizer, line, ids, n, err, 0);
}

static tern_status line_special(const tern_tokenizer *tokenizer, const json_t *line, int32_t **ids, size_t *n,
                                tern_error *err) {
    return line_plain(tokenizer, line, ids, n, err, TERN_TOKENIZE_SPECIAL);
}

static tern_status line_chat(const tern_tokenizer *tokenizer, const json_t *line, int32_t **ids, size_t *n_ids,
                             tern_error *err) {
    const json_t *array = json_object_get(line, "messages");
    size_t n = json_array_size(array);
    if (!json_is_array(array))
        return tern_fail(err, TERN_ERR_FORMAT, "\"messages\" must be an array");
    tern_message *messages = calloc(n + 1, sizeof *messages);
    if (!messages)
        return tern_fail_memory(err, "the line's messages");
    tern_status status = TERN_OK;
    for (size_t i = 0; i < n && !status; i++) {
        const json_t *message = json_array_get(array, i), *content = json_object_get(message, "content");
        messages[i].role = json_string_value(json_object_get(message, "role"));
        messages[i].content = json_string_value(content);
        if (!messages[i].role || !messages[i].content || strlen(messages[i].content) != json_string_length(content))
            status = tern_fail(err, TERN_ERR_FORMAT, "message %zu: role and content must be strings without zero bytes",
                               i + 1);
    }
    if (!status)
        status = tern_chat_tokenize(tokenizer, messages, n, json_is_true(json_object_get(line, "generation_prompt")),
                                    TERN_TOKENIZE_BOS | TERN_TOKENIZE_SPECIAL, ids, n_ids, err);
    free(messages);
    return status;
}

static const struct {
    const char *name;
    tern_status (*encode)(const tern_tokenizer *, const json_t *line, int32_t **ids, size_t *n, tern_error *err);
} kinds[] = {{"text", line_text}, {"special", line_special}, {"bytes", line_bytes}, {"chat", line_chat}};

static tern_status encode_line(const tern_tokenizer *tokenizer, const char *text, size_t n_bytes, int32_t **ids,
                               size_t *n, tern_error *err) {
    json_error_t json_error;
    json_t *line = tern_json_load(text, n_bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &json_error);
    if (!line)
        return tern_fail(err, TERN_ERR_FORMAT, "not JSON: %s", json_error.text);
    const char *kind = json_string_value(json_object_get(line, "kind"));
    tern_status status = tern_fail(err, TERN_ERR_FORMAT, "\"kind\" must be text, special, bytes or chat");
    for (size_t i = 0; kind && i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kind, kinds[i].name) == 0)
            status = kinds[i].encode(tokenizer, line, ids, n, err);
    json_decref(line);
    return status;
}

static int encode_jsonl(const tern_tokenizer *tokenizer, const char *path) {
    bool is_stdin = strcmp(path, "-") == 0;
    const char *name = is_stdin ? "standard input" : path;
    FILE *file = is_stdin ? stdin : fopen(path, "re");
    if (!file)
        return tern_cli_fail("%s: cannot open: %s", path, strerror(errno));
    char *text = NULL;
    size_t capacity = 0, number = 0;
    ssize_t length;
    int result = 0;
    errno = 0;
    while (!result && (length = getline(&text, &capacity, file)) >= 0) {
        tern_error err;
        int32_t *ids = NULL;
        size_t n = 0;
        number++;
        if (strspn(text, " \t\r\n") == (size_t)length)
            continue;
        if (encode_line(tokenizer, text, (size_t)length, &ids, &n, &err)) {
            result = tern_cli_fail("%s: line %zu: %s", name, number, err.message);
        } else {
            print_ids(ids, n, true);
            tern_free(ids);
        }
    }
    if (!result && !feof(file))
        result = tern_cli_fail("%s: cannot read: %s", name, strerror(errno ? errno : EIO));
    free(text);
    if (!is_stdin)
        fclose(file);
    return result;
}

/* --------------------------------------------------------------------- command */

static int check(const tokenize_options *options) {
    if (options->jsonl && (options->prompt || options->file || options->decode || options->count))
        return tern_cli_usage("tokenize", "--jsonl stands alone, without -p, -f, --decode and --count");
    if (options->jsonl && (options->no_bos || options->no_special))
        return tern_cli_usage("tokenize", "--jsonl: the kind of each line says what --no-bos and --no-special would");
    if (options->decode && (options->json || options->count))
        return tern_cli_usage("tokenize", "--decode writes bytes: it goes without --json and --count");
    return 0;
}

static int tokenize(const tern_tokenizer *tokenizer, const tokenize_options *options) {
    if (options->jsonl)
        return encode_jsonl(tokenizer, options->jsonl);
    char *text;
    size_t n_bytes;
    int status = tern_cli_read_text("tokenize", options->prompt, options->file, &text, &n_bytes);
    if (status)
        return status;
    status = (options->decode ? decode : encode)(tokenizer, options, text, n_bytes);
    free(text);
    return status;
}

static int run_tokenize(void *memory, const char *const *operands, size_t n_operands) {
    tokenize_options options = *(tokenize_options *)memory;
    const char *path = NULL;
    for (size_t i = 0; i < n_operands; i++) {
        if (strcmp(operands[i], "-") == 0 && !options.file)
            options.file = "-";
        else if (!path)
            path = operands[i];
        else
            return tern_cli_usage("tokenize", "'%s' is one argument too many; text goes behind -p", operands[i]);
    }
    int status = check(&options);
    if (status)
        return status;
    if (path && strcmp(path, "demo") != 0) {
        tern_error err;
        tern_tokenizer *tokenizer;
        char *found;
        if ((status = tern_cli_find_model(path, &found)))
            return status;
        tern_status failed = tern_tokenizer_load(found, &tokenizer, &err);
        free(found);
        if (failed)
            return tern_cli_error(&err);
        status = tokenize(tokenizer, &options);
        tern_tokenizer_free(tokenizer);
    } else {
        tern_model *model;
        status = tern_cli_load_model(NULL, NULL, &model);
        if (status)
            return status;
        status = tokenize(tern_model_tokenizer(model), &options);
        tern_model_free(model);
    }
    return status;
}

const tern_command tern_command_tokenize = {
    .name = "tokenize",
    .operands = "[MODEL] [-]",
    .summary = "turn text into token ids, and back",
    .example = "tern tokenize model.gguf -p \"Hello, world!\"\n"
               "tern tokenize tokenizer.json -f book.txt --count\n"
               "tern tokenize model.gguf -f book.txt | tern tokenize model.gguf --decode > copy.txt\n",
    .notes = "MODEL may also be only a tokenizer: tokenizer.json or a tiktoken tokenizer.model.\n"
             "With no -p and no -f the text comes from standard input. --decode reads ids separated by\n"
             "blanks, commas or newlines, or a JSON array.\n",
    .max_operands = 2,
    .groups = {{"Options", tokenize_table, 0}},
    .options_size = sizeof(tokenize_options),
    .defaults = &defaults,
    .run = run_tokenize,
};
