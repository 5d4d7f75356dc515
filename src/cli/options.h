/* Command-line options as tables. A command keeps its settings in one struct;
 * each row says where the value of an option goes in it, what values are
 * allowed and how to explain it. Parsing, --help, the completions and the test
 * of the man page all read the same rows. */
#ifndef TERN_CLI_OPTIONS_H
#define TERN_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef enum tern_option_kind {
    TERN_OPTION_FLAG = 0, /* bool: no value, sets true */
    TERN_OPTION_STRING,   /* const char *: belongs to argv; NULL when not given */
    TERN_OPTION_FILE,     /* as STRING, completed as a file name */
    TERN_OPTION_INT,      /* int64_t in [min, max]; one whose argument is BYTES also as 64K, 512M, 2G */
    TERN_OPTION_FLOAT,    /* double in [min, max]; NaN and infinities are refused */
    TERN_OPTION_ENUM,     /* int: the value of the choice */
    TERN_OPTION_LIST,     /* tern_string_list: may be given several times */
} tern_option_kind;

typedef struct tern_choice {
    const char *name;
    int value;
    bool hidden; /* another spelling: accepted, not listed */
} tern_choice;

#define TERN_STRING_LIST_MAX 64

typedef struct tern_string_list {
    const char *items[TERN_STRING_LIST_MAX]; /* belong to argv */
    size_t count;
} tern_string_list;

/* One row; a table ends with a row whose name is NULL. */
typedef struct tern_option {
    const char *name; /* without the dashes */
    char letter;      /* 0: no short form */
    tern_option_kind kind;
    size_t offset;              /* of the value in the group's struct */
    const char *argument;       /* "N", "TEXT"; NULL for a flag */
    const char *help;           /* one or a few lines, with the unit */
    double min, max;            /* INT and FLOAT */
    const tern_choice *choices; /* ENUM; ends with a NULL name */
    const char *default_text;   /* in the help instead of the default value; "" for none */
} tern_option;

/* A titled table whose values go into a struct at `offset` of the command's
 * struct, so that commands can share tables. */
typedef struct tern_option_group {
    const char *title;
    const tern_option *options;
    size_t offset;
} tern_option_group;

#define TERN_MAX_GROUPS 8

/* Read one value of `option` into `field`, a pointer to its C type. `where`
 * stands in the message ("run", "chat"). 0, or 2 after an error line on stderr. */
int tern_option_set(const tern_option *option, const char *value, const char *where, void *field);

/* Parse whole decimal numbers; false for anything else, overflow included. */
bool tern_parse_int(const char *text, int64_t *value);
/* The same for finite numbers. */
bool tern_parse_float(const char *text, double *value);
/* "1,2,3" (also blanks, newlines and one pair of brackets around, so that a
 * JSON array is read too) -> *list [*n], each within [min, max], freed with
 * free(). False, with nothing allocated, for anything else; an empty list is
 * fine (*list may then be NULL). *bad is set to the offending place in text,
 * NULL when there was no memory. */
bool tern_parse_int_list(const char *text, int64_t min, int64_t max, int32_t **list, size_t *n, const char **bad);

#endif
