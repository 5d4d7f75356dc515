/* Lines of a growing file, like tail -F: it may be rotated (renamed and made anew), truncated, or not exist yet. */
#ifndef FOLLOW_H
#define FOLLOW_H

#include <stdbool.h>
#include <sys/types.h>

enum { MAX_LINE = 4096 }; /* bytes of a line that are kept */

typedef struct follower {
    const char *path;
    int fd; /* -1: not open */
    dev_t device;
    ino_t inode;
    off_t offset;            /* of the next byte to read */
    char line[MAX_LINE + 1]; /* what there is of a line */
    size_t n_line;
    char buffer[4096]; /* read, not yet looked at: [at, n_buffer) */
    size_t at, n_buffer;
} follower;

/* `at_end`: what is in the file now is not of interest. */
void follow_open(follower *f, const char *path, bool at_end);
/* The next whole line, without its end, or NULL if there is none now. Valid until the next call. */
const char *follow_next(follower *f);
void follow_close(follower *f);

#endif
