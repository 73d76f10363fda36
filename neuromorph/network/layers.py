"""The layers an integer network is made of.

Every layer is immutable and valid once made; arrays inside are read-only.
Shapes of a single sample are (features,) or (channels, height, width).
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuromorph.errors import LevelError, NetworkError
from neuromorph.levels import MAX_TRAINED_N, Levels

__all__ = [
    "THRESHOLD_MAX",
    "THRESHOLD_MIN",
    "Concat",
    "Conv2d",
    "Encoding",
    "Flatten",
    "Input",
    "Layer",
    "Linear",
    "MaxPool2d",
    "Readout",
    "Requantize",
    "Threshold",
]

Encoding = Literal["ternary", "bitplane", "graded"]
ENCODINGS: tuple[Encoding, ...] = ("ternary", "bitplane", "graded")
MAX_INPUT_BITS = 12
MAX_UPSAMPLE = 1 << 16

INPUT_LAYER = "input"  # what tables call the input port, so no layer may

# A sum never reaches these, so as thresholds they mean "always" and "never".
THRESHOLD_MIN = -(2**31)
THRESHOLD_MAX = 2**31 - 1

OFFSET_LIMIT = 2**52
MAX_SHIFT = 52


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array = np.ascontiguousarray(array)
    if array.flags.writeable:
        array = array.copy()
        array.setflags(write=False)
    return array


def _array(value: ArrayLike, what: str) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except ValueError:
        raise NetworkError(f"{what} have rows of different lengths; give an array") from None


def _space(n: int, where: str) -> Levels:
    try:
        return Levels(n)
    except LevelError as error:
        raise NetworkError(f"{where}: {error}") from None


def _pair(value: int | Sequence[int], what: str, where: str, least: int) -> tuple[int, int]:
    try:
        pair = (value, value) if isinstance(value, (int, np.integer)) else tuple(value)
        if len(pair) != 2 or any(isinstance(v, bool) or v != int(v) for v in pair):
            raise TypeError
        pair = (int(pair[0]), int(pair[1]))
    except (TypeError, ValueError, OverflowError):
        raise NetworkError(f"{where}: {what} is {value!r}; give one integer or two") from None
    if min(pair) < least:
        raise NetworkError(f"{where}: {what} is {pair}; each must be at least {least}")
    return pair


def _check_name(name: str, where: str) -> None:
    if (
        not isinstance(name, str)
        or not 1 <= len(name) <= 64
        or not name.isprintable()
        or "/" in name
        or "." in name
    ):
        raise NetworkError(
            f"{where} name {name!r} is not usable; use 1 to 64 printable characters without '/' "
            "and '.'"
        )
    if name == INPUT_LAYER:
        raise NetworkError(f"{where} name {name!r} is taken: it stands for the input of a network")


def _weights(array: ArrayLike, n: int, ndim: int, where: str) -> NDArray[Any]:
    space = _space(n, where)
    try:
        weights = space.check(_array(array, f"{where}: weights"), f"{where}: weights")
    except LevelError as error:
        raise NetworkError(str(error)) from None
    if weights.ndim != ndim or weights.size == 0:
        raise NetworkError(
            f"{where}: weights have shape {list(weights.shape)}; need {ndim} non-empty axes"
        )
    return _frozen(weights)


@dataclass(frozen=True, kw_only=True, eq=False)
class Input:
    """What the network takes, and how raw integers become the first events.

    Parameters
    ----------
    shape : tuple of int
        Shape of one sample.
    encoding : {"ternary", "bitplane", "graded"}
        ``ternary``: levels −1, 0, 1 (one spike each, XNOR events).
        ``bitplane``: unsigned values of ``bits`` bits, one spike for each set
        bit, of payload 2**b.  ``graded``: signed values |x| < 2**bits, one
        spike each.
    bits : int
        Bits of a raw value for ``bitplane`` and ``graded`` (1 … 12).
    thresholds : (int, int), optional
        For ``ternary``: raw integers below the first become −1, those at or
        above the second +1, others 0.  Without them, raw values must already
        be −1, 0 or 1.
    """

    shape: tuple[int, ...]
    encoding: Encoding = "ternary"
    bits: int = 8
    thresholds: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        try:
            shape = tuple(operator.index(s) for s in self.shape)
        except TypeError:
            shape = ()
        if len(shape) not in (1, 3) or min(shape) < 1:
            raise NetworkError(
                f"input: shape is {self.shape!r}; use (features,) or (channels, height, width)"
            )
        object.__setattr__(self, "shape", shape)
        if self.encoding not in ENCODINGS:
            raise NetworkError(f"input: encoding is {self.encoding!r}; use one of {ENCODINGS}")
        object.__setattr__(self, "encoding", str(self.encoding))
        if self.encoding == "ternary":
            object.__setattr__(self, "bits", 1)
        try:
            bits = operator.index(self.bits)
        except TypeError:
            bits = 0
        if not 1 <= bits <= MAX_INPUT_BITS:
            raise NetworkError(f"input: bits is {self.bits!r}; it must be 1 to {MAX_INPUT_BITS}")
        object.__setattr__(self, "bits", bits)
        if self.thresholds is not None:
            if self.encoding != "ternary":
                raise NetworkError(f"input: thresholds are for ternary, not {self.encoding}")
            try:
                low, high = (operator.index(t) for t in self.thresholds)
            except (TypeError, ValueError):
                raise NetworkError(
                    f"input: thresholds are {self.thresholds!r}; give two integers"
                ) from None
            if low > high:
                raise NetworkError(f"input: thresholds are ({low}, {high}); need low <= high")
            object.__setattr__(self, "thresholds", (low, high))

    @property
    def size(self) -> int:
        """Number of input neurons."""
        return int(np.prod(self.shape))

    @property
    def maximum(self) -> int:
        """Largest magnitude of an input level."""
        return (1 << self.bits) - 1

    @property
    def spikes_per_neuron(self) -> int:
        """Spikes one input neuron can send a frame: the bits of a bitplane, else 1."""
        return self.bits if self.encoding == "bitplane" else 1

    def encode(self, raw: ArrayLike) -> NDArray[np.int16]:
        """Raw integer samples to input levels.

        Parameters
        ----------
        raw : integer array, shape (batch, *shape)

        Returns
        -------
        int16 array, shape (batch, size)
            Input levels, C order.

        Raises
        ------
        NetworkError
            Wrong shape, dtype or range.
        """
        raw = _array(raw, "inputs")
        if raw.shape[1:] != self.shape or raw.ndim != len(self.shape) + 1:
            raise NetworkError(
                f"inputs have shape {list(raw.shape)}; this network takes "
                f"[batch, {', '.join(map(str, self.shape))}]"
            )
        if raw.dtype.kind not in "iu":
            raise NetworkError(
                f"inputs have dtype {raw.dtype}; this network takes integers "
                f"({self.describe()}); convert or scale them first"
            )
        flat = raw.reshape(len(raw), self.size)
        if self.thresholds is not None:
            low, high = self.thresholds
            return (flat >= high).astype(np.int16) - (flat < low).astype(np.int16)
        low, high = (0 if self.encoding == "bitplane" else -self.maximum), self.maximum
        bad = (flat < low) | (flat > high)
        if bad.any():
            sample, pixel = (int(i) for i in np.argwhere(bad)[0])
            raise NetworkError(
                f"inputs hold {int(flat[sample, pixel])} in sample {sample} at position {pixel}; "
                f"this network takes {self.describe()}"
            )
        return np.ascontiguousarray(flat, dtype=np.int16)

    def describe(self) -> str:
        """One phrase on what raw values are taken."""
        if self.thresholds is not None:
            return f"integers, ternarised at {self.thresholds[0]} and {self.thresholds[1]}"
        if self.encoding == "ternary":
            return "levels -1, 0, 1"
        low = 0 if self.encoding == "bitplane" else -self.maximum
        return f"integers {low} … {self.maximum}, {self.encoding}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear:
    """Fully connected synapses: sum[o] = Σ_i weights[o, i] · level[i].

    Parameters
    ----------
    name : str
        Name of the layer; its neurons carry it in every table.
    weights : integer array, shape (out, in)
        Levels of Z_n.
    n : int
        N of the weight space.
    """

    name: str
    weights: NDArray[Any]
    n: int = 1

    def __post_init__(self) -> None:
        _check_name(self.name, "layer")
        where = f"layer {self.name!r}"
        object.__setattr__(self, "weights", _weights(self.weights, self.n, 2, where))


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv2d:
    """Convolution (cross-correlation) with zero padding; padding makes no events.

    Parameters
    ----------
    name : str
    weights : integer array, shape (out_channels, in_channels, height, width)
        Levels of Z_n.
    n : int
        N of the weight space.
    stride, padding, dilation : int or (int, int)
        Vertical, horizontal.  Taps lie ``dilation`` pixels apart.
    """

    name: str
    weights: NDArray[Any]
    n: int = 1
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        _check_name(self.name, "layer")
        where = f"layer {self.name!r}"
        object.__setattr__(self, "weights", _weights(self.weights, self.n, 4, where))
        object.__setattr__(self, "stride", _pair(self.stride, "stride", where, 1))
        object.__setattr__(self, "padding", _pair(self.padding, "padding", where, 0))
        object.__setattr__(self, "dilation", _pair(self.dilation, "dilation", where, 1))


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPool2d:
    """Maximum over windows, without padding; a ragged border is dropped.

    Before a :class:`Threshold` or :class:`Requantize` it acts on the sums (as in
    training), after it on the levels.
    """

    size: tuple[int, int] = (2, 2)
    stride: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        size = _pair(self.size, "size", "max-pool", 1)
        object.__setattr__(self, "size", size)
        stride = size if self.stride is None else _pair(self.stride, "stride", "max-pool", 1)
        object.__setattr__(self, "stride", stride)


@dataclass(frozen=True, kw_only=True, eq=False)
class Concat:
    """What the next weighted layer hears, where that is not simply the layer before it.

    The sources are joined along channels in the order given; each is first
    up-sampled by its factor (nearest neighbour: every pixel becomes a square of
    factor × factor).

    Parameters
    ----------
    sources : sequence of str
        Names of layers that come before, or ``"input"``.
    upsample : sequence of int, optional
        One factor a source; all 1 if left out.
    """

    sources: tuple[str, ...]
    upsample: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        given: Any = self.sources
        sources = () if isinstance(given, str) else tuple(given)
        if not sources or not all(isinstance(name, str) for name in sources):
            raise NetworkError(f"concat: sources are {self.sources!r}; give the names of layers")
        if len(set(sources)) != len(sources):
            raise NetworkError(f"concat: sources are {list(sources)}; name each only once")
        factors = (1,) * len(sources) if self.upsample is None else self.upsample
        try:
            factors = tuple(operator.index(f) for f in factors)
        except TypeError:
            factors = ()
        if len(factors) != len(sources) or not all(1 <= f <= MAX_UPSAMPLE for f in factors):
            raise NetworkError(
                f"concat: upsample is {self.upsample!r}; give {len(sources)} integers of 1 to "
                f"{MAX_UPSAMPLE}, one a source"
            )
        object.__setattr__(self, "sources", sources)
        object.__setattr__(self, "upsample", factors)


@dataclass(frozen=True, kw_only=True, eq=False)
class Flatten:
    """(channels, height, width) to (features,) in C order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Threshold:
    """Batch norm and φ_r folded: integer sum to level of Z_n.

    level[c] = lowest + stride · #{i : directions[c] · sum[c] >= thresholds[c, i]}

    with ``lowest`` = −K and ``stride`` = 1 (2 for n = 0): a sum that reaches
    the i-th threshold has climbed i levels.  The direction is −1 where the
    batch-norm scale is negative.

    Parameters
    ----------
    thresholds : integer array, shape (channels, size of Z_n − 1)
        Ascending along the last axis, in int32.  ``THRESHOLD_MIN`` means
        always reached, ``THRESHOLD_MAX`` never.
    directions : array of ±1, shape (channels,), optional
        All +1 if left out.
    n : int
        N of the activation space.
    """

    thresholds: NDArray[Any]
    directions: NDArray[Any] | None = None
    n: int = 1

    def __post_init__(self) -> None:
        space = _space(self.n, "threshold")
        if space.n > MAX_TRAINED_N:
            raise NetworkError(
                f"threshold: Z_{self.n} would take {space.size - 1} thresholds a channel; use "
                f"Requantize beyond Z_{MAX_TRAINED_N}"
            )
        steps = space.size - 1
        t = _array(self.thresholds, "threshold: thresholds")
        if t.dtype.kind not in "iu" or t.ndim != 2 or t.shape[1] != steps or t.shape[0] == 0:
            raise NetworkError(
                f"threshold: thresholds are {t.dtype} of shape {list(t.shape)}; Z_{self.n} takes "
                f"integers of shape [channels, {steps}]"
            )
        if (t < THRESHOLD_MIN).any() or (t > THRESHOLD_MAX).any():
            raise NetworkError("threshold: thresholds do not fit int32")
        t = t.astype(np.int32)
        if (t[:, 1:] < t[:, :-1]).any():
            channel = int(np.argwhere(t[:, 1:] < t[:, :-1])[0][0])
            raise NetworkError(f"threshold: thresholds of channel {channel} do not ascend")
        object.__setattr__(self, "thresholds", _frozen(t))
        object.__setattr__(self, "directions", _directions(self.directions, len(t), "threshold"))


@dataclass(frozen=True, kw_only=True, eq=False)
class Requantize:
    """Bias, scale by a power of two, and limits: integer sum to level of fixed point.

    level[c] = clip(⌊(directions[c] · sum[c] + offsets[c]) / 2**shift⌋, *limits)

    An offset that holds half a step, 2**(shift − 1), rounds to the nearest.
    The same as a :class:`Threshold` of evenly spaced steps, without a number for
    each of them, and for sums beyond 32 bits.

    Parameters
    ----------
    offsets : integer array, shape (channels,)
        Magnitudes up to 2**52.
    shift : int
        0 … 52.
    limits : (int, int)
        Lowest and highest level, of Z_n; (0, top) is a ReLU.
    directions : array of ±1, shape (channels,), optional
        All +1 if left out.
    n : int
        N of the activation space, 1 … 16.
    """

    offsets: NDArray[Any]
    shift: int
    limits: tuple[int, int]
    directions: NDArray[Any] | None = None
    n: int = 8

    def __post_init__(self) -> None:
        space = _space(self.n, "requantize")
        if not space.has_zero:
            raise NetworkError("requantize: Z_0 has no zero to round to; use Threshold")
        offsets = _array(self.offsets, "requantize: offsets")
        if offsets.dtype.kind not in "iu" or offsets.ndim != 1 or offsets.size == 0:
            raise NetworkError(
                f"requantize: offsets are {offsets.dtype} of shape {list(offsets.shape)}; give one "
                "integer a channel"
            )
        if (offsets < -OFFSET_LIMIT).any() or (offsets > OFFSET_LIMIT).any():
            raise NetworkError(f"requantize: offsets reach beyond ±2^52 = ±{OFFSET_LIMIT}")
        try:
            shift = operator.index(self.shift)
        except TypeError:
            shift = -1
        if not 0 <= shift <= MAX_SHIFT:
            raise NetworkError(f"requantize: shift is {self.shift!r}; it must be 0 to {MAX_SHIFT}")
        try:
            low, high = (operator.index(level) for level in self.limits)
        except (TypeError, ValueError):
            raise NetworkError(
                f"requantize: limits are {self.limits!r}; give two integers"
            ) from None
        if not -space.maximum <= low < high <= space.maximum:
            raise NetworkError(
                f"requantize: limits are ({low}, {high}); need -{space.maximum} <= low < high <= "
                f"{space.maximum}, the levels of Z_{space.n}"
            )
        object.__setattr__(self, "offsets", _frozen(offsets.astype(np.int64)))
        object.__setattr__(self, "shift", shift)
        object.__setattr__(self, "limits", (low, high))
        directions = _directions(self.directions, len(offsets), "requantize")
        object.__setattr__(self, "directions", directions)


def _directions(value: ArrayLike | None, channels: int, where: str) -> NDArray[Any]:
    d = np.ones(channels, np.int8) if value is None else _array(value, f"{where}: directions")
    if d.shape != (channels,) or d.dtype.kind not in "iu" or not np.isin(d, (-1, 1)).all():
        raise NetworkError(
            f"{where}: directions must be {channels} values of -1 or +1, one a channel"
        )
    return _frozen(d.astype(np.int8))


@dataclass(frozen=True, kw_only=True, eq=False)
class Readout:
    """Scores from the last sums: score[c] = sum[c] · scale[c] + offset[c] in float32.

    (A sum that float32 cannot hold is rounded to it first.)

    The prediction is the class of the highest score; ties go to the lowest
    class.  Left out, scale is 1 and offset 0.  After a convolution a class is
    a channel, and every pixel has a prediction of its own.
    """

    scale: NDArray[Any] | None = field(default=None)
    offset: NDArray[Any] | None = field(default=None)

    def __post_init__(self) -> None:
        for what in ("scale", "offset"):
            value = getattr(self, what)
            if value is None:
                continue
            value = _array(value, f"read-out: {what}")
            if value.ndim != 1 or value.dtype.kind not in "iuf":
                raise NetworkError(f"read-out: {what} must be finite numbers, one a class")
            with np.errstate(over="ignore"):
                value = value.astype(np.float32)
            if not np.isfinite(value).all():
                raise NetworkError(f"read-out: {what} must be finite numbers, one a class")
            object.__setattr__(self, what, _frozen(value))


Layer = Linear | Conv2d | MaxPool2d | Concat | Flatten | Threshold | Requantize | Readout
