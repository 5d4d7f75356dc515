#include "alerts.h"

#include <ctype.h>
#include <stddef.h>

const char *const severity_names[] = {"info", "warning", "error", "critical"};

#define WORDS(list) "(^|[^a-z])(" list ")([^a-z]|$)"

static const struct {
    const char *regex;
    severity severity;
} built_in[] = {
    /* the first that matches decides */
    {WORDS("(0|no|without) (errors?|failures?|warnings?)|(errors?|failures?|failed|warnings?)[=: ]+0"), SEVERITY_INFO},
    {WORDS("panic|fatal|critical|emerg(ency)?|alert|segfault|segmentation fault|out of memory|oom-killer|data loss"),
     SEVERITY_CRITICAL},
    {WORDS("err|errors?|fail(ed|ure|ures)?|exceptions?|traceback|denied|refused|unreachable|corrupt(ed|ion)?|aborted|"
           "timed out|timeout|cannot|could not|no space left"),
     SEVERITY_ERROR},
    {WORDS("warn|warnings?|deprecated|retry(ing)?|throttl(ed|ing)|degraded|almost full|expires?|slow"),
     SEVERITY_WARNING},
};

static bool add(rules *r, const char *regex, severity level, char *why, size_t n_why) {
    int failed = regcomp(&r->rows[r->n].regex, regex, REG_EXTENDED | REG_ICASE | REG_NOSUB);
    if (failed) {
        regerror(failed, &r->rows[r->n].regex, why, n_why);
        rules_free(r);
        return false;
    }
    r->rows[r->n++].severity = level;
    return true;
}

bool rules_create(rules *r, const char *match, const char *ignore, char *why, size_t n_why) {
    r->n = 0;
    if (ignore && !add(r, ignore, SEVERITY_INFO, why, n_why))
        return false;
    if (match && !add(r, match, SEVERITY_ERROR, why, n_why))
        return false;
    for (size_t i = 0; i < sizeof built_in / sizeof *built_in; i++)
        if (!add(r, built_in[i].regex, built_in[i].severity, why, n_why))
            return false;
    return true;
}

void rules_free(rules *r) {
    while (r->n > 0)
        regfree(&r->rows[--r->n].regex);
}

severity rules_judge(const rules *r, const char *line) {
    for (int i = 0; i < r->n; i++)
        if (regexec(&r->rows[i].regex, line, 0, NULL, 0) == 0)
            return r->rows[i].severity;
    return SEVERITY_INFO;
}

/* FNV-1a of the line, in which each word with a digit in it (times, addresses, counters) is one and the same. */
static uint64_t key_of(const char *line) {
    uint64_t key = 0xcbf29ce484222325u;
    while (*line) {
        const char *end = line;
        bool digits = false;
        while (isalnum((unsigned char)*end))
            digits |= isdigit((unsigned char)*end++) != 0;
        if (end == line)
            end++;
        for (const char *c = line; c < end; c++) {
            key = (key ^ (uint8_t)(digits ? '#' : *c)) * 0x100000001b3u;
            if (digits)
                break;
        }
        line = end;
    }
    return key;
}

void limits_create(limits *l, double window, double per_minute, double now) {
    *l = (limits){.window = window, .per_minute = per_minute, .tokens = per_minute, .last = now};
}

/* The row of a key, or else the one to be used for it: the oldest. */
static struct seen *find(limits *l, uint64_t key) {
    struct seen *oldest = l->seen;
    for (struct seen *s = l->seen; s < l->seen + N_SEEN; s++) {
        if (s->key == key)
            return s;
        if (s->since < oldest->since)
            oldest = s;
    }
    return oldest;
}

bool limits_allow(limits *l, const char *line, double now, uint64_t *n_same) {
    uint64_t key = key_of(line) | 1; /* 0: an empty row */
    struct seen *s = find(l, key);
    *n_same = s->key == key ? s->n : 0;
    if (s->key == key && now - s->since < l->window) {
        s->n++;
        return false;
    }
    l->tokens += (now - l->last) * l->per_minute / 60;
    l->last = now;
    if (l->tokens > l->per_minute)
        l->tokens = l->per_minute;
    if (l->tokens < 1) {
        l->n_dropped++;
        return false;
    }
    l->tokens -= 1;
    *s = (struct seen){.key = key, .since = now};
    return true;
}
