#include "learning.h"

#include <string.h>

enum { ERROR_LIMIT = 1 << 16, GRADIENT_LIMIT = (1 << 15) - 1, SOFT_STEPS = 8 };

static uint32_t mix(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    x ^= x >> 16;
    return x;
}

static int32_t absolute(int32_t x) { return x < 0 ? -x : x; }
static int32_t sign(int32_t x) { return (x > 0) - (x < 0); }
static int32_t clip(int32_t x, int32_t most) { return x > most ? most : x < -most ? -most : x; }
static int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0); }
static int32_t neurons_of(const lr_layer *l) { return l->channels * l->height * l->width; }

static int32_t bit_length(int32_t x)
{
    int32_t bits = 0;
    for (; x; x >>= 1)
        bits++;
    return bits;
}

/* --- forward ---------------------------------------------------------------------------- */

/* Active taps of one place: their numbers, with the sign bit-complemented for a level of -1. */
static int32_t active_taps(const lr_layer *l, int32_t y, int32_t x, int32_t *taps)
{
    int32_t n = 0;
    if (!l->shared) {
        for (int32_t i = 0; i < l->in_channels; i++)
            if (l->image[i])
                taps[n++] = l->image[i] > 0 ? i : ~i;
        return n;
    }
    for (int32_t i = 0, tap = 0; i < l->in_channels; i++)
        for (int32_t ky = 0; ky < l->kernel_height; ky++)
            for (int32_t kx = 0; kx < l->kernel_width; kx++, tap++) {
                int32_t row = y * l->stride_y - l->pad_y + ky, column = x * l->stride_x - l->pad_x + kx;
                if (row < 0 || row >= l->in_height || column < 0 || column >= l->in_width)
                    continue;
                int8_t level = l->image[(i * l->in_height + row) * l->in_width + column];
                if (level)
                    taps[n++] = level > 0 ? tap : ~tap;
            }
    return n;
}

/* Sums and events of all channels at one place: bytes first, widened before they overflow. */
static void accumulate(const lr_layer *l, const int32_t *taps, int32_t n, int32_t *sums, int32_t *events)
{
    int32_t channels = l->channels;
    int8_t *restrict s8 = l->sums8, *restrict e8 = l->events8;
    memset(sums, 0, sizeof(int32_t) * channels);
    memset(events, 0, sizeof(int32_t) * channels);
    for (int32_t start = 0; start < n; start += 127) {
        int32_t stop = start + 127 < n ? start + 127 : n;
        memset(s8, 0, channels);
        memset(e8, 0, channels);
        for (int32_t k = start; k < stop; k++) {
            int32_t tap = taps[k];
            if (tap >= 0) {
                const int8_t *restrict w = l->weights + (int64_t)tap * channels;
                for (int32_t o = 0; o < channels; o++) {
                    s8[o] = (int8_t)(s8[o] + w[o]);
                    e8[o] = (int8_t)(e8[o] + (w[o] & 1));
                }
            } else {
                const int8_t *restrict w = l->weights + (int64_t)~tap * channels;
                for (int32_t o = 0; o < channels; o++) {
                    s8[o] = (int8_t)(s8[o] - w[o]);
                    e8[o] = (int8_t)(e8[o] + (w[o] & 1));
                }
            }
        }
        for (int32_t o = 0; o < channels; o++) {
            sums[o] += s8[o];
            events[o] += e8[o];
        }
    }
}

static void fire(lr_layer *l)
{
    int32_t places = l->height * l->width;
    for (int32_t o = 0; o < l->channels; o++) {
        int32_t centre = l->mean[o] + l->offset[o], half = l->half[o], gain = l->gain[o];
        for (int32_t p = o * places; p < (o + 1) * places; p++) {
            int32_t d = gain * l->sums[p] - centre;
            l->distance[p] = d;
            l->fired[p] = l->dead[p] ? 0 : (int8_t)((d > half) - (d < -half));
        }
    }
}

/* The levels that leave, and the neuron each is from: the first that has the level. */
static void pool(lr_layer *l, int8_t *out)
{
    int32_t n = 0;
    for (int32_t c = 0; c < l->channels; c++) {
        int32_t way = l->minimum[c] ? -1 : 1;
        for (int32_t y = 0; y < l->out_height; y++)
            for (int32_t x = 0; x < l->out_width; x++, n++) {
                int32_t best = -2, from = 0;
                for (int32_t dy = 0; dy < l->pool_height; dy++)
                    for (int32_t dx = 0; dx < l->pool_width; dx++) {
                        int32_t at = (c * l->height + y * l->pool_stride_y + dy) * l->width + x * l->pool_stride_x + dx;
                        if (way * l->fired[at] > best) {
                            best = way * l->fired[at];
                            from = at;
                        }
                    }
                out[n] = l->fired[from];
                l->chosen[n] = from;
            }
    }
}

static void forward(lr_layer *l, int64_t sample, int8_t *next)
{
    int32_t places = l->height * l->width, channels = l->channels;
    int64_t *xnor = l->xnor + sample * l->slices, *active = l->active + sample * l->slices;
    for (int32_t y = 0, p = 0; y < l->height; y++)
        for (int32_t x = 0; x < l->width; x++, p++) {
            int32_t n = active_taps(l, y, x, l->taps);
            int32_t *sums = l->partial, *events = l->arrived; /* free until the errors */
            accumulate(l, l->taps, n, sums, events);
            for (int32_t o = 0; o < channels; o++) {
                int32_t j = o * places + p, slice = l->slice_of[j];
                l->sums[j] = sums[o];
                xnor[slice] += events[o];
                active[slice] += events[o] > 0;
            }
        }
    fire(l);
    if (!next)
        return;
    int32_t outputs = channels * l->out_height * l->out_width;
    if (l->pool_height)
        pool(l, next);
    else
        memcpy(next, l->fired, outputs);
    memcpy(l->levels + sample * outputs, next, outputs);
}

/* --- errors ----------------------------------------------------------------------------- */

static int32_t output_errors(const lr_rule *r, const int32_t *scores, int32_t label, int32_t *errors)
{
    int64_t margin = r->margin;
    int32_t classes = r->classes, any = 0;
    memset(errors, 0, sizeof(int32_t) * classes);
    if (r->target == LR_HINGE) {
        for (int32_t o = 0; o < classes; o++)
            errors[o] = o == label ? -(scores[o] < margin) : scores[o] > -margin;
    } else if (r->target == LR_SOFT) {
        int32_t best = scores[0], taken = 0;
        int64_t whole = 0;
        for (int32_t o = 1; o < classes; o++)
            best = scores[o] > best ? scores[o] : best;
        for (int32_t pass = 0; pass < 2; pass++)
            for (int32_t o = 0; o < classes; o++) {
                int64_t behind = ((int64_t)best - scores[o]) * 16 / (margin ? margin : 1);
                int64_t share = behind < 256 ? ((32 - behind % 16) << 11) >> (behind / 16) : 0;
                if (!pass)
                    whole += share;
                else if (o != label)
                    taken += errors[o] = (int32_t)((SOFT_STEPS * share + whole / 2) / whole);
            }
        errors[label] = -taken;
    } else if (classes > 1) {
        int32_t rival = -1;
        for (int32_t o = 0; o < classes; o++)
            if (o != label && (rival < 0 || scores[o] > scores[rival]))
                rival = o;
        if ((int64_t)scores[label] - scores[rival] < margin) {
            errors[rival] = 1;
            errors[label] = -1;
        }
    }
    for (int32_t o = 0; o < classes; o++)
        any |= errors[o] != 0;
    return any;
}

/* What the path lets through. */
static void cut(const lr_rule *r, const lr_layer *l, int32_t *errors, int32_t n)
{
    int32_t largest = 0;
    if (r->path != LR_QUANTISED && r->path != LR_SIGN && r->path != LR_TERNARY)
        return;
    for (int32_t j = 0; j < n; j++)
        largest = absolute(errors[j]) > largest ? absolute(errors[j]) : largest;
    if (!largest)
        return;
    if (r->path == LR_SIGN) {
        for (int32_t j = 0; j < n; j++)
            errors[j] = sign(errors[j]);
    } else if (r->path == LR_QUANTISED) {
        int32_t most = (1 << (r->quantised_bits - 1)) - 1;
        int32_t shift = bit_length(largest) - (r->quantised_bits - 1);
        shift = shift < 0 ? 0 : shift;
        for (int32_t j = 0; j < n; j++) {
            int32_t size = (absolute(errors[j]) + ((1 << shift) >> 1)) >> shift;
            errors[j] = sign(errors[j]) * ((size > most ? most : size) << shift);
        }
    } else {
        uint32_t key = mix(mix(r->step ^ 0x9E3779B9u) ^ l->error_key);
        for (int32_t j = 0; j < n; j++)
            if (errors[j]) {
                int64_t draw = mix(l->error_keys[j] ^ key) >> 16;
                errors[j] = draw * largest < (int64_t)absolute(errors[j]) << 16 ? sign(errors[j]) : 0;
            }
    }
}

/* Partial sums of the errors of one slice of the layer above, at every neuron of this one. */
static void back(lr_layer *l, const lr_layer *up, int32_t source, int64_t *transposed, int64_t *adds)
{
    int32_t places = up->height * up->width, listed = 0, all = neurons_of(up);
    int32_t *list = up->list;
    int64_t added = 0;
    memset(l->partial, 0, sizeof(int32_t) * neurons_of(l));
    for (int32_t j = 0; j < all; j++)
        if (up->errors[j] && up->slice_of[j] == source)
            list[listed++] = j;
    if (!up->shared) {
        int32_t inputs = up->in_channels;
        for (int32_t i = 0; listed && i < inputs; i++) {
            const int8_t *w = up->weights + (int64_t)i * up->channels;
            int32_t sum = 0;
            for (int32_t k = 0; k < listed; k++) {
                sum += w[list[k]] * up->errors[list[k]];
                added += w[list[k]] & 1;
            }
            l->partial[l->pool_height ? l->chosen[i] : i] += sum;
        }
        *transposed += (int64_t)listed * inputs;
    } else {
        for (int32_t k = 0; k < listed; k++) {
            int32_t o = list[k] / places, y = list[k] % places / up->width, x = list[k] % up->width;
            int32_t error = up->errors[list[k]];
            for (int32_t i = 0, tap = 0; i < up->in_channels; i++)
                for (int32_t ky = 0; ky < up->kernel_height; ky++)
                    for (int32_t kx = 0; kx < up->kernel_width; kx++, tap++) {
                        int32_t row = y * up->stride_y - up->pad_y + ky, column = x * up->stride_x - up->pad_x + kx;
                        if (row < 0 || row >= up->in_height || column < 0 || column >= up->in_width)
                            continue;
                        int32_t at = (i * up->in_height + row) * up->in_width + column;
                        int8_t w = up->weights[(int64_t)tap * up->channels + o];
                        l->partial[l->pool_height ? l->chosen[at] : at] += w * error;
                        added += w & 1;
                        *transposed += 1;
                    }
        }
    }
    *adds += added;
}

static void arrive(lr_layer *layers, const lr_rule *r, int32_t index, int32_t label)
{
    lr_layer *l = &layers[index], *up = l + 1, *last = &layers[r->layers - 1];
    int32_t n = neurons_of(l), classes = r->classes;
    int64_t *adds = l->counted + LR_ADDS * l->slices;
    memset(l->arrived, 0, sizeof(int32_t) * n);
    if (r->path == LR_DRTP) {
        for (int32_t s = 0; s < l->slices; s++)
            l->packets[s]++;
        for (int32_t j = 0; j < n; j++) {
            int32_t b = l->feedback[(int64_t)j * classes + label];
            l->arrived[j] = -b;
            adds[l->slice_of[j]] += b != 0;
        }
    } else if (l->feedback) {
        for (int32_t o = 0; o < classes; o++) {
            int32_t error = r->path == LR_SDFA ? sign(last->errors[o]) : last->errors[o];
            if (!error)
                continue;
            for (int32_t s = 0; s < l->slices; s++)
                l->packets[(int64_t)last->slice_of[o] * l->slices + s]++;
            for (int32_t j = 0; j < n; j++) {
                int32_t b = l->feedback[(int64_t)j * classes + o];
                l->arrived[j] += b * error;
                adds[l->slice_of[j]] += b != 0;
            }
        }
    } else {
        for (int32_t source = 0; source < up->slices; source++) {
            back(l, up, source, &up->counted[LR_TRANSPOSED * up->slices + source],
                 &up->counted[LR_ADDS * up->slices + source]);
            int64_t *packets = l->packets + (int64_t)source * l->slices;
            for (int32_t j = 0; j < n; j++) {
                packets[l->slice_of[j]] += l->partial[j] != 0;
                l->arrived[j] += l->partial[j];
            }
        }
    }
}

/* Errors of a hidden layer: what arrived, where the distance lies in a window. */
static void hidden_errors(lr_layer *layers, const lr_rule *r, int32_t index, int32_t label)
{
    lr_layer *l = &layers[index];
    int32_t places = l->height * l->width;
    int64_t *windows = l->counted + LR_WINDOWS * l->slices;
    arrive(layers, r, index, label);
    for (int32_t o = 0; o < l->channels; o++) {
        int32_t half = l->half[o];
        int64_t reach = ((int64_t)half * r->pulse) >> 4;
        for (int32_t j = o * places; j < (o + 1) * places; j++) {
            int32_t error = clip(l->arrived[j], ERROR_LIMIT);
            int32_t away = absolute(absolute(l->distance[j]) - half);
            windows[l->slice_of[j]] += error != 0;
            l->errors[j] = away <= reach && !l->dead[j] && absolute(error) > r->dead_zone ? error : 0;
        }
    }
    cut(r, l, l->errors, neurons_of(l));
}

/* --- synapses --------------------------------------------------------------------------- */

typedef struct {
    uint8_t *moves;
    int64_t moved;
} recorder;

static void attempt(lr_layer *l, const lr_rule *r, int32_t index, int32_t tap, int32_t o,
                    int32_t wanted, uint32_t step_key, int64_t *transitions, recorder *log)
{
    int64_t at = (int64_t)tap * l->channels + o;
    uint32_t draw;
    if (r->keyed) {
        draw = mix(l->keys[at] ^ step_key) >> 16;
    } else {
        uint32_t shifted = l->shift_register;
        for (int32_t i = 0; i < 16; i++)
            shifted = (shifted >> 1) ^ (-(shifted & 1u) & 0x80200003u);
        l->shift_register = shifted;
        draw = shifted & 0xffffu;
    }
    int32_t size = absolute(wanted) > LR_MAX_ERROR ? LR_MAX_ERROR : absolute(wanted);
    int32_t before = l->states[at];
    uint32_t chance = l->table[LR_MAX_ERROR + 1 + size];
    if (r->metaplastic && (wanted > 0) == (before > 0) && before)
        chance >>= r->metaplastic * absolute(before) / r->maximum;
    int32_t steps = (int32_t)l->table[size] + (draw < chance);
    if (!steps || l->stuck[at])
        return;
    int32_t after = clip(before - sign(wanted) * steps, r->maximum);
    if (after == before)
        return;
    l->states[at] = (int8_t)after;
    l->weights[at] = (int8_t)((after > l->rest) - (after < -l->rest));
    l->writes[at]++;
    *transitions += 1;
    if (log->moves) {
        uint8_t *record = log->moves + LR_MOVE_BYTES * log->moved++;
        uint16_t layer = (uint16_t)index;
        uint32_t synapse = (uint32_t)o * (uint32_t)(l->in_channels * l->kernel_height * l->kernel_width) + tap;
        memcpy(record, &r->step, 4);
        memcpy(record + 4, &layer, 2);
        memcpy(record + 6, &synapse, 4);
        record[10] = (uint8_t)before;
        record[11] = (uint8_t)after;
    }
}

/* Attempts of one row without branches, in the common case: keyed draws, no metaplasticity and
   nothing recorded.  Same result as `attempt` for every error of the list. */
static void meet_row(lr_layer *l, const lr_rule *r, int32_t tap, int32_t way, const int32_t *list,
                     int32_t listed, uint32_t step_key)
{
    int64_t row = (int64_t)tap * l->channels;
    int8_t *restrict states = l->states + row, *restrict weights = l->weights + row;
    int32_t *restrict writes = l->writes + row, *restrict moved = l->partial;
    const uint8_t *restrict stuck = l->stuck + row;
    const uint32_t *restrict keys = l->keys + row;
    const int32_t *restrict chances = l->arrived, *restrict errors = l->errors;
    int32_t most = r->maximum, rest = l->rest;
    for (int32_t k = 0; k < listed; k++) {
        int32_t o = list[k], error = way * errors[o];
        int32_t draw = (int32_t)(mix(keys[o] ^ step_key) >> 16);
        int32_t steps = (chances[o] >> 17) + (draw < (chances[o] & 0x1ffff));
        int32_t before = states[o], after = before - ((error > 0) - (error < 0)) * steps;
        after = after > most ? most : after;
        after = after < -most ? -most : after;
        after = stuck[o] ? before : after;
        states[o] = (int8_t)after;
        weights[o] = (int8_t)((after > rest) - (after < -rest));
        writes[o] += after != before;
        moved[o] += after != before;
    }
}

/* Each arriving spike meets each error: one attempt. */
static void meet(lr_layer *l, const lr_rule *r, int32_t index, const int32_t *list, int32_t listed, recorder *log)
{
    uint32_t step_key = mix(mix(r->step ^ 0x9E3779B9u) ^ l->key);
    int32_t n = active_taps(l, 0, 0, l->taps);
    int64_t *transitions = l->counted + LR_TRANSITIONS * l->slices;
    for (int32_t k = 0; k < listed; k++)
        l->counted[LR_ATTEMPTS * l->slices + l->slice_of[list[k]]] += n;
    if (r->keyed && !r->metaplastic && !log->moves) {
        for (int32_t k = 0; k < listed; k++) { /* whole steps and the chance of one more, packed */
            int32_t o = list[k], size = absolute(l->errors[o]);
            size = size > LR_MAX_ERROR ? LR_MAX_ERROR : size;
            uint32_t whole = l->table[size] > 1024 ? 1024 : l->table[size];
            l->arrived[o] = (int32_t)(whole << 17 | l->table[LR_MAX_ERROR + 1 + size]);
            l->partial[o] = 0;
        }
        for (int32_t i = 0; i < n; i++)
            meet_row(l, r, l->taps[i] < 0 ? ~l->taps[i] : l->taps[i], l->taps[i] < 0 ? -1 : 1, list, listed, step_key);
        for (int32_t k = 0; k < listed; k++)
            transitions[l->slice_of[list[k]]] += l->partial[list[k]];
        return;
    }
    for (int32_t i = 0; i < n; i++) {
        int32_t tap = l->taps[i] < 0 ? ~l->taps[i] : l->taps[i];
        for (int32_t k = 0; k < listed; k++) {
            int32_t o = list[k], wanted = l->taps[i] < 0 ? -l->errors[o] : l->errors[o];
            attempt(l, r, index, tap, o, wanted, step_key, &transitions[l->slice_of[o]], log);
        }
    }
}

/* Add level · error of every place to the accumulators. */
static void add_up(lr_layer *l, const int32_t *list, int32_t listed)
{
    int32_t places = l->height * l->width, largest = 0;
    int64_t size = (int64_t)l->channels * l->in_channels * l->kernel_height * l->kernel_width;
    for (int32_t p = 0; listed && p < places; p++) {
        int32_t n = -1;
        for (int32_t k = 0; k < listed; k++) {
            if (list[k] % places != p)
                continue;
            if (n < 0)
                n = active_taps(l, p / l->width, p % l->width, l->taps);
            int32_t o = list[k] / places, error = l->errors[list[k]];
            largest = absolute(error) > largest ? absolute(error) : largest;
            l->counted[LR_ACCUMULATED * l->slices + l->slice_of[list[k]]] += n;
            for (int32_t i = 0; i < n; i++) {
                int32_t tap = l->taps[i] < 0 ? ~l->taps[i] : l->taps[i];
                l->gradient[(int64_t)tap * l->channels + o] += l->taps[i] < 0 ? -error : error;
            }
        }
    }
    l->bound += (int64_t)largest * places;
    if (l->bound > GRADIENT_LIMIT) {
        for (int64_t i = 0; i < size; i++)
            l->gradient[i] = clip(l->gradient[i], GRADIENT_LIMIT);
        l->bound = GRADIENT_LIMIT;
    }
}

/* Every synapse with something added up tries once. */
static void sweep(lr_layer *l, const lr_rule *r, int32_t index, recorder *log)
{
    uint32_t step_key = mix(mix(r->step ^ 0x9E3779B9u) ^ l->key);
    int32_t taps = l->in_channels * l->kernel_height * l->kernel_width, places = l->height * l->width;
    for (int32_t tap = 0; tap < taps; tap++)
        for (int32_t o = 0; o < l->channels; o++) {
            int32_t *gradient = &l->gradient[(int64_t)tap * l->channels + o];
            if (!*gradient)
                continue;
            int32_t slice = l->slice_of[o * places];
            l->counted[LR_ATTEMPTS * l->slices + slice]++;
            attempt(l, r, index, tap, o, *gradient, step_key, &l->counted[LR_TRANSITIONS * l->slices + slice], log);
            *gradient = 0;
        }
    l->bound = 0;
}

static void track(lr_layer *l, const lr_rule *r)
{
    int32_t places = l->height * l->width, nudge = 1 << (r->memory - 1);
    for (int32_t o = 0; o < l->channels; o++) {
        int64_t sum = 0, size = 0;
        for (int32_t p = o * places; p < (o + 1) * places; p++) {
            int32_t away = l->gain[o] * l->sums[p] - l->mean[o];
            sum += away;
            size += absolute(away);
        }
        if (places > 1) {
            sum = floor_divide(sum + places / 2, places);
            size = floor_divide(size + places / 2, places);
        }
        l->mean[o] += ((int32_t)sum + nudge) >> r->memory;
        if (l->follows_spread) {
            l->spread[o] += ((int32_t)size - l->spread[o] + nudge) >> r->memory;
            l->half[o] = (int32_t)(((int64_t)l->spread[o] * r->threshold) >> 4);
        }
    }
}

int64_t lr_run(lr_layer *layers, lr_rule *r, const int8_t *inputs, const int32_t *labels,
               int64_t n, int64_t *predictions, uint8_t *moves, int64_t capacity, int64_t *moved)
{
    lr_layer *last = &layers[r->layers - 1];
    int64_t inputs_size = (int64_t)layers[0].in_channels * layers[0].in_height * layers[0].in_width;
    int64_t synapses = 0, done = 0;
    recorder log = {moves, 0};
    for (int32_t i = 0; i < r->layers; i++)
        synapses += (int64_t)layers[i].channels * layers[i].in_channels * layers[i].kernel_height * layers[i].kernel_width;
    for (; done < n && (!moves || capacity - log.moved >= synapses); done++) {
        r->step++;
        int32_t label = labels[done], best = 0, apply = r->waiting + 1 == r->batch;
        memcpy(layers[0].image, inputs + done * inputs_size, inputs_size);
        for (int32_t i = 0; i < r->layers; i++)
            forward(&layers[i], done, i + 1 < r->layers ? layers[i + 1].image : NULL);
        for (int32_t o = 1; o < r->classes; o++)
            if (last->distance[o] > last->distance[best])
                best = o;
        predictions[done] = best;
        int32_t any = output_errors(r, last->distance, label, last->errors);
        r->taught += any;
        cut(r, last, last->errors, r->classes);
        for (int32_t i = r->layers - 2; i >= r->fixed; i--) {
            if (r->path == LR_READOUT || (!any && r->path != LR_DRTP))
                memset(layers[i].errors, 0, sizeof(int32_t) * neurons_of(&layers[i]));
            else
                hidden_errors(layers, r, i, label);
        }
        for (int32_t i = r->fixed; i < r->layers; i++) {
            lr_layer *l = &layers[i];
            int32_t listed = 0, all = neurons_of(l);
            for (int32_t j = 0; j < all; j++)
                if (l->errors[j]) {
                    l->list[listed++] = j;
                    l->counted[LR_ERRORS * l->slices + l->slice_of[j]]++;
                }
            if (r->batch > 1 || l->shared) {
                add_up(l, l->list, listed);
                if (apply)
                    sweep(l, r, i, &log);
            } else if (listed) {
                meet(l, r, i, l->list, listed, &log);
            }
        }
        if (r->tracked)
            for (int32_t i = r->fixed; i < r->layers; i++)
                track(&layers[i], r);
        r->waiting = apply ? 0 : r->waiting + 1;
    }
    *moved = log.moved;
    return done;
}
