/* The model that is built into the library (models/README.md): a whole GGUF file as read-only bytes. */
#ifndef TERN_MODEL_DEMO_H
#define TERN_MODEL_DEMO_H

#include <stddef.h>

/* [tern_demo_model_size], aligned to 64 bytes so that a GGUF's tensors are as aligned as in a mapped file. */
extern const unsigned char tern_demo_model[];
extern const size_t tern_demo_model_size; /* bytes */

#endif
