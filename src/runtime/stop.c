/* Aho and Corasick 1975. The state is the longest end of the text that begins a
 * stop string, so the text that must be held back needs no buffer: it is the
 * first `depth` bytes of a string that runs through the state's node. */
#include "runtime/stop.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/mem.h"

enum { ROOT = 0, NONE = 0 }; /* no node has the root for a child, sibling or match */

/* Children hang in a list instead of a table of 256: stop strings come from
 * requests, and a table would make 1 KB of every byte of them. */
typedef struct node {
    uint32_t child, sibling;
    uint32_t fail;   /* the longest proper end of this node's text that is a node too */
    uint32_t match;  /* the node of the longest stop string that this node's text ends with; NONE */
    uint32_t depth;  /* length of this node's text */
    uint32_t string; /* a stop string that begins with this node's text; for a complete one, its index */
    unsigned char byte;
} node;

struct tern_stop {
    char *text;      /* all strings, one after the other */
    size_t *offsets; /* [n_strings] into text */
    node *nodes;     /* [n_nodes], nodes[0] is the root */
    uint32_t n_nodes;
    uint32_t state;
    ptrdiff_t matched; /* -1 */
};

static uint32_t find_child(const tern_stop *stop, uint32_t parent, unsigned char byte) {
    uint32_t child = stop->nodes[parent].child;
    while (child != NONE && stop->nodes[child].byte != byte)
        child = stop->nodes[child].sibling;
    return child;
}

/* Where the byte leads; every step along `fail` gives up depth that an earlier
 * byte has built up, hence linear time. */
static uint32_t next_state(const tern_stop *stop, uint32_t state, unsigned char byte) {
    for (;;) {
        uint32_t child = find_child(stop, state, byte);
        if (child != NONE || state == ROOT)
            return child;
        state = stop->nodes[state].fail;
    }
}

static void insert(tern_stop *stop, const char *bytes, size_t n_bytes, uint32_t string) {
    uint32_t at = ROOT;
    for (size_t i = 0; i < n_bytes; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        uint32_t child = find_child(stop, at, byte);
        if (child == NONE) {
            child = stop->n_nodes++;
            stop->nodes[child] = (node){
                .sibling = stop->nodes[at].child, .depth = stop->nodes[at].depth + 1, .string = string, .byte = byte};
            stop->nodes[at].child = child;
        }
        at = child;
    }
    if (stop->nodes[at].match == NONE) { /* of equal strings the first counts */
        stop->nodes[at].match = at;
        stop->nodes[at].string = string;
    }
}

/* Breadth first, because a node's `fail` is nearer to the root. queue [n_nodes]. */
static void link_failures(tern_stop *stop, uint32_t *queue) {
    size_t head = 0, tail = 0;
    queue[tail++] = ROOT;
    while (head < tail) {
        uint32_t parent = queue[head++];
        for (uint32_t at = stop->nodes[parent].child; at != NONE; at = stop->nodes[at].sibling) {
            node *n = &stop->nodes[at];
            n->fail = parent == ROOT ? ROOT : next_state(stop, stop->nodes[parent].fail, n->byte);
            if (n->match == NONE)
                n->match = stop->nodes[n->fail].match;
            queue[tail++] = at;
        }
    }
}

static tern_status check_strings(const char *const *strings, size_t n_strings, size_t *total, tern_error *err) {
    if (n_strings && !strings)
        return tern_fail(err, TERN_ERR_ARGUMENT, "stop strings: %zu announced, but the list is NULL", n_strings);
    for (size_t i = 0; i < n_strings; i++) {
        if (!strings[i] || !strings[i][0])
            return tern_fail(err, TERN_ERR_ARGUMENT, "stop string %zu is empty: leave it out", i + 1);
        if (((unsigned char)strings[i][0] & 0xc0) == 0x80)
            return tern_fail(err, TERN_ERR_ARGUMENT, "stop string %zu begins inside a UTF-8 character", i + 1);
        *total += strlen(strings[i]);
        if (*total >= UINT32_MAX || i >= UINT32_MAX)
            return tern_fail(err, TERN_ERR_ARGUMENT, "stop strings: more than 4 GB of them");
    }
    return TERN_OK;
}

tern_status tern_stop_create(const char *const *strings, size_t n_strings, tern_stop **out, tern_error *err) {
    size_t total = 0;
    tern_status status = check_strings(strings, n_strings, &total, err);
    if (status)
        return status;
    tern_stop *stop = calloc(1, sizeof *stop);
    uint32_t *queue = tern_alloc_array(total + 1, sizeof *queue);
    if (stop) {
        stop->text = tern_alloc_array(total, 1);
        stop->offsets = tern_alloc_array(n_strings, sizeof *stop->offsets);
        stop->nodes = tern_calloc_array(total + 1, sizeof *stop->nodes);
    }
    if (!stop || !queue || !stop->text || !stop->offsets || !stop->nodes) {
        free(queue);
        tern_stop_free(stop);
        return tern_fail_memory(err, "the stop strings");
    }
    stop->n_nodes = 1;
    stop->matched = -1;
    size_t used = 0;
    for (size_t i = 0; i < n_strings; i++) {
        size_t length = strlen(strings[i]);
        memcpy(stop->text + used, strings[i], length);
        stop->offsets[i] = used;
        used += length;
        insert(stop, strings[i], length, (uint32_t)i);
    }
    link_failures(stop, queue);
    free(queue);
    *out = stop;
    return TERN_OK;
}

void tern_stop_free(tern_stop *stop) {
    if (!stop)
        return;
    free(stop->text);
    free(stop->offsets);
    free(stop->nodes);
    free(stop);
}

/* Append the first n_emit bytes of (text held in `held`, then bytes). */
static void emit(const tern_stop *stop, uint32_t held, const char *bytes, size_t n_emit, tern_buffer *out) {
    const node *n = &stop->nodes[held];
    size_t from_held = n_emit < n->depth ? n_emit : n->depth;
    if (from_held)
        tern_buffer_append(out, stop->text + stop->offsets[n->string], from_held);
    if (n_emit > from_held)
        tern_buffer_append(out, bytes, n_emit - from_held);
}

bool tern_stop_feed(tern_stop *stop, const char *bytes, size_t n_bytes, tern_buffer *out) {
    if (stop->matched >= 0)
        return true;
    uint32_t before = stop->state, state = before;
    size_t held = stop->nodes[before].depth;
    for (size_t i = 0; i < n_bytes; i++) {
        state = next_state(stop, state, (unsigned char)bytes[i]);
        const node *match = &stop->nodes[stop->nodes[state].match];
        if (match->depth) {
            emit(stop, before, bytes, held + i + 1 - match->depth, out);
            stop->matched = match->string;
            stop->state = ROOT;
            return true;
        }
    }
    emit(stop, before, bytes, held + n_bytes - stop->nodes[state].depth, out);
    stop->state = state;
    return false;
}

void tern_stop_flush(tern_stop *stop, tern_buffer *out) {
    emit(stop, stop->state, NULL, stop->nodes[stop->state].depth, out);
    stop->state = ROOT;
}

ptrdiff_t tern_stop_matched(const tern_stop *stop) { return stop->matched; }

size_t tern_stop_held(const tern_stop *stop) { return stop->nodes[stop->state].depth; }

void tern_stop_reset(tern_stop *stop) {
    stop->state = ROOT;
    stop->matched = -1;
}
