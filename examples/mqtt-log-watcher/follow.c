#include "follow.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool open_file(follower *f) {
    struct stat st;
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f->fd < 0)
        return false;
    if (fstat(f->fd, &st)) {
        follow_close(f);
        return false;
    }
    f->device = st.st_dev;
    f->inode = st.st_ino;
    f->offset = 0;
    return true;
}

void follow_open(follower *f, const char *path, bool at_end) {
    *f = (follower){.path = path, .fd = -1};
    if (!open_file(f) || !at_end)
        return;
    off_t end = lseek(f->fd, 0, SEEK_END);
    f->offset = end > 0 ? end : 0;
}

void follow_close(follower *f) {
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

/* More bytes into the buffer, which is used up. A file that became shorter is read from its beginning; one that was
 * cut and has grown beyond the old place since the last look cannot be told from one that only grew. */
static bool read_more(follower *f) {
    struct stat st;
    if (fstat(f->fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size < f->offset) {
        f->offset = lseek(f->fd, 0, SEEK_SET);
        f->n_line = 0;
    }
    ssize_t n = read(f->fd, f->buffer, sizeof f->buffer);
    f->at = 0;
    f->n_buffer = n > 0 ? (size_t)n : 0;
    f->offset += n > 0 ? n : 0;
    return n > 0;
}

/* Is there another file at the path now? */
static bool is_rotated(const follower *f) {
    struct stat st;
    return stat(f->path, &st) == 0 && (st.st_dev != f->device || st.st_ino != f->inode);
}

static const char *end_line(follower *f) {
    while (f->n_line && f->line[f->n_line - 1] == '\r')
        f->n_line--;
    f->line[f->n_line] = 0;
    f->n_line = 0;
    return f->line;
}

const char *follow_next(follower *f) {
    if (f->fd < 0 && !open_file(f))
        return NULL;
    for (;;) {
        while (f->at < f->n_buffer) {
            char c = f->buffer[f->at++];
            if (c == '\n')
                return end_line(f);
            if (f->n_line < MAX_LINE) /* the rest of a longer line is left out */
                f->line[f->n_line++] = c;
        }
        if (read_more(f))
            continue;
        /* At the end. What was written between that and the rotation is still there to be read. */
        if (!is_rotated(f) || read_more(f)) {
            if (f->at < f->n_buffer)
                continue;
            return NULL;
        }
        follow_close(f);
        bool opened = open_file(f);
        if (f->n_line) /* the old file's last line had no end */
            return end_line(f);
        if (!opened)
            return NULL;
    }
}
