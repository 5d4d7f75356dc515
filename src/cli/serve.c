/* tern serve: a model behind OpenAI's HTTP interface, until a signal ends it. */
#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/nvml.h"
#include "cli/command.h"
#include "cli/measure.h"
#include "server/server.h"

typedef struct serve_options {
    const char *host, *api_key_file, *cors, *model_name, *sysfs, *nvml;
    tern_string_list api_keys;
    int64_t port, parallel, queue, kv_bytes, max_body, max_header, max_connections;
    double timeout, read_timeout, ping, drain;
    bool insecure, log_prompts;
    tern_model_options model;
    tern_session_options session;
} serve_options;

#define FIELD(name) offsetof(serve_options, name)
#define MANY ((double)(1LL << 50))

static const tern_option listen_table[] = {
    {"host", 0, TERN_OPTION_STRING, FIELD(host), "HOST", "name or address to listen on; 0.0.0.0 or ::: all of them", 0,
     0, NULL, NULL},
    {"port", 0, TERN_OPTION_INT, FIELD(port), "PORT", "port to listen on; 0: a free one, which is printed", 0, 65535,
     NULL, NULL},
    {"api-key", 0, TERN_OPTION_LIST, FIELD(api_keys), "KEY",
     "clients have to send this key; may be given several times.\nOther users of the machine see command lines: rather "
     "use\n--api-key-file or the variable TERN_API_KEY",
     0, 0, NULL, ""},
    {"api-key-file", 0, TERN_OPTION_FILE, FIELD(api_key_file), "FILE", "the same, one key a line", 0, 0, NULL, NULL},
    {"insecure", 0, TERN_OPTION_FLAG, FIELD(insecure), NULL,
     "listen on other addresses than the loopback without a key", 0, 0, NULL, NULL},
    {"cors", 0, TERN_OPTION_STRING, FIELD(cors), "ORIGIN",
     "let pages of this origin (https://example.org) use the\nserver from a browser; *: all pages", 0, 0, NULL, "none"},
    {"model-name", 0, TERN_OPTION_STRING, FIELD(model_name), "NAME", "what clients call the model", 0, 0, NULL,
     "the model's own"},
    {"sysfs", 0, TERN_OPTION_FILE, FIELD(sysfs), "DIR",
     "where /metrics finds sensors of energy: in a container, the\nhost's /sys", 0, 0, NULL, NULL},
    {"nvml", 0, TERN_OPTION_FILE, FIELD(nvml), "FILE",
     "the library that knows the energy of NVIDIA's cards; none:\nleave them alone", 0, 0, NULL, NULL},
    {0},
};

static const tern_option limit_table[] = {
    {"parallel", 0, TERN_OPTION_INT, FIELD(parallel), "N",
     "requests that are computed at the same time, each with\nits own context (--ctx)", 1, 1024, NULL, NULL},
    {"queue", 0, TERN_OPTION_INT, FIELD(queue), "N", "requests that wait for that; further ones get status 429", 1,
     1 << 20, NULL, NULL},
    {"kv-bytes", 0, TERN_OPTION_INT, FIELD(kv_bytes), "BYTES",
     "memory for the KV caches of all requests and of kept\nprefixes, also as 512M or 2G; requests wait when it is\n"
     "used up",
     1, MANY, NULL, "four contexts, or an eighth of the memory"},
    {"max-body", 0, TERN_OPTION_INT, FIELD(max_body), "BYTES", "largest body of a request", 1024, 1 << 30, NULL, NULL},
    {"max-header", 0, TERN_OPTION_INT, FIELD(max_header), "BYTES", "largest header of a request", 1024, 1 << 20, NULL,
     NULL},
    {"max-connections", 0, TERN_OPTION_INT, FIELD(max_connections), "N",
     "open connections; further ones get status 503", 1, 1 << 20, NULL, NULL},
    {"timeout", 0, TERN_OPTION_FLOAT, FIELD(timeout), "SECONDS", "for a request at most, waiting included", 0.01, 1e6,
     NULL, NULL},
    {"read-timeout", 0, TERN_OPTION_FLOAT, FIELD(read_timeout), "SECONDS",
     "for a request to arrive, and for a connection without one", 0.1, 1e6, NULL, NULL},
    {"ping", 0, TERN_OPTION_FLOAT, FIELD(ping), "SECONDS", "a stream that waits gets a comment so often; 0: never", 0,
     1e6, NULL, NULL},
    {"drain", 0, TERN_OPTION_FLOAT, FIELD(drain), "SECONDS",
     "after SIGTERM or Ctrl-C, answers under way have so long to finish", 0, 1e6, NULL, NULL},
    {"log-prompts", 0, TERN_OPTION_FLAG, FIELD(log_prompts), NULL, "write requests and answers into the log", 0, 0,
     NULL, NULL},
    {0},
};

static const serve_options defaults = {
    .host = "127.0.0.1",
    .port = 8080,
    .parallel = 16,
    .queue = 256,
    .max_body = 4 << 20,
    .max_header = 16 << 10,
    .max_connections = 1024,
    .timeout = 600,
    .read_timeout = 30,
    .ping = 10,
    .drain = 30,
    .sysfs = "/sys",
    .nvml = TERN_NVML_LIBRARY,
    .session = TERN_SESSION_OPTIONS_DEFAULT,
};

enum { MAX_KEYS = 1024, MAX_KEY_FILE = 1 << 20 };

typedef struct key_list {
    const char *keys[MAX_KEYS];
    size_t n;
    char *text; /* of the file, cut into lines; free() */
} key_list;

/* What can stand in a header. The message does not show it: it is a secret. */
static int add_key(key_list *list, const char *key, const char *origin) {
    for (const char *c = key; *c; c++)
        if (*c <= ' ' || *c > '~') {
            tern_cli_usage("serve", "%s: key %zu has a character that no HTTP header may hold, or a blank", origin,
                           list->n + 1);
            return TERN_EXIT_USAGE;
        }
    if (!*key || list->n == MAX_KEYS)
        return tern_cli_usage("serve", *key ? "%s: more than %d keys" : "%s: an empty key", origin, MAX_KEYS);
    list->keys[list->n++] = key;
    return 0;
}

/* Nothing says how a key was made; but one that is short can be guessed by whoever may try for long. */
static void warn_of_keys(const serve_options *options, const key_list *list) {
    enum { SHORT = 16 };
    struct stat info;
    if (options->api_key_file && stat(options->api_key_file, &info) == 0 && S_ISREG(info.st_mode) &&
        info.st_mode & S_IROTH)
        tern_cli_warn("%s: every user of this machine can read the keys in it; chmod 600 it", options->api_key_file);
    if (tern_server_is_loopback(options->host))
        return;
    for (size_t i = 0; i < list->n; i++)
        if (strlen(list->keys[i]) < SHORT) {
            tern_cli_warn(
                "key %zu has fewer than %d characters and can be guessed; openssl rand -hex 32 makes a good one", i + 1,
                SHORT);
            return;
        }
}

static int read_keys(const serve_options *options, key_list *list) {
    const char *variable = getenv("TERN_API_KEY");
    tern_error err;
    size_t n_bytes;
    int status = 0;
    for (size_t i = 0; i < options->api_keys.count && !status; i++)
        status = add_key(list, options->api_keys.items[i], "--api-key");
    if (!status && variable && *variable)
        status = add_key(list, variable, "TERN_API_KEY");
    if (status || !options->api_key_file)
        return status;
    if (tern_read_file(options->api_key_file, MAX_KEY_FILE, &list->text, &n_bytes, &err))
        return tern_cli_error(&err);
    size_t before = list->n;
    char *rest = NULL;
    for (char *line = strtok_r(list->text, "\r\n", &rest); line && !status; line = strtok_r(NULL, "\r\n", &rest))
        status = add_key(list, line, options->api_key_file);
    if (!status && list->n == before)
        return tern_cli_fail("%s: there is no key in it; write one a line", options->api_key_file);
    return status;
}

/* Ctrl-C and SIGTERM end the server politely, a second one at once; the handler only counts. */
static sem_t signalled;

static void on_signal(int number) {
    (void)number;
    int code = errno;
    sem_post(&signalled);
    errno = code;
}

static void watch_signals(void) {
    static const int numbers[] = {SIGINT, SIGTERM};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction old, action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
        sigemptyset(&action.sa_mask);
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN) /* as nohup and shells want it */
            sigaction(numbers[i], &action, NULL);
    }
}

/* Until a signal comes; false when `seconds` went by instead. */
static bool wait_for_signal(double seconds) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    int64_t ns = until.tv_nsec + (int64_t)(seconds * 1e9);
    until.tv_sec += ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    while (sem_timedwait(&signalled, &until))
        if (errno != EINTR)
            return false;
    return true;
}

static void serve_until_signalled(tern_server *server, const serve_options *options) {
    while (!wait_for_signal(3600)) {
    }
    tern_server_drain(server);
    unsigned active = tern_server_active(server);
    if (active)
        fprintf(stderr, "finishing %u requests, for %g s at most\n", active, options->drain);
    double until = tern_seconds() + options->drain;
    while (tern_server_active(server) && tern_seconds() < until && !wait_for_signal(0.02)) {
    }
}

/* Each connection is a file. */
static void raise_file_limit(int64_t n_connections) {
    struct rlimit limit;
    rlim_t wanted = (rlim_t)n_connections + 256;
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur < wanted)
        tern_cli_warn("this process may open %llu files, fewer than --max-connections %lld; see ulimit -n",
                      (unsigned long long)limit.rlim_cur, (long long)n_connections);
}

static int make_config(const serve_options *options, const key_list *keys, tern_server_config *config) {
    tern_session_params session;
    int status = tern_cli_session_params(&options->session, &session);
    if (status)
        return status;
    *config = tern_server_defaults();
    config->host = options->host;
    config->port = (int)options->port;
    config->api_keys = keys->keys;
    config->n_api_keys = keys->n;
    config->cors = options->cors;
    config->model_name = options->model_name;
    config->sysfs = options->sysfs;
    config->nvml = strcmp(options->nvml, "none") == 0 ? NULL : options->nvml;
    config->max_body = (size_t)options->max_body;
    config->max_header = (size_t)options->max_header;
    config->max_connections = (uint32_t)options->max_connections;
    config->timeout = options->timeout;
    config->read_timeout = options->read_timeout;
    config->ping = options->ping;
    config->log_prompts = options->log_prompts;
    config->scheduler.n_ctx = session.n_ctx;
    config->scheduler.chunk = session.chunk;
    config->scheduler.kv_type = session.kv_type;
    config->scheduler.max_running = (uint32_t)options->parallel;
    config->scheduler.max_waiting = (uint32_t)options->queue;
    config->scheduler.kv_bytes = (uint64_t)options->kv_bytes;
    if (keys->n == 0 && !options->insecure && !tern_server_is_loopback(options->host))
        return tern_cli_usage("serve",
                              "--host %s lets other machines in: protect the server with --api-key-file, or say "
                              "--insecure",
                              options->host);
    return 0;
}

static void say_what(const tern_server *server, const tern_model *model, const serve_options *options,
                     const char *path) {
    tern_model_info info;
    char count[32];
    tern_model_get_info(model, &info);
    fprintf(stderr, "serving %s%s: %s parameters, a context of %u tokens, %lld requests at a time\n",
            tern_server_model_name(server), path ? "" : ", the built-in model",
            tern_format_count(count, (double)info.n_params), (unsigned)tern_server_n_ctx(server),
            (long long)options->parallel);
    fprintf(stderr, "listening on %s\n", tern_server_url(server));
}

static int serve(const serve_options *options, const key_list *keys, const char *path) {
    tern_server_config config;
    tern_model *model;
    tern_server *server;
    tern_error err;
    int status = make_config(options, keys, &config);
    if (!status)
        status = tern_cli_load_model(path, &options->model, &model);
    if (status)
        return status;
    raise_file_limit(options->max_connections);
    sem_init(&signalled, 0, 0);
    watch_signals();
    if (tern_server_start(model, &config, &server, &err)) {
        status = tern_cli_error(&err);
    } else {
        say_what(server, model, options, path);
        serve_until_signalled(server, options);
        tern_server_stop(server);
    }
    tern_model_free(model);
    return status;
}

static int run_serve(void *parsed, const char *const *operands, size_t n_operands) {
    const serve_options *options = parsed;
    key_list *keys = calloc(1, sizeof *keys);
    if (!keys)
        return tern_cli_fail("out of memory for the keys");
    int status = read_keys(options, keys);
    if (!status) {
        warn_of_keys(options, keys);
        status = serve(options, keys, n_operands ? operands[0] : NULL);
    }
    free(keys->text);
    free(keys);
    return status;
}

const tern_command tern_command_serve = {
    .name = "serve",
    .operands = "[MODEL]",
    .summary = "serve a model over HTTP, as OpenAI's API does",
    .example = "tern serve model.gguf\n"
               "curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \\\n"
               "    -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Who are you?\"}]}'\n",
    .notes = "A chat in the browser is at /. Endpoints: /v1/chat/completions, /v1/completions, /v1/embeddings,\n"
             "/v1/models, /tokenize, /detokenize, /tokenizer_info, /health, /metrics (docs/SERVER.md, also for those\n"
             "who come from llama-server or vLLM); /openapi.json describes their fields. The log goes to standard\n"
             "error, a JSON object a line. SIGTERM or Ctrl-C lets answers finish; a second one does not.\n",
    .max_operands = 1,
    .groups = {{"Listening", listen_table, 0},
               {"Limits", limit_table, 0},
               {"Model", tern_model_option_table, FIELD(model)},
               {"Threads and memory", tern_placement_option_table, FIELD(model.placement)},
               {"Requests", tern_session_option_table, FIELD(session)}},
    .options_size = sizeof(serve_options),
    .defaults = &defaults,
    .run = run_serve,
};
