"""Learning on a chip, sample by sample, written to be read (twin of ``kernels.learning``).

For every sample, with S the states, w what they read as, x arriving levels:

1. forward    d = gain · Σ w x − (mean + offset); levels by ±half; max-pool on levels
2. errors     e of the read-out from its scores d; e of a hidden neuron is what comes
              back, Σ w e, B e or B label, where d lies in the window of a threshold
3. attempts   at each synapse with x ≠ 0 and e ≠ 0, m = |x e|:
              S ← clip(S − sign(x e) · (whole[m] + [draw < chance[m]]))
4. means      move towards the sums

All errors are made before any synapse moves.  Where a synapse serves many
places, or in a mini-batch, x e is added up first and the synapse tries once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph import draws
from neuromorph.network import Stage
from neuromorph.plasticity import (
    COUNTED,
    ERROR_DRAWS,
    FRACTION,
    MAX_ERROR,
    MOVE_DTYPE,
    SOFT_STEPS,
    LearnTally,
    Plastic,
    PlasticLayer,
    Rule,
    feedback,
    read,
)
from neuromorph.reference.counting import correlate, pool

__all__ = ["Learner"]

Array = NDArray[np.int64]

ERROR_LIMIT = 1 << 16  # errors saturate there
GRADIENT_LIMIT = (1 << 15) - 1


class Learner:
    """Learns in place: every call of :meth:`run` moves the state on.

    Parameters
    ----------
    state : Plastic
    rule : Rule
    slices : list of int arrays
        For each layer the slice of every neuron, (neurons,).
    """

    def __init__(self, state: Plastic, rule: Rule, slices: list[NDArray[np.int32]]) -> None:
        self.state, self.rule, self.slices = state, rule, slices
        self.sizes = [int(s.max()) + 1 for s in slices]
        last = len(state.layers) - 1
        self.feedback = [
            feedback(layer, i, state.layers[-1].stage.neurons, rule).astype(np.int64)
            if i < last and rule.error in ("dfa", "sdfa", "drtp")
            else None
            for i, layer in enumerate(state.layers)
        ]

    def run(
        self,
        inputs: NDArray[Any],
        labels: NDArray[Any],
        tables: list[NDArray[np.uint32]],
        *,
        moves: bool = False,
    ) -> LearnTally:
        """Learn input levels (samples, size) with labels (samples,), in order."""
        state, batch = self.state, len(inputs)
        last = len(state.layers) - 1
        sources = self.sizes[1:]
        if self.rule.error in ("dfa", "sdfa"):
            sources = [self.sizes[-1]] * last
        elif self.rule.error == "drtp":
            sources = [1] * last
        self.tally = LearnTally(
            predictions=np.zeros(batch, np.int64),
            levels=[np.zeros((batch, p.stage.outputs), np.int8) for p in state.layers[:-1]],
            xnor=[np.zeros((batch, n), np.int64) for n in self.sizes],
            active=[np.zeros((batch, n), np.int64) for n in self.sizes],
            counted=[{name: np.zeros(n, np.int64) for name in COUNTED} for n in self.sizes],
            packets=[np.zeros((s, n), np.int64) for s, n in zip(sources, self.sizes)],
            taught=0,
        )
        self.moves: list[tuple[int, int, int, int, int]] = []
        for sample in range(batch):
            self._sample(sample, inputs[sample], int(labels[sample]), tables)
        if moves:
            self.tally.moves = np.array(self.moves, MOVE_DTYPE)
        return self.tally

    def store(self) -> None:
        """Write what was learned to the state; here it is there already."""

    # --- one sample

    def _sample(
        self, sample: int, levels: NDArray[Any], label: int, tables: list[NDArray[np.uint32]]
    ) -> None:
        state, rule = self.state, self.rule
        images, sums, distances = self._forward(sample, levels)
        scores = distances[-1].ravel()
        self.tally.predictions[sample] = int(np.argmax(scores))
        outputs = output_errors(scores, label, rule, state.layers[-1].fraction)
        self.tally.taught += bool(outputs.any())
        errors = self._errors(outputs, label, images, distances)
        step = state.samples + 1
        apply = state.waiting + 1 == rule.batch
        for index, layer in list(enumerate(state.layers))[state.fixed :]:
            self._count(index, "errors", errors[index])
            gradient = self._gradient(index, images[index], errors[index])
            if rule.batch > 1 or layer.shared:
                gradient = np.clip(layer.gradient + gradient, -GRADIENT_LIMIT, GRADIENT_LIMIT)
                layer.gradient[:] = gradient
                if not apply:
                    continue
                layer.gradient[:] = 0
            self._attempt(index, gradient, step, tables[index])
        if rule.centring == "tracked":
            for layer, found in list(zip(state.layers, sums))[state.fixed :]:
                track(layer, found, rule)
        state.samples = step
        state.waiting = 0 if apply else state.waiting + 1

    def _forward(
        self, sample: int, levels: NDArray[Any]
    ) -> tuple[list[Array], list[Array], list[Array]]:
        """Arriving images, sums and distances from the centre of every layer."""
        images, sums, distances = [], [], []
        self.chosen: list[Array | None] = []
        for index, layer in enumerate(self.state.layers):
            stage = layer.stage
            image = levels.reshape(1, *stage.input_shape).astype(np.int64)
            weights = self._weights(index)
            found = correlate(stage, image, weights)[0]
            events = correlate(stage, np.abs(image), np.abs(weights))[0].ravel()
            self._sum(self.tally.xnor[index][sample], index, events)
            self._sum(self.tally.active[index][sample], index, events > 0)
            centre = (layer.mean.astype(np.int64) + layer.offset)[:, None, None]
            distance = layer.gain.astype(np.int64)[:, None, None] * found - centre
            images.append(image[0])
            sums.append(found)
            distances.append(distance)
            if stage.is_readout:
                break
            half = layer.half[:, None, None]
            fired = (distance > half).astype(np.int8) - (distance < -half).astype(np.int8)
            fired[layer.dead.reshape(fired.shape)] = 0
            chosen = None
            if stage.pool is not None:
                chosen = winners(stage, fired)
                fired = pool(stage.pool, fired[None])[0]
            self.chosen.append(chosen)
            levels = fired.ravel()
            self.tally.levels[index][sample] = levels
        return images, sums, distances

    def _weights(self, index: int) -> Array:
        layer = self.state.layers[index]
        weights = read(layer.states, self.state.rest)
        return weights.reshape(layer.stage.weights.shape).astype(np.int64)

    # --- errors

    def _errors(
        self, outputs: Array, label: int, images: list[Array], distances: list[Array]
    ) -> list[Array]:
        """Errors of every neuron, layer by layer, flat."""
        rule, layers = self.rule, self.state.layers
        last = len(layers) - 1
        errors = [np.zeros(layer.stage.neurons, np.int64) for layer in layers]
        errors[last] = self._cut(outputs, last)
        for index in range(last - 1, self.state.fixed - 1, -1):
            layer = layers[index]
            if rule.error == "readout":
                break
            feedback = self.feedback[index]
            if feedback is None:
                arrived = self._back(index, errors[index + 1], images[index + 1])
            else:
                arrived = self._direct(index, feedback, errors[last], label)
            arrived = np.clip(arrived, -ERROR_LIMIT, ERROR_LIMIT)
            self._count(index, "windows", arrived)
            distance = distances[index].reshape(layer.stage.sum_shape)
            half = layer.half.astype(np.int64)[:, None, None]
            near = np.abs(np.abs(distance) - half) <= (half * rule.pulse) >> 4
            inside = near.ravel() & ~layer.dead
            arrived = np.where(inside & (np.abs(arrived) > rule.dead_zone), arrived, 0)
            errors[index] = self._cut(arrived, index)
        return errors

    def _back(self, index: int, errors: Array, image: Array) -> Array:
        """Σ w e of the layer above, slice by slice: each sends its partial sums."""
        layer, above = self.state.layers[index], self.state.layers[index + 1]
        weights = self._weights(index + 1)
        whole = np.zeros(layer.stage.neurons, np.int64)
        for source in range(self.sizes[index + 1]):
            own = np.where(self.slices[index + 1] == source, errors, 0)
            present = (own != 0).astype(np.int64)
            sent = scatter(above.stage, weights, own)
            counted = self.tally.counted[index + 1]
            counted["transposed"][source] += scatter(
                above.stage, np.ones_like(weights), present
            ).sum()
            counted["adds"][source] += scatter(above.stage, np.abs(weights), present).sum()
            partial = self._unpool(index, sent)
            whole += partial
            for target in range(self.sizes[index]):
                arriving = partial[self.slices[index] == target]
                self.tally.packets[index][source, target] += np.count_nonzero(arriving)
        return whole

    def _unpool(self, index: int, sent: Array) -> Array:
        """Errors of pooled levels go to the neuron that gave the level."""
        chosen = self.chosen[index]
        if chosen is None:
            return sent.ravel()
        whole = np.zeros(self.state.layers[index].stage.neurons, np.int64)
        np.add.at(whole, chosen.ravel(), sent.ravel())
        return whole

    def _direct(self, index: int, feedback: Array, outputs: Array, label: int) -> Array:
        """B e, B sign(e) or −B label, straight from the read-out or the port."""
        if self.rule.error == "drtp":
            self.tally.packets[index][0] += 1
            self._count(index, "adds", feedback[:, label])
            return -feedback[:, label]
        if self.rule.error == "sdfa":
            outputs = np.sign(outputs)
        present = outputs != 0
        for source in range(self.sizes[-1]):
            own = np.count_nonzero(present & (self.slices[-1] == source))
            self.tally.packets[index][source] += own
        for pairs in (feedback != 0)[:, present].T:
            self._count(index, "adds", pairs)
        arrived: Array = feedback @ outputs
        return arrived

    def _cut(self, errors: Array, index: int) -> Array:
        """What the path lets through of errors."""
        error = self.rule.error
        largest = int(np.abs(errors).max(initial=0))
        if error.startswith("bp_q"):
            return quantised(errors, int(error[4:]))
        if error == "sign":
            return np.sign(errors)
        if error == "ternary" and largest:
            rule = self.rule
            key = draws.layer_key(rule.seed, ERROR_DRAWS + index)
            bits = draws.weight_keys(key, np.arange(len(errors)))
            drawn = draw16(bits, key, self.state.samples + 1)
            return np.where(drawn * largest < np.abs(errors) << 16, np.sign(errors), 0)
        return errors

    # --- synapses

    def _gradient(self, index: int, image: Array, errors: Array) -> Array:
        """Σ over places of error · level, (out, taps)."""
        layer = self.state.layers[index]
        if self.rule.batch > 1 or layer.shared:
            for place in range(self.sizes[index]):
                present = (errors != 0) & (self.slices[index] == place)
                pairs = outer(layer.stage, np.abs(image), present.astype(np.int64)).sum()
                self.tally.counted[index]["accumulated"][place] += pairs
        return outer(layer.stage, image, errors)

    def _attempt(self, index: int, gradient: Array, step: int, table: NDArray[np.uint32]) -> None:
        """Every synapse with something to learn tries a transition, taps first."""
        layer, rule = self.state.layers[index], self.rule
        tries = np.argwhere(gradient.T)[:, ::-1]  # by tap, then by neuron
        if not len(tries):
            return
        out, tap = tries.T
        key = draws.layer_key(rule.seed, index)
        if rule.draws == "keyed":
            drawn = draw16(draws.weight_keys(key, out * gradient.shape[1] + tap), key, step)
        else:
            drawn = self._shift(index, len(tries))
        wanted = gradient[out, tap]
        size = np.minimum(np.abs(wanted), MAX_ERROR)
        direction = -np.sign(wanted)
        before = layer.states[out, tap].astype(np.int64)
        inward = np.where(direction * before < 0, rule.metaplastic * np.abs(before), 0)
        chance = table[1].astype(np.int64)[size] >> (inward // rule.maximum)
        steps = table[0].astype(np.int64)[size] + (drawn < chance)
        after = np.clip(before + direction * steps, -rule.maximum, rule.maximum)
        after = np.where(layer.stuck[out, tap], before, after)
        moved = after != before
        layer.states[out, tap] = after
        layer.writes[out, tap] += moved
        per_neuron = len(self.slices[index]) // gradient.shape[0]
        home = self.slices[index][out * per_neuron]
        np.add.at(self.tally.counted[index]["attempts"], home, 1)
        np.add.at(self.tally.counted[index]["transitions"], home, moved)
        flat = out * gradient.shape[1] + tap
        self.moves += [
            (step, index, int(s), int(b), int(a))
            for s, b, a in zip(flat[moved], before[moved], after[moved])
        ]

    def _shift(self, index: int, count: int) -> Array:
        """16-bit draws from the layer's shift register."""
        register, drawn = int(self.state.registers[index]), np.zeros(count, np.int64)
        for i in range(count):
            for _ in range(16):
                register = (register >> 1) ^ (0x80200003 if register & 1 else 0)
            drawn[i] = register & 0xFFFF
        self.state.registers[index] = register
        return drawn

    # --- counting

    def _sum(self, into: NDArray[np.int64], index: int, values: NDArray[Any]) -> None:
        """Add values of neurons to their slices."""
        np.add.at(into, self.slices[index], values.astype(np.int64))

    def _count(self, index: int, name: str, values: NDArray[Any]) -> None:
        self._sum(self.tally.counted[index][name], index, values != 0)


def output_errors(scores: Array, label: int, rule: Rule, fraction: int = FRACTION) -> Array:
    """Errors of the read-out: what each score, with its fractional bits, should lose."""
    errors = np.zeros(len(scores), np.int64)
    margin = rule.margin << fraction
    others = np.delete(np.arange(len(scores)), label)
    if rule.target == "hinge":
        errors[scores > -margin] = 1
        errors[label] = -1 if scores[label] < margin else 0
    elif rule.target == "soft":
        behind = (scores.max() - scores) * 16 // max(margin, 1)
        shares = np.where(behind < 16 * 16, (32 - behind % 16 << 11) >> (behind // 16), 0)
        whole = int(shares.sum())
        errors[others] = ((SOFT_STEPS * shares + whole // 2) // whole)[others]
        errors[label] = -errors.sum()
    elif len(others):
        rival = others[np.argmax(scores[others])]
        if scores[label] - scores[rival] < margin:
            errors[rival], errors[label] = 1, -1
    return errors


def quantised(errors: Array, bits: int) -> Array:
    """Errors in so many bits, of a scale that is a power of two."""
    largest = int(np.abs(errors).max(initial=0))
    shift = max(0, largest.bit_length() - (bits - 1))
    rounded = (np.abs(errors) + (1 << shift >> 1)) >> shift
    kept: Array = np.sign(errors) * (np.minimum(rounded, (1 << (bits - 1)) - 1) << shift)
    return kept


def draw16(bits: NDArray[np.uint32], key: int, step: int) -> Array:
    """16-bit draws of a step from the per-weight parts of the key."""
    mixed = draws.weight_keys(draws.step_key(key, step), bits)
    return (mixed >> np.uint32(16)).astype(np.int64)


def places(stage: Stage) -> list[tuple[int, int, int, int, int, int]]:
    """(row, column, ky, kx, input row, input column) of every tap inside the image."""
    _, height, width = stage.sum_shape
    return [
        (y, x, ky, kx, y * stage.stride[0] - stage.padding[0] + ky,
         x * stage.stride[1] - stage.padding[1] + kx)
        for y in range(height)
        for x in range(width)
        for ky in range(stage.weights.shape[2])
        for kx in range(stage.weights.shape[3])
        if 0 <= y * stage.stride[0] - stage.padding[0] + ky < stage.input_shape[1]
        and 0 <= x * stage.stride[1] - stage.padding[1] + kx < stage.input_shape[2]
    ]  # fmt: skip


def scatter(stage: Stage, weights: Array, errors: Array) -> Array:
    """Σ w e at every input of a layer: the transpose of the correlation."""
    image = errors.reshape(stage.sum_shape)
    result = np.zeros(stage.input_shape, np.int64)
    for y, x, ky, kx, row, column in places(stage):
        result[:, row, column] += weights[:, :, ky, kx].T @ image[:, y, x]
    return result


def outer(stage: Stage, image: Array, errors: Array) -> Array:
    """Σ over places of error · level for every synapse, (out, taps)."""
    local = errors.reshape(stage.sum_shape)
    result = np.zeros(stage.weights.shape, np.int64)
    for y, x, ky, kx, row, column in places(stage):
        result[:, :, ky, kx] += np.outer(local[:, y, x], image[:, row, column])
    return result.reshape(len(result), -1)


def winners(stage: Stage, levels: NDArray[np.int8]) -> Array:
    """For each pooled output the flat neuron that gives its level: the first in its window."""
    assert stage.pool is not None
    (height, width), (sy, sx) = stage.pool.size, stage.pool.stride
    numbers = np.arange(levels.size).reshape(levels.shape)
    chosen = np.zeros(stage.output_shape, np.int64)
    for c, y, x in np.ndindex(*stage.output_shape):
        cut = (c, slice(y * sy, y * sy + height), slice(x * sx, x * sx + width))
        best = np.argmin(levels[cut]) if stage.pool.minimum[c] else np.argmax(levels[cut])
        chosen[c, y, x] = numbers[cut].ravel()[best]
    return chosen


def track(layer: PlasticLayer, sums: Array, rule: Rule) -> None:
    """Move means, spreads and the gaps that follow them."""
    count = sums[0].size
    away = layer.gain.astype(np.int64)[:, None] * sums.reshape(len(sums), -1)
    away -= layer.mean[:, None]
    nudge = 1 << (rule.memory - 1)
    mean = (away.sum(axis=1) + count // 2) // count
    layer.mean += ((mean + nudge) >> rule.memory).astype(np.int32)
    if layer.follows_spread:
        size = (np.abs(away).sum(axis=1) + count // 2) // count
        layer.spread += ((size - layer.spread + nudge) >> rule.memory).astype(np.int32)
        layer.half[:] = (layer.spread.astype(np.int64) * rule.threshold) >> 4
