/* Python's door to scan.h: within the limited API, so that one build serves every Python from 3.10 on.

   Data comes as an address and a length, because buffers are in the limited API only since 3.11; the caller
   keeps them alive. The GIL is released while bytes are looked at. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "scan.h"

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

static PyMethodDef methods[] = {
    {"record_ends", record_ends, METH_VARARGS,
     "record_ends(address, length, base) -> (end, count, [(offset, length, kind)])"},
    {NULL, NULL, 0, NULL},
};

static int prepare(PyObject *module)
{
    (void)module;
    crc_prepare(1);
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, prepare},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_scan", "Native core of the scanner.", 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__scan(void) { return PyModuleDef_Init(&definition); }
