/* What a model needs in memory in its various forms, whether a device has that, and how fast it would decode: the
 * arithmetic of `tern fit` (docs/FIT.md). */
#ifndef TERN_EVAL_FIT_H
#define TERN_EVAL_FIT_H

#include "eval/devices.h"
#include "tern/tern.h"

/* The published page of BitNet b1.58 2B4T at BF16 counts so: parameters, bits each, a 16-bit KV cache of the context,
 * and the framework; and a token reads all of that. */
#define TERN_FIT_PUBLISHED_PARAMETERS 2e9
#define TERN_FIT_PUBLISHED_BITS 16
/* What a program needs besides model and KV cache: a framework with its buffers on a device, as on that page; tern
 * itself (code, tokenizer, activations of a prefill step), 0.05 of 705 MB in docs/SPEED.md. */
#define TERN_FIT_FRAMEWORK_BYTES 0.3e9
#define TERN_FIT_TERN_BYTES 0.05e9

typedef enum tern_fit_reader {
    TERN_FIT_PUBLISHED, /* the page's way */
    TERN_FIT_PROGRAM,   /* programs that read this type where it lies, the whole LM head for each token */
    TERN_FIT_TERN,      /* tern, on CPUs, with one of its packings or the file's floats, and the head's screen */
} tern_fit_reader;

/* The models that a form is for, unless it is asked for by name. */
typedef enum tern_fit_of { TERN_FIT_ALL, TERN_FIT_TERNARY, TERN_FIT_BINARY, TERN_FIT_FLOATS } tern_fit_of;

/* A model in one form. */
typedef struct tern_fit_form {
    char name[24]; /* "I2_S", "t5r16", "published" */
    tern_fit_reader reader;
    tern_kv_type kv_type;
    double n_params;
    double weight_bytes, embedding_bytes; /* of the matrices; of embedding and head (0: counted with the matrices) */
    double rest_bytes;                    /* norms, screen, program */
    double total_bytes;                   /* these three together */
    double step_bytes;                    /* that a decode step reads of them, whatever the number of streams */
} tern_fit_form;

/* All forms, in the order of the page, ended by a NULL name. */
typedef struct tern_fit_row {
    const char *name;
    tern_fit_reader reader;
    tern_fit_of of;
} tern_fit_row;
extern const tern_fit_row tern_fit_rows[];

/* Whether the page's figures are about a model of this shape. */
bool tern_fit_is_published(const tern_shape *shape);
/* Whether the row is one of this shape's page. */
bool tern_fit_shows(const tern_shape *shape, const tern_fit_row *row);

/* The form called `name`, in any case: one of tern_fit_rows or a type that the shape itself is stored as.
 * embedding_type NULL: the shape's (BF16, F16 and F32: the same as the matrices); kv_type -1: 16 bits for programs, 8
 * for tern, their defaults. TERN_ERR_ARGUMENT: there is no such form, or not of this shape. */
tern_status tern_fit_form_of(const tern_shape *shape, const char *name, const char *embedding_type, int kv_type,
                             tern_fit_form *form, tern_error *err);

/* What it takes with `n_tokens` of context for each of n_streams. */
typedef struct tern_fit_need {
    double kv_bytes;    /* of all streams */
    double total_bytes; /* in memory */
    double read_bytes;  /* that one decode step, a token of each stream, reads when the contexts are full */
} tern_fit_need;

tern_fit_need tern_fit_need_of(const tern_shape *shape, const tern_fit_form *form, double n_tokens, double n_streams);

typedef enum tern_fit_verdict { TERN_FIT_NO, TERN_FIT_TIGHT, TERN_FIT_YES } tern_fit_verdict;

/* Above this share of what can be used it is tight: the next larger context, or another program, breaks it. */
#define TERN_FIT_TIGHT_SHARE 0.9

double tern_fit_usable_bytes(const tern_device *device);
tern_fit_verdict tern_fit_judge(const tern_device *device, const tern_fit_need *need);
/* Tokens a second of all streams together, if memory is the limit: bandwidth x efficiency / bytes read per token. */
double tern_fit_rate(const tern_device *device, const tern_fit_need *need, double n_streams);
/* Whether a program that reads the form runs there: tern computes on CPUs. */
bool tern_fit_runs(const tern_device *device, const tern_fit_form *form);
/* The longest context, a multiple of 64 and at most the model's, with which n_streams fit; 0: none. */
uint32_t tern_fit_longest(const tern_shape *shape, const tern_fit_form *form, const tern_device *device,
                          double n_streams);

/* What makes a bandwidth that was measured on this machine too low: other programs that had its CPUs, or, in a
 * virtual machine, what cannot be seen from inside. NULL: nothing is to be seen. */
const char *tern_fit_disturbance(const tern_meter_quiet *quiet);

#endif
