/*
 * Follow a log; tell an MQTT broker what is wrong, in the words of a language model.
 *
 *     log-watcher --model model.gguf --host broker /var/log/syslog
 *
 * Rules choose the lines, limits keep repetitions and floods away, the model says how bad a line is and what it means
 * (README.md). One thread: lines are not read while more than MAX_UNSENT alerts wait for the broker, so that the log
 * itself is the queue of what has not arrived yet.
 */
#include <getopt.h>
#include <jansson.h>
#include <mosquitto.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "classify.h"
#include "follow.h"

enum { MAX_UNSENT = 1000, MAX_TOPIC = 200, KEEPALIVE = 60 };

typedef struct options {
    const char *file, *model, *host, *topic, *user, *id, *ca_file, *cert, *key, *match, *ignore;
    int port, n_threads;
    double window, per_minute;
    bool no_model, all, from_start;
} options;

typedef struct watcher {
    options options;
    classifier classifier;
    rules rules;
    limits limits;
    follower follower;
    struct mosquitto *mosquitto;
    char alert_topic[MAX_TOPIC + 16], last_topic[MAX_TOPIC + 16], status_topic[MAX_TOPIC + 16];
    uint64_t n_published, n_arrived; /* messages */
    bool connected;
    double retry_at, retry_after; /* seconds */
} watcher;

static volatile sig_atomic_t ended;

static void on_signal(int number) {
    (void)number;
    ended = 1;
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ------------------------------------------------------------------- mqtt */

/* QoS 1: while there is no connection libmosquitto keeps it and sends it after the next one. */
static void publish(watcher *w, const char *topic, const char *text, bool retain) {
    int rc = mosquitto_publish(w->mosquitto, NULL, topic, (int)strlen(text), text, 1, retain);
    if (rc == MOSQ_ERR_SUCCESS || rc == MOSQ_ERR_NO_CONN || rc == MOSQ_ERR_CONN_LOST)
        w->n_published++;
    else
        fprintf(stderr, "log-watcher: %s: cannot publish: %s\n", topic, mosquitto_strerror(rc));
}

static void on_connect(struct mosquitto *mosquitto, void *user, int code) {
    watcher *w = user;
    (void)mosquitto;
    if (code) {
        fprintf(stderr, "log-watcher: %s:%d: %s\n", w->options.host, w->options.port, mosquitto_connack_string(code));
        return;
    }
    fprintf(stderr, "log-watcher: connected to %s:%d\n", w->options.host, w->options.port);
    w->connected = true;
    w->retry_after = 0.5;
    publish(w, w->status_topic, "online", true);
}

static void on_disconnect(struct mosquitto *mosquitto, void *user, int code) {
    watcher *w = user;
    (void)mosquitto;
    if (w->connected && code)
        fprintf(stderr, "log-watcher: the connection to %s:%d is lost\n", w->options.host, w->options.port);
    w->connected = false;
}

static void on_publish(struct mosquitto *mosquitto, void *user, int id) {
    watcher *w = user;
    (void)mosquitto;
    (void)id;
    w->n_arrived++;
}

/* -> 0, or a code of libmosquitto */
static int set_up_mqtt(watcher *w) {
    const options *o = &w->options;
    mosquitto_lib_init();
    w->mosquitto = mosquitto_new(o->id, true, w);
    if (!w->mosquitto)
        return MOSQ_ERR_NOMEM;
    mosquitto_connect_callback_set(w->mosquitto, on_connect);
    mosquitto_disconnect_callback_set(w->mosquitto, on_disconnect);
    mosquitto_publish_callback_set(w->mosquitto, on_publish);
    int rc = mosquitto_will_set(w->mosquitto, w->status_topic, 7, "offline", 1, true);
    if (!rc && o->user) /* the password is no option: other users of the machine see command lines */
        rc = mosquitto_username_pw_set(w->mosquitto, o->user, getenv("MQTT_PASSWORD"));
    if (!rc && o->ca_file)
        rc = mosquitto_tls_set(w->mosquitto, o->ca_file, NULL, o->cert, o->key, NULL);
    w->retry_after = 0.5;
    return rc;
}

/* Let libmosquitto work for `wait` seconds at most; connect anew when there is no connection, less and less often. */
static void work(watcher *w, double wait) {
    int rc = mosquitto_loop(w->mosquitto, (int)(wait * 1000), 1);
    if (rc == MOSQ_ERR_SUCCESS)
        return;
    w->connected = false;
    double now = seconds();
    if (now >= w->retry_at) {
        rc = mosquitto_connect_async(w->mosquitto, w->options.host, w->options.port, KEEPALIVE);
        if (rc)
            fprintf(stderr, "log-watcher: %s:%d: %s\n", w->options.host, w->options.port, mosquitto_strerror(rc));
        w->retry_at = now + w->retry_after;
        w->retry_after = w->retry_after < 30 ? w->retry_after * 2 : 60;
    } else if (wait > 0) { /* mosquitto_loop() returned at once */
        nanosleep(&(struct timespec){.tv_nsec = 50 * 1000000}, NULL);
    }
}

/* ------------------------------------------------------------------ alerts */

/* The line as UTF-8 without control characters, for JSON and the model. Each byte of what is no UTF-8 becomes '?'. */
static void clean(const char *line, char *out) {
    size_t n = strlen(line);
    for (size_t i = 0; i <= n; i++)
        out[i] = (unsigned char)line[i] < ' ' && line[i] ? ' ' : line[i];
    json_t *test = json_stringn(out, n);
    for (size_t i = 0; i < n && !test; i++)
        if ((unsigned char)out[i] >= 0x7f)
            out[i] = '?';
    json_decref(test);
}

static void send_alert(watcher *w, const char *line, severity by_rules, severity level, const char *summary,
                       uint64_t n_same) {
    char when[32];
    time_t now = time(NULL);
    struct tm utc;
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    json_t *alert = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I}", "time", when, "file", w->options.file,
                              "severity", severity_names[level], "rule", severity_names[by_rules], "summary", summary,
                              "line", line, "repeated", (json_int_t)n_same, "dropped", (json_int_t)w->limits.n_dropped);
    char *text = alert ? json_dumps(alert, JSON_COMPACT) : NULL;
    if (text) {
        publish(w, w->alert_topic, text, false);
        publish(w, w->last_topic, text, true);
        w->limits.n_dropped = 0;
    } else {
        fprintf(stderr, "log-watcher: out of memory: an alert is lost\n");
    }
    free(text);
    json_decref(alert);
}

/* Rules make an alert of a line; the model says what it means and may find it worse, but does not talk it away. Only
 * with --all lines that no rule knows are alerts because of the model alone. */
static void look_at(watcher *w, const char *raw) {
    char line[MAX_LINE + 1], summary[4 * MAX_SUMMARY + 1];
    uint64_t n_same;
    clean(raw, line);
    severity by_rules = rules_judge(&w->rules, line), level = by_rules;
    if (by_rules == SEVERITY_INFO && (!w->options.all || w->options.no_model))
        return;
    if (!limits_allow(&w->limits, line, seconds(), &n_same))
        return;
    const char *said = line;
    tern_error err;
    severity by_model = SEVERITY_INFO;
    if (!w->options.no_model) {
        if (classifier_ask(&w->classifier, line, &by_model, summary, &err))
            fprintf(stderr, "log-watcher: %s\n", err.message);
        else
            said = summary;
    }
    if (by_model > level)
        level = by_model;
    if (level > SEVERITY_INFO)
        send_alert(w, line, by_rules, level, said, n_same);
}

static void watch(watcher *w) {
    while (!ended) {
        const char *line = w->n_published - w->n_arrived < MAX_UNSENT ? follow_next(&w->follower) : NULL;
        if (line)
            look_at(w, line);
        work(w, line ? 0 : 0.1);
    }
    /* What is on its way has a few seconds to arrive. */
    publish(w, w->status_topic, "offline", true);
    for (double end = seconds() + 5; w->n_arrived < w->n_published && seconds() < end;)
        work(w, 0.1);
    mosquitto_disconnect(w->mosquitto);
}

/* ----------------------------------------------------------------- options */

static int usage(int status) {
    fputs("Example:\n"
          "  log-watcher --model model.gguf --host broker /var/log/syslog\n"
          "  mosquitto_sub -h broker -t 'log/#' -v\n\n"
          "Usage: log-watcher [OPTIONS] FILE\n"
          "  --model MODEL        what judges the lines (default: the model that is built in, which cannot)\n"
          "  --no-model           rules alone\n"
          "  --all                let the model judge each line, not only those that a rule picks\n"
          "  --match REGEX        such lines are errors; --ignore REGEX: such lines are none\n"
          "  --window SECONDS     a line like one that was told is not told again for so long (default: 300)\n"
          "  --rate N             alerts a minute at most (default: 30)\n"
          "  --from-start         begin with what is in the file already\n"
          "  --threads N          for the model (default: all)\n"
          "  --host HOST, --port PORT   of the broker (default: localhost, 1883)\n"
          "  --topic TOPIC        publish to TOPIC/alert, TOPIC/last, TOPIC/status (default: log)\n"
          "  --id ID, --user USER       of this client; the password is $MQTT_PASSWORD\n"
          "  --cafile FILE        TLS; with --cert FILE and --key FILE for a certificate of this client\n",
          status ? stderr : stdout);
    return status;
}

static const struct option table[] = {
    {"model", 1, NULL, 'm'},
    {"no-model", 0, NULL, 'M'},
    {"all", 0, NULL, 'a'},
    {"match", 1, NULL, 'x'},
    {"ignore", 1, NULL, 'i'},
    {"window", 1, NULL, 'w'},
    {"rate", 1, NULL, 'r'},
    {"from-start", 0, NULL, 's'},
    {"threads", 1, NULL, 't'},
    {"host", 1, NULL, 'H'},
    {"port", 1, NULL, 'p'},
    {"topic", 1, NULL, 'T'},
    {"id", 1, NULL, 'I'},
    {"user", 1, NULL, 'u'},
    {"cafile", 1, NULL, 'C'},
    {"cert", 1, NULL, 'c'},
    {"key", 1, NULL, 'k'},
    {"help", 0, NULL, 'h'},
    {0},
};

/* A number in [low, high]; false, with a message, if the text is none. */
static bool number(const char *text, double low, double high, double *value) {
    char *end;
    *value = strtod(text, &end);
    if (*text && !*end && *value >= low && *value <= high)
        return true;
    fprintf(stderr, "log-watcher: '%s' is no number from %g to %g\n", text, low, high);
    return false;
}

static bool set_option(options *o, int which) {
    const struct {
        int which;
        const char **text;
    } texts[] = {{'m', &o->model}, {'x', &o->match}, {'i', &o->ignore},  {'H', &o->host}, {'T', &o->topic},
                 {'I', &o->id},    {'u', &o->user},  {'C', &o->ca_file}, {'c', &o->cert}, {'k', &o->key}};
    const struct {
        int which;
        bool *flag;
    } flags[] = {{'M', &o->no_model}, {'a', &o->all}, {'s', &o->from_start}};
    double value = 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (which == texts[i].which) {
            *texts[i].text = optarg;
            return true;
        }
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (which == flags[i].which)
            return *flags[i].flag = true;
    switch (which) {
    case 'w':
        return number(optarg, 0, 1e9, &o->window);
    case 'r':
        return number(optarg, 1, 1e6, &o->per_minute);
    case 'p':
        return number(optarg, 1, 65535, &value) && (o->port = (int)value);
    case 't':
        if (!number(optarg, 0, 1024, &value))
            return false;
        o->n_threads = (int)value;
        return true;
    default:
        return false;
    }
}

/* -> 0: go on; else the exit status, with 1 added */
static int parse(int argc, char **argv, options *o) {
    *o = (options){.host = "localhost", .topic = "log", .port = 1883, .window = 300, .per_minute = 30};
    for (int which; (which = getopt_long(argc, argv, "h", table, NULL)) != -1;) {
        if (which == 'h')
            return usage(0) + 1;
        if (!set_option(o, which))
            return usage(2) + 1;
    }
    if (optind + 1 != argc || strlen(o->topic) > MAX_TOPIC || !o->cert != !o->key || (o->cert && !o->ca_file))
        return usage(2) + 1;
    o->file = argv[optind];
    return 0;
}

static bool set_up(watcher *w) {
    const options *o = &w->options;
    tern_error err;
    char why[200];
    snprintf(w->alert_topic, sizeof w->alert_topic, "%s/alert", o->topic);
    snprintf(w->last_topic, sizeof w->last_topic, "%s/last", o->topic);
    snprintf(w->status_topic, sizeof w->status_topic, "%s/status", o->topic);
    limits_create(&w->limits, o->window, o->per_minute, seconds());
    if (!rules_create(&w->rules, o->match, o->ignore, why, sizeof why)) {
        fprintf(stderr, "log-watcher: the regular expression is wrong: %s\n", why);
        return false;
    }
    follow_open(&w->follower, o->file, !o->from_start); /* what comes while the model is loaded counts */
    if (!o->no_model && classifier_create(&w->classifier, o->model, o->n_threads, &err)) {
        fprintf(stderr, "log-watcher: %s\n", err.message);
        return false;
    }
    int rc = set_up_mqtt(w);
    if (rc)
        fprintf(stderr, "log-watcher: MQTT: %s\n", mosquitto_strerror(rc));
    return rc == MOSQ_ERR_SUCCESS;
}

int main(int argc, char **argv) {
    static watcher w;
    w.follower.fd = -1;
    int status = parse(argc, argv, &w.options);
    if (status)
        return status - 1;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    status = 1;
    if (set_up(&w)) {
        watch(&w);
        status = 0;
    }
    if (w.mosquitto)
        mosquitto_destroy(w.mosquitto);
    mosquitto_lib_cleanup();
    follow_close(&w.follower);
    classifier_free(&w.classifier);
    rules_free(&w.rules);
    return status;
}
