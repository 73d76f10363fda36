"""The DST optimizer: increments from SGD, momentum or Adam, weights that only ever hop.

No hidden weight is kept.  What an increment rule keeps is its own state, and
``DST.state_bits`` says how much that is: 0, 32 or 64 bits a weight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from neuromorph.errors import RecipeError
from neuromorph.levels import Transition
from neuromorph.training.functional import transition, uniform, weight_keys

__all__ = ["DST", "Increments", "parameter_groups"]

Increments = Literal["sgd", "momentum", "adam"]
_STATE: dict[Increments, tuple[str, ...]] = {
    "sgd": (),
    "momentum": ("first",),
    "adam": ("first", "second"),
}


def parameter_groups(model: nn.Module, *, float_rate: float | None = None) -> list[dict[str, Any]]:
    """Parameter groups for :class:`DST`: one for each discrete weight, one for the rest.

    A discrete group carries ``n`` (of Z_n) and ``layer`` (position among the
    weighted layers, part of the key of its draws).

    Parameters
    ----------
    model : Module
        Layers with a discrete weight have an attribute ``n`` beside ``weight``.
    float_rate : float, optional
        Learning rate of float parameters, if not that of the weights.
    """
    groups: list[dict[str, Any]] = []
    discrete: set[int] = set()
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and isinstance(getattr(module, "n", None), int):
            groups.append({"params": [weight], "n": module.n, "layer": len(groups)})
            discrete.add(id(weight))
    rest = [p for p in model.parameters() if id(p) not in discrete]
    if rest:
        rate = {} if float_rate is None else {"lr": float_rate}
        groups.append({"params": rest, "n": None, "layer": None, **rate})
    return groups


class DST(torch.optim.Optimizer):
    """Discrete state transition (§4 of ``docs/paper.md``).

    A group with an integer ``n`` moves inside Z_n by probabilistic hops whose
    draws are keyed by (seed, layer, flat weight index, step): they depend on
    nothing else, on no device and no order.  Steps count from 1; step 0 is
    the initial state.  Groups with ``n`` None (batch norm) move by plain Adam.

    Parameters
    ----------
    groups : list of dict
        From :func:`parameter_groups`.
    lr : float
        Learning rate: the size of increments, hence the temperature of hops.
    increments : {"adam", "momentum", "sgd"}
        How a gradient becomes ΔW.  ``momentum`` averages: first moment
        β1·v + (1 − β1)·g without bias correction.
    betas : (float, float)
        Averaging of the first (``momentum`` and ``adam``) and second moment.
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
        if increments not in _STATE:
            raise RecipeError(f"increments is {increments!r}; use one of {get_args(Increments)}")
        if not all(0 <= beta < 1 for beta in betas):
            raise RecipeError(f"betas are {tuple(betas)}; each must be from 0 to below 1")
        if not m > 0:
            raise RecipeError(f"m is {m}; it must be above 0")
        if kind not in get_args(Transition):
            raise RecipeError(f"transition is {kind!r}; use one of {get_args(Transition)}")
        settings = {"betas": tuple(betas), "eps": eps, "m": m, "kind": kind}
        super().__init__(groups, {"lr": lr, "increments": increments, "seed": seed, **settings})
        self._keys: dict[Tensor, Tensor] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a state (``load_state_dict`` comes here too); keys follow its seed."""
        super().__setstate__(state)
        self._keys = {}

    @property
    def state_bits(self) -> int:
        """Optimizer state kept for each discrete weight, in bits (float32 moments)."""
        return max(
            (32 * len(_STATE[g["increments"]]) for g in self.param_groups if g["n"] is not None),
            default=0,
        )

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
        if group["n"] is None:
            parameter += _increment(parameter.grad, state, "adam", group)
            return
        increment = _increment(parameter.grad, state, group["increments"], group)
        seed, layer = group["seed"], group["layer"]
        keys = self._keys.get(parameter)
        if keys is None:
            keys = weight_keys(seed, layer, parameter.numel(), parameter.device)
            self._keys[parameter] = keys
        draw = uniform(keys, seed, layer, state["step"])
        transition(parameter, increment, draw, group["n"], m=group["m"], kind=group["kind"])


def _increment(
    gradient: Tensor | None, state: dict[str, Any], rule: Increments, group: dict[str, Any]
) -> Tensor:
    """ΔW that the rule proposes; moves the rule's state on."""
    assert gradient is not None
    beta1, beta2 = group["betas"]
    for key in _STATE[rule]:
        if key not in state:
            state[key] = torch.zeros_like(gradient)
    if rule == "sgd":
        return gradient * -float(group["lr"])
    first: Tensor = state["first"].lerp_(gradient, 1 - beta1)
    if rule == "momentum":
        return first * -float(group["lr"])
    second: Tensor = state["second"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    step = state["step"]
    scale = group["lr"] / (1 - beta1**step)
    root = second.div(1 - beta2**step).sqrt_().add_(group["eps"])
    return (first / root).mul_(-scale)
