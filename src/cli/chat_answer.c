/* One turn of the chat. The whole conversation is rendered and tokenized anew;
 * of it only what the KV cache does not hold yet is evaluated. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/chat.h"

static bool on_text(void *user, const char *text, size_t n_bytes, int32_t id) {
    (void)id;
    tern_chat *chat = user;
    if (n_bytes) {
        if (!tern_grow_array((void **)&chat->answer, &chat->answer_capacity, chat->answer_size + n_bytes, 1)) {
            chat->out_of_memory = true;
            return false;
        }
        memcpy(chat->answer + chat->answer_size, text, n_bytes);
        chat->answer_size += n_bytes;
        fwrite(text, 1, n_bytes, stdout);
        tern_cli_flush();
    }
    return !ferror(stdout) && !tern_interrupted();
}

static tern_status render(const tern_chat *chat, const tern_message *messages, size_t n, int32_t **ids, size_t *n_ids,
                          tern_error *err) {
    return tern_chat_tokenize(tern_model_tokenizer(chat->model), messages, n, true, TERN_TOKENIZE_BOS, ids, n_ids, err);
}

/* How many tokens the system message and the last message take on their own. */
static tern_status smallest_size(const tern_chat *chat, size_t *n_ids, tern_error *err) {
    const tern_history *history = &chat->history;
    tern_message messages[2];
    size_t n = 0;
    int32_t *ids;
    if (tern_history_system(history))
        messages[n++] = history->messages[0];
    messages[n++] = history->messages[history->count - 1];
    tern_status status = render(chat, messages, n, &ids, n_ids, err);
    if (!status)
        tern_free(ids);
    return status;
}

/* Drop the oldest turn, and more as long as what is gone has less than half of the bytes that make n_ids too many. (One
 * at a time, a conversation of thousands of turns would be rendered thousands of times.) Returns how many. */
static size_t drop_turns(tern_history *history, size_t n_ids, size_t limit) {
    double share = (double)(n_ids - limit) / (double)n_ids / 2;
    size_t wanted = (size_t)((double)tern_history_size(history) * share);
    size_t gone = 0, dropped = 0, size;
    while ((dropped == 0 || gone < wanted) && (size = tern_history_drop_turn(history))) {
        gone += size;
        dropped++;
    }
    return dropped;
}

/* The conversation as ids [n_ids], with the oldest turns dropped if it leaves
 * too little of the context for an answer. Dropping changes the beginning, so
 * everything has to be evaluated again: it goes down to half the context at
 * once, not turn by turn. */
static tern_status fit(tern_chat *chat, int32_t **ids, size_t *n_ids, tern_error *err) {
    uint32_t n_ctx = tern_session_n_ctx(chat->session);
    int64_t room = n_ctx / 4, wanted = chat->params.max_tokens;
    size_t reserve = (size_t)(wanted >= 0 && wanted < room ? wanted : room), smallest, dropped = 0, now, limit;
    tern_status status = smallest_size(chat, &smallest, err);
    if (!status && smallest >= n_ctx)
        status = tern_fail(err, TERN_ERR_CONTEXT,
                           "the message makes %zu tokens, but the context holds %u: write less, or start with a larger "
                           "context (-c N)",
                           smallest, (unsigned)n_ctx);
    if (!status)
        status = render(chat, chat->history.messages, chat->history.count, ids, n_ids, err);
    for (limit = n_ctx - reserve; !status && *n_ids > limit; limit = n_ctx / 2) {
        if (!(now = drop_turns(&chat->history, *n_ids, limit)))
            break; /* only this message is left, and it fits */
        dropped += now;
        tern_free(*ids);
        status = render(chat, chat->history.messages, chat->history.count, ids, n_ids, err);
    }
    if (dropped)
        fprintf(stderr,
                "tern: the conversation no longer fits the context of %u tokens: forgot the oldest %zu turn%s "
                "(/reset forgets all, -c N gives more room)\n",
                (unsigned)n_ctx, dropped, dropped == 1 ? "" : "s");
    return status;
}

/* Cut the session back to what it shares with ids [n_ids], at most all but the
 * last, which has to be evaluated for its logits. Returns how many those are. */
static tern_status reuse_prefix(tern_session *session, const int32_t *ids, size_t n_ids, uint32_t *shared,
                                tern_error *err) {
    const int32_t *held = tern_session_tokens(session);
    uint32_t n_held = tern_session_n_past(session), n = 0;
    while (n < n_held && n + 1 < n_ids && held[n] == ids[n])
        n++;
    *shared = n;
    return tern_session_truncate(session, n, err);
}

static tern_status generate(tern_chat *chat, const int32_t *ids, size_t n_ids, tern_error *err) {
    tern_status status = reuse_prefix(chat->session, ids, n_ids, &chat->last_reused, err);
    if (status)
        return status;
    chat->params.sampler.seed = chat->seed + chat->n_answers++;
    chat->answer_size = 0;
    chat->out_of_memory = false;
    tern_prefill prefill;
    ids += chat->last_reused, n_ids -= chat->last_reused;
    chat->last = (tern_generate_result){.reason = TERN_STOP_CANCELLED};
    status = tern_cli_prefill(chat->session, chat->chunk, ids, n_ids, &prefill, err);
    if (!status)
        status = tern_generate_ids(chat->session, ids + prefill.n, n_ids - prefill.n, &chat->params, on_text, chat,
                                   &chat->last, err);
    else if (status == TERN_ERR_CANCELLED) /* as tern_generate_ids() has it: no error but a reason */
        status = TERN_OK;
    tern_cli_add_prefill(&chat->last, &prefill);
    if (!status && chat->out_of_memory)
        status = tern_fail_memory(err, "the answer");
    return status;
}

/* Ctrl-C that came just after an answer had ended may have left the session
 * cancelled: an answer that was stopped by nobody is asked for once more. */
static bool stale_cancel(const tern_chat *chat) {
    return chat->last.reason == TERN_STOP_CANCELLED && chat->last.n_generated == 0 && !tern_interrupted() &&
           !ferror(stdout);
}

static tern_status answer(tern_chat *chat, tern_error *err) {
    int32_t *ids;
    size_t n_ids;
    tern_status status = fit(chat, &ids, &n_ids, err);
    if (status)
        return status;
    status = generate(chat, ids, n_ids, err);
    if (!status && stale_cancel(chat))
        status = generate(chat, ids, n_ids, err);
    tern_free(ids);
    return status;
}

void tern_chat_turn(tern_chat *chat, const char *message, size_t n_bytes) {
    tern_error err;
    if (!tern_history_add(&chat->history, "user", message, n_bytes)) {
        tern_cli_fail("out of memory: the message was not asked");
        return;
    }
    tern_interrupt_clear();
    tern_interrupt_watch(chat->session);
    tern_status status = answer(chat, &err);
    if (chat->answer_size && !status)
        putchar('\n');
    tern_cli_flush();
    bool stopped = !status && chat->last.reason == TERN_STOP_CANCELLED;
    if (status)
        tern_cli_fail("%s", err.message);
    else if (stopped && tern_interrupted())
        fputs("(stopped)\n", stderr);
    else if (chat->last.reason == TERN_STOP_CONTEXT)
        fprintf(stderr,
                "tern: the context of %u tokens is full, the answer stops here: /reset forgets the "
                "conversation, -c N gives more room\n",
                (unsigned)tern_session_n_ctx(chat->session));
    /* A question without an answer is forgotten; half an answer is kept. */
    bool keep = !status && !(stopped && chat->answer_size == 0);
    if (keep && !tern_history_add(&chat->history, "assistant", chat->answer ? chat->answer : "", chat->answer_size)) {
        tern_cli_fail("out of memory: this turn is forgotten");
        keep = false;
    }
    if (!keep)
        tern_history_truncate(&chat->history, chat->history.count - 1);
    tern_interrupt_clear();
}
