"""The DST optimizer: increments from SGD, momentum, Adam or AdaMax, weights that only ever hop.

No hidden weight is kept.  What an increment rule keeps is its own state, and
``DST.state_bits`` says how much that is: from 0 to 64 bits a weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from neuromorph.errors import RecipeError
from neuromorph.levels import Transition
from neuromorph.training import moments
from neuromorph.training.functional import joined_uniform, transition, uniform, weight_keys
from neuromorph.training.shift import shift_adamax

__all__ = ["DST", "Increments", "parameter_groups", "share_curvature"]

_Mover = tuple[Tensor, dict[str, Any]]  # a parameter and its group
Increments = Literal["sgd", "momentum", "adam", "adam8", "adamax", "shift_adamax"]
_BITS: dict[Increments, int] = {
    "sgd": 0,
    "momentum": 32,
    "adam": 64,
    "adam8": 2 * moments.BITS,
    "adamax": 64,
    "shift_adamax": 64,
}
_MOMENTS: dict[Increments, tuple[str, ...]] = {
    "momentum": ("first",),
    "adam": ("first", "second"),
    "adamax": ("first", "largest"),
    "shift_adamax": ("first", "largest"),
}
# What parameters must agree in to be moved as one.
_SETTINGS = ("n", "limit", "lr", "betas", "eps", "m", "kind")
# Weights moved at a time on a CPU: all intermediate results stay in its cache.
_BLOCK = 1 << 17
# Draws that round quantised moments are numbered apart from those of the transitions.
_ROUNDING_DRAWS = 0x20000


def parameter_groups(model: nn.Module, *, float_rate: float | None = None) -> list[dict[str, Any]]:
    """Parameter groups for :class:`DST`: one for each layer of synapses, one for the rest.

    The group of a layer carries ``layer`` (its position, part of the key of
    its draws); ``n`` of Z_n where the weight itself is discrete and hops, None
    where it is real; and ``limit``: 1 for hidden weights, which stay inside
    [−1, 1], None for float weights.

    Parameters
    ----------
    model : Module
        Layers of synapses have ``n`` and ``method`` beside ``weight``.
    float_rate : float, optional
        Learning rate of the rest (batch norm), if not that of the weights.
    """
    groups: list[dict[str, Any]] = []
    synapses: set[int] = set()
    for module in model.modules():
        weight, method = getattr(module, "weight", None), getattr(module, "method", None)
        if not isinstance(weight, nn.Parameter) or method is None:
            continue
        hops = method == "dst" and module.n is not None
        groups.append(
            {
                "params": [weight],
                "n": module.n if hops else None,
                "layer": len(groups),
                "limit": None if hops or module.n is None else 1.0,
            }
        )
        synapses.add(id(weight))
    rest = [p for p in model.parameters() if id(p) not in synapses]
    if rest:
        rate = {} if float_rate is None else {"lr": float_rate}
        groups.append({"params": rest, "n": None, "layer": None, "limit": None, **rate})
    return groups


class DST(torch.optim.Optimizer):
    """Discrete state transition (§4 of ``docs/paper.md``).

    A group with an integer ``n`` moves inside Z_n by probabilistic hops whose
    draws are keyed by (seed, layer, flat weight index, step): they depend on
    nothing else, on no device and no order.  Steps count from 1; step 0 is
    the initial state.  Groups with ``n`` None are real and take the increment as
    it is: hidden weights (cut at ``limit``) and float weights by the rule of
    ``increments``, batch norm by Adam, or by AdaMax where that is the rule.

    Parameters
    ----------
    groups : list of dict
        From :func:`parameter_groups`.
    lr : float
        Learning rate: the size of increments, hence the temperature of hops.
    increments : {"adam", "adam8", "adamax", "shift_adamax", "momentum", "sgd"}
        How a gradient becomes ΔW.  ``momentum`` averages: first moment
        β1·v + (1 − β1)·g without bias correction.  ``adam8`` is Adam with
        both moments kept in 8 bits (:mod:`neuromorph.training.moments`).
        ``adamax`` divides by the largest gradient, which β2 lets decay, in
        place of Adam's root (Kingma and Ba, arXiv 1412.6980, §7.1);
        ``shift_adamax`` is the same with powers of two for factors
        (:func:`neuromorph.training.shift.shift_adamax`).
    betas : (float, float)
        Averaging of the first moment (of all but ``sgd``) and of the second,
        or the decay of the largest gradient.
    m : float
        Steepness of τ = tanh(m·|ν|/Δz).
    kind : {"tanh", "unbiased"}
        τ, or |ν|/Δz.
    seed : int

    Raises
    ------
    RecipeError
        A setting outside its range.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        *,
        increments: Increments = "adam",
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        m: float = 3.0,
        kind: Transition = "tanh",
        seed: int = 0,
    ) -> None:
        if not lr >= 0:
            raise RecipeError(f"learning rate is {lr}; it must be at least 0")
        if increments not in _BITS:
            raise RecipeError(f"increments is {increments!r}; use one of {get_args(Increments)}")
        if not all(0 <= beta < 1 for beta in betas):
            raise RecipeError(f"betas are {tuple(betas)}; each must be from 0 to below 1")
        if not m > 0:
            raise RecipeError(f"m is {m}; it must be above 0")
        if kind not in get_args(Transition):
            raise RecipeError(f"transition is {kind!r}; use one of {get_args(Transition)}")
        settings = {"betas": tuple(betas), "eps": eps, "m": m, "kind": kind}
        super().__init__(groups, {"lr": lr, "increments": increments, "seed": seed, **settings})
        self._keys: dict[tuple[Tensor, int], Tensor] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a state (``load_state_dict`` comes here too); keys follow its seed."""
        super().__setstate__(state)
        self._keys = {}

    @property
    def state_bits(self) -> int:
        """Optimizer state kept for each weight, in bits (block scales not counted)."""
        return max(
            (_BITS[g["increments"]] for g in self.param_groups if g["layer"] is not None),
            default=0,
        )

    @torch.no_grad()
    def second_moment(self, parameter: Tensor) -> Tensor | None:
        """Adam's second moment of a parameter, not corrected for bias; None where none is kept."""
        state = self.state[parameter]
        if "first_scale" in state:
            return moments.load(state, parameter)[1]
        second: Tensor | None = state.get("second")
        return second

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every parameter that has a gradient; see :class:`torch.optim.Optimizer`."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        together: dict[tuple[Any, ...], list[_Mover]] = {}
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                state["step"] = state.get("step", 0) + 1
                rule = _rule(group)
                if rule == "adam8" or _goes_alone(parameter):
                    self._move(parameter, rule, group)
                    continue
                settings = (str(group[name]) for name in _SETTINGS)
                key = (parameter.device, state["step"], rule, *settings)
                together.setdefault(key, []).append((parameter, group))
        for (_, step, rule, *_), movers in together.items():
            self._move_together(movers, step, rule)
        return loss

    def _move_together(self, movers: list[_Mover], step: int, rule: Increments) -> None:
        """Move parameters of equal settings as one, which launches far fewer GPU kernels."""
        parameters, group = [parameter for parameter, _ in movers], movers[0][1]
        kept = {
            name: [_moment(self.state[p], name, p) for p in parameters]
            for name in _MOMENTS.get(rule, ())
        }
        flat = {name: _joined(tensors) for name, tensors in kept.items()}
        gradient = _joined([p.grad for p in parameters])  # type: ignore[misc]
        weights = _joined(parameters)
        increment = _increment(gradient, {"step": step, **flat}, rule, group, None)
        draw = None
        if group["n"] is not None:
            keys = [self._keys_of(p, g["seed"], g["layer"]) for p, g in movers]
            draw = joined_uniform(keys, [(g["seed"], g["layer"]) for _, g in movers], step)
        _take(weights, increment, draw, group)
        sizes = [parameter.numel() for parameter in parameters]
        for tensors, joined in ((parameters, weights), *((kept[k], flat[k]) for k in kept)):
            for tensor, part in zip(tensors, torch.split(joined, sizes)):
                tensor.copy_(part.view_as(tensor))

    def _move(self, parameter: Tensor, rule: Increments, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if group["layer"] is None:
            parameter += _increment(parameter.grad, state, rule, group, None)
            return
        flat, gradient = parameter.view(-1), parameter.grad.reshape(-1)  # type: ignore[union-attr]
        if rule == "adam8":
            rounding = self._draw(parameter, group, _ROUNDING_DRAWS, slice(None))
            increment = _increment(gradient, state, rule, group, rounding)
            draw = None if group["n"] is None else self._draw(parameter, group, 0, slice(None))
            _take(flat, increment, draw, group)
            return
        kept = {name: _moment(state, name, parameter).view(-1) for name in _MOMENTS.get(rule, ())}
        for start in range(0, flat.numel(), _BLOCK):
            part = slice(start, start + _BLOCK)
            moments_of_part = {name: moment[part] for name, moment in kept.items()}
            increment = _increment(
                gradient[part], {"step": state["step"], **moments_of_part}, rule, group, None
            )
            draw = None if group["n"] is None else self._draw(parameter, group, 0, part)
            _take(flat[part], increment, draw, group)

    def _draw(self, parameter: Tensor, group: dict[str, Any], apart: int, part: slice) -> Tensor:
        """Draws of this step for a part; ``apart`` numbers those of another purpose."""
        seed, layer, step = group["seed"], group["layer"] + apart, self.state[parameter]["step"]
        return uniform(self._keys_of(parameter, seed, layer)[part], seed, layer, step)

    def _keys_of(self, parameter: Tensor, seed: int, layer: int) -> Tensor:
        keys = self._keys.get((parameter, layer))
        if keys is None:
            keys = weight_keys(seed, layer, parameter.numel(), parameter.device)
            self._keys[parameter, layer] = keys
        return keys


@torch.no_grad()
def share_curvature(model: nn.Module, optimizer: DST) -> None:
    """Hand the optimizer's second moments to the layers that weigh by them (``lab``, …)."""
    for module in model.modules():
        if isinstance(getattr(module, "second", None), Tensor):
            moment = optimizer.second_moment(module.weight)  # type: ignore[arg-type]
            if moment is not None:
                module.second.copy_(moment)  # type: ignore[operator]


def _take(weights: Tensor, increment: Tensor, draw: Tensor | None, group: dict[str, Any]) -> None:
    """Move flat weights by their increments: hop by the draws, or add and stay inside limits."""
    if draw is not None:
        transition(weights, increment, draw, group["n"], m=group["m"], kind=group["kind"])
        return
    weights += increment
    if group["limit"] is not None:
        weights.clamp_(-group["limit"], group["limit"])


def _goes_alone(parameter: Tensor) -> bool:
    """Whether a parameter is moved by itself, block by block, as suits the cache of a CPU."""
    return parameter.device.type == "cpu"


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _rule(group: dict[str, Any]) -> Increments:
    """How gradients of a group become increments; batch norm's have a rule of their own."""
    rule: Increments = group["increments"]
    if group["layer"] is None and rule not in ("adamax", "shift_adamax"):
        return "adam"
    return rule


def _increment(
    gradient: Tensor | None,
    state: dict[str, Any],
    rule: Increments,
    group: dict[str, Any],
    rounding: Tensor | None,
) -> Tensor:
    """ΔW that the rule proposes; moves the rule's state on."""
    assert gradient is not None
    beta1, beta2 = group["betas"]
    if rule == "sgd":
        return gradient * -float(group["lr"])
    if rule == "momentum":
        first = _moment(state, "first", gradient).lerp_(gradient, 1 - beta1)
        return first * -float(group["lr"])
    if rule in ("adamax", "shift_adamax"):
        first, largest = (_moment(state, name, gradient) for name in _MOMENTS[rule])
        increment_of = _adamax if rule == "adamax" else shift_adamax
        rate, eps = float(group["lr"]), group["eps"]
        return increment_of(
            gradient, first, largest, state["step"], rate=rate, betas=(beta1, beta2), eps=eps
        )
    if rule == "adam8":
        first, second = moments.load(state, gradient)
    else:
        first, second = (_moment(state, name, gradient) for name in ("first", "second"))
    first.lerp_(gradient, 1 - beta1)
    second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    step = state["step"]
    scale = group["lr"] / (1 - beta1**step)
    root = second.div(1 - beta2**step).sqrt_().add_(group["eps"])
    increment = torch.div(first, root, out=root).mul_(-scale)
    if rounding is not None:
        moments.store(state, first, second, rounding)
    return increment


def _adamax(
    gradient: Tensor,
    first: Tensor,
    largest: Tensor,
    step: int,
    *,
    rate: float,
    betas: tuple[float, float],
    eps: float,
) -> Tensor:
    """ΔW of AdaMax; moves both moments on.  ε is where torch has it, inside the maximum."""
    beta1, beta2 = betas
    first.lerp_(gradient, 1 - beta1)
    torch.maximum(largest.mul_(beta2), gradient.abs().add_(eps), out=largest)
    return (first / largest).mul_(-rate / (1 - beta1**step))


def _moment(state: dict[str, Any], name: str, like: Tensor) -> Tensor:
    """A moment of the state, zeros at first."""
    if name not in state:
        state[name] = torch.zeros_like(like)
    moment: Tensor = state[name]
    return moment
