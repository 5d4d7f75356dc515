#include "train/state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/reader.h"

/* The header, 8 bytes each. */
enum word {
    WORD_MAGIC,
    WORD_VERSION,
    WORD_FILE_BYTES, /* of the whole file, checksum included: a file that was cut off is told from one of damaged bytes
                      */
    WORD_N_ARRAYS,
    WORD_N_VALUES,
    WORD_STEP,
    WORD_TOKENS,
    WORD_SECONDS, /* the bits of a double */
    WORD_LOG_BYTES,
    WORD_UNUSED, /* 0 */
    WORD_DATA_HASH,
    WORD_CONFIG_BYTES,
    N_WORDS
};

enum { VERSION = 1, ALIGNMENT = 64, CHECKSUM_BYTES = 8 };
#define MAX_CONFIG_BYTES ((uint64_t)1 << 20)

static const uint8_t magic[8] = "TERNSTAT";

static uint64_t double_bits(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static double bits_double(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* What follows the header and the configuration: zeros up to the arrays. */
static size_t padding(uint64_t config_bytes) {
    return (size_t)(ALIGNMENT - (N_WORDS * 8 + config_bytes) % ALIGNMENT) % ALIGNMENT;
}

/* False if that is no size a file can have. */
static bool file_bytes(uint64_t config_bytes, uint64_t n_arrays, uint64_t n_values, uint64_t *total) {
    uint64_t values, bytes;
    return config_bytes <= MAX_CONFIG_BYTES && tern_mul_u64(n_arrays, n_values, &values) &&
           tern_mul_u64(values, sizeof(float), &bytes) &&
           tern_add_u64(bytes, N_WORDS * 8 + config_bytes + padding(config_bytes) + CHECKSUM_BYTES, total);
}

static bool path_in(const char *folder, const char *name, char path[static 1024]) {
    return snprintf(path, 1024, "%s/%s", folder, name) < 1024;
}

static tern_status path_too_long(const char *folder, tern_error *err) {
    return tern_fail(err, TERN_ERR_ARGUMENT, "%s: the name of the folder is too long", folder);
}

/* ------------------------------------------------------------------- saving */

typedef struct output {
    FILE *file;
    tern_hash hash;
} output;

static bool put(output *out, const void *bytes, size_t n_bytes) {
    tern_hash_add(&out->hash, bytes, n_bytes);
    return fwrite(bytes, 1, n_bytes, out->file) == n_bytes;
}

static bool write_all(output *out, const uint64_t words[N_WORDS], const char *config, float *const *arrays) {
    static const char zeros[ALIGNMENT];
    uint8_t header[N_WORDS * 8], checksum[CHECKSUM_BYTES];
    tern_hash_start(&out->hash);
    for (size_t i = 0; i < sizeof header; i++)
        header[i] = (uint8_t)(words[i / 8] >> i % 8 * 8);
    memcpy(header, magic, sizeof magic);
    bool good = put(out, header, sizeof header) && put(out, config, (size_t)words[WORD_CONFIG_BYTES]) &&
                put(out, zeros, padding(words[WORD_CONFIG_BYTES]));
    for (uint64_t i = 0; good && i < words[WORD_N_ARRAYS]; i++)
        good = put(out, arrays[i], (size_t)words[WORD_N_VALUES] * sizeof(float));
    uint64_t value = tern_hash_value(&out->hash);
    for (size_t i = 0; i < sizeof checksum; i++)
        checksum[i] = (uint8_t)(value >> i * 8);
    return good && put(out, checksum, sizeof checksum);
}

/* The newest state gets a second name, so that there is never a moment without one. Not every file system has links;
 * there it is renamed. None yet: fine. */
static void keep_previous(const char *newest, const char *previous) {
    char link_name[1024 + 8];
    snprintf(link_name, sizeof link_name, "%s.new", previous);
    unlink(link_name);
    if (link(newest, link_name) == 0) {
        if (rename(link_name, previous))
            unlink(link_name);
    } else if (errno != ENOENT) {
        rename(newest, previous);
    }
}

/* The new names are on the disk, too. */
static tern_status sync_folder(const char *folder, tern_error *err) {
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* EINVAL: a file system that does not sync folders */
    bool bad = fd < 0 || (fsync(fd) && errno != EINVAL);
    int code = errno;
    if (fd >= 0)
        close(fd);
    return bad ? tern_fail(err, TERN_ERR_IO, "%s: cannot sync: %s", folder, strerror(code)) : TERN_OK;
}

tern_status tern_state_save(const char *folder, const tern_train_state *state, float *const *arrays, size_t n_arrays,
                            size_t n_values, tern_error *err) {
    char newest[1024], previous[1024];
    uint64_t words[N_WORDS] = {
        [WORD_VERSION] = VERSION,
        [WORD_N_ARRAYS] = n_arrays,
        [WORD_N_VALUES] = n_values,
        [WORD_STEP] = state->step,
        [WORD_TOKENS] = state->tokens,
        [WORD_SECONDS] = double_bits(state->seconds),
        [WORD_LOG_BYTES] = state->log_bytes,
        [WORD_DATA_HASH] = state->data_hash,
        [WORD_CONFIG_BYTES] = strlen(state->config),
    };
    if (!path_in(folder, TERN_STATE_NAME, newest) || !path_in(folder, TERN_STATE_PREVIOUS, previous))
        return path_too_long(folder, err);
    if (!file_bytes(words[WORD_CONFIG_BYTES], n_arrays, n_values, &words[WORD_FILE_BYTES]))
        return tern_fail(err, TERN_ERR_ARGUMENT, "%s: a state of impossible size", newest);
    tern_writer writer;
    tern_status status = tern_writer_open(newest, &writer, err);
    if (status)
        return status;
    status = tern_writer_check_space(&writer, words[WORD_FILE_BYTES], err);
    output out = {.file = writer.file};
    errno = 0;
    /* all of it is on the disk before the older states are touched */
    if (!status &&
        (!write_all(&out, words, state->config, arrays) || fflush(writer.file) || fsync(fileno(writer.file))))
        status = tern_fail(err, TERN_ERR_IO, "%s: cannot write: %s; the state before it is untouched", newest,
                           errno ? strerror(errno) : "write failed");
    if (status) {
        tern_writer_abort(&writer);
        return status;
    }
    keep_previous(newest, previous);
    status = tern_writer_commit(&writer, err);
    return status ? status : sync_folder(folder, err);
}

/* ------------------------------------------------------------------ reading */

static tern_status damaged(const char *path, const char *what, bool *is_damaged, tern_error *err) {
    *is_damaged = true;
    return tern_fail(err, TERN_ERR_FORMAT, "%s: %s", path, what);
}

static tern_status parse(tern_state_file *file, bool *is_damaged, tern_error *err) {
    const tern_map *map = &file->map;
    tern_reader reader = {.data = map->data, .size = map->size};
    uint64_t words[N_WORDS], total;
    const uint8_t *begin = tern_read_bytes(&reader, sizeof magic);
    for (int i = 1; i < N_WORDS; i++)
        words[i] = tern_read_u64(&reader);
    if (reader.failed || memcmp(begin, magic, sizeof magic) != 0)
        return damaged(file->path, "is no state of a training run", is_damaged, err);
    if (words[WORD_FILE_BYTES] != map->size)
        return damaged(file->path, "is cut off", is_damaged, err);
    tern_reader tail = {.data = map->data, .size = map->size, .pos = map->size - CHECKSUM_BYTES};
    if (tern_hash_bytes(map->data, map->size - CHECKSUM_BYTES) != tern_read_u64(&tail))
        return damaged(file->path, "is damaged (its checksum is wrong)", is_damaged, err);
    if (words[WORD_VERSION] != VERSION)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s: version %" PRIu64 ", this tern reads version %d", file->path,
                         words[WORD_VERSION], VERSION);
    if (!file_bytes(words[WORD_CONFIG_BYTES], words[WORD_N_ARRAYS], words[WORD_N_VALUES], &total) || total != map->size)
        return damaged(file->path, "has impossible sizes", is_damaged, err);
    file->config = malloc((size_t)words[WORD_CONFIG_BYTES] + 1);
    if (!file->config)
        return tern_fail_memory(err, file->path);
    const uint8_t *config = tern_read_bytes(&reader, words[WORD_CONFIG_BYTES]);
    memcpy(file->config, config, (size_t)words[WORD_CONFIG_BYTES]);
    file->config[words[WORD_CONFIG_BYTES]] = 0;
    file->arrays = tern_read_bytes(&reader, padding(words[WORD_CONFIG_BYTES])) + padding(words[WORD_CONFIG_BYTES]);
    file->n_arrays = words[WORD_N_ARRAYS];
    file->n_values = words[WORD_N_VALUES];
    file->state = (tern_train_state){
        .step = words[WORD_STEP],
        .tokens = words[WORD_TOKENS],
        .seconds = bits_double(words[WORD_SECONDS]),
        .log_bytes = words[WORD_LOG_BYTES],
        .config = file->config,
        .data_hash = words[WORD_DATA_HASH],
    };
    return TERN_OK;
}

/* One file, verified. *is_damaged: its bytes are not what was written (an empty one included). */
static tern_status open_one(const char *folder, const char *name, tern_state_file *file, bool *found, bool *is_damaged,
                            tern_error *err) {
    *file = (tern_state_file){0};
    *found = *is_damaged = false;
    if (!path_in(folder, name, file->path))
        return path_too_long(folder, err);
    *found = tern_file_exists(file->path);
    if (!*found)
        return TERN_OK;
    tern_status status = tern_map_open(file->path, &file->map, err);
    if (status) {
        *is_damaged = status == TERN_ERR_FORMAT; /* empty */
        return status;
    }
    status = parse(file, is_damaged, err);
    if (status)
        tern_state_close(file);
    return status;
}

static tern_status open_newest(const char *folder, bool set_aside, tern_state_file *file, bool *found,
                               tern_error *warning, tern_error *err) {
    bool is_damaged;
    char bad[1024], newest[1024];
    tern_error first = {0};
    *warning = (tern_error){0};
    tern_status status = open_one(folder, TERN_STATE_NAME, file, found, &is_damaged, &first);
    if (!path_in(folder, TERN_STATE_NAME, newest) || !path_in(folder, TERN_STATE_DAMAGED, bad))
        return path_too_long(folder, err);
    if (*found && !is_damaged) {
        if (status && err)
            *err = first;
        return status;
    }
    bool newest_damaged = is_damaged;
    status = open_one(folder, TERN_STATE_PREVIOUS, file, found, &is_damaged, err);
    if (!newest_damaged) {
        if (!status && *found)
            tern_fail(warning, TERN_ERR_IO, "%s is missing: the run goes on from the state before it, step %" PRIu64,
                      newest, file->state.step);
        return status;
    }
    if (status || !*found) {
        *found = false;
        return tern_fail(err, TERN_ERR_FORMAT,
                         "%s, and there is no good one before it: the run can only begin anew, with --restart",
                         first.message);
    }
    if (!set_aside) {
        tern_fail(warning, TERN_ERR_FORMAT, "%s; the state before it is taken, step %" PRIu64, first.message,
                  file->state.step);
        return TERN_OK;
    }
    if (rename(newest, bad)) {
        status = tern_fail(err, TERN_ERR_IO, "%s: cannot rename: %s", newest, strerror(errno));
        tern_state_close(file);
        return status;
    }
    tern_fail(warning, TERN_ERR_FORMAT, "%s; it is now %s, and the run goes on from the state before it, step %" PRIu64,
              first.message, TERN_STATE_DAMAGED, file->state.step);
    return TERN_OK;
}

tern_status tern_state_open(const char *folder, tern_state_file *file, bool *found, tern_error *warning,
                            tern_error *err) {
    return open_newest(folder, true, file, found, warning, err);
}

tern_status tern_state_look(const char *folder, tern_state_file *file, bool *found, tern_error *warning,
                            tern_error *err) {
    return open_newest(folder, false, file, found, warning, err);
}

tern_status tern_state_copy(const tern_state_file *file, float *const *arrays, size_t n_arrays, size_t n_values,
                            tern_error *err) {
    if (file->n_arrays != n_arrays || file->n_values != n_values)
        return tern_fail(err, TERN_ERR_ARGUMENT,
                         "%s: holds %" PRIu64 " arrays of %" PRIu64 " values, but this run has %zu of %zu", file->path,
                         file->n_arrays, file->n_values, n_arrays, n_values);
    for (size_t i = 0; i < n_arrays; i++)
        memcpy(arrays[i], file->arrays + i * n_values * sizeof(float), n_values * sizeof(float));
    return TERN_OK;
}

void tern_state_close(tern_state_file *file) {
    free(file->config);
    tern_map_close(&file->map);
    file->config = NULL;
    file->arrays = NULL;
    file->state.config = NULL;
}

tern_status tern_state_remove(const char *folder, tern_error *err) {
    static const char *const names[] = {TERN_STATE_NAME, TERN_STATE_PREVIOUS, TERN_STATE_DAMAGED};
    char path[1024];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!path_in(folder, names[i], path))
            return path_too_long(folder, err);
        if (unlink(path) && errno != ENOENT)
            return tern_fail(err, TERN_ERR_IO, "%s: cannot remove: %s", path, strerror(errno));
    }
    return TERN_OK;
}
