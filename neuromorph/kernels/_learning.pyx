"""Door to the event-driven learner (``learning.h``).

``learning.py`` lays the arrays out; here they are typed, their sizes are
compared once, and kept alive while the learner points into them.  Synapses lie
(taps, channels).  ``run`` is without the GIL.
"""

from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

cdef extern from "learning.h" nogil:
    enum: LR_MAX_ERROR
    enum: LR_COUNTED
    enum: LR_MOVE_BYTES

    ctypedef struct lr_layer:
        int32_t in_channels, in_height, in_width
        int32_t channels, height, width
        int32_t kernel_height, kernel_width, stride_y, stride_x, pad_y, pad_x
        int32_t pool_height, pool_width, pool_stride_y, pool_stride_x, out_height, out_width
        const uint8_t *minimum
        int32_t shared, follows_spread
        int32_t rest
        int8_t *states
        int8_t *weights
        const uint8_t *stuck
        int32_t *writes
        int32_t *gradient
        const uint32_t *keys
        int32_t *gain
        int32_t *mean
        int32_t *offset
        int32_t *spread
        int32_t *half
        const uint8_t *dead
        const int32_t *slice_of
        int32_t slices
        const int8_t *feedback
        const uint32_t *error_keys
        const uint32_t *table
        uint32_t key, error_key, shift_register
        int64_t bound
        int8_t *levels
        int64_t *xnor
        int64_t *active
        int64_t *counted
        int64_t *packets
        int8_t *image
        int8_t *fired
        int8_t *sums8
        int8_t *events8
        int32_t *sums
        int32_t *distance
        int32_t *errors
        int32_t *arrived
        int32_t *partial
        int32_t *chosen
        int32_t *list
        int32_t *taps

    ctypedef struct lr_rule:
        int32_t layers, classes
        int32_t path, quantised_bits, target, pulse, threshold, dead_zone, memory, tracked
        int32_t batch, metaplastic, maximum, keyed, fixed
        uint32_t step
        int32_t waiting
        int64_t margin, taught

    int64_t lr_run(lr_layer *, lr_rule *, const int8_t *, const int32_t *, int64_t, int64_t *,
                   uint8_t *, int64_t, int64_t *)


cdef int8_t *_int8(object array, Py_ssize_t size, list keep) except? NULL:
    cdef int8_t[::1] view = array
    if view.shape[0] != size:
        raise ValueError("array has the wrong size")
    keep.append(array)
    return &view[0]


cdef uint8_t *_uint8(object array, Py_ssize_t size, list keep) except? NULL:
    cdef uint8_t[::1] view = array
    if view.shape[0] != size:
        raise ValueError("array has the wrong size")
    keep.append(array)
    return &view[0]


cdef int32_t *_int32(object array, Py_ssize_t size, list keep) except? NULL:
    cdef int32_t[::1] view = array
    if view.shape[0] != size:
        raise ValueError("array has the wrong size")
    keep.append(array)
    return &view[0]


cdef uint32_t *_uint32(object array, Py_ssize_t size, list keep) except? NULL:
    cdef uint32_t[::1] view = array
    if view.shape[0] != size:
        raise ValueError("array has the wrong size")
    keep.append(array)
    return &view[0]


cdef int64_t *_int64(object array, Py_ssize_t size, list keep) except? NULL:
    cdef int64_t[::1] view = array
    if view.shape[0] != size:
        raise ValueError("array has the wrong size")
    keep.append(array)
    return &view[0]


cdef class Engine:
    """All layers of one network that learns, and its rule."""

    cdef lr_layer *layers
    cdef lr_rule rule
    cdef list keep
    cdef Py_ssize_t inputs

    def __cinit__(self, list layers not None, dict rule not None):
        self.layers = <lr_layer *>malloc(max(1, len(layers)) * sizeof(lr_layer))
        if self.layers is NULL:
            raise MemoryError
        memset(self.layers, 0, len(layers) * sizeof(lr_layer))

    def __dealloc__(self):
        free(self.layers)

    def __init__(self, list layers not None, dict rule not None):
        cdef lr_layer *l
        cdef list keep = []
        cdef Py_ssize_t neurons, synapses, channels
        self.keep = keep
        r = rule
        self.rule.layers, self.rule.classes = len(layers), r["classes"]
        self.rule.path, self.rule.quantised_bits = r["path"], r["quantised_bits"]
        self.rule.target, self.rule.margin, self.rule.pulse = r["target"], r["margin"], r["pulse"]
        self.rule.threshold, self.rule.dead_zone = r["threshold"], r["dead_zone"]
        self.rule.memory, self.rule.tracked, self.rule.batch = r["memory"], r["tracked"], r["batch"]
        self.rule.metaplastic, self.rule.maximum = r["metaplastic"], r["maximum"]
        self.rule.keyed, self.rule.step, self.rule.waiting = r["keyed"], r["step"], r["waiting"]
        self.rule.fixed, self.rule.taught = r["fixed"], 0
        for i, d in enumerate(layers):
            l = &self.layers[i]
            l.in_channels, l.in_height, l.in_width = d["input"]
            l.channels, l.height, l.width = d["sums"]
            l.kernel_height, l.kernel_width = d["kernel"]
            l.stride_y, l.stride_x = d["stride"]
            l.pad_y, l.pad_x = d["padding"]
            l.pool_height, l.pool_width, l.pool_stride_y, l.pool_stride_x = d["pool"]
            l.out_height, l.out_width = d["outputs"]
            l.shared, l.follows_spread, l.rest = d["shared"], d["follows_spread"], d["rest"]
            l.slices, l.key, l.error_key = d["slices"], d["key"], d["error_key"]
            l.shift_register, l.bound = d["register"], d["bound"]
            channels, neurons = l.channels, l.channels * l.height * l.width
            synapses = channels * l.in_channels * l.kernel_height * l.kernel_width
            l.minimum = _uint8(d["minimum"], channels, keep)
            l.states = _int8(d["states"], synapses, keep)
            l.weights = _int8(d["weights"], synapses, keep)
            l.stuck = _uint8(d["stuck"], synapses, keep)
            l.writes = _int32(d["writes"], synapses, keep)
            l.gradient = _int32(d["gradient"], synapses, keep)
            l.keys = _uint32(d["keys"], synapses, keep)
            l.gain = _int32(d["gain"], channels, keep)
            l.mean = _int32(d["mean"], channels, keep)
            l.offset = _int32(d["offset"], channels, keep)
            l.spread = _int32(d["spread"], channels, keep)
            l.half = _int32(d["half"], channels, keep)
            l.dead = _uint8(d["dead"], neurons, keep)
            l.slice_of = _int32(d["slice_of"], neurons, keep)
            l.feedback, l.error_keys = NULL, NULL
            if d["feedback"] is not None:
                l.feedback = _int8(d["feedback"], neurons * self.rule.classes, keep)
            if d["error_keys"] is not None:
                l.error_keys = _uint32(d["error_keys"], neurons, keep)
            s = d["scratch"]
            l.image = _int8(s["image"], l.in_channels * l.in_height * l.in_width, keep)
            l.fired = _int8(s["fired"], neurons, keep)
            l.sums8, l.events8 = _int8(s["sums8"], channels, keep), _int8(s["events8"], channels, keep)
            l.sums, l.distance = _int32(s["sums"], neurons, keep), _int32(s["distance"], neurons, keep)
            l.errors, l.arrived = _int32(s["errors"], neurons, keep), _int32(s["arrived"], neurons, keep)
            l.partial, l.list = _int32(s["partial"], neurons, keep), _int32(s["list"], neurons, keep)
            l.chosen = _int32(s["chosen"], channels * l.out_height * l.out_width, keep)
            l.taps = _int32(s["taps"], l.in_channels * l.kernel_height * l.kernel_width, keep)
        self.inputs = self.layers[0].in_channels * self.layers[0].in_height * self.layers[0].in_width

    def run(self, int8_t[:, ::1] inputs not None, int32_t[::1] labels not None,
            int64_t[::1] predictions not None, list results not None, unsigned char[::1] moves):
        """Learn a block; (samples done, moves recorded, samples that made errors).

        ``results``: for each layer a dict of flat arrays ``table``, ``levels``
        or None, ``xnor``, ``active``, ``counted``, ``packets`` or None with
        ``sources`` rows.  ``moves`` None: no recording.
        """
        cdef int64_t n = inputs.shape[0], capacity = 0, moved = 0, done
        cdef uint8_t *log = NULL
        cdef list keep = []
        cdef lr_layer *l
        if n < 1 or inputs.shape[1] != self.inputs or labels.shape[0] != n or predictions.shape[0] != n:
            raise ValueError("block does not fit")
        if len(results) != self.rule.layers:
            raise ValueError("one dict of results a layer")
        for i, d in enumerate(results):
            l = &self.layers[i]
            l.table = _uint32(d["table"], 2 * (LR_MAX_ERROR + 1), keep)
            l.xnor = _int64(d["xnor"], n * l.slices, keep)
            l.active = _int64(d["active"], n * l.slices, keep)
            l.counted = _int64(d["counted"], LR_COUNTED * l.slices, keep)
            l.levels, l.packets = NULL, NULL
            if d["levels"] is not None:
                l.levels = _int8(d["levels"], n * l.channels * l.out_height * l.out_width, keep)
                l.packets = _int64(d["packets"], d["sources"] * l.slices, keep)
        if moves is not None:
            log, capacity = &moves[0], moves.shape[0] // LR_MOVE_BYTES
        self.rule.taught = 0
        with nogil:
            done = lr_run(self.layers, &self.rule, &inputs[0, 0], &labels[0], n, &predictions[0],
                          log, capacity, &moved)
        return done, moved, self.rule.taught

    @property
    def step(self):
        """Samples learned so far."""
        return self.rule.step

    @property
    def waiting(self):
        """Samples of the unfinished mini-batch."""
        return self.rule.waiting

    def register(self, int index):
        """Shift register of a layer."""
        if not 0 <= index < self.rule.layers:
            raise ValueError("no such layer")
        return self.layers[index].shift_register
