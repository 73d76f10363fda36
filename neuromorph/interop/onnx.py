"""ONNX and QONNX models with discrete weights as integer networks.

The file is read with the package ``onnx`` alone: what stands between weighted
layers is evaluated by its reference implementation, to which the operators of
QONNX (Quant, BipolarQuant) are added.  Where onnxruntime is installed and
knows all operators, it makes the values that ours are compared with.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuromorph.errors import MissingDependencyError, NetworkError
from neuromorph.folding import (
    SUPPORTED,
    Flat,
    Floats,
    Pointwise,
    Pool,
    Step,
    Synapses,
    assemble,
    check,
    find_input,
    probe,
)
from neuromorph.network import Network

__all__ = ["from_onnx"]

_WEIGHTED = ("Conv", "Gemm", "MatMul")
_STRUCTURE = (*_WEIGHTED, "MaxPool", "Flatten", "Reshape")
_ENDS = ("Softmax", "LogSoftmax", "ArgMax", "TopK", "Identity")
_DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
_INTEGER = ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")
_SAMPLES = 64


def from_onnx(
    path: str | os.PathLike[str],
    samples: ArrayLike | None = None,
    *,
    name: str | None = None,
    bits: int | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Network:
    """Read an ONNX or QONNX model into integers, and prove it.

    Parameters
    ----------
    path : path
    samples : array, shape (samples, *shape), optional
        Samples as the model takes them, on which all levels of all layers must
        agree.  Left out, random ones: integers of ``bits`` bits, or whatever the
        model's own quantiser takes.
    name : str, optional
        Name of the network; left out, that of the file.
    bits : int, optional
        Bits of an input level; left out, as many as the samples show, 8
        without samples.
    meta : mapping, optional
        Anything JSON can hold.

    Returns
    -------
    Network
        See :func:`neuromorph.training.from_torch` on ``meta["imported"]``.

    Raises
    ------
    NetworkError
        A file that is no model, operators or an order of them that have no
        integer form, shapes that are not fixed, weights on no grid, or the
        first layer that differs.
    MissingDependencyError
        The package onnx is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise MissingDependencyError(
            "onnx is not installed; run: pip install 'neuromorph[onnx]'"
        ) from None
    path = Path(path)
    try:
        model = onnx.load(path)
        inputs = [i for i in model.graph.input if i.name not in _initial(model)]
        if not model.graph.node:
            raise NetworkError(f"{path} holds no ONNX model with layers")
    except FileNotFoundError:
        raise NetworkError(f"no file {path}") from None
    except NetworkError:
        raise
    except Exception as error:  # protobuf's and onnx's own
        raise NetworkError(f"{path} cannot be read as ONNX: {_first_line(error)}") from None
    if len(inputs) != 1:
        raise NetworkError(
            f"{path} has {len(inputs)} inputs ({', '.join(i.name for i in inputs)}); "
            "one is possible"
        )
    graph = _Graph(onnx, model)
    return _import(graph, inputs[0], samples, name or path.stem, bits, dict(meta or {}))


def _import(
    graph: _Graph,
    entry: Any,
    given: ArrayLike | None,
    name: str,
    bits: int | None,
    meta: dict[str, Any],
) -> Network:
    shape = _shape(entry)
    start, end = entry.name, graph.end()
    steps: list[Step] = []
    arriving: list[str] = []
    front: list[Callable[[Floats], Floats]] = []
    before, layer, channels, is_image = start, "input", 1, len(shape) == 3
    for node in [*graph.structure(end), None]:
        inner = end if node is None else graph.arriving(node)
        between = graph.region(inner, before)
        if between:
            text = ", ".join(n.op_type for n in between)
            part = Pointwise(text, graph.function(between, before, inner))
            if arriving:
                probe(part, channels, is_image, layer)
            else:
                front.append(part.apply)
            steps.append(part)
        if node is None:
            break
        step = graph.step(node, len(arriving))
        steps.append(step)
        if isinstance(step, Synapses):
            arriving.append(inner)
            layer, channels, is_image = step.name, len(step.weights), step.weights.ndim == 4
        before = node.output[0]
    if not arriving:
        raise NetworkError(f"the model has no weighted layer; {SUPPORTED}")
    apply = _compose(front) if front else None
    raw = _samples(given, shape, apply, bits)
    values = graph.values([*arriving, end], start, raw)
    if apply is None and given is None:
        bits = bits or 8
    taken, unit, integers = find_input(raw, values[0], apply, bits)
    chain = assemble(name, taken, unit, steps, meta)
    compared, rounded = check(chain, integers, values, graph.judge)
    chain.network.meta["imported"] = {
        "from": graph.judge,
        "unit": unit,
        "levels_compared": compared,
        "differ_by_rounding": rounded,
    }
    return chain.network


class _Graph:
    """The nodes of a model, constants folded, and their evaluation."""

    def __init__(self, onnx: Any, model: Any) -> None:
        self.onnx, self.model = onnx, model
        self.constants = _initial(model)
        self.ops = _own_ops()
        self.custom = any(n.domain in _DOMAINS for n in model.graph.node)
        self.judge = "ONNX's reference"
        self.nodes: list[Any] = []
        for node in model.graph.node:
            if node.op_type in _INTEGER:
                raise NetworkError(
                    f"{_name(node)} computes on quantised integers and is not read; quantise the "
                    "model in the QDQ format (quant_format=QuantFormat.QDQ in onnxruntime), "
                    "which says the same with QuantizeLinear and DequantizeLinear, with int8 "
                    "activations"
                )
            needed = [i for i in node.input if i]
            if all(i in self.constants for i in needed):
                found = self._run([node], {}, list(node.output))
                self.constants.update(zip(node.output, found))
            else:
                self.nodes.append(node)
        self.makers = {o: n for n in self.nodes for o in n.output}

    def _run(self, nodes: Sequence[Any], feeds: dict[str, Any], outputs: list[str]) -> list[Any]:
        return self._evaluator(nodes, list(feeds), outputs).run(outputs, feeds)  # type: ignore[no-any-return]

    def _evaluator(self, nodes: Sequence[Any], inputs: list[str], outputs: list[str]) -> Any:
        from onnx.reference import ReferenceEvaluator

        helper, proto = self.onnx.helper, self.onnx.TensorProto
        used = {i for n in nodes for i in n.input}
        graph = helper.make_graph(
            list(nodes),
            "part",
            [helper.make_tensor_value_info(i, proto.FLOAT, None) for i in inputs],
            [helper.make_tensor_value_info(o, proto.FLOAT, None) for o in outputs],
            [
                self.onnx.numpy_helper.from_array(np.asarray(v), k)
                for k, v in self.constants.items()
                if k in used
            ],
        )
        part = helper.make_model(graph, opset_imports=self.model.opset_import)
        try:
            return ReferenceEvaluator(part, new_ops=self.ops)
        except Exception as error:  # an operator nobody knows
            kinds = ", ".join(n.op_type for n in nodes)
            raise NetworkError(
                f"{kinds} cannot be imported ({_first_line(error)}); {SUPPORTED}"
            ) from None

    def end(self) -> str:
        """The scores: the model's output, before what only picks classes from them."""
        name = str(self.model.graph.output[0].name)
        while name in self.makers and self.makers[name].op_type in _ENDS:
            name = self.makers[name].input[0]
        return name

    def structure(self, end: str) -> list[Any]:
        """Nodes that are layers, pools or flattenings, and lead to the end."""
        wanted, found = {end}, []
        for node in reversed(self.nodes):
            if wanted & set(node.output):
                wanted |= set(node.input)
                if node.op_type in _STRUCTURE:
                    found.append(node)
        return found[::-1]

    def arriving(self, node: Any) -> str:
        """The input of a node that is no constant."""
        found = [i for i in node.input if i and i not in self.constants]
        if len(found) != 1:
            raise NetworkError(
                f"{_name(node)} joins {len(found)} computed values; its weights must be constants"
            )
        return str(found[0])

    def region(self, end: str, start: str) -> list[Any]:
        """Nodes from ``start`` to ``end``; all must come from ``start`` alone."""
        found, stack = [], [end]
        while stack:
            name = stack.pop()
            if name == start or name in self.constants or not name:
                continue
            node = self.makers.get(name)
            if node is None or node.op_type in _STRUCTURE:
                raise NetworkError(
                    f"{name!r} joins more than one layer; networks are a plain chain, without skip "
                    f"connections; {SUPPORTED}"
                )
            if node not in found:
                found.append(node)
                stack += node.input
        return [n for n in self.nodes if n in found]

    def function(self, nodes: list[Any], start: str, end: str) -> Callable[[Floats], Floats]:
        """The function of some nodes, evaluated by ONNX's reference implementation."""
        evaluator = self._evaluator(nodes, [start], [end])

        def run(x: Floats) -> Floats:
            result: Floats = np.asarray(evaluator.run([end], {start: x})[0], np.float32)
            return result

        return run

    def step(self, node: Any, place: int) -> Step:
        """A weighted layer, a pool or a flattening."""
        at = {a.name: self.onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type in ("Flatten", "Reshape"):
            if at.get("axis", 1) != 1:
                raise NetworkError(f"{_name(node)} flattens from another axis than the first")
            return Flat()
        if _symbol(at.get("auto_pad", b"NOTSET")) not in ("NOTSET", "VALID"):
            raise NetworkError(f"{_name(node)} pads by itself; give it explicit pads")
        pads, strides = list(at.get("pads", [0] * 4)), tuple(at.get("strides", (1, 1)))
        wide = [int(d) for d in at.get("dilations", (1, 1))]
        plain = len(strides) == 2
        if node.op_type == "MaxPool":
            if any(pads) or at.get("ceil_mode", 0) or wide != [1, 1] or not plain:
                raise NetworkError(
                    f"{_name(node)} is a max-pool with padding, dilation or ceil_mode; only plain "
                    "ones are possible"
                )
            return Pool(size=tuple(at["kernel_shape"]), stride=strides)
        name = _clean(node.name) or f"{node.op_type.lower()}{place + 1}"
        if node.op_type == "Conv":
            weights = np.asarray(self.constants[node.input[1]])
            if at.get("group", 1) != 1 or not plain or weights.ndim != 4 or pads[:2] != pads[2:]:
                raise NetworkError(
                    f"{_name(node)} is a convolution with groups, uneven pads or other than two "
                    "axes; only plain ones are possible"
                )
            return Synapses(
                name=name,
                weights=weights,
                bias=self._bias(node),
                stride=(int(strides[0]), int(strides[1])),
                padding=(int(pads[0]), int(pads[1])),
                dilation=(wide[0], wide[1]),
            )
        if node.input[0] in self.constants:
            raise NetworkError(f"{_name(node)} multiplies weights from the left; not possible")
        weights = np.asarray(self.constants[node.input[1]])
        if node.op_type == "Gemm":
            odd = at.get("alpha", 1.0) != 1 or at.get("beta", 1.0) != 1 or at.get("transA", 0)
            if odd:
                raise NetworkError(f"{_name(node)} has alpha, beta or transA; not possible")
            weights = weights if at.get("transB", 0) else weights.T
        else:
            weights = weights.T
        if weights.ndim != 2:
            raise NetworkError(f"{_name(node)} has weights of {weights.ndim} axes; need 2")
        return Synapses(name=name, weights=weights, bias=self._bias(node))

    def _bias(self, node: Any) -> NDArray[Any] | None:
        if len(node.input) < 3 or not node.input[2]:
            return None
        return np.asarray(self.constants[node.input[2]]).reshape(-1)

    def values(self, names: list[str], start: str, raw: NDArray[Any]) -> list[NDArray[Any]]:
        """Some values of the model on samples, by onnxruntime if it can."""
        kept, fixed = self.model.graph.input[0].type.tensor_type.shape.dim, len(raw)
        if kept and kept[0].dim_value:
            fixed = int(kept[0].dim_value)
        x = raw.astype(np.float32)
        pad = (-len(x)) % fixed
        x = np.concatenate([x, np.repeat(x[:1], pad, axis=0)])
        run = None if self.custom else self._in_onnxruntime(names)
        if run is None:
            evaluator = self._evaluator(self.nodes, [start], names)

            def run(part: Floats) -> list[Any]:
                return evaluator.run(names, {start: part})  # type: ignore[no-any-return]

        else:
            self.judge = "onnxruntime"
        try:
            parts = [run(x[i : i + fixed]) for i in range(0, len(x), fixed)]
        except Exception as error:
            raise NetworkError(f"the model does not run: {_first_line(error)}") from None
        return [np.concatenate(v)[: len(raw)] for v in zip(*parts)]

    def _in_onnxruntime(self, names: list[str]) -> Callable[[Floats], list[Any]] | None:
        try:
            import onnxruntime
        except ImportError:
            return None
        model = self.onnx.ModelProto()
        model.CopyFrom(self.model)
        there = {o.name for o in model.graph.output} | {i.name for i in model.graph.input}
        for name in names:
            if name not in there:
                model.graph.output.append(self.onnx.helper.make_empty_tensor_value_info(name))
        options = onnxruntime.SessionOptions()  # as the model says: fused operators round otherwise
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception:  # an operator or version it does not have
            return None
        entry = session.get_inputs()[0].name
        asked = [n for n in names if n != entry]

        def run(x: Floats) -> list[Any]:
            found = dict(zip(asked, session.run(asked, {entry: x})))
            return [x if n == entry else found[n] for n in names]

        return run


# --- operators


def _own_ops() -> list[Any]:
    """The operators that ONNX's reference implementation lacks.

    Quant: (clip(round(x / scale + zero point)) − zero point) · scale.
    BipolarQuant: +scale for x ≥ 0, else −scale.  QuantizeLinear and
    DequantizeLinear it has, but not in every version.
    """
    from onnx.reference.op_run import OpRun

    def quant(  # attributes come by these names
        self: Any, x: Any, scale: Any, zero: Any, bits: Any,
        signed: Any = None, narrow: Any = None, rounding_mode: Any = None,
    ) -> Any:  # fmt: skip
        high = 2.0 ** (np.asarray(bits, np.float64) - int(signed or 0)) - 1
        low = -(high + 1) + int(narrow or 0) if signed else 0.0 * high
        high = high if signed else high - int(narrow or 0)
        mode = _symbol(rounding_mode or "ROUND").upper()
        if mode not in _ROUNDING:
            raise NetworkError(f"Quant rounds by {mode!r}; use one of {', '.join(_ROUNDING)}")
        scale, zero = np.asarray(scale, np.float32), np.asarray(zero, np.float32)
        whole = _ROUNDING[mode](np.clip(x / scale + zero, low, high))
        return (((whole - zero) * scale).astype(np.float32),)

    def bipolar(self: Any, x: Any, scale: Any) -> Any:
        scale = np.asarray(scale, np.float32)
        return (np.where(x >= 0, scale, -scale).astype(np.float32),)

    def quantize(
        self: Any, x: Any, scale: Any, zero: Any = None, axis: Any = None, **newer: Any
    ) -> Any:
        space = np.iinfo(np.uint8 if zero is None else zero.dtype)
        scale, point = _along(scale, x, axis), _along(0 if zero is None else zero, x, axis)
        whole = np.rint(x / scale) + point.astype(np.int32)
        return (np.clip(whole, space.min, space.max).astype(space.dtype),)

    def dequantize(
        self: Any, x: Any, scale: Any, zero: Any = None, axis: Any = None, **newer: Any
    ) -> Any:
        scale, point = _along(scale, x, axis), _along(0 if zero is None else zero, x, axis)
        return ((x.astype(np.int32) - point.astype(np.int32)).astype(np.float32) * scale,)

    def make(kind: str, domain: str, run: Any) -> Any:
        return type(kind, (OpRun,), {"op_domain": domain, "_run": run})

    return [
        *(make("Quant", domain, quant) for domain in _DOMAINS),
        *(make("BipolarQuant", domain, bipolar) for domain in _DOMAINS),
        make("QuantizeLinear", "", quantize),
        make("DequantizeLinear", "", dequantize),
    ]


_ROUNDING: dict[str, Any] = {
    "ROUND": np.rint, "CEIL": np.ceil, "FLOOR": np.floor, "ROUND_TO_ZERO": np.trunc
}  # fmt: skip


def _along(value: Any, x: NDArray[Any], axis: int | None) -> NDArray[Any]:
    """One value, or one for each place of an axis of ``x``."""
    value = np.asarray(value)
    shape: list[int]
    if value.size == 1:
        shape = []
    else:
        shape = [1] * x.ndim
        shape[1 if axis is None else axis] = -1
    placed: NDArray[Any] = value.reshape(shape)
    return placed


# --- small things


def _initial(model: Any) -> dict[str, NDArray[Any]]:
    from onnx import numpy_helper

    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def _shape(entry: Any) -> tuple[int, ...]:
    """Shape of a sample; only the batch may be open."""
    dims = entry.type.tensor_type.shape.dim
    shape = tuple(d.dim_value for d in dims)[1:]
    if len(shape) not in (1, 3) or min(shape) < 1:
        shown = [d.dim_value or d.dim_param or "?" for d in dims]
        raise NetworkError(
            f"input {entry.name!r} has shape {shown}; need a batch of (features) or (channels, "
            "height, width), all but the batch fixed: export the model with fixed shapes"
        )
    return shape


def _samples(
    given: ArrayLike | None,
    shape: tuple[int, ...],
    apply: Callable[[Floats], Floats] | None,
    bits: int | None,
) -> NDArray[Any]:
    if given is not None:
        raw = np.asarray(given)
        if raw.shape[1:] != shape or raw.ndim != len(shape) + 1 or not len(raw):
            raise NetworkError(
                f"samples have shape {list(raw.shape)}; the model takes [batch, "
                f"{', '.join(map(str, shape))}]"
            )
        return raw
    rng = np.random.default_rng(0)
    if apply is None:
        return rng.integers(0, 1 << (bits or 8), (_SAMPLES, *shape))
    ends = np.abs(apply(np.array([-1e9, 1e9], np.float32).reshape(-1, *(1,) * len(shape))))
    top = float(ends.max())
    return (rng.uniform(-1.25, 1.25, (_SAMPLES, *shape)) * min(top, 4095.0)).astype(np.float32)


def _compose(functions: Sequence[Callable[[Floats], Floats]]) -> Callable[[Floats], Floats]:
    def run(x: Floats) -> Floats:
        for function in functions:
            x = function(x)
        return x

    return run


def _name(node: Any) -> str:
    return f"{node.op_type} {node.name!r}" if node.name else str(node.op_type)


def _clean(name: str) -> str:
    return name.strip("/").replace("/", "_").replace(".", "_")[-64:]


def _symbol(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
