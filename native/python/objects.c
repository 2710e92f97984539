/* Functions that read and create Python objects by CPython's C API. cffi would take as long for each of their steps as
 * a tenth of sealing a kilobyte.
 *
 * CPython allows writing to a new bytes object until other code has a reference to it
 * (https://docs.python.org/3/c-api/bytes.html#c.PyBytes_FromStringAndSize, with NULL).
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include "core.h"
#include "objects.cdef.h"

/* --- many bytes objects ------------------------------------------------------------------------------------------- */

int kms_bytes_read(void *tuple, const uint8_t **places, uint64_t *lens) {
    const Py_ssize_t count = PyTuple_Size(tuple);
    for (Py_ssize_t i = 0; i < count; i++) {
        char *place = NULL;
        Py_ssize_t len = 0;
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(tuple, i), &place, &len) != 0) return -1;
        places[i] = (const uint8_t *)place;
        lens[i] = (uint64_t)len;
    }
    return count < 0 ? -1 : 0;
}

static PyObject *make(uint64_t len, int64_t more) {
    if (more < 0 && len < (uint64_t)-more) {
        PyErr_SetString(PyExc_ValueError, "shorter than nothing");
        return NULL;
    }
    return PyBytes_FromStringAndSize(NULL, (Py_ssize_t)len + (Py_ssize_t)more);
}

/* glibc returns freed memory at the end of its heap to the kernel, and the kernel zeroes it when it is mapped again,
 * which takes as long as sealing. glibc keeps up to twice the largest mapped block that was ever freed, so this frees a
 * block of twice the size once, without touching its pages. */
static void keep_freed_memory(size_t size) { PyMem_Free(PyMem_Malloc(2 * size)); }

static size_t total_of(const uint64_t *lens, size_t count, int64_t more) {
    size_t total = 0;
    for (size_t i = 0; i < count; i++) total += (size_t)lens[i] + (size_t)more;
    return total;
}

void *kms_bytes_make(uint8_t **places, const uint64_t *lens, size_t count, int64_t more) {
    PyObject *list = PyList_New((Py_ssize_t)count);
    keep_freed_memory(total_of(lens, count, more));
    for (size_t i = 0; list && i < count; i++) {
        PyObject *made = make(lens[i], more);
        if (!made || PyList_SetItem(list, (Py_ssize_t)i, made) != 0) Py_CLEAR(list);
        if (list) places[i] = (uint8_t *)PyBytes_AsString(made);
    }
    return list;
}

/* --- one record --------------------------------------------------------------------------------------------------- */

struct sealed {
    kms_data_key_t *key;
    double now;
    char *context, *plaintext;
    Py_ssize_t context_len, plaintext_len;
};

static int parse(struct sealed *sealed, PyObject *const *arguments, Py_ssize_t count) {
    if (count != 4) {
        PyErr_SetString(PyExc_TypeError, "key, now, context and plaintext");
        return 0;
    }
    sealed->key = PyLong_AsVoidPtr(arguments[0]);
    sealed->now = PyFloat_AsDouble(arguments[1]);
    if (!sealed->key && !PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "no key");
    return sealed->key && !(sealed->now == -1.0 && PyErr_Occurred()) &&
           PyBytes_AsStringAndSize(arguments[2], &sealed->context, &sealed->context_len) == 0 &&
           PyBytes_AsStringAndSize(arguments[3], &sealed->plaintext, &sealed->plaintext_len) == 0;
}

static kms_status seal(uint8_t *record, size_t record_len, const struct sealed *sealed) {
    kms_status status = KMS_OK;
    Py_BEGIN_ALLOW_THREADS;
    status = kms_record_seal_within(record, record_len, sealed->key, sealed->now, (const uint8_t *)sealed->context,
                                    (size_t)sealed->context_len, (const uint8_t *)sealed->plaintext,
                                    (size_t)sealed->plaintext_len);
    Py_END_ALLOW_THREADS;
    return status;
}

static PyObject *seal_within(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
    struct sealed sealed;
    (void)self;
    if (!parse(&sealed, arguments, count)) return NULL;
    if (sealed.plaintext_len > KMS_MAXIMUM_RECORD_PLAINTEXT) return PyLong_FromLong(KMS_WRONG_LENGTH);
    const Py_ssize_t len = sealed.plaintext_len + KMS_RECORD_OVERHEAD;
    PyObject *record = PyBytes_FromStringAndSize(NULL, len);
    if (!record) return NULL;
    kms_status status = seal((uint8_t *)PyBytes_AsString(record), (size_t)len, &sealed);
    if (status == KMS_OK) return record;
    Py_DECREF(record);
    return PyLong_FromLong(status);
}

void *kms_seal_function(void) {
    static PyMethodDef method = {"seal_within", (PyCFunction)(void (*)(void))seal_within, METH_FASTCALL, NULL};
    return PyCFunction_NewEx(&method, NULL, NULL);
}

/* --- one UUID ----------------------------------------------------------------------------------------------------- */

/* Keeps the GIL: to release and take it costs as much as drawing 16 bytes. */
static PyObject *new_uuid(PyObject *self, PyObject *nothing) {
    char text[KMS_UUID_TEXT_SIZE];
    (void)self;
    (void)nothing;
    if (kms_uuid(text) == KMS_OK) return PyUnicode_FromStringAndSize(text, sizeof text);
    PyErr_SetString(PyExc_OSError, "the kernel gives no random bytes");
    return NULL;
}

void *kms_uuid_function(void) {
    static PyMethodDef method = {"new_uuid", new_uuid, METH_NOARGS, NULL};
    return PyCFunction_NewEx(&method, NULL, NULL);
}
