"""Door to the timed engine (``timed.h``).

``timed.py`` builds the tables from a valid mapping; here arrays are typed and
kept alive while the run points into them.  ``advance`` runs without the GIL.
"""

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc

cdef extern from "timed.h" nogil:
    enum: TM_COUNTED
    enum: TM_NO_MEMORY

    ctypedef struct tm_stage:
        int32_t input_height, input_width
        int32_t channels, kernel_height, kernel_width
        int32_t stride_y, stride_x, pad_y, pad_x
        const int16_t *weights
        int32_t steps, lowest, level_stride
        const int32_t *thresholds
        const int8_t *directions
        int32_t pool_height, pool_width, pool_stride_y, pool_stride_x
        const uint8_t *minimum
        int64_t outputs
        int16_t *levels

    ctypedef struct tm_row:
        int32_t stage
        int32_t tile_x, tile_y, gap
        int32_t channel, channels, sum_row, sum_rows, sum_column, sum_columns
        int32_t row, rows, column, columns
        int32_t sources
        int32_t target, targets
        const uint8_t *reach
        const int32_t *copies
        int32_t positions
        const int32_t *numbers
        int64_t outputs

    ctypedef struct tm_record:
        int64_t sent

    ctypedef struct tm_hop:
        int64_t tick

    ctypedef struct tm_recording:
        tm_record *packets
        tm_hop *hops
        int64_t packet_room, hop_room
        int64_t packets_made, hops_made

    ctypedef struct tm_chip:
        int32_t barrier_sync, sparse, frames_in_flight
        int32_t columns, tile_rows
        int32_t axon, synapse, synapse_lanes, neuron, neuron_lanes
        int32_t hop_x, hop_y, hop_local, link, barrier
        int32_t spike_planes

    ctypedef struct tm_run:
        pass

    tm_run *tm_new(const tm_chip *, const tm_stage *, int32_t, const tm_row *, int32_t,
                   const int16_t *, int64_t, int64_t, int32_t *, int64_t, int64_t **,
                   int64_t *, int64_t *, int64_t *)
    void tm_free(tm_run *)
    int tm_advance(tm_run *, tm_recording *, int64_t)
    int64_t tm_frames_done(const tm_run *)


RECORD_BYTES = 34
HOP_BYTES = 24


cdef class TimedRun:
    """One run, from the first injection to the last read-out.

    ``results`` holds the writable arrays: outputs (frames, classes) int32,
    levels (one (frames, outputs) int16 a firing layer), counted (TM_COUNTED
    arrays (frames, rows) int64), started, finished (frames) int64 and
    active_ticks (rows) int64.
    """

    cdef tm_run *run
    cdef list keep

    def __cinit__(self):
        self.run = NULL

    def __dealloc__(self):
        tm_free(self.run)

    def __init__(self, dict chip not None, list stages not None, list rows not None,
                 const int16_t[:, ::1] inputs not None, dict results not None):
        cdef list keep = [inputs, results]
        cdef tm_chip c
        cdef tm_stage *s = NULL
        cdef tm_row *r = NULL
        cdef int64_t *counted[TM_COUNTED]
        cdef int32_t[:, ::1] outputs = results["outputs"]
        cdef int64_t[::1] started = results["started"], finished = results["finished"]
        cdef int64_t[::1] active = results["active_ticks"]
        cdef int64_t[:, ::1] table
        cdef int16_t[:, ::1] levels
        cdef const int16_t[::1] weights
        cdef const int32_t[::1] v32
        cdef const int8_t[::1] v8
        cdef const uint8_t[::1] vu8
        cdef int64_t frames = inputs.shape[0]
        self.keep = keep
        if frames < 1 or len(results["counted"]) != TM_COUNTED:
            raise ValueError("no frames, or wrong results")
        c.barrier_sync, c.sparse, c.frames_in_flight = chip["barrier_sync"], chip["sparse"], chip["frames_in_flight"]
        c.columns, c.tile_rows = chip["columns"], chip["tile_rows"]
        c.axon, c.synapse, c.synapse_lanes = chip["axon"], chip["synapse"], chip["synapse_lanes"]
        c.neuron, c.neuron_lanes = chip["neuron"], chip["neuron_lanes"]
        c.hop_x, c.hop_y, c.hop_local = chip["hop_x"], chip["hop_y"], chip["hop_local"]
        c.link, c.barrier, c.spike_planes = chip["link"], chip["barrier"], chip["spike_planes"]
        try:
            s = <tm_stage *>malloc(len(stages) * sizeof(tm_stage))
            r = <tm_row *>malloc(len(rows) * sizeof(tm_row))
            if s is NULL or r is NULL:
                raise MemoryError
            for i, d in enumerate(stages):
                s[i].input_height, s[i].input_width = d["input"]
                s[i].channels, s[i].kernel_height, s[i].kernel_width = d["kernel"]
                s[i].stride_y, s[i].stride_x = d["stride"]
                s[i].pad_y, s[i].pad_x = d["padding"]
                weights = d["weights"]
                s[i].weights = &weights[0]
                s[i].steps, s[i].lowest, s[i].level_stride = d["fire"]
                s[i].pool_height, s[i].pool_width, s[i].pool_stride_y, s[i].pool_stride_x = d["pool"]
                s[i].outputs = d["outputs"]
                s[i].thresholds, s[i].directions, s[i].minimum, s[i].levels = NULL, NULL, NULL, NULL
                keep.append(d)
                if s[i].steps:
                    v32, v8 = d["thresholds"], d["directions"]
                    s[i].thresholds, s[i].directions = &v32[0], &v8[0]
                    levels = results["levels"][i]
                    if levels.shape[0] != frames or levels.shape[1] != s[i].outputs:
                        raise ValueError("levels have the wrong shape")
                    s[i].levels = &levels[0, 0]
                if s[i].pool_height:
                    vu8 = d["minimum"]
                    s[i].minimum = &vu8[0]
            for i, d in enumerate(rows):
                r[i].stage = d["stage"]
                r[i].tile_x, r[i].tile_y, r[i].gap = d["place"]
                r[i].channel, r[i].channels, r[i].sum_row, r[i].sum_rows, r[i].sum_column, r[i].sum_columns = d["sums"]
                r[i].row, r[i].rows, r[i].column, r[i].columns = d["box"]
                r[i].sources, r[i].target, r[i].targets = d["links"]
                r[i].reach, r[i].copies = NULL, NULL
                r[i].positions = d["positions"]
                if r[i].targets:
                    vu8, v32 = d["reach"], d["copies"]
                    r[i].reach, r[i].copies = &vu8[0], &v32[0]
                v32 = d["numbers"]
                r[i].numbers, r[i].outputs = &v32[0], v32.shape[0]
                keep.append(d)
            for i in range(TM_COUNTED):
                table = results["counted"][i]
                if table.shape[0] != frames or table.shape[1] != len(rows):
                    raise ValueError("counts have the wrong shape")
                counted[i] = &table[0, 0]
            self.run = tm_new(&c, s, len(stages), r, len(rows), &inputs[0, 0], inputs.shape[1],
                              frames, &outputs[0, 0], outputs.shape[1], counted, &started[0],
                              &finished[0], &active[0])
            if self.run is NULL:
                raise MemoryError
        finally:
            free(s)
            free(r)

    def advance(self, unsigned char[::1] packets, unsigned char[::1] hops, int64_t events):
        """Go on; (finished?, packet records, hop records).  None: not recorded."""
        cdef tm_recording made
        cdef int result
        made.packets, made.hops, made.packet_room, made.hop_room = NULL, NULL, 0, 0
        if packets is not None:
            made.packet_room = packets.shape[0] // RECORD_BYTES
            made.packets = <tm_record *>&packets[0]
        if hops is not None:
            made.hop_room = hops.shape[0] // HOP_BYTES
            made.hops = <tm_hop *>&hops[0]
        with nogil:
            result = tm_advance(self.run, &made, events)
        if result == TM_NO_MEMORY:
            raise MemoryError
        return result == 0, made.packets_made, made.hops_made

    @property
    def frames_done(self):
        """Frames read out so far."""
        return tm_frames_done(self.run)
