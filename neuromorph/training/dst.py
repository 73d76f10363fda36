"""The DST optimizer: increments from SGD, momentum, Adam or AdaMax, weights that only ever hop.

No hidden weight is kept.  What an increment rule keeps is its own state, and
``DST.state_bits`` says how much that is: from 0 to 64 bits a weight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from neuromorph.errors import RecipeError
from neuromorph.levels import Transition
from neuromorph.training import moments
from neuromorph.training.functional import transition, uniform, weight_keys
from neuromorph.training.shift import shift_adamax

__all__ = ["DST", "Increments", "parameter_groups", "share_curvature"]

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
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)
        return loss

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        state["step"] = state.get("step", 0) + 1
        rule: Increments = group["increments"]
        if group["layer"] is None:
            rule = rule if rule in ("adamax", "shift_adamax") else "adam"
            parameter += _increment(parameter.grad, state, rule, group, None)
            return
        flat, gradient = parameter.view(-1), parameter.grad.reshape(-1)  # type: ignore[union-attr]
        if rule == "adam8":
            rounding = self._draw(parameter, group, _ROUNDING_DRAWS, slice(None))
            increment = _increment(gradient, state, rule, group, rounding)
            self._take(parameter, flat, increment, group, slice(None))
            return
        kept = {name: _moment(state, name, parameter).view(-1) for name in _MOMENTS.get(rule, ())}
        size = _BLOCK if parameter.device.type == "cpu" else flat.numel()
        for start in range(0, flat.numel(), size):
            part = slice(start, start + size)
            moments_of_part = {name: moment[part] for name, moment in kept.items()}
            increment = _increment(
                gradient[part], {"step": state["step"], **moments_of_part}, rule, group, None
            )
            self._take(parameter, flat, increment, group, part)

    def _take(
        self, parameter: Tensor, flat: Tensor, increment: Tensor, group: dict[str, Any], part: slice
    ) -> None:
        """Move a part of a flat parameter by its increment: hop, or add and stay inside limits."""
        weights = flat[part]
        if group["n"] is None:
            weights += increment
            if group["limit"] is not None:
                weights.clamp_(-group["limit"], group["limit"])
            return
        draw = self._draw(parameter, group, 0, part)
        transition(weights, increment, draw, group["n"], m=group["m"], kind=group["kind"])

    def _draw(self, parameter: Tensor, group: dict[str, Any], apart: int, part: slice) -> Tensor:
        """Draws of this step for a part; ``apart`` numbers those of another purpose."""
        seed, layer, step = group["seed"], group["layer"] + apart, self.state[parameter]["step"]
        keys = self._keys.get((parameter, apart))
        if keys is None:
            keys = weight_keys(seed, layer, parameter.numel(), parameter.device)
            self._keys[parameter, apart] = keys
        return uniform(keys[part], seed, layer, step)


@torch.no_grad()
def share_curvature(model: nn.Module, optimizer: DST) -> None:
    """Hand the optimizer's second moments to the layers that weigh by them (``lab``, …)."""
    for module in model.modules():
        if isinstance(getattr(module, "second", None), Tensor):
            moment = optimizer.second_moment(module.weight)  # type: ignore[arg-type]
            if moment is not None:
                module.second.copy_(moment)  # type: ignore[operator]


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
