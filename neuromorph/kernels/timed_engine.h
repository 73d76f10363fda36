/* The timed engine: cores that send and serve, and the life of a run.
 *
 * Included once for each agenda (timed_wheel.c, timed_heap.c).
 */
#include "timed_mesh.h"

static void serve(tm_run *r, int64_t tick, int32_t number);

static void note(tm_run *r, int what, const core_row *row, int64_t n) {
    int64_t *table = r->results.counted[what];
    table[(int64_t)row->frame * r->row_count + (row - r->rows)] += n;
}

static void row_event(tm_run *r, int64_t tick, int32_t row, uint16_t what) {
    event e = {0, (uint32_t)row, what, 0};
    agenda_add(&r->agenda, tick, e);
}

/* --- sending */

static void begin(tm_run *r, int64_t tick, int64_t frame);

static int is_port(const tm_run *r, int32_t number) {
    return number == 0 || number >= r->chip.first_port;
}

static void begin_if_free(tm_run *r, int64_t tick) {
    if (r->rows[0].busy || r->next_frame >= r->frames ||
        r->next_frame >= r->frames_done + r->chip.frames_in_flight)
        return;
    for (int32_t i = r->chip.first_port; i < r->row_count; i++)
        if (r->rows[i].busy) return;
    begin(r, tick, r->next_frame);
}

static void all_sent(tm_run *r, int64_t tick, int32_t number) {
    core_row *row = &r->rows[number];
    note(r, row->given.partial ? TM_PARTIAL_OUT : TM_PACKET_OUT, row, row->packets);
    note(r, TM_TOKEN_OUT, row, row->tokens_sent);
    note(r, TM_HOP_X, row, row->hops_x);
    note(r, TM_HOP_Y, row, row->hops_y);
    note(r, TM_HOP_CHIP, row, row->hops_chip);
    note(r, TM_HOP_LOCAL, row, row->deliveries);
    row->packets = row->tokens_sent = row->deliveries = 0;
    row->hops_x = row->hops_y = row->hops_chip = 0;
    row->busy = 0;
    if (is_port(r, number)) {
        if (!r->chip.barrier_sync) begin_if_free(r, tick);
    } else {
        row->frame++;
        serve(r, tick, number);
    }
}

static void send_all(tm_run *r, int64_t tick, int32_t number, int64_t frame) {
    core_row *row = &r->rows[number];
    const tm_row *g = &row->given;
    const int16_t *levels = g->levels + frame * g->stride;
    int64_t packets = 0, spikes = 0;
    row->busy = 1;
    row->frame = (int32_t)frame;
    if (g->fan >= 0) {
        const tm_fan *fan = &r->fans[g->fan];
        uint32_t positions = (uint32_t)fan->positions;
        for (int64_t i = 0; i < g->outputs; i++) {
            uint32_t neuron = (uint32_t)g->numbers[i];
            int32_t level = levels[neuron];
            if (level == 0) continue;
            uint32_t position = positions == 1 ? 0 : neuron % positions;
            int32_t copies = fan->starts[position + 1] - fan->starts[position];
            for (int32_t b = 0; b < g->planes; b++) {
                if (g->planes > 1 && !((level >> b) & 1)) continue;
                row->spike_neuron[spikes] = neuron;
                row->spike_payload[spikes++] = g->planes > 1 ? 1 << b : level;
                packets += copies;
            }
        }
        if (!r->chip.barrier_sync) packets += g->tokens;
    }
    row->spikes = spikes;
    row->spike_at = row->target_at = row->target_end = row->token_at = 0;
    row->remaining = packets;
    if (!g->partial) note(r, TM_SPIKE_OUT, row, spikes);
    row->at_once = 0;
    r->results.busy[number] += g->gap * ((packets + g->rate - 1) / g->rate);
    if (packets) row_event(r, tick + g->gap, number, EMIT);
    else all_sent(r, tick, number);
}

static void begin(tm_run *r, int64_t tick, int64_t frame) {
    r->next_frame = frame + 1;
    r->results.started[frame] = tick;
    for (int32_t i = r->chip.first_port; i < r->row_count; i++) r->rows[i].busy = 1;
    send_all(r, tick, 0, frame);
    for (int32_t i = r->chip.first_port; i < r->row_count; i++) send_all(r, tick, i, frame);
}

/* A packet into the mesh at its source. */
static inline void depart(tm_run *r, int64_t tick, int32_t p, event e) {
    packet *q = &r->packets[p];
    q->sent = tick;
    q->number = r->sent++;
    e.about = (uint32_t)p;
    if (q->node < 0) hop(r, tick, &e, 0);
    else fork_at(r, tick, e);
}

static void emit(tm_run *r, int64_t tick, int32_t number) {
    core_row *row = &r->rows[number];
    const tm_row *g = &row->given;
    const tm_fan *fan = &r->fans[g->fan];
    int32_t p = new_packet(r), goal;
    if (p < 0) return;
    packet *q = &r->packets[p];
    while (row->target_at == row->target_end && row->spike_at < row->spikes) {
        uint32_t neuron = row->spike_neuron[row->spike_at++];
        uint32_t position = fan->positions == 1 ? 0 : neuron % (uint32_t)fan->positions;
        row->target_at = fan->starts[position];
        row->target_end = fan->starts[position + 1];
    }
    if (row->target_at < row->target_end) {
        q->neuron = row->spike_neuron[row->spike_at - 1];
        q->payload = row->spike_payload[row->spike_at - 1];
        goal = fan->targets[row->target_at++];
        row->packets++;
    } else {
        q->neuron = TM_TOKEN;
        q->payload = 0;
        goal = g->token_to[row->token_at++];
        row->tokens_sent++;
    }
    q->frame = row->frame;
    q->source = number;
    q->holds = ~(int64_t)number;
    event e = {0, 0, HOP, (uint16_t)(q->payload ? r->chip.spike_flits : r->chip.token_flits)};
    q->node = g->roots ? g->roots[goal - g->first_root] : -1;
    if (q->node < 0) {
        const tm_row *to = &r->rows[goal].given;
        q->target = goal;
        int32_t chips_x = abs(to->chip_x - g->chip_x), chips_y = abs(to->chip_y - g->chip_y);
        row->hops_x += abs(to->tile_x - g->tile_x) - chips_x;
        row->hops_y += abs(to->tile_y - g->tile_y) - chips_y;
        row->hops_chip += chips_x + chips_y;
        row->deliveries++;
        e.way = way_from(g->tile_x, g->tile_y, to->tile_x, to->tile_y);
    } else {
        const tm_node *root = &r->chip.nodes[q->node];
        row->hops_x += root->hops_x;
        row->hops_y += root->hops_y;
        row->hops_chip += root->hops_chip;
        row->deliveries += root->deliveries;
    }
    depart(r, tick, p, e);
    int more_at_once = ++row->at_once < g->rate;
    if (!more_at_once) row->at_once = 0;
    if (--row->remaining) row_event(r, tick + (more_at_once ? 0 : g->gap), number, EMIT);
    else all_sent(r, tick, number);
}

static void emit_if_room(tm_run *r, int64_t tick, int32_t number) {
    core_row *row = &r->rows[number];
    if (row->outbox_room == 0) {
        row->blocked = 1;
        row->blocked_since = tick;
        return;
    }
    row->outbox_room -= r->limited;
    emit(r, tick, number);
}

static void go_on_sending(tm_run *r, int64_t tick, int32_t number) {
    core_row *row = &r->rows[number];
    row->blocked = 0;
    r->results.blocked[number] += tick - row->blocked_since;
    emit_if_room(r, tick, number);
}

/* The next packets of a traffic given beforehand: all of this tick. */
static void inject(tm_run *r, int64_t tick) {
    const tm_traffic *t = r->traffic;
    int64_t i = r->injected;
    for (; i < t->packets && t->tick[i] == tick; i++) {
        int32_t p = new_packet(r);
        if (p < 0) return;
        r->packets[p].holds = NOWHERE;
        r->packets[p].node = t->roots ? t->roots[i] : -1;
        event e = {(uint64_t)t->way[i], 0, HOP, (uint16_t)r->chip.spike_flits};
        depart(r, tick, p, e);
    }
    r->injected = i;
    if (i < t->packets) row_event(r, t->tick[i], 0, EMIT);
}

/* --- receiving */

/* Room for one queue more than `ahead` frames.  Few are needed, except at a core
 * that no read-out waits for: it may fall behind without bound. */
static int grow_queues(core_row *row, int32_t ahead) {
    int32_t count = 2 * (ahead + 1);
    queue *queues = malloc((size_t)count * sizeof(queue));
    if (!queues) return 0;
    for (int32_t k = 0; k < count; k++) queues[k].first = queues[k].last = -1;
    for (int32_t frame = row->frame; frame < row->frame + row->queue_count; frame++)
        queues[frame % count] = row->queues[frame % row->queue_count];
    free(row->queues);
    row->queues = queues;
    row->queue_count = count;
    return 1;
}

static void entered(tm_run *r, int64_t tick, int32_t p) {
    packet *q = &r->packets[p];
    if (r->traffic) {
        r->traffic->delivered[q->number] = tick;
        free_packet(r, p);
        return;
    }
    core_row *row = &r->rows[q->target];
    int32_t ahead = q->frame - row->frame;
    if (ahead >= row->queue_count && !grow_queues(row, ahead)) {
        r->failed = 1;
        return;
    }
    tm_recording *made = r->recording;
    if (made->packet_room) {
        int64_t i = made->packets_made++;
        made->sample[i] = (uint32_t)q->frame;
        made->source[i] = (uint32_t)q->source;
        made->neuron[i] = q->neuron;
        made->target[i] = (uint32_t)q->target;
        made->payload[i] = (int16_t)q->payload;
        made->sent[i] = q->sent;
        made->delivered[i] = tick;
    }
    q->wants = TM_INSIDE;
    join(r, &row->queues[q->frame % row->queue_count], p);
    int64_t *longest = &r->results.longest_queue[q->target];
    if (++row->queued > *longest) *longest = row->queued;
    if (!row->busy) serve(r, tick, q->target);
}

/* Synapses that the row holds for a spike. */
static int32_t work_of(const tm_work *g, int32_t sender, uint32_t neuron) {
    while (g->sender != sender) g++;
    if (g->area == 1) return g->work[g->by_channel ? neuron : 0];
    uint32_t channel = neuron / (uint32_t)g->area, at = neuron % (uint32_t)g->area;
    int32_t y = (int32_t)(at / (uint32_t)g->width) - g->window_y;
    int32_t x = (int32_t)(at % (uint32_t)g->width) - g->window_x;
    if (!g->by_channel) channel = 0;
    return g->work[((int64_t)channel * g->window_height + y) * g->window_width + x];
}

static void serve(tm_run *r, int64_t tick, int32_t number) {
    core_row *row = &r->rows[number];
    queue *waiting = &row->queues[row->frame % row->queue_count];
    if (waiting->first < 0) return;
    int32_t p = leave(r, waiting);
    packet *q = &r->packets[p];
    row->busy = 1;
    row->queued--;
    row->serving_token = q->payload == 0;
    int64_t duration = r->chip.axon;
    if (row->serving_token) {
        row->tokens_in++;
    } else if (r->rows[q->source].given.partial) {
        row->partial_in++;
        duration += r->chip.synapse;
    } else {
        int32_t work = work_of(row->given.works, r->rows[q->source].given.layer, q->neuron);
        int32_t lanes = r->chip.synapse_lanes;
        row->spikes_in++;
        row->work += work;
        duration += (int64_t)r->chip.synapse * (work / lanes + (work % lanes != 0));
    }
    free_packet(r, p);
    r->results.busy[number] += duration;
    row_event(r, tick + duration, number, SERVED);
    if (!r->limited) return;
    if (row->entering.first < 0) {
        row->queue_room++;
        return;
    }
    enter(r, tick, r->packets[leave(r, &row->entering)].at);
}

static void scan(tm_run *r, int64_t tick, int32_t number) {
    int64_t duration = r->rows[number].given.scan;
    r->results.busy[number] += duration;
    row_event(r, tick + duration, number, FIRED);
}

static void served(tm_run *r, int64_t tick, int32_t number) {
    core_row *row = &r->rows[number];
    if (row->serving_token && ++row->tokens == row->given.sources) {
        row->tokens = 0;
        scan(r, tick, number);
        return;
    }
    row->busy = 0;
    serve(r, tick, number);
}

static void fired(tm_run *r, int64_t tick, int32_t number) {
    core_row *row = &r->rows[number];
    note(r, TM_SPIKE_IN, row, row->spikes_in);
    note(r, TM_TOKEN_IN, row, row->tokens_in);
    note(r, TM_PARTIAL_IN, row, row->partial_in);
    note(r, TM_SERVED, row, row->work);
    row->spikes_in = row->tokens_in = row->partial_in = row->work = 0;
    if (row->given.reads_out && ++r->read_out[row->frame] == r->read_outs) {
        r->results.finished[row->frame] = tick;
        r->frames_done++;
        if (!r->chip.barrier_sync) begin_if_free(r, tick);
    }
    send_all(r, tick, number, row->frame);
}

/* --- life */

static void begin_step(tm_run *r) {
    int64_t start_of_step = r->begun ? r->agenda.now + r->chip.barrier : 0;
    r->begun = 1;
    r->agenda.now = start_of_step;
    if (r->step < r->frames) begin(r, start_of_step, r->step);
    for (int32_t i = 1; i < r->chip.first_port; i++) {
        int64_t frame = r->step - r->rows[i].given.depth;
        if (frame < 0 || frame >= r->frames) continue;
        r->rows[i].busy = 1;
        scan(r, start_of_step, i);
    }
    r->step++;
}

/* Nothing moves: is a packet left outside of a core?  In one it may wait for a later step. */
static int is_stuck(const tm_run *r) {
    for (int32_t p = 0; r->alive && p < r->packet_used; p++)
        if (r->packets[p].number != NOT_SENT && r->packets[p].wants != TM_INSIDE) return 1;
    return 0;
}

/* The agenda is empty.  What now? */
static int next_act(tm_run *r) {
    if (is_stuck(r)) return TM_STUCK;
    if (r->traffic) {
        if (r->begun || r->traffic->packets == 0) return TM_DONE;
        row_event(r, r->traffic->tick[0], 0, EMIT);
    } else if (r->frames_done == r->frames) {
        return TM_DONE;
    } else if (r->chip.barrier_sync) {
        begin_step(r);
    } else if (!r->begun) {
        begin_if_free(r, 0);
    } else {
        return TM_DONE;
    }
    r->begun = 1;
    return TM_PAUSED;
}

enum { MOST = 16 };                /* records that one event makes, and a few more */
enum { BETWEEN_CHECKS = 4096 };    /* events */

/* So many events have room for their records. */
static int64_t events_recorded(const tm_run *r) {
    const tm_recording *made = r->recording;
    int64_t most = MOST + (r->traffic ? r->traffic->most : 0), events = INT64_MAX;
    if (made->packet_room) events = (made->packet_room - made->packets_made) / most;
    if (made->hop_room && (made->hop_room - made->hops_made) / most < events)
        events = (made->hop_room - made->hops_made) / most;
    return events;
}

static ALWAYS_INLINE int advance_as(tm_run *r, int64_t events, int plain) {
    for (int64_t left = 0;; left--) {
        if (left == 0) {
            if (r->failed || r->agenda.failed) return TM_NO_MEMORY;
            left = events_recorded(r);
            if (left > BETWEEN_CHECKS) left = BETWEEN_CHECKS;
            if (left > events) left = events;
            if (left <= 0) return TM_PAUSED;
            events -= left;
        }
        const event *e = agenda_take(&r->agenda);
        if (!e) {
            int act = next_act(r);
            if (act != TM_PAUSED) return act;
            continue;
        }
        int64_t tick = r->agenda.now;
        if (e->what == HOP) {
            hop(r, tick, e, plain);
            continue;
        }
        int32_t about = (int32_t)e->about;
        switch (e->what) {
        case DELIVER: deliver(r, tick, *e); break;
        case LINK_FREE: link_free(r, tick, about); break;
        case SERVED: served(r, tick, about); break;
        case FIRED: fired(r, tick, about); break;
        default:
            if (r->traffic) inject(r, tick);
            else emit_if_room(r, tick, about);
        }
    }
}

static int advance(tm_run *r, tm_recording *made, int64_t events) {
    r->recording = made;
    made->packets_made = made->hops_made = 0;
    int plain = !r->limited && !r->chip.nodes && !r->chip.link_busy && !made->hop_room;
    return plain ? advance_as(r, events, 1) : advance_as(r, events, 0);
}

static int64_t frames_done(const tm_run *r) { return r->frames_done; }

static int64_t now(const tm_run *r) { return r->agenda.now; }

static int64_t link_count(const tm_run *r) {
    return (int64_t)r->chip.columns * r->chip.tile_rows * 4;
}

static void links(const tm_run *r, int64_t *packets, int64_t *waited, int64_t *longest) {
    for (int64_t i = 0; i < link_count(r); i++) {
        packets[i] = r->links[i].packets;
        waited[i] = r->links[i].waited;
        longest[i] = r->links[i].longest;
    }
}

static int64_t waiting(const tm_run *r, tm_waiting *out, int64_t room) {
    int64_t found = 0;
    for (int32_t p = 0; p < r->packet_used; p++) {
        const packet *q = &r->packets[p];
        if (q->number == NOT_SENT || q->copies || found == room) continue;
        int64_t target = q->node < 0 ? q->target : ~(int64_t)q->node;
        int64_t holds = q->holds;  /* a copy may have been left by a copy */
        while (holds != NOWHERE && holds < INT64_MIN / 4)
            holds = r->packets[holds - SHARED(0)].holds;
        tm_waiting w = {(int64_t)q->number, q->frame, q->source, target, holds, q->wants};
        out[found++] = w;
    }
    return r->alive;
}

static void rows_waiting(const tm_run *r, int64_t *blocked, int64_t *frame) {
    for (int32_t i = 0; i < r->row_count; i++) {
        blocked[i] = r->rows[i].blocked;
        frame[i] = r->rows[i].frame;
    }
}

static void *zeros(int64_t count, size_t size) { return calloc(count > 0 ? (size_t)count : 1, size); }

static void free_run(tm_run *r) {
    if (!r) return;
    for (int32_t i = 0; r->rows && i < r->row_count; i++) {
        free(r->rows[i].spike_neuron);
        free(r->rows[i].spike_payload);
        free(r->rows[i].queues);
    }
    free(r->rows);
    free(r->read_out);
    free(r->link_memory);
    free(r->gates);
    free(r->packets);
    agenda_free(&r->agenda);
    free(r);
}

static int make_row(tm_run *r, core_row *row, const tm_row *given) {
    int64_t spikes = given->fan < 0 ? 0 : given->outputs * given->planes;
    row->given = *given;
    row->spike_neuron = zeros(spikes, sizeof(uint32_t));
    row->spike_payload = zeros(spikes, sizeof(int32_t));
    row->queue_count = 4;
    row->queues = zeros(row->queue_count, sizeof(queue));
    if (!row->spike_neuron || !row->spike_payload || !row->queues) return 0;
    for (int32_t k = 0; k < row->queue_count; k++) row->queues[k].first = row->queues[k].last = -1;
    row->entering.first = row->entering.last = -1;
    row->outbox_room = r->chip.buffer ? r->chip.buffer : UNLIMITED;
    row->queue_room = r->chip.queue ? r->chip.queue : UNLIMITED;
    r->read_outs += given->reads_out;
    return 1;
}

static tm_run *make(const tm_chip *chip, const tm_fan *fans, const tm_row *rows,
                    int32_t row_count, int64_t frames, const tm_traffic *traffic,
                    const tm_results *results) {
    tm_run *r = calloc(1, sizeof(tm_run));
    if (!r) return NULL;
    r->chip = *chip;
    r->results = *results;
    r->traffic = traffic;
    r->fans = fans;
    r->row_count = row_count;
    r->frames = frames;
    r->limited = chip->buffer > 0 || chip->queue > 0;
    r->packet_free = -1;
    r->rows = zeros(row_count, sizeof(core_row));
    r->read_out = zeros(frames, sizeof(int32_t));
    r->link_memory = zeros(link_count(r) + 1, sizeof(mesh_link));
    r->gates = zeros(r->limited ? link_count(r) : 0, sizeof(gate));
    if (!r->rows || !r->read_out || !r->link_memory || !r->gates) goto fail;
    r->links = (mesh_link *)(((uintptr_t)r->link_memory + 31) & ~(uintptr_t)31);
    for (int64_t i = 0; i < link_count(r); i++) {
        r->links[i].ticks = chip->link_ticks[i];
        if (!r->limited) continue;
        r->gates[i].room = chip->buffer ? chip->buffer : UNLIMITED;
        r->gates[i].waiting.first = r->gates[i].waiting.last = -1;
    }
    for (int32_t i = 0; i < row_count; i++)
        if (!make_row(r, &r->rows[i], &rows[i])) goto fail;
    return r;
fail:
    free_run(r);
    return NULL;
}
