"""An ordinary torch module, trained anywhere, as an integer network."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, fx, nn
from torch.nn import functional as F

from neuromorph.errors import NetworkError
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
from neuromorph.training.export import export
from neuromorph.training.layers import DiscreteConv2d, DiscreteLinear, exact_sums
from neuromorph.training.models import DiscreteNetwork

__all__ = ["from_torch"]

_WEIGHTED = (nn.Linear, nn.Conv2d, DiscreteLinear, DiscreteConv2d)
_STRUCTURE = (*_WEIGHTED, nn.MaxPool2d, nn.Flatten)
_POOLS = (F.max_pool2d, torch.max_pool2d)
_RESHAPES = ("view", "reshape", "flatten")
_ENDS = (nn.Softmax, nn.LogSoftmax)  # keep the order of classes
_SHAPES = ("size", "dim")


def from_torch(
    module: nn.Module,
    example_input: ArrayLike | Tensor,
    *,
    name: str = "imported",
    bits: int | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Network:
    """Fold a torch module with discrete weights and activations into integers, and prove it.

    Weighted layers (``nn.Linear``, ``nn.Conv2d``, those of
    :mod:`neuromorph.training` and of Brevitas) must hold weights on a grid of
    at most 257 levels, common or one for each output.  What stands between
    them may be anything that acts on each neuron alone, is monotone and gives
    few levels: batch norm, sign, ternary, clipped and rounded values.

    Parameters
    ----------
    module : torch.nn.Module
        Taken in evaluation mode, on the CPU; it is not changed.
    example_input : array or tensor, shape (samples, *shape)
        Real samples, as the module takes them, on which all levels of all
        layers must agree.  Integers, or floats on a grid; if the module begins
        with a quantiser, whatever that takes.
    name : str
        Name of the network.
    bits : int, optional
        Bits of an input level, if the examples do not show the largest.
    meta : mapping, optional
        Anything JSON can hold.

    Returns
    -------
    Network
        Its ``meta["imported"]`` says the value of one input level (``unit``:
        integer samples are the module's input divided by it), how many levels
        were compared, and in how many of them torch's own rounding of sums, not
        the sum itself, decided otherwise (none if scales are powers of two).

    Raises
    ------
    NetworkError
        Weights on no grid (how far off, and what to do), a module or order of
        modules that has no integer form (what is supported), or the first layer
        that differs.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> class Sign(nn.Module):
    ...     def forward(self, x):
    ...         return torch.where(x >= 0, 1.0, -1.0)
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), Sign(), nn.Linear(3, 2))
    >>> for layer in (model[0], model[3]):
    ...     layer.weight.data = layer.weight.data.sign() * 0.25
    >>> from_torch(model, torch.randint(-1, 2, (8, 4)))
    <Network 'imported': ternary input [4], 2 layers, 5 neurons, 18 synapses>
    """
    if not isinstance(module, nn.Module):
        raise NetworkError(f"module is a {type(module).__name__}, not a torch.nn.Module")
    x = _tensor(example_input)
    if isinstance(module, DiscreteNetwork):
        return export(module, x.numpy().astype(np.int64), name=name, meta=meta)
    module = copy.deepcopy(module).cpu().eval()
    graph = _trace(module)
    with torch.no_grad(), exact_sums():
        recorder = _Recorder(graph)
        try:
            recorder.run(x.to(torch.float32))
        except Exception as error:  # whatever a module raises
            text = str(error).split("\n")[0]
            raise NetworkError(f"the module does not take example_input: {text}") from None
        return _import(graph, recorder.values, x, name, bits, dict(meta or {}))


def _import(
    graph: fx.GraphModule,
    values: dict[fx.Node, Any],
    x: Tensor,
    name: str,
    bits: int | None,
    meta: dict[str, Any],
) -> Network:
    """Read the graph, assemble the chain, compare."""
    start = next(n for n in graph.graph.nodes if n.op == "placeholder")
    end = next(n for n in graph.graph.nodes if n.op == "output").args[0]
    while _is_end(graph, end):
        end = end.args[0]
    modules = dict(graph.named_modules())
    steps: list[Step] = []
    arriving: list[fx.Node] = []
    front: list[tuple[fx.Node, fx.Node]] = []
    before, layer, channels, is_image = start, "input", 1, x.ndim == 4
    for node in [n for n in graph.graph.nodes if _structure(n, modules)] + [None]:
        inner = end if node is None else node.args[0]
        between = _region(inner, before, modules)
        if between:
            part = Pointwise(_names(between, modules), _function(graph, between, before, inner))
            if arriving:
                probe(part, channels, is_image, layer)
            else:
                front.append((before, inner))
            steps.append(part)
        if node is None:
            break
        step = _step(node, modules, values)
        steps.append(step)
        if isinstance(step, Synapses):
            arriving.append(inner)
            layer, channels = step.name, len(step.weights)
            is_image = step.weights.ndim == 4
        before = node
    if not arriving:
        raise NetworkError(f"the module has no weighted layer; {SUPPORTED}")
    raw = x.numpy()
    first = np.asarray(_plain(values[arriving[0]]))
    applies = [_function(graph, _region(b, a, modules), a, b) for a, b in front]
    apply = None if not applies else _compose(applies)
    entry, unit, samples = find_input(raw, first, apply, bits)
    chain = assemble(name, entry, unit, steps, meta)
    seen = [np.asarray(_plain(values[node])) for node in [*arriving, end]]
    compared, rounded = check(chain, samples, seen, "torch")
    chain.network.meta["imported"] = {
        "from": "torch",
        "unit": unit,
        "levels_compared": compared,
        "differ_by_rounding": rounded,
    }
    return chain.network


# --- the graph


class _Tracer(fx.Tracer):
    """Takes whole what holds no weighted layer, and goes into the rest."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, _STRUCTURE):
            return True
        return not any(isinstance(part, _STRUCTURE) for part in m.modules())


def _trace(module: nn.Module) -> fx.GraphModule:
    if isinstance(module, _STRUCTURE):
        module = nn.Sequential(module)
    try:
        return fx.GraphModule(module, _Tracer().trace(module))
    except Exception as error:  # control flow on values, and whatever a module does with it
        text = str(error).split("\n")[0]
        raise NetworkError(
            f"the module cannot be read as a fixed sequence of layers ({text}); {SUPPORTED}"
        ) from None


class _Recorder(fx.Interpreter):
    """Keeps the value of every node."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self.values: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        self.values[n] = super().run_node(n)
        return self.values[n]


def _structure(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], _STRUCTURE)
    if node.op == "call_function":
        return node.target in (*_POOLS, torch.flatten)
    return node.op == "call_method" and node.target in _RESHAPES


def _is_end(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node only turns scores into probabilities."""
    if node.op == "call_module":
        return isinstance(graph.get_submodule(str(node.target)), _ENDS)
    return node.target in (F.softmax, F.log_softmax, torch.softmax, torch.log_softmax)


def _region(end: fx.Node, start: fx.Node, modules: dict[str, nn.Module]) -> list[fx.Node]:
    """Nodes after ``start`` up to ``end``, in order; all must come from ``start`` alone."""
    found: set[fx.Node] = set()
    stack = [end]
    while stack:
        node = stack.pop()
        if node is start or node in found or node.op == "get_attr":
            continue
        if node.op == "placeholder" or _structure(node, modules):
            raise NetworkError(
                f"{_name(end, modules)!r} joins more than one layer; networks are a plain chain, "
                f"without skip connections; {SUPPORTED}"
            )
        found.add(node)
        stack += node.all_input_nodes
    return [n for n in end.graph.nodes if n in found]


def _function(
    graph: fx.GraphModule, nodes: list[fx.Node], start: fx.Node, end: fx.Node
) -> Callable[[Floats], Floats]:
    """The function from ``start`` to ``end``, evaluated by torch."""
    interpreter = fx.Interpreter(graph)

    def run(x: Floats) -> Floats:
        interpreter.env = {start: torch.from_numpy(np.ascontiguousarray(x, np.float32))}
        with torch.no_grad():
            for node in graph.graph.nodes:
                if node in nodes or node.op == "get_attr":
                    interpreter.env[node] = interpreter.run_node(node)
        result: Floats = np.asarray(_plain(interpreter.env[end]))
        return result

    return run


def _compose(functions: list[Callable[[Floats], Floats]]) -> Callable[[Floats], Floats]:
    def run(x: Floats) -> Floats:
        for function in functions:
            x = function(x)
        return x

    return run


def _step(node: fx.Node, modules: dict[str, nn.Module], values: dict[fx.Node, Any]) -> Step:
    """A weighted layer, a pool or a flattening."""
    module = modules[str(node.target)] if node.op == "call_module" else None
    if isinstance(module, _WEIGHTED):
        return _synapses(str(node.target), module)
    before, after = _plain(values[node.args[0]]), _plain(values[node])  # type: ignore[index]
    if isinstance(module, nn.MaxPool2d) or node.target in _POOLS:
        where = _name(node, modules)
        if isinstance(module, nn.MaxPool2d):
            given: dict[str, Any] = {k: getattr(module, k) for k in _POOL}
        else:
            names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
            given = {**dict(zip(names, node.args[1:])), **node.kwargs}
        size = _pair(given["kernel_size"])
        stride = _pair(given.get("stride") or size)
        plain = _pair(given.get("padding", 0)) == (0, 0) and _pair(given.get("dilation", 1)) == (
            1,
            1,
        )
        if not plain or given.get("ceil_mode"):
            raise NetworkError(
                f"{where!r} is a max-pool with padding, dilation or ceil_mode; only plain ones are "
                "possible"
            )
        return Pool(size=size, stride=stride)
    if after.ndim != 2 or after.shape != (len(before), before[0].numel()):
        raise NetworkError(
            f"{_name(node, modules)!r} reshapes {list(before.shape)} to {list(after.shape)}; only "
            "flattening to (batch, features) is possible"
        )
    return Flat()


_POOL = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")


def _synapses(name: str, module: Any) -> Synapses:
    if isinstance(module, (DiscreteLinear, DiscreteConv2d)):
        weight, factor = module.quantized()
        if factor is not None:
            weight = weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))
    elif hasattr(module, "quant_weight"):  # Brevitas
        weight = _plain(module.quant_weight())
    else:
        weight = module.weight
    bias = getattr(module, "bias", None)
    stride, padding, dilation = (1, 1), (0, 0), (1, 1)
    if weight.ndim == 4:
        stride, given = _pair(module.stride), module.padding
        dilation = _pair(getattr(module, "dilation", 1))
        if given == "valid":
            given = 0
        if given == "same":
            given = tuple((k - 1) * d // 2 for k, d in zip(weight.shape[2:], dilation))
        padding = _pair(given)
        odd = getattr(module, "padding_mode", "zeros") != "zeros"
        if odd or getattr(module, "groups", 1) != 1:
            raise NetworkError(
                f"layer {name!r} is a convolution with groups or a padding other than zeros; only "
                "plain ones are possible"
            )
    return Synapses(
        name=name.replace(".", "_").replace("/", "_"),
        weights=weight.detach().numpy(),
        bias=None if bias is None else bias.detach().numpy(),
        stride=stride,
        padding=padding,
        dilation=dilation,
    )


def _pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _plain(value: Any) -> Tensor:
    """The tensor of what may be a quantised tensor of Brevitas."""
    value = getattr(value, "value", value)
    assert isinstance(value, Tensor)
    return value.detach()


def _tensor(example: ArrayLike | Tensor) -> Tensor:
    x = example if isinstance(example, Tensor) else torch.from_numpy(np.array(example))
    x = x.detach().cpu()
    if x.ndim not in (2, 4) or not len(x):
        raise NetworkError(
            f"example_input has shape {list(x.shape)}; give (samples, features) or "
            "(samples, channels, height, width)"
        )
    if not bool(torch.isfinite(x.to(torch.float64)).all()):
        raise NetworkError("example_input holds numbers that are not finite")
    return x


def _name(node: fx.Node, modules: dict[str, nn.Module]) -> str:
    if node.op == "call_module":
        return f"{node.target} ({type(modules[str(node.target)]).__name__})"
    return getattr(node.target, "__name__", str(node.target))


def _names(nodes: list[fx.Node], modules: dict[str, nn.Module]) -> str:
    plain = [n for n in nodes if n.target is not operator.getitem and n.target not in _SHAPES]
    return ", ".join(_name(n, modules) for n in plain)
