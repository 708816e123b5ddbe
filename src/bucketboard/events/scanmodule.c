/* Python's door to scan.h: within the limited API, so that one build serves every Python from 3.10 on.

   Data comes as an address and a length, because buffers are in the limited API only since 3.11; the caller
   keeps them alive. The GIL is released while bytes are looked at. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "scan.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

static PyObject *damage_list(const struct damages *damages)
{
    PyObject *list = PyList_New((Py_ssize_t)damages->count);
    for (size_t i = 0; list && i < damages->count; i++) {
        const struct damage *place = &damages->places[i];
        PyObject *item =
            Py_BuildValue("(LLi)", (long long)place->offset, (long long)place->length, place->kind);
        if (!item || PyList_SetItem(list, (Py_ssize_t)i, item) < 0)
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *record_ends(PyObject *module, PyObject *args)
{
    unsigned long long address;
    Py_ssize_t length;
    long long base, count = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "KnL", &address, &length, &base))
        return NULL;
    struct damages *damages = calloc(1, sizeof *damages);
    if (!damages)
        return PyErr_NoMemory();
    size_t end;
    int64_t records = 0;
    Py_BEGIN_ALLOW_THREADS
    end = frame_ends((const uint8_t *)(uintptr_t)address, (size_t)length, base, &records, damages);
    Py_END_ALLOW_THREADS
    count = records;
    PyObject *list = damage_list(damages);
    free(damages);
    return list ? Py_BuildValue("(LLN)", base + (long long)end, count, list) : NULL;
}

/* The columns lie behind each other in one block, wide ones first, so that it is a few large pages. */
enum { WIDE = 5, MIDDLE = 3, NARROW = 2, ROW_BYTES = WIDE * 8 + MIDDLE * 4 + NARROW };

/* Asks for large pages: to be given the small ones of what a scan fills takes as long as the scan. */
static void prefer_large_pages(char *start, size_t size)
{
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const uintptr_t page = 4096;
    if (size >= 1 << 22) {
        uintptr_t first = ((uintptr_t)start + page - 1) & ~(page - 1);
        madvise((void *)first, (size_t)((uintptr_t)start + size - first) & ~(page - 1), MADV_HUGEPAGE);
    }
#else
    (void)start;
    (void)size;
#endif
}

/* Moves the columns to a block with room for `capacity` rows; -1 with an exception set when there is none. */
static int move(PyObject **block, struct scan *scan, size_t capacity)
{
    if (capacity > (size_t)PY_SSIZE_T_MAX / ROW_BYTES) {
        PyErr_NoMemory();
        return -1;
    }
    PyObject *larger = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)(capacity * ROW_BYTES));
    if (!larger)
        return -1;
    char *start = PyByteArray_AsString(larger);
    prefer_large_pages(start, capacity * ROW_BYTES);
    const struct columns before = scan->columns;
    struct columns *columns = &scan->columns;
#define TAKE(name) \
    columns->name = (void *)start; \
    start += capacity * sizeof *columns->name; \
    if (scan->rows) \
        memcpy(columns->name, before.name, scan->rows * sizeof *columns->name)
    TAKE(step);
    TAKE(wall_time);
    TAKE(value);
    TAKE(offset);
    TAKE(length);
    TAKE(tag);
    TAKE(index);
    TAKE(elements);
    TAKE(kind);
    TAKE(rank);
#undef TAKE
    scan->capacity = capacity;
    Py_XDECREF(*block);
    *block = larger;
    return 0;
}

static PyObject *run(struct scan *scan, PyObject **block)
{
    enum outcome outcome;
    size_t capacity;
    Py_BEGIN_ALLOW_THREADS
    capacity = scan_estimate(scan);
    Py_END_ALLOW_THREADS
    if (move(block, scan, (capacity + 7) & ~(size_t)7) < 0)
        return NULL;
    for (;;) {
        Py_BEGIN_ALLOW_THREADS
        outcome = scan_run(scan);
        Py_END_ALLOW_THREADS
        if (outcome != FULL)
            break;
        size_t more = scan->capacity / 2 > scan->needed ? scan->capacity / 2 : scan->needed;
        if (move(block, scan, (scan->capacity + more + 7) & ~(size_t)7) < 0)
            return NULL;
    }
    if (outcome == NO_MEMORY)
        return PyErr_NoMemory();
    if (scan->rows < scan->capacity / 2 && move(block, scan, (scan->rows + 7) & ~(size_t)7) < 0)
        return NULL;

    PyObject *tags = PyList_New((Py_ssize_t)scan->tags.count);
    for (size_t i = 0; tags && i < scan->tags.count; i++) {
        const struct tag *tag = &scan->tags.list[i];
        PyObject *name = PyUnicode_DecodeUTF8((const char *)tag->name, (Py_ssize_t)tag->length, "strict");
        PyObject *item = name ? Py_BuildValue(
            "(Ny#y#)", name, tag->first ? (const char *)tag->first : "", (Py_ssize_t)tag->first_length,
            (const char *)tag->stated, (Py_ssize_t)tag->stated_length) : NULL;
        if (!item || PyList_SetItem(tags, (Py_ssize_t)i, item) < 0)
            Py_CLEAR(tags);
    }
    PyObject *damage = tags ? damage_list(&scan->damages) : NULL;
    if (!damage) {
        Py_XDECREF(tags);
        return NULL;
    }
    return Py_BuildValue("(LKLdOnnNNL)", (long long)(scan->base + (int64_t)scan->at),
                         (unsigned long long)scan->wanted, (long long)scan->events, scan->start, *block,
                         (Py_ssize_t)scan->rows, (Py_ssize_t)scan->capacity, tags, damage,
                         (long long)scan->damages.total);
}

static PyObject *scan(PyObject *module, PyObject *args)
{
    unsigned long long address, seed;
    Py_ssize_t length;
    long long base;
    PyObject *block = NULL;
    (void)module;
    if (!PyArg_ParseTuple(args, "KnLK", &address, &length, &base, &seed))
        return NULL;
    struct scan *state = calloc(1, sizeof *state);
    if (!state)
        return PyErr_NoMemory();
    state->data = (const uint8_t *)(uintptr_t)address;
    state->length = (size_t)length;
    state->base = base;
    state->tags.seed = seed;
    state->start = not_a_number();
    PyObject *result = run(state, &block);
    Py_XDECREF(block);
    scan_free(state);
    free(state);
    return result;
}

static PyMethodDef methods[] = {
    {"scan", scan, METH_VARARGS,
     "scan(address, length, base, seed) -> (end, wanted, events, start, block, rows, capacity, "
     "[(tag, first, stated)], [(offset, length, kind)], damaged)"},
    {"record_ends", record_ends, METH_VARARGS,
     "record_ends(address, length, base) -> (end, count, [(offset, length, kind)])"},
    {NULL, NULL, 0, NULL},
};

static int prepare(PyObject *module)
{
    crc_prepare(1);
    /* Raised with what native.py takes from here, so that a build left behind is not used. */
    return PyModule_AddIntConstant(module, "INTERFACE", 1);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, prepare},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_scan", "Native core of the scanner.", 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__scan(void) { return PyModuleDef_Init(&definition); }
