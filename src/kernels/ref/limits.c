/* The yardsticks in plain C: what the compiler makes of the reference's byte products and of sums. */
#include "kernels/limits.h"

uint64_t tern_limit_dot_ref(uint64_t macs);
uint64_t tern_limit_read_ref(const void *block, size_t bytes);

enum { LENGTH = 1024 }; /* bytes: in L1 */

uint64_t tern_limit_dot_ref(uint64_t macs) {
    static int8_t a[LENGTH], b[LENGTH]; /* zeros: the values do not matter */
    uint64_t done = 0;
    for (; done < macs; done += LENGTH) {
        int32_t sum = 0;
        for (size_t i = 0; i < LENGTH; i++)
            sum += a[i] * b[i];
        __asm__ volatile("" : : "r"(sum), "r"(a), "r"(b) : "memory"); /* so that it is done, and done again */
    }
    return done;
}

uint64_t tern_limit_read_ref(const void *block, size_t bytes) {
    enum { WORDS = 8 }; /* a cache line */
    uint64_t sums[TERN_READ_STREAMS][WORDS] = {{0}}, sum = 0;
    const uint64_t *words = block;
    size_t stream = bytes / sizeof *words / TERN_READ_STREAMS;
    for (size_t i = 0; i < stream; i += WORDS)
        for (size_t s = 0; s < TERN_READ_STREAMS; s++)
            for (size_t j = 0; j < WORDS; j++)
                sums[s][j] += words[s * stream + i + j];
    for (size_t s = 0; s < TERN_READ_STREAMS; s++)
        for (size_t j = 0; j < WORDS; j++)
            sum += sums[s][j];
    return sum;
}
