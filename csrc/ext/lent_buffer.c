/* Lent buffer: see lent_buffer.h. */
#include "lent_buffer.h"

static uint8_t *
private_place(const lent_buffer *lent)
{
    return lent->private_memory + RECEIVE_BUFFER_HEADROOM;
}

/* Makes the private memory, unless it is there. 0, or -1 with MemoryError. */
static int
make_private(lent_buffer *lent)
{
    if (lent->private_memory == NULL) {
        lent->private_memory = PyMem_Malloc(RECEIVE_BUFFER_HEADROOM + RECEIVE_BUFFER_SIZE);
        if (lent->private_memory == NULL) {
            PyErr_NoMemory();
            return -1;
        }
    }
    if (lent->private_view == NULL) {
        lent->private_view =
            PyMemoryView_FromMemory((char *)private_place(lent), RECEIVE_BUFFER_SIZE, PyBUF_WRITE);
    }
    return lent->private_view == NULL ? -1 : 0;
}

uint8_t *
lent_buffer_lend(lent_buffer *lent, const LoopState *per_loop)
{
    if (per_loop->parsing && make_private(lent) < 0) {
        return NULL;
    }
    lent->place = per_loop->parsing ? private_place(lent) : loop_state_buffer(per_loop);
    lent->size = RECEIVE_BUFFER_SIZE;
    return lent->place;
}

PyObject *
lent_buffer_lend_view(lent_buffer *lent, const LoopState *per_loop)
{
    if (lent_buffer_lend(lent, per_loop) == NULL) {
        return NULL;
    }
    return Py_NewRef(per_loop->parsing ? lent->private_view : per_loop->view);
}

PyObject *
lent_buffer_lend_place(lent_buffer *lent, uint8_t *place, size_t size)
{
    lent->place = place;
    lent->size = size;
    return PyMemoryView_FromMemory((char *)place, (Py_ssize_t)size, PyBUF_WRITE);
}

uint8_t *
lent_buffer_take_back(lent_buffer *lent, PyObject *size, size_t *n)
{
    const Py_ssize_t came = PyLong_AsSsize_t(size);
    if (came == -1 && PyErr_Occurred()) {
        return NULL;
    }
    uint8_t *place = lent->place;
    if (place == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "buffer_updated() without get_buffer()");
        return NULL;
    }
    if (came < 0 || (size_t)came > lent->size) {
        PyErr_Format(PyExc_ValueError, "buffer_updated() expected a size of 0 to %zu, got %zd",
                     lent->size, came);
        return NULL;
    }
    lent->place = NULL;
    *n = (size_t)came;
    return place;
}

bool
lent_buffer_has_headroom(const lent_buffer *lent, const LoopState *per_loop, const uint8_t *place)
{
    return place == loop_state_buffer(per_loop) ||
           (lent->private_memory != NULL && place == private_place(lent));
}

void
lent_buffer_drop(lent_buffer *lent)
{
    Py_CLEAR(lent->private_view);
    PyMem_Free(lent->private_memory);
    *lent = (lent_buffer){NULL, NULL, NULL, 0};
}
