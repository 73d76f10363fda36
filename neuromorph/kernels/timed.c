#include "timed.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    int64_t sent;
    uint64_t number;
    int32_t frame, source, target, payload, next;
    uint32_t neuron;
    int16_t x, y;
} packet;

enum { EMIT, HOP, DELIVER, SERVED, FIRED };

typedef struct {
    int64_t tick;
    uint64_t order;
    int32_t what, about; /* about: row or packet */
} event;

struct tm_run {
    tm_chip chip;
    tm_stage *stages;
    int32_t stage_count;
    tm_row *rows;
    int32_t row_count;
    const int16_t *inputs;
    int64_t input_size, frames, classes;
    int32_t *outputs;
    int64_t *counted[TM_COUNTED];
    int64_t *started, *finished, *active;
    int32_t *read_out, read_outs;
    int64_t *link_free;
    event *agenda;
    int64_t agenda_size, agenda_room;
    uint64_t scheduled, sent;
    packet *packets;
    int32_t packet_free, packet_room, packet_used;
    int64_t next_frame, frames_done, step, now;
    int begun, failed;
    tm_recording *recording;
};

/* --- agenda: a 4-ary heap on (tick, order) */

static int before(const event *a, const event *b) {
    return a->tick < b->tick || (a->tick == b->tick && a->order < b->order);
}

static void schedule(tm_run *r, int64_t tick, int32_t what, int32_t about) {
    if (r->agenda_size == r->agenda_room) {
        int64_t room = r->agenda_room ? 2 * r->agenda_room : 1024;
        event *more = realloc(r->agenda, (size_t)room * sizeof(event));
        if (!more) {
            r->failed = 1;
            return;
        }
        r->agenda = more;
        r->agenda_room = room;
    }
    event e = {tick, r->scheduled++, what, about};
    int64_t i = r->agenda_size++;
    while (i > 0) {
        int64_t parent = (i - 1) >> 2;
        if (!before(&e, &r->agenda[parent])) break;
        r->agenda[i] = r->agenda[parent];
        i = parent;
    }
    r->agenda[i] = e;
}

static event pop(tm_run *r) {
    event first = r->agenda[0], e = r->agenda[--r->agenda_size];
    int64_t i = 0, n = r->agenda_size;
    for (;;) {
        int64_t child = 4 * i + 1, best = child;
        if (child >= n) break;
        int64_t end = child + 4 < n ? child + 4 : n;
        for (int64_t c = child + 1; c < end; c++)
            if (before(&r->agenda[c], &r->agenda[best])) best = c;
        if (!before(&r->agenda[best], &e)) break;
        r->agenda[i] = r->agenda[best];
        i = best;
    }
    if (n) r->agenda[i] = e;
    return first;
}

/* --- packets: a pool with a free list */

static int32_t new_packet(tm_run *r) {
    if (r->packet_free >= 0) {
        int32_t p = r->packet_free;
        r->packet_free = r->packets[p].next;
        return p;
    }
    if (r->packet_used == r->packet_room) {
        int32_t room = r->packet_room ? 2 * r->packet_room : 1024;
        packet *more = room > 0 ? realloc(r->packets, (size_t)room * sizeof(packet)) : NULL;
        if (!more) {
            r->failed = 1;
            return -1;
        }
        r->packets = more;
        r->packet_room = room;
    }
    return r->packet_used++;
}

static void free_packet(tm_run *r, int32_t p) {
    r->packets[p].next = r->packet_free;
    r->packet_free = p;
}

static void tally(tm_run *r, int what, int64_t frame, int32_t row, int64_t n) {
    r->counted[what][frame * r->row_count + row] += n;
}

/* --- sending */

static void begin(tm_run *r, int64_t tick, int64_t frame);
static void serve(tm_run *r, int64_t tick, int32_t row);

static void begin_if_free(tm_run *r, int64_t tick) {
    if (!r->rows[0].busy && r->next_frame < r->frames &&
        r->next_frame < r->frames_done + r->chip.frames_in_flight)
        begin(r, tick, r->next_frame);
}

static void all_sent(tm_run *r, int64_t tick, int32_t row) {
    r->rows[row].busy = 0;
    if (row == 0) {
        if (!r->chip.barrier_sync) begin_if_free(r, tick);
    } else {
        r->rows[row].frame++;
        serve(r, tick, row);
    }
}

static void send_all(tm_run *r, int64_t tick, int32_t number, int64_t frame,
                     const int16_t *levels) {
    tm_row *row = &r->rows[number];
    int32_t planes = number == 0 ? r->chip.spike_planes : 1;
    int64_t packets = 0;
    row->busy = 1;
    row->spikes = row->spike_at = 0;
    row->target_at = 0;
    for (int64_t i = 0; i < row->outputs; i++) {
        int32_t level = levels[i];
        if (level == 0) continue;
        int32_t copies = row->copies[row->numbers[i] % row->positions];
        for (int32_t b = 0; b < planes; b++) {
            if (planes > 1 && !((level >> b) & 1)) continue;
            row->spike_neuron[row->spikes] = row->numbers[i];
            row->spike_payload[row->spikes++] = planes > 1 ? 1 << b : level;
            packets += copies;
        }
    }
    tally(r, TM_SPIKE_OUT, frame, number, row->spikes);
    if (!r->chip.barrier_sync)
        for (int32_t t = 0; t < row->targets; t++) packets += row->token_to[t];
    row->remaining = packets;
    row->frame = number == 0 ? (int32_t)frame : row->frame;
    r->active[number] += row->gap * packets;
    if (packets) schedule(r, tick + row->gap, EMIT, number);
    else all_sent(r, tick, number);
}

static void begin(tm_run *r, int64_t tick, int64_t frame) {
    r->next_frame = frame + 1;
    r->started[frame] = tick;
    send_all(r, tick, 0, frame, r->inputs + frame * r->input_size);
}

static void hop(tm_run *r, int64_t tick, int32_t p);

static void emit(tm_run *r, int64_t tick, int32_t number) {
    tm_row *row = &r->rows[number];
    int32_t p = new_packet(r), target = -1;
    if (p < 0) return;
    packet *q = &r->packets[p];
    q->payload = 0;
    q->neuron = TM_TOKEN;
    while (row->spike_at < row->spikes) {
        int32_t neuron = row->spike_neuron[row->spike_at];
        const uint8_t *reach = row->reach + (int64_t)(neuron % row->positions) * row->targets;
        while (row->target_at < row->targets && !reach[row->target_at]) row->target_at++;
        if (row->target_at < row->targets) {
            target = row->target_at++;
            q->neuron = (uint32_t)neuron;
            q->payload = row->spike_payload[row->spike_at];
            break;
        }
        row->spike_at++;
        row->target_at = 0;
    }
    if (target < 0) {
        while (!row->token_to[row->target_at]) row->target_at++;
        target = row->target_at++;
    }
    q->frame = row->frame;
    q->source = number;
    q->target = row->target + target;
    q->sent = tick;
    q->number = r->sent++;
    q->x = (int16_t)row->tile_x;
    q->y = (int16_t)row->tile_y;
    tally(r, q->payload ? TM_PACKET_OUT : TM_TOKEN_OUT, q->frame, number, 1);
    hop(r, tick, p);
    if (--row->remaining) schedule(r, tick + row->gap, EMIT, number);
    else all_sent(r, tick, number);
}

/* --- the mesh */

static void record_hop(tm_run *r, int64_t tick, const packet *q, int32_t x, int32_t y,
                       int32_t side, int64_t waited) {
    tm_recording *made = r->recording;
    if (!made->hops) return;
    uint32_t router = (uint32_t)(y * r->chip.columns + x);
    tm_hop hop = {tick, q->number, router * TM_SIDES + (uint32_t)side, (uint32_t)waited};
    made->hops[made->hops_made++] = hop;
}

static void hop(tm_run *r, int64_t tick, int32_t p) {
    packet *q = &r->packets[p];
    const tm_row *to = &r->rows[q->target];
    int32_t side, ticks, what;
    if (q->x != to->tile_x) {
        side = to->tile_x > q->x ? 0 : 1;
        ticks = r->chip.hop_x;
        what = TM_HOP_X;
    } else if (q->y != to->tile_y) {
        side = to->tile_y > q->y ? 2 : 3;
        ticks = r->chip.hop_y;
        what = TM_HOP_Y;
    } else {
        tally(r, TM_HOP_LOCAL, q->frame, q->source, 1);
        schedule(r, tick + r->chip.hop_local, DELIVER, p);
        return;
    }
    int64_t *free_at = &r->link_free[((int64_t)q->y * r->chip.columns + q->x) * 4 + side];
    int64_t start = tick > *free_at ? tick : *free_at;
    *free_at = start + r->chip.link;
    tally(r, what, q->frame, q->source, 1);
    record_hop(r, tick, q, q->x, q->y, side, start - tick);
    if (side == 0) q->x++;
    else if (side == 1) q->x--;
    else if (side == 2) q->y++;
    else q->y--;
    schedule(r, start + ticks, HOP, p);
}

/* Room for one queue more than `ahead` frames.  Few are needed, except at a core
 * that no read-out waits for: it may fall behind without bound. */
static int grow_queues(tm_row *row, int32_t ahead) {
    int32_t count = 2 * (ahead + 1);
    int32_t *first = malloc((size_t)count * sizeof(int32_t));
    int32_t *last = malloc((size_t)count * sizeof(int32_t));
    if (!first || !last) {
        free(first);
        free(last);
        return 0;
    }
    for (int32_t k = 0; k < count; k++) first[k] = last[k] = -1;
    for (int32_t frame = row->frame; frame < row->frame + row->queues; frame++) {
        first[frame % count] = row->queue_first[frame % row->queues];
        last[frame % count] = row->queue_last[frame % row->queues];
    }
    free(row->queue_first);
    free(row->queue_last);
    row->queue_first = first;
    row->queue_last = last;
    row->queues = count;
    return 1;
}

static void deliver(tm_run *r, int64_t tick, int32_t p) {
    packet *q = &r->packets[p];
    tm_row *row = &r->rows[q->target];
    int32_t ahead = q->frame - row->frame;
    if (ahead >= row->queues && !grow_queues(row, ahead)) {
        r->failed = 1;
        return;
    }
    int32_t queue = q->frame % row->queues;
    tally(r, q->payload ? TM_SPIKE_IN : TM_TOKEN_IN, q->frame, q->target, 1);
    if (r->recording->packets) {
        tm_record record = {(uint32_t)q->frame, (uint32_t)q->source, q->neuron,
                            (uint32_t)q->target, (int16_t)q->payload, q->sent, tick};
        r->recording->packets[r->recording->packets_made++] = record;
    }
    record_hop(r, tick, q, row->tile_x, row->tile_y, TM_SIDES - 1, 0);
    q->next = -1;
    if (row->queue_first[queue] < 0) row->queue_first[queue] = p;
    else r->packets[row->queue_last[queue]].next = p;
    row->queue_last[queue] = p;
    if (!row->busy) serve(r, tick, q->target);
}

/* --- the core */

/* Neurons of one axis that a kernel offset connects to an input coordinate. */
static int32_t reached(int32_t at, int32_t pad, int32_t k, int32_t stride, int32_t first,
                       int32_t count) {
    int32_t shifted = at + pad - k;
    if (shifted < 0 || shifted % stride) return -1;
    int32_t neuron = shifted / stride - first;
    return neuron >= 0 && neuron < count ? neuron : -1;
}

static int64_t integrate(tm_run *r, tm_row *row, const packet *q) {
    const tm_stage *s = &r->stages[row->stage];
    int32_t area = s->input_height * s->input_width, n = row->channels;
    int32_t channel = (int32_t)(q->neuron / (uint32_t)area), at = (int32_t)(q->neuron % (uint32_t)area);
    int32_t y = at / s->input_width, x = at % s->input_width, payload = q->payload;
    int64_t fetched = 0, present = 0, single = 0;
    for (int32_t ky = 0; ky < s->kernel_height; ky++) {
        int32_t v = reached(y, s->pad_y, ky, s->stride_y, row->sum_row, row->sum_rows);
        if (v < 0) continue;
        for (int32_t kx = 0; kx < s->kernel_width; kx++) {
            int32_t u = reached(x, s->pad_x, kx, s->stride_x, row->sum_column, row->sum_columns);
            if (u < 0) continue;
            int64_t tap = ((int64_t)channel * s->kernel_height + ky) * s->kernel_width + kx;
            const int16_t *restrict w = s->weights + tap * s->channels + row->channel;
            int64_t cell = ((int64_t)v * row->sum_columns + u) * n;
            int32_t *restrict sums = row->sums + cell;
            uint8_t *restrict touched = row->touched + cell;
            int32_t some = 0, ones = 0;
            for (int32_t c = 0; c < n; c++) {
                int32_t weight = w[c];
                sums[c] += payload * weight;
                touched[c] |= weight != 0;
                some += weight != 0;
                ones += weight * weight == 1;
            }
            fetched += n;
            present += some;
            single += ones;
        }
    }
    if (payload != 1 && payload != -1) single = 0;
    tally(r, TM_FETCHED, q->frame, q->target, fetched);
    tally(r, TM_XNOR, q->frame, q->target, single);
    tally(r, TM_GRADED, q->frame, q->target, present - single);
    return r->chip.sparse ? present : fetched;
}

static void serve(tm_run *r, int64_t tick, int32_t number) {
    tm_row *row = &r->rows[number];
    int32_t queue = row->frame % row->queues, p = row->queue_first[queue];
    if (p < 0) return;
    packet *q = &r->packets[p];
    row->queue_first[queue] = q->next;
    row->busy = 1;
    row->serving_token = q->payload == 0;
    int64_t duration = r->chip.axon;
    if (!row->serving_token) {
        int64_t words = (integrate(r, row, q) + r->chip.synapse_lanes - 1) / r->chip.synapse_lanes;
        duration += r->chip.synapse * words;
    }
    free_packet(r, p);
    r->active[number] += duration;
    schedule(r, tick + duration, SERVED, number);
}

static void scan(tm_run *r, int64_t tick, int32_t number) {
    const tm_row *row = &r->rows[number];
    int64_t neurons = (int64_t)row->channels * row->sum_rows * row->sum_columns;
    int64_t duration = r->chip.neuron * ((neurons + r->chip.neuron_lanes - 1) / r->chip.neuron_lanes);
    r->active[number] += duration;
    schedule(r, tick + duration, FIRED, number);
}

static void served(tm_run *r, int64_t tick, int32_t number) {
    tm_row *row = &r->rows[number];
    if (row->serving_token && ++row->tokens == row->sources) {
        row->tokens = 0;
        scan(r, tick, number);
        return;
    }
    row->busy = 0;
    serve(r, tick, number);
}

static int16_t level_of(const tm_stage *s, int32_t channel, int32_t sum) {
    const int32_t *t = s->thresholds + (int64_t)channel * s->steps;
    int32_t climbed = 0, directed = s->directions[channel] < 0 ? -sum : sum;
    for (int32_t i = 0; i < s->steps; i++) climbed += directed >= t[i];
    return (int16_t)(s->level_stride * climbed + s->lowest);
}

static void fired(tm_run *r, int64_t tick, int32_t number) {
    tm_row *row = &r->rows[number];
    const tm_stage *s = &r->stages[row->stage];
    int64_t frame = row->frame, area = (int64_t)row->sum_rows * row->sum_columns;
    int64_t neurons = area * row->channels, active = 0;
    for (int64_t i = 0; i < neurons; i++) active += row->touched[i];
    tally(r, TM_ACTIVE, frame, number, active);
    if (s->steps == 0) {
        for (int64_t i = 0; i < row->outputs; i++)
            r->outputs[frame * r->classes + row->numbers[i]] = row->sums[i];
        memset(row->sums, 0, (size_t)neurons * sizeof(int32_t));
        memset(row->touched, 0, (size_t)neurons);
        if (++r->read_out[frame] == r->read_outs) {
            r->finished[frame] = tick;
            r->frames_done++;
            if (!r->chip.barrier_sync) begin_if_free(r, tick);
        }
        all_sent(r, tick, number);
        return;
    }
    int16_t *levels = row->fired;
    int64_t n = 0;
    for (int32_t c = 0; c < row->channels; c++)
        for (int32_t y = 0; y < row->rows; y++)
            for (int32_t x = 0; x < row->columns; x++, n++) {
                int32_t channel = row->channel + c;
                if (s->pool_height == 0) {
                    int64_t at = ((int64_t)y * row->sum_columns + x) * row->channels + c;
                    levels[n] = level_of(s, channel, row->sums[at]);
                    continue;
                }
                int16_t best = 0;
                for (int32_t v = 0; v < s->pool_height; v++)
                    for (int32_t u = 0; u < s->pool_width; u++) {
                        int64_t at = ((int64_t)(y * s->pool_stride_y + v) * row->sum_columns +
                                      x * s->pool_stride_x + u) * row->channels + c;
                        int16_t level = level_of(s, channel, row->sums[at]);
                        int better = s->minimum[channel] ? level < best : level > best;
                        if ((v == 0 && u == 0) || better) best = level;
                    }
                levels[n] = best;
            }
    int16_t *all = s->levels + frame * s->outputs;
    for (int64_t i = 0; i < row->outputs; i++) all[row->numbers[i]] = levels[i];
    memset(row->sums, 0, (size_t)neurons * sizeof(int32_t));
    memset(row->touched, 0, (size_t)neurons);
    send_all(r, tick, number, frame, levels);
}

/* --- life */

static void handle(tm_run *r, event e) {
    r->now = e.tick;
    switch (e.what) {
    case EMIT: emit(r, e.tick, e.about); break;
    case HOP: hop(r, e.tick, e.about); break;
    case DELIVER: deliver(r, e.tick, e.about); break;
    case SERVED: served(r, e.tick, e.about); break;
    default: fired(r, e.tick, e.about);
    }
}

static void begin_step(tm_run *r) {
    int64_t start = r->begun ? r->now + r->chip.barrier : 0;
    r->begun = 1;
    r->now = start;
    if (r->step < r->frames) begin(r, start, r->step);
    for (int32_t i = 1; i < r->row_count; i++) {
        int64_t frame = r->step - 1 - r->rows[i].stage;
        if (frame < 0 || frame >= r->frames) continue;
        r->rows[i].busy = 1;
        scan(r, start, i);
    }
    r->step++;
}

int tm_advance(tm_run *r, tm_recording *made, int64_t events) {
    r->recording = made;
    made->packets_made = made->hops_made = 0;
    int result = TM_PAUSED;
    while (events-- > 0) {
        if (r->failed) {
            result = TM_NO_MEMORY;
            break;
        }
        if (made->packets && made->packets_made == made->packet_room) break;
        if (made->hops && made->hops_made == made->hop_room) break;
        if (r->agenda_size) {
            handle(r, pop(r));
            continue;
        }
        if (r->frames == 0 || r->frames_done == r->frames) {
            result = TM_DONE;
            break;
        }
        if (r->chip.barrier_sync) {
            begin_step(r);
        } else if (!r->begun) {
            r->begun = 1;
            begin_if_free(r, 0);
        } else {
            result = TM_DONE;
            break;
        }
    }
    return result;
}

int64_t tm_frames_done(const tm_run *r) { return r->frames_done; }

static void *zeros(int64_t count, size_t size) { return calloc(count > 0 ? (size_t)count : 1, size); }

tm_run *tm_new(const tm_chip *chip, const tm_stage *stages, int32_t stage_count,
               const tm_row *rows, int32_t row_count, const int16_t *inputs, int64_t input_size,
               int64_t frames, int32_t *outputs, int64_t classes, int64_t *const *counted,
               int64_t *started, int64_t *finished, int64_t *active_ticks) {
    tm_run *r = calloc(1, sizeof(tm_run));
    if (!r) return NULL;
    r->chip = *chip;
    r->stage_count = stage_count;
    r->row_count = row_count;
    r->inputs = inputs;
    r->input_size = input_size;
    r->frames = frames;
    r->outputs = outputs;
    r->classes = classes;
    memcpy(r->counted, counted, sizeof(r->counted));
    r->started = started;
    r->finished = finished;
    r->active = active_ticks;
    r->packet_free = -1;
    r->stages = zeros(stage_count, sizeof(tm_stage));
    r->rows = zeros(row_count, sizeof(tm_row));
    r->read_out = zeros(frames, sizeof(int32_t));
    r->link_free = zeros((int64_t)chip->columns * chip->tile_rows * 4, sizeof(int64_t));
    if (!r->stages || !r->rows || !r->read_out || !r->link_free) goto fail;
    memcpy(r->stages, stages, (size_t)stage_count * sizeof(tm_stage));
    for (int32_t i = 0; i < row_count; i++) {
        tm_row *row = &r->rows[i];
        *row = rows[i];
        int32_t planes = i == 0 ? chip->spike_planes : 1;
        int64_t neurons = (int64_t)row->channels * row->sum_rows * row->sum_columns;
        row->busy = row->frame = row->tokens = row->serving_token = 0;
        row->sums = zeros(neurons, sizeof(int32_t));
        row->touched = zeros(neurons, 1);
        row->fired = zeros(row->outputs, sizeof(int16_t));
        row->spike_neuron = zeros(row->outputs * planes, sizeof(int32_t));
        row->spike_payload = zeros(row->outputs * planes, sizeof(int32_t));
        row->token_to = zeros(row->targets, 1);
        row->queues = 4;
        row->queue_first = zeros(row->queues, sizeof(int32_t));
        row->queue_last = zeros(row->queues, sizeof(int32_t));
        if (!row->sums || !row->touched || !row->fired || !row->spike_neuron ||
            !row->spike_payload || !row->token_to || !row->queue_first || !row->queue_last)
            goto fail;
        for (int32_t k = 0; k < row->queues; k++) row->queue_first[k] = row->queue_last[k] = -1;
        for (int64_t k = 0; k < row->outputs && row->targets; k++) {
            const uint8_t *reach = row->reach + (int64_t)(row->numbers[k] % row->positions) * row->targets;
            for (int32_t t = 0; t < row->targets; t++) row->token_to[t] |= reach[t];
        }
        if (row->stage == stage_count - 1) r->read_outs++;
    }
    return r;
fail:
    tm_free(r);
    return NULL;
}

void tm_free(tm_run *r) {
    if (!r) return;
    if (r->rows)
        for (int32_t i = 0; i < r->row_count; i++) {
            tm_row *row = &r->rows[i];
            free(row->sums);
            free(row->touched);
            free(row->fired);
            free(row->spike_neuron);
            free(row->spike_payload);
            free(row->token_to);
            free(row->queue_first);
            free(row->queue_last);
        }
    free(r->stages);
    free(r->rows);
    free(r->read_out);
    free(r->link_free);
    free(r->agenda);
    free(r->packets);
    free(r);
}
