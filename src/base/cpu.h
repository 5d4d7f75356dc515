/* What the processor can do, detected once. */
#ifndef TERN_BASE_CPU_H
#define TERN_BASE_CPU_H

enum {
    TERN_CPU_AVX2 = 1 << 0,       /* AVX2 + FMA + F16C */
    TERN_CPU_AVXVNNI = 1 << 1,    /* vpdpbusd on ymm, VEX-coded */
    TERN_CPU_AVX512 = 1 << 2,     /* AVX-512 F, BW, VL, DQ */
    TERN_CPU_AVX512VNNI = 1 << 3, /* vpdpbusd on zmm */
    TERN_CPU_NEON = 1 << 4,
    TERN_CPU_DOTPROD = 1 << 5,
    TERN_CPU_I8MM = 1 << 6,
    TERN_CPU_AVX512VBMI = 1 << 7,   /* vpermb and vpmultishiftqb on zmm */
    TERN_CPU_AVX512POPCNT = 1 << 8, /* vpopcntd and vpopcntq on zmm */
    TERN_CPU_AVX512BF16 = 1 << 9,   /* vdpbf16ps and vcvtne2ps2bf16 on zmm */
};

/* The TERN_CPU_* bits that hardware and operating system support. */
unsigned tern_cpu_features(void);
/* CPUs that this process may run on (affinity and cgroup quota respected), at least 1. */
int tern_cpu_count(void);

#endif
