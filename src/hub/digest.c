#include "hub/digest.h"

#include <stdio.h>
#include <string.h>

/* FIPS 180-4, 4.2.2 */
static const uint32_t k256[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t right(uint32_t x, int n) { return x >> n | x << (32 - n); }
static uint32_t left(uint32_t x, int n) { return x << n | x >> (32 - n); }

static uint32_t big_endian(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* 6.2.2 */
static void block_sha256(uint32_t state[8], const uint8_t *bytes) {
    uint32_t w[64], s[8];
    for (int t = 0; t < 16; t++)
        w[t] = big_endian(bytes + 4 * t);
    for (int t = 16; t < 64; t++) {
        uint32_t a = w[t - 15], b = w[t - 2];
        w[t] = (right(b, 17) ^ right(b, 19) ^ b >> 10) + w[t - 7] + (right(a, 7) ^ right(a, 18) ^ a >> 3) + w[t - 16];
    }
    memcpy(s, state, sizeof s);
    for (int t = 0; t < 64; t++) {
        uint32_t a = s[0], e = s[4];
        uint32_t t1 = s[7] + (right(e, 6) ^ right(e, 11) ^ right(e, 25)) + ((e & s[5]) ^ (~e & s[6])) + k256[t] + w[t];
        uint32_t t2 = (right(a, 2) ^ right(a, 13) ^ right(a, 22)) + ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++)
        state[i] += s[i];
}

/* 6.1.2 */
static void block_sha1(uint32_t state[5], const uint8_t *bytes) {
    static const uint32_t k[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
    uint32_t w[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int t = 0; t < 16; t++)
        w[t] = big_endian(bytes + 4 * t);
    for (int t = 16; t < 80; t++)
        w[t] = left(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    for (int t = 0; t < 80; t++) {
        uint32_t f = t < 20 ? (b & c) ^ (~b & d) : t >= 40 && t < 60 ? (b & c) ^ (b & d) ^ (c & d) : b ^ c ^ d;
        uint32_t sum = left(a, 5) + f + e + k[t / 20] + w[t];
        e = d, d = c, c = left(b, 30), b = a, a = sum;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}

void tern_digest_start(tern_digest *digest, tern_digest_kind kind) {
    static const uint32_t start256[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    static const uint32_t start1[8] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    *digest = (tern_digest){.kind = kind};
    memcpy(digest->state, kind == TERN_SHA1 ? start1 : start256, sizeof digest->state);
}

static void block(tern_digest *digest, const uint8_t *bytes) {
    (digest->kind == TERN_SHA1 ? block_sha1 : block_sha256)(digest->state, bytes);
}

void tern_digest_add(tern_digest *digest, const void *bytes, size_t n_bytes) {
    const uint8_t *at = bytes;
    size_t held = digest->total % 64;
    if (n_bytes == 0)
        return;
    digest->total += n_bytes;
    if (held) {
        size_t n = n_bytes < 64 - held ? n_bytes : 64 - held;
        memcpy(digest->pending + held, at, n);
        if (held + n < 64)
            return;
        block(digest, digest->pending);
        at += n, n_bytes -= n;
    }
    for (; n_bytes >= 64; at += 64, n_bytes -= 64)
        block(digest, at);
    memcpy(digest->pending, at, n_bytes);
}

void tern_digest_end(tern_digest *digest, char hex[TERN_DIGEST_HEX]) {
    uint64_t bits = digest->total * 8;
    uint8_t length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)(bits >> (56 - 8 * i));
    tern_digest_add(digest, "\x80", 1); /* 5.1.1: a one, zeros up to 56 of 64 bytes, the length in bits */
    while (digest->total % 64 != 56)
        tern_digest_add(digest, "", 1);
    tern_digest_add(digest, length, sizeof length);
    for (int i = 0; i < (int)digest->kind; i++)
        snprintf(hex + 8 * i, 9, "%08x", (unsigned)digest->state[i]);
}
