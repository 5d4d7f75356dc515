#include "cli/command.h"

#include "base/clock.h"
#include "cli/progress.h"

/* Tokens between two looks at the clock: about 256, in whole chunks, so that no step gets smaller. */
static size_t piece_of(uint32_t chunk) { return chunk ? (256 + (size_t)chunk - 1) / chunk * chunk : 256; }

tern_status tern_cli_prefill(tern_session *session, uint32_t chunk, const int32_t *ids, size_t n_ids,
                             tern_prefill *prefill, tern_error *err) {
    tern_status status = TERN_OK;
    tern_progress progress;
    size_t piece = piece_of(chunk);
    double start = tern_seconds();
    *prefill = (tern_prefill){0};
    tern_progress_start(&progress, "prompt", TERN_PROGRESS_TOKENS);
    while (!status && n_ids - prefill->n > piece) {
        status = tern_session_eval(session, ids + prefill->n, piece, err);
        if (!status)
            prefill->n += piece;
        if (!status && !tern_progress_update(&progress, prefill->n, n_ids))
            status = tern_fail(err, TERN_ERR_CANCELLED, "cancelled");
    }
    tern_progress_end(&progress);
    prefill->seconds = tern_seconds() - start;
    return status;
}

void tern_cli_add_prefill(tern_generate_result *result, const tern_prefill *prefill) {
    result->n_prompt += prefill->n;
    result->prefill_seconds += prefill->seconds;
    if (result->n_generated)
        result->first_token_seconds += prefill->seconds;
}
