"""Event-driven learning on the compiled kernel; same results as ``reference.learning``.

A sample costs what arrives and what errs: the forward pass adds rows of
synapses of active inputs, learning visits (active inputs) × (errors).
"""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from neuromorph import draws
from neuromorph.errors import LearningError
from neuromorph.kernels._learning import Engine
from neuromorph.plasticity import (
    COUNTED,
    ERROR_DRAWS,
    MOVE_DTYPE,
    LearnTally,
    Plastic,
    PlasticLayer,
    Rule,
    feedback,
)
from neuromorph.plasticity.rule import Target

__all__ = ["Learner"]

PATHS = {
    "bp": (0, 0), "bp_q8": (1, 8), "bp_q4": (1, 4), "bp_q3": (1, 3), "ternary": (2, 0),
    "sign": (3, 0), "dfa": (4, 0), "sdfa": (5, 0), "drtp": (6, 0), "readout": (7, 0),
}  # fmt: skip
MAX_FAN_IN = 1 << 21  # a sum with its fraction fits 32 bits
MOVES = 1 << 20  # transitions recorded at a time, or those of one sample if that is more
_SYNAPSES = ("states", "writes", "gradient")
_NEURONS = ("mean", "spread", "half")


class Learner:
    """Twin of :class:`neuromorph.reference.learning.Learner`.

    The state is copied; :meth:`store` writes it back.
    """

    def __init__(self, state: Plastic, rule: Rule, slices: list[NDArray[np.int32]]) -> None:
        self.state, self.rule = state, rule
        self.sizes = [int(s.max()) + 1 for s in slices]
        last = len(state.layers) - 1
        self.sources = self.sizes[1:]
        if rule.error in ("dfa", "sdfa"):
            self.sources = [self.sizes[-1]] * last
        elif rule.error == "drtp":
            self.sources = [1] * last
        self.synapses = sum(layer.states.size for layer in state.layers)
        self.layers = [self._layer(i, layer, slices[i]) for i, layer in enumerate(state.layers)]
        path, bits = PATHS[rule.error]
        self.engine = Engine(
            self.layers,
            {
                "classes": state.layers[-1].stage.neurons,
                "path": path,
                "quantised_bits": bits,
                "target": get_args(Target).index(rule.target),
                "margin": rule.margin << state.layers[-1].fraction,
                "pulse": rule.pulse,
                "threshold": rule.threshold,
                "dead_zone": rule.dead_zone,
                "memory": rule.memory,
                "tracked": rule.centring == "tracked",
                "batch": rule.batch,
                "fixed": state.fixed,
                "metaplastic": rule.metaplastic,
                "maximum": rule.maximum,
                "keyed": rule.draws == "keyed",
                "step": state.samples,
                "waiting": state.waiting,
            },
        )

    def _layer(
        self, index: int, layer: PlasticLayer, slice_of: NDArray[np.int32]
    ) -> dict[str, Any]:
        stage, rule, pool = layer.stage, self.rule, layer.stage.pool
        taps = layer.states.shape[1]
        if taps > MAX_FAN_IN:
            raise LearningError(
                f"layer {stage.name!r} has a fan-in of {taps}; learning takes up to {MAX_FAN_IN}"
            )
        last = index == len(self.state.layers) - 1
        key, error_key = (draws.layer_key(rule.seed, n) for n in (index, ERROR_DRAWS + index))
        synapses = {name: _rows(getattr(layer, name)) for name in (*_SYNAPSES, "stuck")}
        keys = draws.weight_keys(key, np.arange(layer.states.size)).reshape(layer.states.shape)
        neurons, outputs = stage.neurons, stage.outputs
        classes = self.state.layers[-1].stage.neurons
        direct = not last and rule.error in ("dfa", "sdfa", "drtp")
        scratch = {
            "image": np.zeros(stage.inputs, np.int8),
            "fired": np.zeros(neurons, np.int8),
            **{name: np.zeros(len(layer.states), np.int8) for name in ("sums8", "events8")},
            **{
                name: np.zeros(neurons, np.int32)
                for name in ("sums", "distance", "errors", "arrived", "partial", "list")
            },
            "chosen": np.zeros(outputs, np.int32),
            "taps": np.zeros(taps, np.int32),
        }
        return {
            "input": stage.input_shape,
            "sums": stage.sum_shape,
            "kernel": stage.weights.shape[2:],
            "stride": stage.stride,
            "padding": stage.padding,
            "pool": (0, 0, 0, 0) if pool is None else (*pool.size, *pool.stride),
            "outputs": stage.output_shape[1:],
            "minimum": np.zeros(len(layer.states), np.uint8)
            if pool is None
            else pool.minimum.astype(np.uint8),
            "shared": layer.shared,
            "follows_spread": layer.follows_spread,
            "rest": self.state.rest,
            "slices": self.sizes[index],
            "key": key,
            "error_key": error_key,
            "register": int(self.state.registers[index]),
            "bound": int(np.abs(layer.gradient).max(initial=0)),
            **synapses,
            "weights": _rows(self.state.weights(index)),
            "keys": _rows(keys),
            **{n: getattr(layer, n).copy() for n in ("gain", "offset", *_NEURONS)},
            "dead": layer.dead.astype(np.uint8),
            "slice_of": slice_of.astype(np.int32),
            "feedback": feedback(layer, index, classes, rule).ravel() if direct else None,
            "error_keys": draws.weight_keys(error_key, np.arange(neurons))
            if rule.error == "ternary"
            else None,
            "scratch": scratch,
        }

    def run(
        self,
        inputs: NDArray[Any],
        labels: NDArray[Any],
        tables: list[NDArray[np.uint32]],
        *,
        moves: bool = False,
    ) -> LearnTally:
        """Learn input levels (samples, size) with labels (samples,), in order."""
        inputs = np.array(inputs, np.int8, order="C")
        labels = np.array(labels, np.int32)
        parts, done = [], 0
        recorded: list[NDArray[Any]] = []
        space = np.zeros(max(MOVES, self.synapses), MOVE_DTYPE) if moves else None
        while done < len(inputs):
            part, samples = self._block(inputs[done:], labels[done:], tables, space, recorded)
            parts.append(part)
            done += samples
        tally = parts[0] if len(parts) == 1 else _join(parts)
        if moves:
            tally.moves = np.concatenate([np.zeros(0, MOVE_DTYPE), *recorded])
        return tally

    def _block(
        self,
        inputs: NDArray[np.int8],
        labels: NDArray[np.int32],
        tables: list[NDArray[np.uint32]],
        space: NDArray[Any] | None,
        recorded: list[NDArray[Any]],
    ) -> tuple[LearnTally, int]:
        """Learn as many samples as ``space`` is sure to hold the moves of."""
        batch, last = len(inputs), len(self.layers) - 1
        predictions = np.zeros(batch, np.int64)
        results: list[dict[str, Any]] = []
        for i, layer in enumerate(self.state.layers):
            n = self.sizes[i]
            results.append(
                {
                    "table": tables[i].ravel(),
                    "levels": None if i == last else np.zeros(batch * layer.stage.outputs, np.int8),
                    "xnor": np.zeros(batch * n, np.int64),
                    "active": np.zeros(batch * n, np.int64),
                    "counted": np.zeros(len(COUNTED) * n, np.int64),
                    "packets": None if i == last else np.zeros(self.sources[i] * n, np.int64),
                    "sources": 0 if i == last else self.sources[i],
                }
            )
        view = None if space is None else space.view(np.uint8)
        done, moved, taught = self.engine.run(inputs, labels, predictions, results, view)
        if space is not None:
            recorded.append(space[:moved].copy())
        sizes = self.sizes
        tally = LearnTally(
            predictions=predictions[:done],
            levels=[r["levels"].reshape(batch, -1)[:done] for r in results[:-1]],
            xnor=[r["xnor"].reshape(batch, -1)[:done] for r in results],
            active=[r["active"].reshape(batch, -1)[:done] for r in results],
            counted=[
                dict(zip(COUNTED, r["counted"].reshape(len(COUNTED), n)))
                for r, n in zip(results, sizes)
            ],
            packets=[r["packets"].reshape(-1, n) for r, n in zip(results[:-1], sizes)],
            taught=taught,
        )
        return tally, done

    def store(self) -> None:
        """Write what was learned to the state."""
        for index, (layer, arrays) in enumerate(zip(self.state.layers, self.layers)):
            out, taps = layer.states.shape
            for name in _SYNAPSES:
                getattr(layer, name)[:] = arrays[name].reshape(taps, out).T
            for name in _NEURONS:
                getattr(layer, name)[:] = arrays[name]
            self.state.registers[index] = self.engine.register(index)
        self.state.samples, self.state.waiting = self.engine.step, self.engine.waiting


def _rows(synapses: NDArray[Any]) -> NDArray[Any]:
    """(out, taps) as the kernel lays them: by tap, flat."""
    rows = np.array(synapses.T, order="C").ravel()
    return rows.view(np.uint8) if rows.dtype == bool else rows


def _join(parts: list[LearnTally]) -> LearnTally:
    first = parts[0]

    def end_to_end(name: str) -> list[Any]:
        columns = zip(*(getattr(p, name) for p in parts))
        return [np.concatenate(column) for column in columns]

    return LearnTally(
        predictions=np.concatenate([p.predictions for p in parts]),
        levels=end_to_end("levels"),
        xnor=end_to_end("xnor"),
        active=end_to_end("active"),
        counted=[
            {name: np.sum([p.counted[i][name] for p in parts], axis=0) for name in COUNTED}
            for i in range(len(first.counted))
        ],
        packets=[np.sum([p.packets[i] for p in parts], axis=0) for i in range(len(first.packets))],
        taught=sum(p.taught for p in parts),
    )
