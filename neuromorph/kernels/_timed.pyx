"""Door to the timed engine (``timed.h``).

``timed.py`` builds the tables from a valid mapping, ``traffic.py`` from checked
packets; here arrays are typed and kept alive while the run points into them.
``advance`` runs without the GIL.
"""

from libc.stdint cimport int16_t, int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

cdef extern from "timed.h" nogil:
    enum: TM_COUNTED
    enum: TM_STUCK
    enum: TM_NO_MEMORY

    ctypedef struct tm_fan:
        int32_t positions
        const int32_t *starts
        const int32_t *targets

    ctypedef struct tm_node:
        int32_t x

    ctypedef struct tm_work:
        int32_t sender
        const int32_t *work
        int32_t area, width, by_channel
        int32_t window_y, window_x, window_height, window_width

    ctypedef struct tm_row:
        int32_t tile_x, tile_y
        int32_t chip_x, chip_y
        int32_t gap, rate
        int32_t depth, reads_out, partial, sources
        int64_t scan
        int32_t fan
        const int32_t *roots
        int32_t first_root
        const int32_t *token_to
        int32_t tokens
        const int16_t *levels
        int64_t stride
        const int32_t *numbers
        int64_t outputs
        int32_t planes
        int32_t layer
        const tm_work *works

    ctypedef struct tm_chip:
        int32_t barrier_sync, frames_in_flight
        int32_t columns, tile_rows
        int32_t axon, synapse, synapse_lanes
        int32_t hop_local, link, barrier
        int32_t spike_flits, token_flits
        int32_t buffer, queue
        int32_t first_port
        const int32_t *link_ticks
        const int64_t *link_busy
        const tm_node *nodes
        const int32_t *node_rows

    ctypedef struct tm_results:
        int64_t *counted[TM_COUNTED]
        int64_t *started
        int64_t *finished
        int64_t *busy
        int64_t *blocked
        int64_t *longest_queue

    ctypedef struct tm_recording:
        uint32_t *sample
        uint32_t *source
        uint32_t *neuron
        uint32_t *target
        int16_t *payload
        int64_t *sent
        int64_t *delivered
        int64_t *tick
        uint64_t *packet
        uint32_t *link
        uint32_t *waited
        int64_t packet_room, hop_room
        int64_t packets_made, hops_made

    ctypedef struct tm_traffic:
        int64_t packets, most
        const int64_t *tick
        const int64_t *way
        const int32_t *roots
        int64_t *delivered

    ctypedef struct tm_waiting:
        int64_t packet

    ctypedef struct tm_run:
        pass

    ctypedef struct tm_engine:
        tm_run *(*make)(const tm_chip *, const tm_fan *, const tm_row *, int32_t,
                        int64_t, const tm_traffic *, const tm_results *) noexcept nogil
        void (*free)(tm_run *) noexcept nogil
        int (*advance)(tm_run *, tm_recording *, int64_t) noexcept nogil
        int64_t (*frames_done)(const tm_run *) noexcept nogil
        int64_t (*now)(const tm_run *) noexcept nogil
        void (*links)(const tm_run *, int64_t *, int64_t *, int64_t *) noexcept nogil
        int64_t (*waiting)(const tm_run *, tm_waiting *, int64_t) noexcept nogil
        void (*rows)(const tm_run *, int64_t *, int64_t *) noexcept nogil

    const tm_engine tm_wheel, tm_heap


WAITING_FIELDS = 6
NODE_FIELDS = 10


cdef const int32_t *ints(array, list keep) except? NULL:
    """Data of an int32 array that is kept; NULL if there is none."""
    cdef const int32_t[::1] view = array
    keep.append(view)
    return &view[0] if view.shape[0] else NULL


cdef int64_t room(dict columns) except -1:
    """Rows of columns, which are at least one and equally long."""
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError("columns of records have the wrong shape")
    return lengths.pop()


cdef uint32_t *words(column):
    cdef uint32_t[::1] view = column
    return &view[0]


cdef int64_t *numbers(column):
    cdef int64_t[::1] view = column
    return &view[0]


cdef class TimedRun:
    """One run on one agenda (``"wheel"`` or ``"heap"``), from first to last event.

    ``fans`` and ``rows`` are tables of ``timed.h`` as dictionaries.  ``results``
    holds the writable arrays: counted (TM_COUNTED arrays (frames, rows)), started
    and finished (frames), busy, blocked and longest_queue (rows), all int64.
    ``nodes`` are the trees that packets go along where they do not go straight:
    int32 (nodes, NODE_FIELDS) as ``tm_node``, and the rows they name.
    ``traffic`` holds packets given beforehand (tick, way, most, roots or None, and
    the writable delivered); then there are no rows.
    """

    cdef const tm_engine *engine
    cdef tm_run *run
    cdef tm_fan *fans
    cdef tm_work *works
    cdef tm_traffic traffic
    cdef list keep
    cdef int64_t tiles, rows
    cdef readonly bint is_stuck

    def __cinit__(self):
        self.engine = &tm_wheel
        self.run = NULL
        self.fans = NULL
        self.works = NULL

    def __dealloc__(self):
        self.engine.free(self.run)
        free(self.fans)
        free(self.works)

    def __init__(self, str agenda not None, dict chip not None, int64_t frames, *,
                 list fans not None, list rows not None, nodes=None, results=None, traffic=None):
        cdef list keep = [results, traffic]
        cdef tm_chip c
        cdef tm_results found
        cdef tm_row *r = NULL
        cdef tm_work *w = NULL
        cdef const tm_traffic *given = NULL
        cdef const int16_t[:, ::1] levels
        cdef const int64_t[::1] ticks, ways
        cdef const int32_t *fields
        cdef int64_t[::1] vector
        cdef int64_t[:, ::1] table
        self.keep = keep
        self.engine = &tm_heap if agenda == "heap" else &tm_wheel
        self.tiles, self.rows = chip["columns"] * chip["tile_rows"], len(rows)
        c.barrier_sync, c.frames_in_flight = chip["barrier_sync"], chip["frames_in_flight"]
        c.columns, c.tile_rows = chip["columns"], chip["tile_rows"]
        c.axon, c.synapse, c.synapse_lanes = chip["axon"], chip["synapse"], chip["synapse_lanes"]
        c.hop_local, c.link, c.barrier = chip["hop_local"], chip["link"], chip["barrier"]
        c.spike_flits, c.token_flits = chip["spike_flits"], chip["token_flits"]
        c.buffer, c.queue = chip["buffer"], chip["queue"]
        c.first_port = chip["first_port"]
        c.link_ticks, c.link_busy = ints(chip["link_ticks"], keep), NULL
        if chip["link_busy"] is not None:
            keep.append(chip["link_busy"])
            vector = chip["link_busy"]
            if vector.shape[0] != 4 * self.tiles:
                raise ValueError("link_busy has the wrong shape")
            c.link_busy = &vector[0]
        c.nodes, c.node_rows = NULL, NULL
        if nodes is not None:
            if nodes[0].shape[1] != NODE_FIELDS:
                raise ValueError("nodes have the wrong shape")
            fields = ints(nodes[0].reshape(-1), keep)
            c.nodes, c.node_rows = <const tm_node *>fields, ints(nodes[1], keep)
        if results is not None:
            if len(results["counted"]) != TM_COUNTED:
                raise ValueError("wrong results")
            for i in range(TM_COUNTED):
                table = results["counted"][i]
                if table.shape[0] != frames or table.shape[1] != len(rows):
                    raise ValueError("counts have the wrong shape")
                found.counted[i] = &table[0, 0]
            vector = results["started"]
            found.started = &vector[0]
            vector = results["finished"]
            found.finished = &vector[0]
            vector = results["busy"]
            found.busy = &vector[0]
            vector = results["blocked"]
            found.blocked = &vector[0]
            vector = results["longest_queue"]
            found.longest_queue = &vector[0]
        if traffic is not None:
            ticks, ways, vector = traffic["tick"], traffic["way"], traffic["delivered"]
            if not ticks.shape[0] == ways.shape[0] == vector.shape[0]:
                raise ValueError("traffic has the wrong shape")
            self.traffic.packets, self.traffic.most = ticks.shape[0], traffic["most"]
            if ticks.shape[0]:
                self.traffic.tick, self.traffic.way = &ticks[0], &ways[0]
                self.traffic.delivered = &vector[0]
            self.traffic.roots = NULL
            if traffic["roots"] is not None:
                if traffic["roots"].shape[0] != ticks.shape[0]:
                    raise ValueError("roots have the wrong shape")
                self.traffic.roots = ints(traffic["roots"], keep)
            given = &self.traffic
        try:
            self.fans = <tm_fan *>calloc(len(fans) + 1, sizeof(tm_fan))
            r = <tm_row *>calloc(len(rows) + 1, sizeof(tm_row))
            self.works = w = <tm_work *>calloc(sum(len(d["works"]) for d in rows) + 1, sizeof(tm_work))
            if self.fans is NULL or r is NULL or w is NULL:
                raise MemoryError
            for i, d in enumerate(fans):
                self.fans[i].positions = d["positions"]
                self.fans[i].starts = ints(d["starts"], keep)
                self.fans[i].targets = ints(d["targets"], keep)
            for i, d in enumerate(rows):
                r[i].tile_x, r[i].tile_y, r[i].gap = d["place"]
                r[i].chip_x, r[i].chip_y = d["chip"]
                r[i].rate = d["rate"]
                r[i].depth, r[i].reads_out, r[i].sources = d["depth"], d["reads_out"], d["sources"]
                r[i].partial = d["partial"]
                r[i].scan, r[i].fan, r[i].planes = d["scan"], d["fan"], d["planes"]
                r[i].roots, r[i].first_root = NULL, d["first_root"]
                if d["roots"] is not None:
                    r[i].roots = ints(d["roots"], keep)
                r[i].token_to, r[i].tokens = ints(d["token_to"], keep), len(d["token_to"])
                r[i].numbers, r[i].outputs = ints(d["numbers"], keep), len(d["numbers"])
                levels = d["levels"]
                if levels.shape[0] != frames:
                    raise ValueError("levels have the wrong shape")
                keep.append(levels)
                r[i].levels, r[i].stride = &levels[0, 0], levels.shape[1]
                r[i].layer, r[i].works = d["layer"], w
                for work in d["works"]:
                    w.sender, w.work = work["sender"], ints(work["work"], keep)
                    w.area, w.width, w.by_channel = work["image"]
                    w.window_y, w.window_x, w.window_height, w.window_width = work["window"]
                    w += 1
            self.run = self.engine.make(&c, self.fans, r, len(rows), frames, given, &found)
            if self.run is NULL:
                raise MemoryError
        finally:
            free(r)

    def advance(self, dict packets, dict hops, int64_t events):
        """Go on; (over?, packet records, hop records).

        ``packets`` and ``hops`` are columns that the records are put in; None: not recorded.
        """
        cdef tm_recording made
        cdef int16_t[::1] payload
        cdef uint64_t[::1] packet
        cdef int result
        made.packet_room = made.hop_room = 0
        if packets is not None:
            made.packet_room = room(packets)
            made.sample, made.source = words(packets["sample"]), words(packets["source"])
            made.neuron, made.target = words(packets["neuron"]), words(packets["target"])
            made.sent, made.delivered = numbers(packets["sent"]), numbers(packets["delivered"])
            payload = packets["payload"]
            made.payload = &payload[0]
        if hops is not None:
            made.hop_room = room(hops)
            made.tick = numbers(hops["tick"])
            made.link, made.waited = words(hops["link"]), words(hops["waited"])
            packet = hops["packet"]
            made.packet = &packet[0]
        with nogil:
            result = self.engine.advance(self.run, &made, events)
        if result == TM_NO_MEMORY:
            raise MemoryError
        self.is_stuck = result == TM_STUCK
        return result in (0, TM_STUCK), made.packets_made, made.hops_made

    @property
    def frames_done(self):
        """Frames read out so far."""
        return self.engine.frames_done(self.run)

    @property
    def now(self):
        """Tick of the last event."""
        return self.engine.now(self.run)

    def links(self, int64_t[:, ::1] out not None):
        """Fill (3, links): packets, ticks waited for it in all, and at most."""
        if out.shape[0] != 3 or out.shape[1] != 4 * self.tiles:
            raise ValueError("links have the wrong shape")
        self.engine.links(self.run, &out[0, 0], &out[1, 0], &out[2, 0])

    def waiting(self, int64_t[:, ::1] out):
        """Packets on the chip that is stuck: how many; as rows of ``tm_waiting`` in ``out``."""
        if out is None:
            return self.engine.waiting(self.run, NULL, 0)
        if out.shape[1] != WAITING_FIELDS:
            raise ValueError("waiting has the wrong shape")
        return self.engine.waiting(self.run, <tm_waiting *>&out[0, 0], out.shape[0])

    def rows_waiting(self, int64_t[:, ::1] out not None):
        """Fill (2, rows): whether it waits for room to send, and its frame."""
        if out.shape[0] != 2 or out.shape[1] != self.rows:
            raise ValueError("rows have the wrong shape")
        self.engine.rows(self.run, &out[0, 0], &out[1, 0])
