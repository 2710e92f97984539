/* Functions that read and create Python objects by CPython's C API. cffi would take as long for each of their steps as
 * a tenth of sealing a kilobyte.
 *
 * CPython allows writing to a new bytes object until other code has a reference to it
 * (https://docs.python.org/3/c-api/bytes.html#c.PyBytes_FromStringAndSize, with NULL).
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <string.h>
#include <time.h>

#include "core.h"
#include "objects.cdef.h"

#define WRAPPED_AT (KMS_RECORD_PREFIX_SIZE - KMS_WRAPPED_DATA_KEY_SIZE)

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

/* The arguments of a built-in function after its first: the time, the context, and a plaintext or a record. */
struct message {
    double now;
    char *context, *in;
    Py_ssize_t context_len, in_len;
};

static int has_arguments(Py_ssize_t count, Py_ssize_t wanted) {
    if (count != wanted) PyErr_Format(PyExc_TypeError, "%zd arguments", wanted);
    return count == wanted;
}

static int parse(struct message *message, PyObject *const *arguments, Py_ssize_t count) {
    if (!has_arguments(count, 4)) return 0;
    message->now = PyFloat_AsDouble(arguments[1]);
    return !(message->now == -1.0 && PyErr_Occurred()) &&
           PyBytes_AsStringAndSize(arguments[2], &message->context, &message->context_len) == 0 &&
           PyBytes_AsStringAndSize(arguments[3], &message->in, &message->in_len) == 0;
}

static kms_data_key_t *data_key_at(PyObject *address) {
    kms_data_key_t *key = PyLong_AsVoidPtr(address);
    if (!key && !PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "no key");
    return key;
}

typedef kms_status within(uint8_t *out, size_t out_len, kms_data_key_t *key, double now, const uint8_t *context,
                          size_t context_len, const uint8_t *in, size_t in_len);

/* Below this size a call keeps the GIL, as CPython's hashlib does: to hand it to a waiting thread takes longer than the
 * cipher. */
#define RELEASES_THE_GIL 2048

static kms_status run(within *work, uint8_t *out, size_t out_len, kms_data_key_t *key, const struct message *message) {
    return work(out, out_len, key, message->now, (const uint8_t *)message->context, (size_t)message->context_len,
                (const uint8_t *)message->in, (size_t)message->in_len);
}

static kms_status run_without_the_gil(within *work, uint8_t *out, size_t out_len, kms_data_key_t *key,
                                      const struct message *message) {
    kms_status status = KMS_OK;
    Py_BEGIN_ALLOW_THREADS;
    status = run(work, out, out_len, key, message);
    Py_END_ALLOW_THREADS;
    return status;
}

/* Returns new bytes that `work` has filled, or its status. */
static PyObject *made_by(within *work, Py_ssize_t len, kms_data_key_t *key, const struct message *message) {
    PyObject *made = PyBytes_FromStringAndSize(NULL, len);
    if (!made) return NULL;
    uint8_t *out = (uint8_t *)PyBytes_AsString(made);
    kms_status status = message->in_len < RELEASES_THE_GIL ? run(work, out, (size_t)len, key, message)
                                                           : run_without_the_gil(work, out, (size_t)len, key, message);
    if (status == KMS_OK) return made;
    Py_DECREF(made);
    return PyLong_FromLong(status);
}

static PyObject *seal_within(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
    struct message message;
    (void)self;
    if (!parse(&message, arguments, count)) return NULL;
    kms_data_key_t *key = data_key_at(arguments[0]);
    if (!key) return NULL;
    if (message.in_len > KMS_MAXIMUM_RECORD_PLAINTEXT) return PyLong_FromLong(KMS_WRONG_LENGTH);
    return made_by(kms_record_seal_within, message.in_len + KMS_RECORD_OVERHEAD, key, &message);
}

void *kms_seal_function(void) {
    static PyMethodDef method = {"seal_within", (PyCFunction)(void (*)(void))seal_within, METH_FASTCALL, NULL};
    return PyCFunction_NewEx(&method, NULL, NULL);
}

/* Returns the name of the record's data key in a dict of cached ones: the wrapped data key and the context. */
static PyObject *name_of(const struct message *message) {
    PyObject *name = PyBytes_FromStringAndSize(NULL, KMS_WRAPPED_DATA_KEY_SIZE + message->context_len);
    if (!name) return NULL;
    char *bytes = PyBytes_AsString(name);
    memcpy(bytes, message->in + WRAPPED_AT, KMS_WRAPPED_DATA_KEY_SIZE);
    memcpy(bytes + KMS_WRAPPED_DATA_KEY_SIZE, message->context, (size_t)message->context_len);
    return name;
}

/* Returns a borrowed reference to the dict's entry; NULL if there is none, or with an exception. */
static PyObject *find(PyObject *cached, const struct message *message) {
    PyObject *name = name_of(message);
    if (!name) return NULL;
    PyObject *found = PyDict_GetItemWithError(cached, name);
    Py_DECREF(name);
    return found;
}

static PyObject *opened_by(PyObject *entry, const struct message *message) {
    PyObject *address = PyTuple_GetItem(entry, 0);
    kms_data_key_t *key = address ? data_key_at(address) : NULL;
    return key ? made_by(kms_record_open_within, message->in_len - KMS_RECORD_OVERHEAD, key, message) : NULL;
}

typedef PyObject *finder(PyObject *place, const struct message *message);

/* Opens the record under the data key that `find_in` finds in `place`. */
static PyObject *opened(finder *find_in, PyObject *place, const struct message *message) {
    kms_status status = kms_record_check((const uint8_t *)message->in, (size_t)message->in_len);
    if (status != KMS_OK) return PyLong_FromLong(status);
    if (message->context_len > KMS_MAXIMUM_CONTEXT) return PyLong_FromLong(KMS_WRONG_LENGTH);
    PyObject *entry = find_in(place, message);
    if (!entry) return PyErr_Occurred() ? NULL : PyLong_FromLong(KMS_USED_UP);
    Py_INCREF(entry); /* another thread may remove it from the dict while the record is opened */
    PyObject *plaintext = opened_by(entry, message);
    Py_DECREF(entry);
    return plaintext;
}

static PyObject *open_within(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
    struct message message;
    (void)self;
    return parse(&message, arguments, count) ? opened(find, arguments[0], &message) : NULL;
}

void *kms_open_function(void) {
    static PyMethodDef method = {"open_within", (PyCFunction)(void (*)(void))open_within, METH_FASTCALL, NULL};
    return PyCFunction_NewEx(&method, NULL, NULL);
}

/* --- the clock ---------------------------------------------------------------------------------------------------- */

static int seconds_since_boot(double *seconds) {
    struct timespec now = {0};
    if (clock_gettime(CLOCK_BOOTTIME, &now) != 0) return PyErr_SetFromErrno(PyExc_OSError) != NULL;
    *seconds = (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    return 1;
}

static PyObject *since_boot(PyObject *self, PyObject *nothing) {
    double seconds = 0;
    (void)self;
    (void)nothing;
    return seconds_since_boot(&seconds) ? PyFloat_FromDouble(seconds) : NULL;
}

void *kms_clock_function(void) {
    static PyMethodDef method = {"since_boot", since_boot, METH_NOARGS, NULL};
    return PyCFunction_NewEx(&method, NULL, NULL);
}

/* --- records of one context --------------------------------------------------------------------------------------- */

/* What an opener holds, in a list. LAST is the name of the data key that it looked for last, or None: to look for the
 * same one again takes neither a new name nor its hash. */
enum held { CACHED, CONTEXT, CLOCK, LAST, HELD };

/* Returns a borrowed reference to the dict's entry for the record; NULL if there is none, or with an exception. */
static PyObject *find_again(PyObject *opener, const struct message *message) {
    PyObject *last = PyList_GetItem(opener, LAST);
    if (last == Py_None || memcmp(PyBytes_AsString(last), message->in + WRAPPED_AT, KMS_WRAPPED_DATA_KEY_SIZE) != 0) {
        last = name_of(message);
        if (!last || PyList_SetItem(opener, LAST, last) != 0) return NULL;
    }
    return PyDict_GetItemWithError(PyList_GetItem(opener, CACHED), last);
}

static int read_clock(double *seconds, PyObject *clock) {
    if (PyCFunction_CheckExact(clock) && PyCFunction_GetFunction(clock) == since_boot)
        return seconds_since_boot(seconds);
    PyObject *now = PyObject_CallNoArgs(clock);
    if (!now) return 0;
    *seconds = PyFloat_AsDouble(now);
    Py_DECREF(now);
    return !(*seconds == -1.0 && PyErr_Occurred());
}

static PyObject *open_next(PyObject *opener, PyObject *record) {
    struct message message;
    if (!read_clock(&message.now, PyList_GetItem(opener, CLOCK)) ||
        PyBytes_AsStringAndSize(PyList_GetItem(opener, CONTEXT), &message.context, &message.context_len) != 0 ||
        PyBytes_AsStringAndSize(record, &message.in, &message.in_len) != 0)
        return NULL;
    return opened(find_again, opener, &message);
}

static PyObject *opener_of(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
    static PyMethodDef method = {"open_next", open_next, METH_O, NULL};
    (void)self;
    if (!has_arguments(count, LAST)) return NULL;
    PyObject *held = PyList_New(HELD);
    if (!held) return NULL;
    for (Py_ssize_t i = 0; i < HELD; i++) {
        PyObject *one = i == LAST ? Py_None : arguments[i];
        Py_INCREF(one);
        (void)PyList_SetItem(held, i, one);
    }
    PyObject *made = PyCFunction_NewEx(&method, held, NULL);
    Py_DECREF(held);
    return made;
}

void *kms_opener_function(void) {
    static PyMethodDef method = {"opener_of", (PyCFunction)(void (*)(void))opener_of, METH_FASTCALL, NULL};
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
