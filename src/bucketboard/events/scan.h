/* The scan of event files: framing, CRC32C and the Event wire format, from bytes to columns.

   Knows nothing of Python, so that it can be fuzzed alone. Agrees with reference.py to the last row; what is
   said there holds here. Every length is checked against what is there before it is used; nothing that a
   file states is allocated but rows and tags, of which each costs bytes of the file. No recursion. */

#ifndef BUCKETBOARD_SCAN_H
#define BUCKETBOARD_SCAN_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "only for little-endian machines: elsewhere the Python reference serves"
#endif

enum {
    HEADER_BYTES = 12,
    OVERHEAD_BYTES = 16,
    MAX_TAG = 1 << 16,
    MAX_DAMAGE = 1000,
};
#define MAX_RECORD (UINT64_C(1) << 46)

static inline uint16_t load16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static inline uint32_t load32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t load64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }

/* ---- CRC32C ------------------------------------------------------------------------------------------ */

static uint32_t crc_table[8][256];

static uint32_t crc_portable(const uint8_t *p, size_t n)
{
    uint32_t crc = 0xFFFFFFFF;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t word = load64(p) ^ crc;
        crc = crc_table[7][word & 0xFF] ^ crc_table[6][word >> 8 & 0xFF] ^ crc_table[5][word >> 16 & 0xFF]
            ^ crc_table[4][word >> 24 & 0xFF] ^ crc_table[3][word >> 32 & 0xFF] ^ crc_table[2][word >> 40 & 0xFF]
            ^ crc_table[1][word >> 48 & 0xFF] ^ crc_table[0][word >> 56];
    }
    while (n--)
        crc = crc >> 8 ^ crc_table[0][(crc ^ *p++) & 0xFF];
    return ~crc;
}

#if defined(__x86_64__) && defined(__GNUC__)
#include <nmmintrin.h>
#define CRC_HARDWARE
__attribute__((target("sse4.2"))) static uint32_t crc_hardware(const uint8_t *p, size_t n)
{
    uint64_t crc = 0xFFFFFFFF;
    for (; n >= 8; p += 8, n -= 8)
        crc = _mm_crc32_u64(crc, load64(p));
    uint32_t low = (uint32_t)crc;
    while (n--)
        low = _mm_crc32_u8(low, *p++);
    return ~low;
}
static int crc_has_hardware(void) { __builtin_cpu_init(); return __builtin_cpu_supports("sse4.2"); }

#elif defined(__aarch64__) && defined(__GNUC__)
#if defined(__linux__)
#include <sys/auxv.h>
#endif
#if defined(__clang__)
#define CRC_TARGET "crc"
#else
#define CRC_TARGET "+crc"
#endif
#define CRC_HARDWARE
/* Inline assembly, since arm_acle.h declares these only where all of the file is built for them. */
__attribute__((target(CRC_TARGET))) static uint32_t crc_hardware(const uint8_t *p, size_t n)
{
    uint32_t crc = 0xFFFFFFFF;
    for (; n >= 8; p += 8, n -= 8)
        __asm__("crc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(load64(p)));
    while (n--)
        __asm__("crc32cb %w0, %w0, %w1" : "+r"(crc) : "r"((uint32_t)*p++));
    return ~crc;
}
static int crc_has_hardware(void)
{
#if defined(__APPLE__)
    return 1;
#elif defined(__linux__)
    return (getauxval(AT_HWCAP) & 1 << 7) != 0; /* HWCAP_CRC32 */
#else
    return 0;
#endif
}
#endif

static uint32_t (*crc32c)(const uint8_t *, size_t) = crc_portable;

/* To be called once before anything else; without `hardware` the table serves, for tests. */
static void crc_prepare(int hardware)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78 : 0);
        crc_table[0][byte] = crc;
    }
    for (int slice = 1; slice < 8; slice++)
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint32_t crc = crc_table[slice - 1][byte];
            crc_table[slice][byte] = crc >> 8 ^ crc_table[0][crc & 0xFF];
        }
    crc32c = crc_portable;
#ifdef CRC_HARDWARE
    if (hardware && crc_has_hardware())
        crc32c = crc_hardware;
#endif
}

static inline uint32_t masked_crc(const uint8_t *p, size_t n)
{
    uint32_t crc = crc32c(p, n);
    return (crc >> 15 | crc << 17) + 0xA282EAD8;
}

/* ---- framing ----------------------------------------------------------------------------------------- */

enum damage_kind { BAD_LENGTH = 1, TOO_LONG, BAD_PAYLOAD, BAD_EVENT, BAD_TIME };

struct damage {
    int64_t offset, length;
    int kind;
};

struct damages {
    struct damage places[MAX_DAMAGE];
    size_t count; /* of places */
    int64_t total;
};

static void damage_add(struct damages *damages, int64_t offset, int64_t length, int kind)
{
    damages->total++;
    if (damages->count < MAX_DAMAGE)
        damages->places[damages->count++] = (struct damage){offset, length, kind};
}

enum frame { FRAME_OK, FRAME_CORRUPT, FRAME_TRUNCATED, FRAME_LOST };

/* The record at `p`, of which `n` bytes are there: its whole length in `total`. Truncated: the length it needs. */
static enum frame frame_read(const uint8_t *p, size_t n, uint64_t *total, int *kind)
{
    if (n < HEADER_BYTES) {
        *total = OVERHEAD_BYTES;
        return FRAME_TRUNCATED;
    }
    uint64_t length = load64(p);
    if (masked_crc(p, 8) != load32(p + 8)) {
        *kind = BAD_LENGTH;
        return FRAME_LOST;
    }
    if (length > MAX_RECORD) {
        *kind = TOO_LONG;
        return FRAME_LOST;
    }
    *total = length + OVERHEAD_BYTES;
    if (*total > n)
        return FRAME_TRUNCATED;
    if (masked_crc(p + HEADER_BYTES, (size_t)length) != load32(p + HEADER_BYTES + length)) {
        *kind = BAD_PAYLOAD;
        return FRAME_CORRUPT;
    }
    return FRAME_OK;
}

/* Where the whole records of `data` end, and how many are valid. `base` is added to places in damage. */
static size_t frame_ends(const uint8_t *data, size_t n, int64_t base, int64_t *count, struct damages *damages)
{
    size_t at = 0;
    for (;;) {
        uint64_t total = 0;
        int kind = 0;
        switch (frame_read(data + at, n - at, &total, &kind)) {
        case FRAME_OK:
            ++*count;
            break;
        case FRAME_CORRUPT:
            damage_add(damages, base + (int64_t)at, (int64_t)total, kind);
            break;
        case FRAME_TRUNCATED:
            return at;
        case FRAME_LOST:
            damage_add(damages, base + (int64_t)at, 0, kind);
            return at;
        }
        at += (size_t)total;
    }
}

#endif
