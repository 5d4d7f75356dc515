/* The losses of a forward pass, and what they say to the layers. With a large vocabulary the head is much of the work,
 * and in fine-tuning a prompt's tokens have no loss: those that have one go through it together, without the others. */
#include <string.h>

#include "train/net_parts.h"

enum { ROWS_BLOCK = 16 };

/* -------------------------------------------------------- gather and scatter */

typedef struct rows_job {
    const uint32_t *index;
    size_t n, width; /* rows, their values */
    const float *from;
    float *to;
    bool scatter; /* to[index[i]] = from[i]; else to[i] = from[index[i]] */
} rows_job;

static void rows_task(void *context, size_t task, int worker) {
    (void)worker;
    const rows_job *job = context;
    size_t end = (task + 1) * ROWS_BLOCK < job->n ? (task + 1) * ROWS_BLOCK : job->n;
    for (size_t i = task * ROWS_BLOCK; i < end; i++) {
        size_t from = job->scatter ? i : job->index[i], to = job->scatter ? job->index[i] : i;
        memcpy(job->to + to * job->width, job->from + from * job->width, job->width * sizeof(float));
    }
}

static void move_rows(const tern_net *net, rows_job job) {
    tern_pool_run(net->ops.pool, (job.n + ROWS_BLOCK - 1) / ROWS_BLOCK, rows_task, &job);
}

/* The tokens that have a loss; all as they lie if that are most of them. weight NULL: none is wanted. */
static net_outputs gather(const tern_net *net, const tern_batch *batch, const float *weight) {
    const net_learnt *learnt = &net->learnt;
    size_t n = 0;
    for (size_t t = 0; t < batch->n_tokens; t++) {
        if (batch->targets[t] < 0)
            continue;
        learnt->index[n] = (uint32_t)t;
        learnt->targets[n] = batch->targets[t];
        learnt->weight[n++] = weight ? weight[t] : 0;
    }
    if (n >= batch->n_tokens - batch->n_tokens / 8)
        return (net_outputs){batch->n_tokens, net->y, batch->targets, weight};
    move_rows(net, (rows_job){learnt->index, n, net->dims.hidden_size, net->y, learnt->y, false});
    return (net_outputs){n, learnt->y, learnt->targets, learnt->weight};
}

static void scatter_losses(const tern_net *net, const tern_batch *batch, size_t n, float *nll) {
    memset(nll, 0, batch->n_tokens * sizeof *nll);
    for (size_t i = 0; i < n; i++)
        nll[net->learnt.index[i]] = net->learnt.nll[i];
}

/* ---------------------------------------------------------------- losses */

void tern_net_losses(tern_net *net, const tern_batch *batch, bool exact, float *nll) {
    const tern_dims *dims = &net->dims;
    net_outputs out = gather(net, batch, NULL);
    bool all = out.y == net->y;
    float *to = all ? nll : net->learnt.nll;
    if (out.n > 0 && net->params)
        tern_op_head_loss(&net->ops, out.y, tern_net_embedding(net), out.targets, out.n, dims->hidden_size,
                          dims->vocab_size, exact, to);
    else if (out.n > 0)
        tern_net_head_loss(net, &out, to);
    if (!all)
        scatter_losses(net, batch, out.n, nll);
}

void tern_net_loss_backward(tern_net *net, const tern_batch *batch, const float *weight, float z_loss, float *de,
                            float *nll) {
    const tern_dims *dims = &net->dims;
    size_t hidden = dims->hidden_size;
    net_outputs out = gather(net, batch, weight);
    bool all = out.y == net->y;
    float *to = all ? nll : net->learnt.nll, *dy = all ? net->dn : net->da;
    if (out.n > 0 && net->params)
        tern_op_head_loss_backward(&net->ops, out.y, tern_net_embedding(net), out.targets, out.weight, z_loss, out.n,
                                   hidden, dims->vocab_size, to, dy, de);
    else if (out.n > 0)
        tern_net_head_loss_backward(net, &out, z_loss, to, dy);
    if (all)
        return;
    scatter_losses(net, batch, out.n, nll);
    tern_net_copy(net, NULL, net->dn, batch->n_tokens * hidden);
    move_rows(net, (rows_job){net->learnt.index, out.n, hidden, dy, net->dn, true});
}
