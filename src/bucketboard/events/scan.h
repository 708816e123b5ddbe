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

#if defined(__GNUC__)
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#else
#define ALWAYS_INLINE static inline
#endif

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

/* ---- wire format ------------------------------------------------------------------------------------- */

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

#define KEY(number, wire) ((number) << 3 | (wire))

/* A field: its contents lie from `at` to `end`; `value` is that of a varint. */
struct field {
    uint32_t key; /* number and wire type */
    uint64_t value;
    const uint8_t *at, *end;
};

/* Reads a varint and moves `*p` behind it; 0 when it is none. */
ALWAYS_INLINE int varint_read(const uint8_t **p, const uint8_t *end, uint64_t *value)
{
    const uint8_t *at = *p;
    if (at < end && *at < 0x80) {
        *value = *at;
        *p = at + 1;
        return 1;
    }
    uint64_t found = 0;
    for (int shift = 0; shift <= 63; shift += 7) {
        if (at >= end)
            return 0;
        uint64_t byte = *at++;
        if (shift == 63 && byte > 1)
            return 0;
        found |= (byte & 0x7F) << shift;
        if (byte < 0x80) {
            *value = found;
            *p = at;
            return 1;
        }
    }
    return 0;
}

/* Reads the field at `*p` and moves behind it: 1, or 0 when there is no well-formed one. */
ALWAYS_INLINE int field_read(const uint8_t **p, const uint8_t *end, struct field *field)
{
    uint64_t key, length;
    if (!varint_read(p, end, &key))
        return 0;
    if (key < 8 || key >> 32)
        return 0;
    field->key = (uint32_t)key;
    field->value = 0;
    field->at = *p;
    switch (key & 7) {
    case VARINT:
        if (!varint_read(p, end, &field->value))
            return 0;
        break;
    case FIXED64:
        if (end - *p < 8)
            return 0;
        *p += 8;
        break;
    case FIXED32:
        if (end - *p < 4)
            return 0;
        *p += 4;
        break;
    case BYTES:
        if (!varint_read(p, end, &length) || length > (uint64_t)(end - *p))
            return 0;
        field->at = *p;
        *p += length;
        break;
    default:
        return 0;
    }
    field->end = *p;
    return 1;
}

static int is_utf8(const uint8_t *p, const uint8_t *end)
{
    while (p < end) {
        if (end - p >= 8 && !(load64(p) & UINT64_C(0x8080808080808080))) {
            p += 8;
            continue;
        }
        uint8_t lead = *p++;
        if (lead < 0x80)
            continue;
        int more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
        if (lead < 0xC2 || lead > 0xF4 || end - p < more)
            return 0;
        uint8_t next = *p;
        if ((lead == 0xE0 && next < 0xA0) || (lead == 0xED && next > 0x9F) || (lead == 0xF0 && next < 0x90)
            || (lead == 0xF4 && next > 0x8F))
            return 0;
        for (; more; more--)
            if ((*p++ & 0xC0) != 0x80)
                return 0;
    }
    return 1;
}

/* ---- one value --------------------------------------------------------------------------------------- */

enum kind {
    SIMPLE, SCALAR, NUMBER, TENSOR, IMAGE, AUDIO, HISTOGRAM, OBSOLETE,
    GRAPH = 16, RUN_METADATA, META_GRAPH, SESSION_START,
};

struct value {
    const uint8_t *tag, *metadata; /* metadata NULL: none */
    size_t tag_length, metadata_length;
    double number;
    int32_t index, elements;
    uint8_t kind;
    int8_t rank;
};

static double not_a_number(void)
{
    uint64_t bits = UINT64_C(0x7FF8000000000000);
    double value;
    memcpy(&value, &bits, 8);
    return value;
}

static double from_float(uint32_t bits) { float value; memcpy(&value, &bits, 4); return value; }
static double from_double(uint64_t bits) { double value; memcpy(&value, &bits, 8); return value; }

static double from_half(uint32_t bits)
{
    uint32_t sign = (bits & 0x8000) << 16, exponent = bits >> 10 & 0x1F, fraction = bits & 0x3FF;
    if (exponent == 0x1F)
        return from_float(sign | 0x7F800000 | fraction << 13);
    if (exponent)
        return from_float(sign | (exponent + 112) << 23 | fraction << 13);
    double value = (double)fraction / (1 << 24);
    return sign ? -value : value;
}

/* The values of a repeated numeric field: how many (two stands for more), and the first one's bits. */
struct numbers {
    uint64_t first;
    int count;
};

/* Places in numbers[] of the fields of TensorProto that hold them. */
enum { FLOATS, DOUBLES, INTS, INT64S, BOOLS, HALVES, UINT32S, UINT64S, NUMBER_FIELDS, NO_NUMBERS = -1 };

static int numbers_place(uint32_t number)
{
    switch (number) {
    case 5: return FLOATS;
    case 6: return DOUBLES;
    case 7: return INTS;
    case 10: return INT64S;
    case 11: return BOOLS;
    case 13: return HALVES;
    case 16: return UINT32S;
    case 17: return UINT64S;
    default: return NO_NUMBERS;
    }
}

/* Counts a field's values, packed or not; 0 when it is malformed. */
static int numbers_add(struct numbers *numbers, int place, const struct field *field)
{
    int width = place == FLOATS ? 4 : place == DOUBLES ? 8 : 0, wire = field->key & 7, found = 1;
    uint64_t bits;
    if (wire == BYTES) {
        const uint8_t *p = field->at;
        size_t size = (size_t)(field->end - p);
        if (!size)
            return 1;
        if (width) {
            if (size % (size_t)width)
                return 0;
            bits = width == 4 ? load32(p) : load64(p);
            p += width;
        } else if (!varint_read(&p, field->end, &bits))
            return 0;
        found = p == field->end ? 1 : 2;
    } else if (width && wire == (width == 4 ? FIXED32 : FIXED64)) {
        bits = width == 4 ? load32(field->at) : load64(field->at);
    } else if (!width && wire == VARINT) {
        bits = field->value;
    } else {
        return 1;
    }
    if (!numbers[place].count)
        numbers[place].first = bits;
    numbers[place].count = numbers[place].count + found > 2 ? 2 : numbers[place].count + found;
    return 1;
}

/* A DataType: which field has its values, how long one is in tensor_content (0: it is no number). */
static int data_type(int32_t type, int *place)
{
    switch (type) {
    case 1: *place = FLOATS; return 4;
    case 2: *place = DOUBLES; return 8;
    case 3: *place = INTS; return 4;
    case 4: case 6: *place = INTS; return 1; /* uint8, int8 */
    case 5: case 17: *place = INTS; return 2; /* int16, uint16 */
    case 9: *place = INT64S; return 8;
    case 10: *place = BOOLS; return 1;
    case 14: case 19: *place = HALVES; return 2; /* bfloat16, half */
    case 22: *place = UINT32S; return 4;
    case 23: *place = UINT64S; return 8;
    default: return 0;
    }
}

static double number_from_content(int32_t type, const uint8_t *p)
{
    switch (type) {
    case 1: return from_float(load32(p));
    case 2: return from_double(load64(p));
    case 3: return (int32_t)load32(p);
    case 4: return *p;
    case 5: return (int16_t)load16(p);
    case 6: return (int8_t)*p;
    case 9: return (double)(int64_t)load64(p);
    case 10: return *p != 0;
    case 14: return from_float((uint32_t)load16(p) << 16);
    case 17: return load16(p);
    case 19: return from_half(load16(p));
    case 22: return load32(p);
    default: return (double)load64(p);
    }
}

static double number_from_field(int32_t type, int place, uint64_t bits)
{
    switch (place) {
    case FLOATS: return from_float((uint32_t)bits);
    case DOUBLES: return from_double(bits);
    case INTS: return (int32_t)(uint32_t)bits;
    case INT64S: return (double)(int64_t)bits;
    case BOOLS: return bits != 0;
    case HALVES: return type == 14 ? from_float((uint32_t)(bits & 0xFFFF) << 16) : from_half(bits & 0xFFFF);
    case UINT32S: return (uint32_t)bits;
    default: return (double)bits;
    }
}

/* Counts the dimensions of a TensorShapeProto, and whether all are 1. */
static int shape_read(const uint8_t *p, const uint8_t *end, int64_t *rank, int *ones)
{
    struct field field, part;
    while (p < end) {
        if (!field_read(&p, end, &field))
            return 0;
        if (field.key != KEY(2, BYTES))
            continue;
        uint64_t size = 0;
        for (const uint8_t *q = field.at; q < field.end;) {
            if (!field_read(&q, field.end, &part))
                return 0;
            if (part.key == KEY(1, VARINT))
                size = part.value;
        }
        ++*rank;
        *ones &= size == 1;
    }
    return 1;
}

static int tensor_read(const uint8_t *p, const uint8_t *end, struct value *value)
{
    struct numbers numbers[NUMBER_FIELDS] = {{0, 0}};
    struct field field;
    const uint8_t *content = NULL;
    size_t content_length = 0;
    int32_t type = 0;
    int64_t rank = 0, strings = 0;
    int ones = 1, place;
    while (p < end) {
        if (!field_read(&p, end, &field))
            return 0;
        if (field.key == KEY(1, VARINT)) {
            type = (int32_t)(uint32_t)field.value;
        } else if (field.key == KEY(2, BYTES)) {
            if (!shape_read(field.at, field.end, &rank, &ones))
                return 0;
        } else if (field.key == KEY(4, BYTES)) {
            content = field.at;
            content_length = (size_t)(field.end - field.at);
        } else if (field.key == KEY(8, BYTES)) {
            strings++;
        } else if ((place = numbers_place(field.key >> 3)) != NO_NUMBERS) {
            if (!numbers_add(numbers, place, &field))
                return 0;
        }
    }
    value->kind = TENSOR;
    value->number = not_a_number();
    value->elements = (int32_t)(strings > INT32_MAX ? INT32_MAX : strings);
    value->rank = (int8_t)(rank > 127 ? 127 : rank);
    int size = data_type(type, &place);
    if (!size || !ones)
        return 1;
    int data_server_scalar = type == 1 && rank == 0;
    if (data_server_scalar && numbers[FLOATS].count) {
        if (numbers[FLOATS].count == 1) {
            value->kind = SCALAR;
            value->number = from_float((uint32_t)numbers[FLOATS].first);
        } else if (!content_length) {
            return 1;
        }
    } else if (content_length) {
        if (content_length == (size_t)size) {
            value->kind = data_server_scalar ? SCALAR : NUMBER;
            value->number = number_from_content(type, content);
        }
    } else if (numbers[place].count == 1) {
        value->kind = NUMBER;
        value->number = number_from_field(type, place, numbers[place].first);
    }
    return 1;
}

static int tag_read(const struct field *field, struct value *value)
{
    value->tag = field->at;
    value->tag_length = (size_t)(field->end - field->at);
    return value->tag_length <= MAX_TAG && is_utf8(field->at, field->end);
}

/* Reads a Summary.Value; `found` says whether there is anything in it. One of metadata alone, as torch's
   add_hparams writes it, is an empty vector: TensorBoard's data server takes it so. */
static int value_read(const uint8_t *p, const uint8_t *end, struct value *value, int *found)
{
    struct field field;
    *found = 0;
    value->kind = TENSOR;
    value->number = not_a_number();
    value->rank = 1;
    while (p < end) {
        if (!field_read(&p, end, &field))
            return 0;
        if (field.key == KEY(1, BYTES)) {
            if (!tag_read(&field, value))
                return 0;
        } else if (field.key == KEY(9, BYTES)) {
            value->metadata = field.at;
            value->metadata_length = (size_t)(field.end - field.at);
        } else if (field.key == KEY(2, FIXED32)) {
            *found = 1;
            value->kind = SIMPLE;
            value->number = from_float(load32(field.at));
            value->elements = value->rank = 0;
        } else if (field.key == KEY(8, BYTES)) {
            *found = 1;
            if (!tensor_read(field.at, field.end, value))
                return 0;
        } else if (field.key >> 3 >= 3 && field.key >> 3 <= 6 && (field.key & 7) == BYTES) {
            static const uint8_t kinds[] = {OBSOLETE, IMAGE, HISTOGRAM, AUDIO}, parts[] = {0, 3, 0, 1};
            *found = 1;
            value->kind = kinds[(field.key >> 3) - 3];
            value->number = not_a_number();
            value->elements = parts[(field.key >> 3) - 3];
            value->rank = 0;
        }
    }
    *found |= value->tag_length || value->metadata;
    return 1;
}

/* ---- one event --------------------------------------------------------------------------------------- */

/* The rows of one event, not yet known to be well-formed. */
struct event {
    int64_t step;
    double wall_time;
    struct value *values;
    size_t count, capacity;
};

enum outcome { DONE, MALFORMED, FULL, NO_MEMORY };

static struct value *event_next(struct event *event)
{
    if (event->count == event->capacity) {
        size_t capacity = event->capacity ? event->capacity * 2 : 16;
        struct value *values = realloc(event->values, capacity * sizeof *values);
        if (!values)
            return NULL;
        event->values = values;
        event->capacity = capacity;
    }
    struct value *value = &event->values[event->count];
    memset(value, 0, sizeof *value);
    value->tag = (const uint8_t *)"";
    return value;
}

static enum outcome summary_read(struct event *event, const uint8_t *p, const uint8_t *end, uint32_t *index)
{
    struct field field;
    int found;
    while (p < end) {
        if (!field_read(&p, end, &field))
            return MALFORMED;
        if (field.key != KEY(1, BYTES))
            continue;
        struct value *value = event_next(event);
        if (!value)
            return NO_MEMORY;
        if (!value_read(field.at, field.end, value, &found))
            return MALFORMED;
        value->index = (int32_t)(*index)++;
        event->count += (size_t)found;
    }
    return DONE;
}

/* Any other field of Event's oneof. */
static enum outcome other_read(struct event *event, const struct field *what)
{
    struct field field;
    struct value *value = event_next(event);
    if (!value)
        return NO_MEMORY;
    value->number = not_a_number();
    switch (what->key) {
    case KEY(4, BYTES):
        value->kind = GRAPH;
        value->tag = (const uint8_t *)"__run_graph__";
        value->tag_length = 13;
        value->elements = 1;
        event->count++;
        break;
    case KEY(7, BYTES):
    case KEY(8, BYTES): {
        int run_metadata = what->key == KEY(8, BYTES);
        uint64_t status = 0;
        for (const uint8_t *p = what->at; p < what->end;) {
            if (!field_read(&p, what->end, &field))
                return MALFORMED;
            if (run_metadata && field.key == KEY(1, BYTES) && !tag_read(&field, value))
                return MALFORMED;
            if (!run_metadata && field.key == KEY(1, VARINT))
                status = field.value;
        }
        value->kind = run_metadata ? RUN_METADATA : SESSION_START;
        value->elements = run_metadata;
        event->count += run_metadata || status == 1;
        break;
    }
    case KEY(9, BYTES):
        value->kind = META_GRAPH;
        event->count++;
        break;
    default:
        break;
    }
    return DONE;
}

static enum outcome event_read(struct event *event, const uint8_t *p, const uint8_t *end)
{
    struct field field;
    int summary = 0;
    uint32_t index = 0;
    event->step = 0;
    event->wall_time = 0;
    event->count = 0;
    while (p < end) {
        if (!field_read(&p, end, &field))
            return MALFORMED;
        if (field.key == KEY(1, FIXED64)) {
            event->wall_time = from_double(load64(field.at));
        } else if (field.key == KEY(2, VARINT)) {
            event->step = (int64_t)field.value;
        } else if (field.key >> 3 >= 3 && field.key >> 3 <= 9 && (field.key & 7) == BYTES) {
            int before = summary;
            summary = field.key == KEY(5, BYTES);
            if (!summary || !before) { /* the last of the oneof counts; a summary may come in pieces */
                event->count = 0;
                index = 0;
            }
            enum outcome outcome = summary ? summary_read(event, field.at, field.end, &index)
                                           : other_read(event, &field);
            if (outcome != DONE)
                return outcome;
        }
    }
    return DONE;
}

/* ---- tags -------------------------------------------------------------------------------------------- */

struct tag {
    const uint8_t *name, *first, *stated; /* in the data that is scanned; stated NULL: nowhere */
    size_t length, first_length, stated_length;
    uint64_t hash;
};

struct tags {
    struct tag *list;
    uint32_t *slots; /* place in the list + 1; 0: free */
    size_t count, capacity, mask;
    uint64_t seed; /* so that nobody can choose tags that collide */
};

static uint64_t tag_hash(const uint8_t *p, size_t n, uint64_t seed)
{
    uint64_t hash = seed ^ n, word;
    for (; n >= 8; p += 8, n -= 8) {
        hash = (hash ^ load64(p)) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 32;
    }
    for (word = n; n; n--)
        word = word << 8 | *p++;
    hash = (hash ^ word) * UINT64_C(0xD6E8FEB86659FD93);
    hash ^= hash >> 32;
    hash *= UINT64_C(0xD6E8FEB86659FD93);
    return hash ^ hash >> 32;
}

static int tags_grow(struct tags *tags)
{
    size_t capacity = tags->capacity ? tags->capacity * 2 : 64;
    if (capacity > UINT32_MAX / 4)
        return 0;
    struct tag *list = realloc(tags->list, capacity * sizeof *list);
    if (!list)
        return 0;
    tags->list = list;
    uint32_t *slots = calloc(capacity * 2, sizeof *slots);
    if (!slots)
        return 0;
    free(tags->slots);
    tags->slots = slots;
    tags->capacity = capacity;
    tags->mask = capacity * 2 - 1;
    for (size_t i = 0; i < tags->count; i++) {
        size_t slot = (size_t)list[i].hash & tags->mask;
        while (slots[slot])
            slot = (slot + 1) & tags->mask;
        slots[slot] = (uint32_t)i + 1;
    }
    return 1;
}

/* The place of a value's tag; a new one takes its metadata from it. -1: no memory. */
static int32_t tags_place(struct tags *tags, const struct value *value)
{
    if (tags->count == tags->capacity && !tags_grow(tags))
        return -1;
    uint64_t hash = tag_hash(value->tag, value->tag_length, tags->seed);
    size_t slot = (size_t)hash & tags->mask;
    for (; tags->slots[slot]; slot = (slot + 1) & tags->mask) {
        struct tag *tag = &tags->list[tags->slots[slot] - 1];
        if (tag->hash == hash && tag->length == value->tag_length
            && !memcmp(tag->name, value->tag, tag->length)) {
            if (!tag->stated && value->metadata) {
                tag->stated = value->metadata;
                tag->stated_length = value->metadata_length;
            }
            return (int32_t)(tags->slots[slot] - 1);
        }
    }
    tags->list[tags->count] = (struct tag){
        value->tag, value->metadata, value->metadata,
        value->tag_length, value->metadata_length, value->metadata_length, hash,
    };
    tags->slots[slot] = (uint32_t)++tags->count;
    return (int32_t)tags->count - 1;
}

/* ---- a stretch of a file ----------------------------------------------------------------------------- */

struct columns {
    int64_t *step;
    double *wall_time;
    int32_t *tag;
    double *value;
    uint8_t *kind;
    int64_t *offset, *length;
    int32_t *index, *elements;
    int8_t *rank;
};

struct scan {
    const uint8_t *data;
    size_t length, at;
    int64_t base; /* of the data in its file */
    struct columns columns;
    size_t rows, capacity; /* capacity: rows that the columns have room for */
    size_t needed; /* after FULL: rows that the next event has */
    struct tags tags;
    struct event event;
    struct damages damages;
    uint64_t wanted; /* bytes from `at` on that the next record needs; 0: framing is lost */
    int64_t events;
    double start;
};

static void scan_free(struct scan *scan)
{
    free(scan->tags.list);
    free(scan->tags.slots);
    free(scan->event.values);
}

/* How many records there seem to be from their lengths, as a first size of the columns. */
static size_t scan_estimate(const struct scan *scan)
{
    size_t count = 0, at = 0;
    while (scan->length - at >= OVERHEAD_BYTES) {
        uint64_t length = load64(scan->data + at);
        if (length > scan->length - at - OVERHEAD_BYTES)
            break;
        at += (size_t)length + OVERHEAD_BYTES;
        count++;
    }
    return count;
}

static enum outcome scan_commit(struct scan *scan, int64_t offset, int64_t length)
{
    const struct event *event = &scan->event;
    struct columns *columns = &scan->columns;
    if (event->count > scan->capacity - scan->rows) {
        scan->needed = event->count;
        return FULL;
    }
    for (size_t i = 0; i < event->count; i++) {
        const struct value *value = &event->values[i];
        int32_t tag = -1;
        if (value->kind < META_GRAPH && (tag = tags_place(&scan->tags, value)) < 0)
            return NO_MEMORY;
        size_t row = scan->rows++;
        columns->step[row] = event->step;
        columns->wall_time[row] = event->wall_time;
        columns->tag[row] = tag;
        columns->value[row] = value->number;
        columns->kind[row] = value->kind;
        columns->offset[row] = offset;
        columns->length[row] = length;
        columns->index[row] = value->index;
        columns->elements[row] = value->elements;
        columns->rank[row] = value->rank;
    }
    scan->events++;
    if (!(event->wall_time >= scan->start))
        scan->start = event->wall_time;
    return DONE;
}

/* Scans on from `at`. FULL: the columns have no room for the next event's rows; grow them and call again. */
static enum outcome scan_run(struct scan *scan)
{
    for (;;) {
        uint64_t total = 0;
        int kind = 0;
        const uint8_t *record = scan->data + scan->at;
        int64_t offset = scan->base + (int64_t)scan->at;
        switch (frame_read(record, scan->length - scan->at, &total, &kind)) {
        case FRAME_OK:
            switch (event_read(&scan->event, record + HEADER_BYTES, record + total - 4)) {
            case DONE:
                if (scan->event.wall_time != scan->event.wall_time) {
                    damage_add(&scan->damages, offset, (int64_t)total, BAD_TIME);
                } else {
                    enum outcome outcome = scan_commit(scan, offset, (int64_t)total);
                    if (outcome != DONE)
                        return outcome;
                }
                break;
            case MALFORMED:
                damage_add(&scan->damages, offset, (int64_t)total, BAD_EVENT);
                break;
            default:
                return NO_MEMORY;
            }
            break;
        case FRAME_CORRUPT:
            damage_add(&scan->damages, offset, (int64_t)total, kind);
            break;
        case FRAME_TRUNCATED:
            scan->wanted = total;
            return DONE;
        case FRAME_LOST:
            damage_add(&scan->damages, offset, 0, kind);
            scan->wanted = 0;
            return DONE;
        }
        scan->at += (size_t)total;
    }
}

#endif
