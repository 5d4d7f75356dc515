/* tern chat inside: chat.c (options, the loop), chat_answer.c (a turn),
 * chat_commands.c (/help ...), chat_history.c, chat_file.c, chat_input.c. */
#ifndef TERN_CLI_CHAT_H
#define TERN_CLI_CHAT_H

#include "cli/chat_history.h"
#include "cli/sampling.h"

typedef struct tern_chat {
    tern_model *model;
    tern_session *session;
    tern_grammar *grammar; /* of every answer; NULL: none */
    tern_history history;
    tern_generate_params params;
    uint32_t chunk;            /* the session's, 0: default */
    uint64_t seed, n_answers;  /* answer number i is drawn with seed + i */
    tern_generate_result last; /* of the last answer */
    uint32_t last_reused;      /* tokens of it that were still in the KV cache */
    double load_seconds;
    /* of the answer that is being made */
    char *answer; /* [answer_size] */
    size_t answer_size, answer_capacity;
    bool out_of_memory;
} tern_chat;

/* Ask `message` and print the answer as it is made. Whatever goes wrong is said
 * on stderr and the chat goes on; only a failed write to stdout ends it. */
void tern_chat_turn(tern_chat *chat, const char *message, size_t n_bytes);

/* A line that begins with '/'. False: the chat is over (/quit). */
bool tern_chat_command(tern_chat *chat, const char *line);

void tern_chat_print_stats(const tern_chat *chat);

#endif
