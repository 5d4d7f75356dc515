/* What the files of tern_pruner share. */
#ifndef TERN_PRUNE_PARTS_H
#define TERN_PRUNE_PARTS_H

#include "prune/prune.h"
#include "train/net.h"

enum { PRUNE_ATTENTION, PRUNE_FFN, PRUNE_SIDES };
enum { TERN_PRUNE_BATCH = 1024 }; /* tokens that go through the network at a time; windows are no longer */

/* One of the two places where a layer is cut: the channels in front of an output projection, in units. */
typedef struct prune_side {
    int which;               /* TERN_PARAM_O, TERN_PARAM_DOWN */
    uint32_t n_units, width; /* heads of head_dim channels; FFN channels */
    double *moments;         /* [n_layers][n_units][width][width]: sum over tokens of y y^T */
    double *taylor;          /* [n_layers][n_units]: sum over sequences of |sum y dL/dy| */
    double *activation;      /* [n_layers][n_units], made of the moments */
    uint32_t *kept;          /* [n_layers][n_kept * width] channels that stay, ascending */
    uint32_t n_kept;         /* units */
    double *factor;          /* [n_layers] for the gains of the SubLN; 1: as they are */
} prune_side;

struct tern_pruner {
    tern_checkpoint *checkpoint;
    tern_weights weights; /* packed as t2r16 */
    tern_pool *pool;
    tern_net *net;
    uint32_t n_window; /* tokens of a sequence: a BOS and the text's */
    int32_t *ids;      /* [n_ids] of the calibration text */
    size_t n_ids;
    int32_t bos;
    uint64_t n_run, n_seen; /* tokens of the last pass, of the one that made the moments */
    bool gradients, chosen;
    prune_side sides[PRUNE_SIDES];
    uint32_t *kept_kv; /* [n_layers][n_kv_kept * head_dim] channels of keys and values */
    tern_dims after;
    /* of the pass under way (probe.c) */
    enum { PRUNE_SCORES, PRUNE_FACTORS } pass;
    const tern_sequences *seqs;
    float *inverse; /* [tokens] 1 / root mean square in front of the SubLN */
};

static inline uint32_t prune_channels(const prune_side *side) { return side->n_units * side->width; }

/* probe.c: a tern_net_probe_fn; user is the pruner. */
void tern_prune_probe(void *user, uint32_t layer, int which, const float *x, const float *gain, const float *dy,
                      size_t n);
/* moments and the trits of W -> side->activation of both sides. */
tern_status tern_prune_make_activation(tern_pruner *pruner, tern_error *err);

/* prune.c: the network that the text runs through. */
tern_status tern_prune_make_net(tern_pruner *pruner, bool gradients, tern_error *err);
/* calibrate.c: forward passes over at most max_tokens of the text (and backward, if `gradients`). */
tern_status tern_prune_run(tern_pruner *pruner, size_t max_tokens, bool gradients, tern_progress_fn progress,
                           void *user, tern_error *err);

/* cut.c: which channels of a tensor stay. */
typedef struct prune_cut {
    const uint32_t *rows, *cols; /* [n_rows], [n_cols], of the tensor's own; NULL: all */
    uint64_t n_rows, n_cols;     /* of the new tensor */
    double factor;               /* of a gain; else 1 */
    const tern_linear
        *stored; /* a matrix that is packed as in tern's own layout: rows and columns are its; else NULL */
} prune_cut;

/* Of a tensor of the checkpoint. */
prune_cut tern_prune_cut_of(const tern_pruner *pruner, const tern_tensor *tensor);
static inline bool prune_is_whole(const prune_cut *cut) { return !cut->rows && !cut->cols && cut->factor == 1; }
/* Of a matrix in tern's own layout: the one that it becomes, laid out in the same form. */
tern_linear tern_prune_laid_out(const prune_cut *cut);
/* Bytes of the new tensor, or an error if its type cannot hold that shape. */
tern_status tern_prune_bytes(const tern_pruner *pruner, const tern_tensor *tensor, const prune_cut *cut,
                             uint64_t *bytes, tern_error *err);
/* The new tensor -> out [tern_prune_bytes()], in the type of the old one; its scale stays. */
tern_status tern_prune_make(const tern_pruner *pruner, const tern_tensor *tensor, const prune_cut *cut, uint8_t *out,
                            tern_error *err);

/* write_gguf.c, write_hf.c */
tern_status tern_prune_write_gguf(const tern_pruner *pruner, const char *path, tern_error *err);
tern_status tern_prune_write_hf(const tern_pruner *pruner, const char *path, tern_error *err);
/* Whether such a folder can be made there. */
tern_status tern_prune_try_hf(const char *path, tern_error *err);

#endif
