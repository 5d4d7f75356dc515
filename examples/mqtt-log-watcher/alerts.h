/* Which lines of a log are worth an alert: rules first, then limits. */
#ifndef ALERTS_H
#define ALERTS_H

#include <regex.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum severity { SEVERITY_INFO = 0, SEVERITY_WARNING, SEVERITY_ERROR, SEVERITY_CRITICAL } severity;

extern const char *const severity_names[]; /* "info", "warning", "error", "critical" */

enum { N_RULES = 6, N_SEEN = 512 };

typedef struct rules {
    struct {
        regex_t regex;
        severity severity; /* SEVERITY_INFO: never mind */
    } rows[N_RULES];
    int n;
} rules;

/* The built-in rules; `match` (may be NULL) makes a line an error, `ignore` makes it none. On failure the reason is in
 * why [n_why], and nothing is to be freed. */
bool rules_create(rules *r, const char *match, const char *ignore, char *why, size_t n_why);
void rules_free(rules *r);
severity rules_judge(const rules *r, const char *line);

/* The same line again and again, and too many of them at all. */
typedef struct limits {
    double window;     /* seconds for which a line that came is not told again, whatever its numbers; 0: always */
    double per_minute; /* alerts */
    double tokens, last;
    uint64_t n_dropped; /* since the last alert: by the rate */
    struct seen {
        uint64_t key;
        double since;
        uint64_t n; /* that were not told since then */
    } seen[N_SEEN];
} limits;

void limits_create(limits *l, double window, double per_minute, double now);
/* May this line, at `now` in seconds, be told? *n_same: how many like it were not told since the last time. */
bool limits_allow(limits *l, const char *line, double now, uint64_t *n_same);

#endif
