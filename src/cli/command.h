/* A command of `tern`: one file, one tern_command, one row in main.c. */
#ifndef TERN_CLI_COMMAND_H
#define TERN_CLI_COMMAND_H

#include "cli/options.h"
#include "base/status.h"

/* Exit statuses, as the man page promises them. */
enum { TERN_EXIT_OK = 0, TERN_EXIT_FAILURE = 1, TERN_EXIT_USAGE = 2 };

/* `options` points at the command's struct, filled; operands are what stood
 * there without an option, [n_operands]. Returns the exit status, after having
 * said on stderr why it is not 0. What it writes to stdout need not be checked:
 * main() flushes stdout and reports a failed write. */
typedef int (*tern_command_fn)(void *options, const char *const *operands, size_t n_operands);

typedef struct tern_command {
    const char *name;     /* one word, or two: "train pretrain" (help.c knows the first one of those) */
    const char *operands; /* "[MODEL]", for the usage line */
    const char *summary;  /* half a line */
    const char *example;  /* command lines, each ended by \n */
    const char *notes;    /* after the options; NULL: none */
    size_t min_operands, max_operands;
    tern_option_group groups[TERN_MAX_GROUPS]; /* ends with options == NULL */
    size_t options_size;                       /* of the command's struct */
    const void *defaults;                      /* such a struct; also what --help shows */
    tern_command_fn run;
} tern_command;

extern const tern_command tern_command_run, tern_command_chat, tern_command_serve, tern_command_tokenize;
extern const tern_command tern_command_bench, tern_command_perplexity, tern_command_logits, tern_command_synth,
    tern_command_inspect, tern_command_convert, tern_command_fit, tern_command_pull, tern_command_eval;
extern const tern_command tern_command_prune, tern_command_quantize;
extern const tern_command tern_command_train_tokenizer, tern_command_train_data, tern_command_train_pretrain,
    tern_command_train_plot;

extern const tern_command tern_command_train_continue, tern_command_train_sft, tern_command_train_dpo,
    tern_command_train_lora;

extern const tern_command tern_command_rag_add, tern_command_rag_ask, tern_command_rag_list, tern_command_rag_remove;

/* All commands, ended by NULL. */
extern const tern_command *const tern_commands[];

/* "tern: MESSAGE" on stderr, one line; they return the exit status. */
int tern_cli_error(const tern_error *err);                    /* 1; for TERN_ERR_CANCELLED 128 + the signal */
int tern_cli_fail(const char *format, ...) TERN_PRINTF(1, 2); /* 1 */
int tern_cli_usage(const char *command, const char *format, ...) TERN_PRINTF(2, 3); /* 2; names the --help page */
void tern_cli_warn(const char *format, ...) TERN_PRINTF(1, 2);

/* -------------------------------------------------- options that commands share */

/* Where threads and weights are (tern_model_params says what each one does). */
typedef struct tern_placement_options {
    bool pin, huge_pages, mlock, warm_up, low_memory;
    int numa; /* tern_numa */
} tern_placement_options;
extern const tern_option tern_placement_option_table[];
void tern_cli_place(const tern_placement_options *options, tern_model_params *params);
/* Say on stderr what was asked for and changes nothing on this machine. */
void tern_cli_warn_placement(const tern_placement_options *options, const tern_model *model);

/* How to load: "-t N" (0: all CPUs). */
typedef struct tern_model_options {
    int64_t threads;
    const char *packing;
    bool dense_ffn;
    const char *lora;                 /* folder of an adapter */
    int act;                          /* tern_act_type */
    tern_placement_options placement; /* all zero: as it comes */
} tern_model_options;
extern const tern_option tern_model_option_table[];
extern const tern_choice tern_act_choices[]; /* int8, int4 */

/* How to run: -c, --kv-type, --chunk. 0 context: the model's; -1 KV type and 0
 * chunk: the environment's (BITNET_KV_CACHE_DTYPE, BITNET_CHUNK_SIZE), else the
 * library's default. */
typedef struct tern_session_options {
    int64_t n_ctx, chunk;
    int kv_type;
} tern_session_options;
#define TERN_SESSION_OPTIONS_DEFAULT                                                                                   \
    { .n_ctx = 0, .chunk = 0, .kv_type = -1 }
extern const tern_option tern_session_option_table[];
extern const tern_choice tern_kv_choices[]; /* f32, f16, q8 and their other spellings */

/* What the user named as a model -> *path, to be freed: the name itself if it is NULL, "demo" or a file or folder; a
 * model of the hub, ORG/NAME[@REVISION][:FILE], becomes its place in the cache, downloaded if the user, asked on a
 * terminal, says yes. 0, or the exit status after an error line. */
int tern_cli_find_model(const char *name, char **path);
/* Load a model, found as above, with a progress bar (path NULL or "demo": the built-in one).
 * `options` may be NULL. 0, or the exit status after an error line. */
int tern_cli_load_model(const char *path, const tern_model_options *options, tern_model **model);
/* Settings for tern_session_create(), environment included. 0 or the exit
 * status after an error line (a bad environment variable is bad usage: 2). */
int tern_cli_session_params(const tern_session_options *options, tern_session_params *params);

/* ------------------------------------------------------------------- evaluating */

/* What was evaluated of a prompt ahead of tern_generate_ids(). */
typedef struct tern_prefill {
    size_t n; /* tokens */
    double seconds;
} tern_prefill;

/* Evaluate all of a long prompt but its last part, with a progress line; the rest, ids + prefill->n, is for
 * tern_generate_ids(). `chunk`: the session's, 0 for the default. TERN_ERR_CANCELLED after Ctrl-C. */
tern_status tern_cli_prefill(tern_session *session, uint32_t chunk, const int32_t *ids, size_t n_ids,
                             tern_prefill *prefill, tern_error *err);
/* As if tern_generate_ids() had evaluated all of it. */
void tern_cli_add_prefill(tern_generate_result *result, const tern_prefill *prefill);

/* ------------------------------------------------------------------- printing */

/* Bytes for people: "1.21 GB", "300 B"; into text, which is returned. */
const char *tern_format_bytes(char text[32], double bytes);
/* "1.23 s", "45.6 ms". */
const char *tern_format_seconds(char text[32], double seconds);

/* Lines on stderr: prompt and its rate (`reused`: tokens that the KV cache held
 * already), time to the first token, generated tokens and their rate. */
void tern_print_timing(const tern_generate_result *result, uint32_t reused);
/* What decoding has read of the FFN; nothing if it reads all. */
void tern_print_model_stats(const tern_model *model);

/* fflush(stdout), for text that is streamed. Why the first one failed is kept for main()'s message: a later attempt
 * would not know. */
void tern_cli_flush(void);
int tern_cli_flush_errno(void); /* 0: none failed */

/* ----------------------------------------------------------------- interruption */

/* From now on Ctrl-C, SIGTERM and SIGHUP only set a flag and cancel `session` (NULL: only the
 * flag); a second one before tern_interrupt_clear() ends the program. The session
 * must live until the next call of this function or of _unwatch(). */
void tern_interrupt_watch(tern_session *session);
/* Back to what they did at the start of the program. */
void tern_interrupt_unwatch(void);
bool tern_interrupted(void);
bool tern_interrupt_ends(void);  /* by SIGTERM or SIGHUP: it was not only this answer that was to end */
int tern_interrupt_status(void); /* exit status: 128 + the signal */
void tern_interrupt_clear(void); /* forget a Ctrl-C, but not the others */

#endif
