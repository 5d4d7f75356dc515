/*
 * The device's memory. An allocation lies between pages that nobody may touch; its first bytes are rubbish until
 * something is written. Memory behind its end, up to the page, must stay as it is (check_memory()).
 */
#ifndef TERN_EMULATOR_MEMORY_H
#define TERN_EMULATOR_MEMORY_H

#include <stddef.h>
#include <stdint.h>

namespace emulator {

/* NULL: there is no more. */
void *take_memory(size_t bytes);
/* False: no such allocation. */
bool give_memory(void *memory);
bool is_device_memory(const void *at, size_t bytes);
/* Mapped memory of the process that is not the device's. */
bool is_host_memory(const void *at);
size_t memory_total();
size_t memory_free();
/* Ends the process if something was written behind the end of an allocation. */
void check_memory();
/* "3 bytes behind the end of 256 bytes of the device", or so. */
void describe_address(const void *at, char *text, size_t size);

/* The host's memory that copies are made from later (cuMemHostAlloc). */
void *take_pinned(size_t bytes);
bool give_pinned(void *memory);
bool is_pinned(const void *at, size_t bytes);

/* Allocations of both kinds. */
size_t things_left();

} // namespace emulator

#endif
