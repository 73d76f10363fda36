"""Door to the bit-sliced counting kernel (``vcount.h``).

Owns nothing but references: the plan keeps the arrays it points into, the
caller keeps the results.  ``plans.py`` builds the arrays from valid networks;
here every array is typed, and shapes are compared once before the loop.  Runs
without the GIL.
"""

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cdef extern from "vcount.h" nogil:
    ctypedef struct vc_layer:
        int32_t input_channels, input_height, input_width
        int32_t image_height, image_width
        int32_t channels, height, width
        int32_t stride_y, stride_x
        int32_t value_planes, spike_planes, fused
        int32_t weight_planes
        int32_t by_output
        int32_t counter_bits, sum_bits, event_bits
        int32_t most
        const int32_t *lists
        const uint32_t *taps
        const int32_t *event_lists
        const uint32_t *event_rows
        int32_t view_channels, view_height, view_width
        int32_t kernel_height, view_stride_y, view_stride_x, view_pad_y, view_pad_x
        int32_t dilation_y
        int32_t tile, tiles, window, blocks
        const char *table
        const char *limits
        const int32_t *mask_lists
        const int32_t *mask_slices
        const int32_t *mask_rows
        const char *masks
        int32_t steps, binary, top
        const int32_t *thresholds
        const int8_t *directions
        int32_t largest
        int32_t pool_height, pool_width, pool_stride_y, pool_stride_x
        const uint64_t *minimum
        int32_t output_height, output_width
        int32_t next_planes, next_channel, next_row, next_column, next_corner
        const int32_t *slice_of
        int32_t slices, slice_bits
        int32_t repeats
        int8_t *levels8
        int16_t *levels16
        int32_t *sums
        int64_t *wide_sums
        int32_t *neuron_events
        int64_t *xnor
        int64_t *graded
        int64_t *active

    ctypedef struct vc_kernel:
        int32_t lanes
        int32_t halves
        int64_t (*scratch_bytes)(const vc_layer *, int32_t, int32_t) noexcept nogil
        void (*run)(const vc_layer *, int32_t, const int16_t *, int32_t, char *) noexcept nogil
        const char *name

    const vc_kernel *vc_select(const char *name)


cdef const int32_t *_int32(object array, list keep) except? NULL:
    cdef const int32_t[::1] view = array
    keep.append(array)
    return &view[0] if view.shape[0] else NULL


cdef const uint32_t *_uint32(object array, list keep) except? NULL:
    cdef const uint32_t[::1] view = array
    keep.append(array)
    return &view[0] if view.shape[0] else NULL


cdef const int8_t *_int8(object array, list keep) except? NULL:
    cdef const int8_t[::1] view = array
    keep.append(array)
    return &view[0] if view.shape[0] else NULL


cdef const uint8_t *_uint8(object array, list keep) except? NULL:
    cdef const uint8_t[::1] view = array
    keep.append(array)
    return &view[0] if view.shape[0] else NULL


cdef const uint64_t *_uint64(object array, list keep) except? NULL:
    cdef const uint64_t[::1] view = array
    keep.append(array)
    return &view[0] if view.shape[0] else NULL


cdef const char *_vectors(object array, list keep) except? NULL:
    """Start of vectors; aligned for every width."""
    cdef const uint8_t *start = _uint8(array, keep)
    if <size_t>start % 64:
        raise ValueError("vectors must be aligned to 64 bytes")
    return <const char *>start


cdef class Kernel:
    """A vector width; ``name`` '' takes the widest this processor runs."""

    cdef const vc_kernel *kernel

    def __init__(self, str name not None=""):
        encoded = name.encode()
        self.kernel = vc_select(encoded)
        if self.kernel is NULL:
            raise ValueError(name)

    @property
    def lanes(self):
        """Samples in one block."""
        return self.kernel.lanes

    @property
    def halves(self):
        """Whether rows are added whole, from a list for either sign (``pair_list`` of the C source)."""
        return bool(self.kernel.halves)

    @property
    def name(self):
        """Name of the vector width."""
        return (<bytes>self.kernel.name).decode()


cdef class Plan:
    """All layers of one mapped network in the form the kernel walks.

    A layer runs in an orientation ("samples" or "outputs") once its arrays
    for that orientation were given.  A last layer of no channels is a sink, which
    only says how the levels before it lie.
    """

    cdef vc_layer *layers
    cdef int32_t count
    cdef int32_t computing
    cdef int32_t input_size
    cdef list keep
    cdef list sizes
    cdef readonly list samples
    cdef readonly list outputs

    def __cinit__(self, list layers not None):
        self.count = len(layers)
        self.layers = <vc_layer *>malloc(max(1, self.count) * sizeof(vc_layer))
        if self.layers is NULL:
            raise MemoryError
        memset(self.layers, 0, self.count * sizeof(vc_layer))

    def __init__(self, list layers not None):
        cdef vc_layer *l
        cdef list keep = []
        self.keep = keep
        self.sizes = []
        self.samples = [False] * self.count
        self.outputs = [False] * self.count
        for i, d in enumerate(layers):
            l = &self.layers[i]
            l.input_channels, l.input_height, l.input_width = d["input"]
            l.image_height, l.image_width = d["image"]
            l.channels, l.height, l.width = d["sums"]
            l.stride_y, l.stride_x = d["stride"]
            l.value_planes, l.spike_planes, l.fused = d["value_planes"], d["spike_planes"], d["fused"]
            l.weight_planes = d["weight_planes"]
            l.counter_bits, l.sum_bits, l.event_bits = d["bits"]
            l.most = d["most"]
            l.steps, l.binary, l.top = d["steps"], d["binary"], d["top"]
            l.thresholds = _int32(d["thresholds"], keep)
            l.directions = _int8(d["directions"], keep)
            l.largest = d["largest"]
            l.pool_height, l.pool_width, l.pool_stride_y, l.pool_stride_x = d["pool"]
            l.minimum = _uint64(d["minimum"], keep)
            l.output_height, l.output_width = d["outputs"]
            l.next_planes, l.next_channel, l.next_row, l.next_column, l.next_corner = d["next"]
            l.slice_of = _int32(d["slice_of"], keep)
            l.slices, l.slice_bits = d["slices"], d["slice_bits"]
            l.repeats = 1
            self.computing = i + (l.channels > 0)
            self.sizes.append((l.channels * l.height * l.width,
                               l.channels * l.output_height * l.output_width, l.slices))
        self.input_size = self.layers[0].input_channels * self.layers[0].image_height * self.layers[0].image_width

    def __dealloc__(self):
        free(self.layers)

    def give_samples(self, int index, dict d not None):
        """Arrays for lanes = samples."""
        if not 0 <= index < self.count:
            raise ValueError("no such layer")
        cdef vc_layer *l = &self.layers[index]
        l.lists, l.taps = _int32(d["lists"], self.keep), _uint32(d["taps"], self.keep)
        l.event_lists = _int32(d["event_lists"], self.keep)
        l.event_rows = _uint32(d["event_rows"], self.keep)
        self.samples[index] = True

    def give_outputs(self, int index, dict d not None):
        """Arrays for lanes = outputs."""
        if not 0 <= index < self.count:
            raise ValueError("no such layer")
        cdef vc_layer *l = &self.layers[index]
        l.view_channels, l.view_height, l.view_width = d["view"]
        l.kernel_height, l.dilation_y = d["kernel_height"], d["dilation_y"]
        l.view_stride_y, l.view_stride_x = d["view_stride"]
        l.view_pad_y, l.view_pad_x = d["view_pad"]
        l.tile, l.tiles, l.window, l.blocks = d["tile"], d["tiles"], d["window"], d["blocks"]
        l.table = _vectors(d["table"], self.keep)
        l.limits = _vectors(d["limits"], self.keep)
        l.mask_lists = _int32(d["mask_lists"], self.keep)
        l.mask_slices = _int32(d["mask_slices"], self.keep)
        l.mask_rows = _int32(d["mask_rows"], self.keep)
        l.masks = _vectors(d["masks"], self.keep)
        self.outputs[index] = True

    def run(self, Kernel kernel not None, const int16_t[:, ::1] inputs not None, list results not None,
            list by_output not None, list repeats=None):
        """Run one block; ``results`` holds for each layer a dict of output arrays or None.

        Keys: levels8, levels16 (samples, outputs), sums (samples, neurons) int32 or
        int64, neuron_events (samples, neurons) int32, xnor, graded, active (samples,
        slices) int64.
        ``by_output``: orientation of each layer.  ``repeats``: how often each
        layer is run; for timing, the result is the same.
        """
        cdef int32_t samples = inputs.shape[0]
        if samples < 1 or samples > kernel.kernel.lanes or inputs.shape[1] != self.input_size:
            raise ValueError("block does not fit the kernel")
        if len(results) != self.computing or len(by_output) != self.computing:
            raise ValueError("one dict of results and one orientation a layer")
        cdef vc_layer *layers = <vc_layer *>malloc(self.count * sizeof(vc_layer))
        if layers is NULL:
            raise MemoryError
        memcpy(layers, self.layers, self.count * sizeof(vc_layer))
        cdef int8_t[:, ::1] v8
        cdef int16_t[:, ::1] v16
        cdef int32_t[:, ::1] v32
        cdef int64_t[:, ::1] v64
        cdef char *scratch = NULL
        cdef int64_t size
        try:
            for i, d in enumerate(results):
                neurons, outputs, slices = self.sizes[i]
                layers[i].by_output = bool(by_output[i])
                if not (self.outputs if by_output[i] else self.samples)[i]:
                    raise ValueError("orientation was not prepared")
                if repeats is not None:
                    layers[i].repeats = repeats[i]
                if d["levels8"] is not None:
                    v8 = d["levels8"]
                    self._check(v8.shape[0], v8.shape[1], samples, outputs)
                    layers[i].levels8 = &v8[0, 0]
                if d["levels16"] is not None:
                    v16 = d["levels16"]
                    self._check(v16.shape[0], v16.shape[1], samples, outputs)
                    layers[i].levels16 = &v16[0, 0]
                if d["sums"] is not None and d["sums"].itemsize == 8:
                    v64 = d["sums"]
                    self._check(v64.shape[0], v64.shape[1], samples, neurons)
                    layers[i].wide_sums = &v64[0, 0]
                elif d["sums"] is not None:
                    v32 = d["sums"]
                    self._check(v32.shape[0], v32.shape[1], samples, neurons)
                    layers[i].sums = &v32[0, 0]
                if d["neuron_events"] is not None:
                    v32 = d["neuron_events"]
                    self._check(v32.shape[0], v32.shape[1], samples, neurons)
                    layers[i].neuron_events = &v32[0, 0]
                v64 = d["xnor"]
                self._check(v64.shape[0], v64.shape[1], samples, slices)
                layers[i].xnor = &v64[0, 0]
                v64 = d["graded"]
                self._check(v64.shape[0], v64.shape[1], samples, slices)
                layers[i].graded = &v64[0, 0]
                v64 = d["active"]
                self._check(v64.shape[0], v64.shape[1], samples, slices)
                layers[i].active = &v64[0, 0]
            if self.computing < self.count:
                layers[self.computing].by_output = 1
            size = kernel.kernel.scratch_bytes(layers, self.count, samples)
            scratch = <char *>malloc(size)
            if scratch is NULL:
                raise MemoryError
            with nogil:
                kernel.kernel.run(layers, self.count, &inputs[0, 0], samples, scratch)
        finally:
            free(scratch)
            free(layers)

    @staticmethod
    def _check(Py_ssize_t a, Py_ssize_t b, Py_ssize_t samples, Py_ssize_t columns):
        if a != samples or b != columns:
            raise ValueError("result array has the wrong shape")
