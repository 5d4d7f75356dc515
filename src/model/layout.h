/*
 * The forms in which ternary matrices lie in memory and in the tensors of tern's own GGUF layout (docs/FORMAT.md),
 * which are the same bytes: such a tensor is used where it is mapped.
 */
#ifndef TERN_MODEL_LAYOUT_H
#define TERN_MODEL_LAYOUT_H

#include "model/weights.h"

struct tern_form {
    const char *name; /* "t5r16", "t5rows": ends the tensor's name */
    tern_layout layout;
    const tern_packing *packing; /* of groups, else NULL */
};

/* What the kernels `ternary` read linear `which` (its place in a layer, 0 .. 6) in. */
const tern_form *tern_form_for(const tern_ternary *ternary, int which);
/* The same for files: what a rung that has the packing called `name` reads; NULL: no packing has that name. */
const tern_form *tern_form_named(const char *name, int which);
/* The packings of tern_form_named(), "t5r16, t2r16, b1r16". */
extern const char tern_form_names[];

/* Whether it holds matrices without zeros only; tern_form_pack() must be given no others. */
static inline bool tern_form_is_binary(const tern_form *form) { return form->packing && form->packing->binary; }

/* The form's sizes for linear->rows x cols in slabs of slab_cols -> layout, k_pad, n_units, unit_bytes. */
void tern_form_lay_out(const tern_form *form, tern_linear *linear);
/* Rows that tern_form_pack() and _unpack() take at a time; the first row is a multiple, the last strip may be less. */
enum { TERN_FORM_STRIP = 192 };
/* Rows [row, row + n_rows) as trits [n_rows][cols] -> where they belong in linear->packed. Strips may be packed by
 * several threads at once. */
void tern_form_pack(const tern_form *form, const tern_linear *linear, uint32_t row, uint32_t n_rows,
                    const int8_t *trits);
/* The other direction, from bytes as tern_form_lay_out() says of linear->rows, cols and slab_cols. False if one is no
 * trit: the file is damaged. */
bool tern_form_unpack(const tern_form *form, const uint8_t *bytes, const tern_linear *linear, uint32_t row,
                      uint32_t n_rows, int8_t *trits);

/* The name of linear `which` of a layer in tern's own layout; written to buffer. */
const char *tern_packed_name(char buffer[static 128], uint32_t layer, int which, const tern_form *form);
/* Its one tensor of scales: F32 [n_layers, 7], in the order of tern_layer; 0 of matrices with scales of their own. */
#define TERN_SCALES_NAME "tern.scales"
/* The name of a matrix's own scales, F32 [slabs, rows]; written to buffer. */
const char *tern_own_scales_name(char buffer[static 128], uint32_t layer, int which);
/* Slabs are of whole units of so many columns. */
enum { TERN_SLAB_UNIT = 32 };

/* Find the tensor of a linear (rows and cols are set) in tern's own layout, in any form -> source, stored. */
tern_status tern_layout_bind(const tern_checkpoint *checkpoint, uint32_t layer, int which, tern_linear *linear,
                             tern_error *err);
/* Read linear->scale of all, and check those of their own. */
tern_status tern_layout_scales(const tern_checkpoint *checkpoint, tern_weights *weights, tern_error *err);

/* Which linear a tensor is, in any kind of file that has tern's own layout; false: it is no packed matrix. */
bool tern_layout_identify(const tern_checkpoint *checkpoint, const tern_tensor *tensor, uint32_t *layer, int *which,
                          const tern_form **form);

/* Weights in linear `which` of any layer, as the file's configuration has it. */
uint64_t tern_layout_parameters(const tern_checkpoint *checkpoint, int which);

#endif
