/* A fuzz target for the scan of event files (libFuzzer), see fuzz/run.

   The first byte says how the rest is taken: as the bytes of a file, or as payloads that are framed with
   right checksums, so that the Event decoder is reached. What is found must not depend on where the bytes
   are split, and reading must stay within them (sanitizers). */

#include <assert.h>
#include <stdio.h>

#include "scan.h"

static void ensure(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "does not hold: %s\n", what);
        abort();
    }
}

static void *make(size_t count, size_t width)
{
    void *memory = malloc(count * width + 1);
    ensure(memory != NULL, "memory");
    return memory;
}

struct result {
    struct scan scan;
    size_t capacity;
};

static void columns_grow(struct scan *scan, size_t capacity)
{
    struct columns *columns = &scan->columns;
#define GROW(name) ensure((columns->name = realloc(columns->name, capacity * sizeof *columns->name + 1)) != NULL, "memory")
    GROW(step); GROW(wall_time); GROW(tag); GROW(value); GROW(kind);
    GROW(offset); GROW(length); GROW(index); GROW(elements); GROW(rank);
    scan->capacity = capacity;
}

static void columns_free(struct columns *columns)
{
    free(columns->step); free(columns->wall_time); free(columns->tag); free(columns->value); free(columns->kind);
    free(columns->offset); free(columns->length); free(columns->index); free(columns->elements);
    free(columns->rank);
}

/* Scans a copy that ends where the allocation ends, so that a byte too far is seen. */
static struct scan *scanned(const uint8_t *data, size_t length, int64_t base, uint8_t **copy)
{
    struct scan *scan = calloc(1, sizeof *scan);
    ensure(scan != NULL, "memory");
    *copy = make(length, 1);
    *copy = realloc(*copy, length ? length : 1);
    memcpy(*copy, data, length);
    scan->data = *copy;
    scan->length = length;
    scan->base = base;
    scan->start = not_a_number();
    scan->tags.seed = length * 7;
    size_t estimate = scan_estimate(scan);
    columns_grow(scan, estimate / 2);
    for (;;) {
        enum outcome outcome = scan_run(scan);
        ensure(outcome != NO_MEMORY, "memory");
        if (outcome == DONE)
            break;
        columns_grow(scan, scan->capacity + scan->needed);
    }
    ensure(scan->at <= length && scan->rows <= scan->capacity, "bounds");
    for (size_t row = 0; row < scan->rows; row++) {
        int64_t at = scan->columns.offset[row] - base;
        ensure(at >= 0 && (size_t)(at + scan->columns.length[row]) <= scan->at, "a row within what was read");
        ensure(scan->columns.tag[row] < (int32_t)scan->tags.count, "a tag of the list");
    }
    return scan;
}

static void drop(struct scan *scan, uint8_t *copy)
{
    columns_free(&scan->columns);
    scan_free(scan);
    free(scan);
    free(copy);
}

static const struct tag *tag_of(const struct scan *scan, size_t row)
{
    int32_t tag = scan->columns.tag[row];
    return tag < 0 ? NULL : &scan->tags.list[tag];
}

static void same_row(const struct scan *one, size_t i, const struct scan *two, size_t j)
{
    const struct columns *a = &one->columns, *b = &two->columns;
    ensure(a->step[i] == b->step[j] && !memcmp(&a->wall_time[i], &b->wall_time[j], 8)
               && !memcmp(&a->value[i], &b->value[j], 8) && a->kind[i] == b->kind[j]
               && a->offset[i] == b->offset[j] && a->length[i] == b->length[j] && a->index[i] == b->index[j]
               && a->elements[i] == b->elements[j] && a->rank[i] == b->rank[j],
           "the same row");
    const struct tag *s = tag_of(one, i), *t = tag_of(two, j);
    ensure(!s == !t && (!s || (s->length == t->length && !memcmp(s->name, t->name, s->length))), "the same tag");
}

static void check(const uint8_t *data, size_t length, size_t split)
{
    uint8_t *copies[3];
    struct scan *whole = scanned(data, length, 0, &copies[0]);
    struct scan *first = scanned(data, split, 0, &copies[1]);
    struct scan *second = scanned(data + first->at, length - first->at, (int64_t)first->at, &copies[2]);
    if (first->wanted) {
        ensure(whole->rows == first->rows + second->rows, "as many rows");
        ensure(whole->events == first->events + second->events, "as many events");
        ensure(whole->damages.total == first->damages.total + second->damages.total, "as much damage");
        ensure(whole->at == first->at + second->at && whole->wanted == second->wanted, "the same end");
        for (size_t i = 0; i < second->rows; i++)
            same_row(whole, first->rows + i, second, i);
    }
    ensure(whole->rows >= first->rows, "no fewer rows");
    for (size_t i = 0; i < first->rows; i++)
        same_row(whole, i, first, i);
    struct damages *damages = calloc(1, sizeof *damages);
    ensure(damages != NULL, "memory");
    int64_t count = 0;
    ensure(frame_ends(whole->data, length, 0, &count, damages) == whole->at, "the framing ends there too");
    ensure(count >= whole->events, "as many frames as events");
    free(damages);
    drop(whole, copies[0]);
    drop(first, copies[1]);
    drop(second, copies[2]);
}

static size_t put_frame(uint8_t *to, const uint8_t *payload, size_t length)
{
    uint64_t n = length;
    memcpy(to, &n, 8);
    uint32_t crc = masked_crc(to, 8);
    memcpy(to + 8, &crc, 4);
    memcpy(to + HEADER_BYTES, payload, length);
    crc = masked_crc(payload, length);
    memcpy(to + HEADER_BYTES + length, &crc, 4);
    return length + OVERHEAD_BYTES;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int rounds;
    if (size < 3)
        return 0;
    if (!(rounds++ & 0xFF))
        crc_prepare(rounds & 0x100);
    int framed = data[0] & 1;
    size_t split = load16(data + 1);
    data += 3;
    size -= 3;
    if (!framed) {
        check(data, size, split % (size + 1));
        return 0;
    }
    /* Payloads: one byte of length, or two from 128 on. */
    uint8_t *stream = make(size * 20 + 64, 1);
    size_t length = 0;
    while (size) {
        size_t take = *data++;
        size--;
        if (take >= 128 && size) {
            take = (take & 0x7F) << 8 | *data++;
            size--;
        }
        if (take > size)
            take = size;
        length += put_frame(stream + length, data, take);
        data += take;
        size -= take;
    }
    check(stream, length, split % (length + 1));
    free(stream);
    return 0;
}

#ifdef STANDALONE
/* Without libFuzzer: files named on the command line are tried, then mutations of them for some seconds. */
#include <time.h>

static uint64_t state = 88172645463325252u;
static uint64_t draw(void) { state ^= state << 13; state ^= state >> 7; return state ^= state << 17; }

int main(int count, char **names)
{
    enum { MOST = 4096, ROOM = 1 << 16 };
    static uint8_t *seeds[MOST];
    static size_t sizes[MOST];
    size_t known = 0;
    long seconds = count > 1 ? atol(names[1]) : 10;
    crc_prepare(1);
    for (int i = 2; i < count && known < MOST; i++) {
        FILE *file = fopen(names[i], "rb");
        ensure(file != NULL, names[i]);
        seeds[known] = make(ROOM, 1);
        sizes[known] = fread(seeds[known], 1, ROOM / 2, file);
        fclose(file);
        LLVMFuzzerTestOneInput(seeds[known], sizes[known]);
        known++;
    }
    ensure(known > 0, "a seed file is given");
    uint8_t *input = make(ROOM, 1);
    uint64_t executions = 0;
    for (time_t end = time(NULL) + seconds; executions & 0xFF || time(NULL) < end; executions++) {
        size_t seed = draw() % known, size = sizes[seed];
        memcpy(input, seeds[seed], size);
        for (uint64_t n = 1 + draw() % 6; n && size; n--) {
            size_t at = draw() % size;
            switch (draw() % 5) {
            case 0: input[at] = (uint8_t)draw(); break;
            case 1: input[at] ^= (uint8_t)(1 << draw() % 8); break;
            case 2: size = at; break;
            case 3:
                if (size < ROOM - 1) {
                    memmove(input + at + 1, input + at, size - at);
                    input[at] = (uint8_t)draw();
                    size++;
                }
                break;
            default:
                memmove(input + at, input + at + 1, size - at - 1);
                size--;
            }
        }
        LLVMFuzzerTestOneInput(input, size);
    }
    printf("%llu executions\n", (unsigned long long)executions);
    return 0;
}
#endif
