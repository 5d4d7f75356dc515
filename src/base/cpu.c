#include "base/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef __linux__
#include <sched.h>
#endif
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif
#if defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#if defined(__x86_64__)

static unsigned long long read_xcr0(void) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (unsigned long long)high << 32 | low;
}

unsigned tern_cpu_features(void) {
    unsigned a, b, c, d, features = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return 0;
    const unsigned fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29;
    if ((c & (fma | osxsave | avx | f16c)) != (fma | osxsave | avx | f16c))
        return 0;
    unsigned long long xcr0 = read_xcr0(); /* the system must save the registers, not only the CPU have them */
    if ((xcr0 & 0x6) != 0x6 || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return 0;
    if (b >> 5 & 1)
        features |= TERN_CPU_AVX2;
    const unsigned f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31;
    if ((xcr0 & 0xe6) == 0xe6 && (b & (f | dq | bw | vl)) == (f | dq | bw | vl)) {
        features |= TERN_CPU_AVX512;
        if (c >> 11 & 1)
            features |= TERN_CPU_AVX512VNNI;
        if (c >> 1 & 1)
            features |= TERN_CPU_AVX512VBMI;
        if (c >> 14 & 1)
            features |= TERN_CPU_AVX512POPCNT;
    }
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d))
        return features;
    if ((a >> 4 & 1) && (features & TERN_CPU_AVX2))
        features |= TERN_CPU_AVXVNNI;
    if ((a >> 5 & 1) && (features & TERN_CPU_AVX512))
        features |= TERN_CPU_AVX512BF16;
    return features;
}

#elif defined(__aarch64__)

unsigned tern_cpu_features(void) {
    unsigned features = TERN_CPU_NEON;
#if defined(__linux__)
    /* bit numbers of the kernel's arm64 hwcap ABI: ASIMDDP is 20 of HWCAP, I8MM 13 of HWCAP2 */
    if (getauxval(AT_HWCAP) >> 20 & 1)
        features |= TERN_CPU_DOTPROD;
    if (getauxval(AT_HWCAP2) >> 13 & 1)
        features |= TERN_CPU_I8MM;
#elif defined(__APPLE__)
    int value = 0;
    size_t size = sizeof value;
    if (!sysctlbyname("hw.optional.arm.FEAT_DotProd", &value, &size, NULL, 0) && value)
        features |= TERN_CPU_DOTPROD;
    size = sizeof value;
    if (!sysctlbyname("hw.optional.arm.FEAT_I8MM", &value, &size, NULL, 0) && value)
        features |= TERN_CPU_I8MM;
#endif
    return features;
}

#else

unsigned tern_cpu_features(void) { return 0; }

#endif

/* A container's CPU quota (cgroup v2), rounded up; 0 if there is none. More
 * threads than the quota allows are throttled in turn and run slower. */
static int cgroup_quota(void) {
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (!file)
        return 0;
    char line[64];
    long quota = 0, period = 0;
    if (fgets(line, sizeof line, file)) { /* "max 100000" or "200000 100000" */
        char *end;
        quota = strtol(line, &end, 10);
        period = end == line ? 0 : strtol(end, NULL, 10);
    }
    fclose(file);
    return quota > 0 && period > 0 ? (int)((quota + period - 1) / period) : 0;
}

int tern_cpu_count(void) {
    int count = 0;
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        count = CPU_COUNT(&set);
#endif
    if (count < 1)
        count = (int)sysconf(_SC_NPROCESSORS_ONLN);
    int quota = cgroup_quota();
    if (quota && quota < count)
        count = quota;
    return count < 1 ? 1 : count;
}
