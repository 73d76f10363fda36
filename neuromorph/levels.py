"""The discrete spaces Z_N of GXNOR-Net, and the maps into and between them.

Equations are those of arXiv 1705.09283 as collected in ``docs/paper.md``; the
section numbers below are that page's.  A state of Z_N is kept as a small
signed integer, its *level* k; the real value it stands for is k / K, where
K = 2**(N-1) (K = 1 for N = 0) is the largest level.  Networks are trained in
spaces up to Z_8; the wider ones hold the integers of fixed point.

Shapes: every function here is element-wise unless it says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuromorph.errors import LevelError

__all__ = [
    "Levels",
    "boundary",
    "dst",
    "phi",
    "project",
    "split",
    "thresholds",
    "transition_probability",
    "window",
]

MAX_N = 16
MAX_TRAINED_N = 8  # of spaces that thresholds tell apart; wider ones are rounded into

Pulse = Literal["rectangular", "triangular"]
Normalization = Literal["jump", "unit"]
Transition = Literal["tanh", "unbiased"]


@dataclass(frozen=True, slots=True)
class Levels:
    """The discrete space Z_N, its integer levels and their storage (§1).

    Parameters
    ----------
    n : int
        N of Z_N, 0 … 16.  N = 0 is binary {−1, +1}; N = 1 is ternary
        {−1, 0, +1}; N ≥ 1 has 2**N + 1 states, but for the outermost two of
        N = 16, which are left out so that every level fits 16 bits.

    Raises
    ------
    LevelError
        ``n`` is not an integer from 0 to 16.

    Examples
    --------
    >>> Levels(1).levels.tolist(), Levels(2).values.tolist()
    ([-1, 0, 1], [-1.0, -0.5, 0.0, 0.5, 1.0])
    """

    n: int

    def __post_init__(self) -> None:
        if isinstance(self.n, bool) or not isinstance(self.n, (int, np.integer)):
            raise LevelError(f"N of Z_N is {self.n!r}; it must be an integer from 0 to {MAX_N}")
        if not 0 <= self.n <= MAX_N:
            raise LevelError(f"N of Z_N is {self.n}; it must be from 0 to {MAX_N}")
        object.__setattr__(self, "n", int(self.n))

    @property
    def unit(self) -> int:
        """K, the level that stands for 1: 2**(N−1), or 1 for N = 0."""
        return 1 if self.n == 0 else 1 << (self.n - 1)

    @property
    def maximum(self) -> int:
        """The largest level: K, or K − 1 for N = 16."""
        return self.unit - (self.n == 16)

    @property
    def size(self) -> int:
        """Number of states |Z_N|: 2 for N = 0, else those from −maximum to maximum."""
        return 2 if self.n == 0 else 2 * self.maximum + 1

    @property
    def step(self) -> float:
        """Δz, the distance of adjacent states in real units: 1 / 2**(N−1)."""
        return 2.0 / (1 << self.n)

    @property
    def stride(self) -> int:
        """Distance of adjacent states in levels: 2 for N = 0, else 1."""
        return 2 if self.n == 0 else 1

    @property
    def has_zero(self) -> bool:
        """Whether a state can rest (N ≥ 1)."""
        return self.n > 0

    @property
    def bits(self) -> int:
        """Bits one level takes when packed: 1 for N = 0, 16 for N = 16, N + 1 otherwise."""
        return (self.size - 1).bit_length()

    @property
    def dtype(self) -> np.dtype[Any]:
        """Smallest integer dtype that holds every level: int8, or int16 for N ≥ 8."""
        return np.dtype(np.int16 if self.n >= 8 else np.int8)

    @property
    def levels(self) -> NDArray[Any]:
        """All levels, ascending."""
        return np.arange(-self.maximum, self.maximum + 1, self.stride, dtype=self.dtype)

    @property
    def values(self) -> NDArray[np.float64]:
        """All states as real numbers k / K, ascending."""
        return self.levels / self.unit

    def check(self, levels: ArrayLike, what: str) -> NDArray[Any]:
        """Return ``levels`` as an array of :attr:`dtype`, or refuse them.

        Raises
        ------
        LevelError
            Not an array of integers, or a value outside the space; names
            ``what`` and the first offender.
        """
        try:
            array = np.asarray(levels)
        except ValueError:
            raise LevelError(f"{what} has rows of different lengths; levels are an array") from None
        if array.dtype.kind not in "iu":
            raise LevelError(f"{what} has dtype {array.dtype}; levels of Z_{self.n} are integers")
        bad = (array < -self.maximum) | (array > self.maximum)
        if self.n == 0:
            bad |= array == 0
        if bad.any():
            where = tuple(int(i) for i in np.argwhere(bad)[0])
            allowed = "-1 or +1" if self.n == 0 else f"from {-self.maximum} to {self.maximum}"
            raise LevelError(
                f"{what} has the value {int(array[where])} at {list(where)}; "
                f"levels of Z_{self.n} are {allowed}"
            )
        return np.ascontiguousarray(array, dtype=self.dtype)


def _trained_space(n: int) -> Levels:
    """Z_n, of at most N = 8.

    Raises
    ------
    LevelError
        ``n`` is not an integer from 0 to 8.
    """
    space = Levels(n)
    if space.n > MAX_TRAINED_N:
        raise LevelError(f"N of Z_N is {n}; it must be from 0 to {MAX_TRAINED_N} here")
    return space


def thresholds(n: int, r: float, h: float = 1.0) -> NDArray[np.float64]:
    """Positive thresholds r_ω = r + (ω−1)(H−r)/K of φ_r, ω = 1 … K (§2.2).

    For N = 0 the single threshold is 0 (sign function, sign(0) = +1).

    Raises
    ------
    LevelError
        r outside [0, H); with one threshold, where H plays no part, r below 0.
    """
    k = _trained_space(n).maximum
    if n == 0:
        return np.zeros(1)
    if not 0 <= r < np.inf or (k > 1 and not r < h < np.inf):
        raise LevelError(f"window r = {r} with H = {h}; need 0 <= r < H")
    if k == 1:  # with one threshold H plays no part
        return np.array([r], dtype=np.float64)
    return r + np.arange(k) * (h - r) / k


def phi(x: ArrayLike, n: int, r: float = 0.5, h: float = 1.0) -> NDArray[Any]:
    """φ_r: real pre-activation to the level of Z_N it fires (§2.1, §2.2).

    Strict inequalities: |x| = r gives 0.  Above H the neuron saturates at ±K
    (our reading; the paper leaves x > H open).

    Raises
    ------
    LevelError
        A pre-activation that is not a number; an impossible n, r or h.

    Examples
    --------
    >>> phi([-0.6, -0.5, 0.2, 0.7], n=1, r=0.5).tolist()
    [-1, 0, 0, 1]
    """
    x = np.asarray(x, dtype=np.float64)
    space = _trained_space(n)
    if np.isnan(x).any():
        raise LevelError("a pre-activation is not a number, so no level stands for it")
    if n == 0:
        signs: NDArray[Any] = np.where(x >= 0, 1, -1).astype(space.dtype)
        return signs
    edges = thresholds(n, r, h)
    magnitude = (np.abs(x)[..., None] > edges).sum(axis=-1)
    fired: NDArray[Any] = (np.sign(x) * magnitude).astype(space.dtype)
    return fired


def window(
    x: ArrayLike,
    n: int,
    r: float = 0.5,
    a: float = 0.5,
    *,
    h: float = 1.0,
    pulse: Pulse = "rectangular",
    normalize: Normalization = "jump",
) -> NDArray[np.float64]:
    """Surrogate derivative ∂φ_r/∂x: one finite pulse at every threshold (§3).

    The pulse has half-width ``a`` and the area of the jump it stands for
    (``normalize="jump"``: 1/K, or 2 for N = 0) or area one (``"unit"``).
    Pulses that overlap add.  A pulse wider than r is cut at zero.

    Raises
    ------
    LevelError
        a not above 0; an unknown pulse or normalization; an impossible n, r or h.
    """
    if not a > 0:
        raise LevelError(f"pulse half-width a = {a}; need a > 0")
    magnitude = np.abs(np.asarray(x, dtype=np.float64))
    k = _trained_space(n).maximum
    jump = 2.0 if n == 0 else 1.0 / k
    if normalize not in ("jump", "unit"):
        raise LevelError(f"normalize {normalize!r}; choose 'jump' or 'unit'")
    area = jump if normalize == "jump" else 1.0
    total = np.zeros_like(magnitude)
    for edge in thresholds(n, r, h):
        distance = np.abs(magnitude - edge)
        if pulse == "rectangular":
            total += (distance <= a) / (2 * a)
        elif pulse == "triangular":
            total += np.maximum(0.0, a - distance) / a**2
        else:
            raise LevelError(f"pulse {pulse!r}; choose 'rectangular' or 'triangular'")
    return area * total


def boundary(value: ArrayLike, increment: ArrayLike, h: float = 1.0) -> NDArray[np.float64]:
    """ρ: the increment cut so that value + ρ stays in [−H, H] (§4, step 1)."""
    value = np.asarray(value, dtype=np.float64)
    increment = np.asarray(increment, dtype=np.float64)
    return np.where(
        increment >= 0, np.minimum(h - value, increment), np.maximum(-h - value, increment)
    )


def split(rho: ArrayLike, step: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """ρ = κ·Δz + ν with κ = fix(ρ/Δz) and |ν| < Δz of the same sign (§4, step 2)."""
    rho = np.asarray(rho, dtype=np.float64)
    kappa = np.trunc(rho / step)
    return kappa.astype(np.int64), rho - kappa * step


def transition_probability(
    nu: ArrayLike, step: float, m: float = 3.0, transition: Transition = "tanh"
) -> NDArray[np.float64]:
    """τ(ν) = tanh(m·|ν|/Δz), or |ν|/Δz for ``"unbiased"`` (§4, step 3).

    Raises
    ------
    LevelError
        m not above 0, or an unknown transition.
    """
    fraction = np.abs(np.asarray(nu, dtype=np.float64)) / step
    if transition == "tanh":
        if not m > 0:
            raise LevelError(f"steepness m = {m}; need m > 0")
        return np.tanh(m * fraction)
    if transition == "unbiased":
        return fraction
    raise LevelError(f"transition {transition!r}; choose 'tanh' or 'unbiased'")


def project(
    rho: ArrayLike,
    uniform: ArrayLike,
    step: float,
    m: float = 3.0,
    transition: Transition = "tanh",
) -> NDArray[np.int64]:
    """P_grad(ρ)/Δz: whole steps to move, one more if ``uniform`` < τ(ν) (§4, step 3).

    ``uniform`` are draws from [0, 1), one an element.  ρ = 0 never moves.
    """
    kappa, nu = split(rho, step)
    more = np.asarray(uniform) < transition_probability(nu, step, m, transition)
    return kappa + np.sign(nu).astype(np.int64) * more


def dst(
    levels: ArrayLike,
    increments: ArrayLike,
    uniform: ArrayLike,
    n: int,
    *,
    m: float = 3.0,
    transition: Transition = "tanh",
) -> NDArray[Any]:
    """One discrete state transition of weights in Z_N, H = 1 (§4).

    Parameters
    ----------
    levels : integer array
        Present levels.
    increments : float array of the same shape
        ΔW in real units, as any optimizer proposes; one that is not a number
        moves nothing.
    uniform : float array of the same shape
        Draws from [0, 1); see :mod:`neuromorph.draws`.

    Returns
    -------
    array of ``Levels(n).dtype``
        New levels, inside Z_N.

    Raises
    ------
    LevelError
        ``levels`` are not in Z_N; an impossible m or transition.

    Examples
    --------
    >>> dst([0, 1, -1], [0.2, 0.9, 0.0], [0.1, 0.1, 0.1], n=1).tolist()
    [1, 1, -1]
    """
    space = _trained_space(n)
    levels = space.check(levels, "weight")
    increments = np.asarray(increments, dtype=np.float64)
    increments = np.where(np.isnan(increments), 0.0, increments)
    rho = boundary(levels / space.maximum, increments)
    moved = levels + space.stride * project(rho, uniform, space.step, m, transition)
    return moved.astype(space.dtype)
