/* One line of JSON as what SFT and DPO learn from. */
#ifndef TERN_TRAIN_RECORD_H
#define TERN_TRAIN_RECORD_H

#include <jansson.h>

#include "tern/tern.h"
#include "train/data.h"

/* One conversation, or the two of a pair: chosen, rejected; or a plain text among conversations (n is 0). */
typedef struct tern_record {
    json_t *root; /* holds the texts */
    tern_message *messages[2];
    size_t n_messages[2], n;
    tern_view text;
} tern_record;

/* TEXT, CHAT: {"messages": [{"role", "content"}, ...]} or {"prompt", "completion"}, or {"text"}: a document,
 * all of which is learnt. PAIRS: {"messages" or "prompt", "chosen",
 * "rejected"}; the two are strings, or lists of messages: a list of a single message goes behind the prompt, a longer
 * one is the whole conversation. The message says what is wrong with the line. Free with tern_record_free() (accepts
 * what a failure left). */
tern_status tern_record_parse(tern_shard_kind kind, tern_view line, tern_record *record, tern_error *err);
void tern_record_free(tern_record *record);

#endif
