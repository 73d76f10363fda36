"""Why discrete weights work in high dimension: angles and correlations, layer by layer.

After Anderson and Berg, "The High-Dimensional Geometry of Binary Neural
Networks" (arXiv 1705.07199).  A discrete weight vector q keeps nearly the
direction of the real one w it was made of, and sums with it are nearly
proportional to sums with w.  For w with independent normal components the
angle tends to a constant as the dimension grows:

    sign            cos = √(2/π), 37.07°
    ternary, |w| > t·σ stays      cos = 2φ(t) / √(2(1 − Φ(t))), least at t = 0.612: 25.85°
    any levels      cos = Σ q_k (φ(z_k) − φ(z_{k+1})) / √E[q²], with z_k the
                    normal quantiles of the measured shares of the levels

For inputs without correlations the correlation of the sums is that cosine;
what inputs with structure do to it is the difference between the measured
correlation and that with every input permuted over the samples.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open

from neuromorph.canvas import blank_figure, save_png
from neuromorph.errors import NetworkError
from neuromorph.events import format_table, plural
from neuromorph.levels import Levels
from neuromorph.network import THRESHOLD_MAX, THRESHOLD_MIN, Network, Stage, load_network
from neuromorph.network.forward import arriving, run_stage, windows

__all__ = [
    "BEST_WINDOW",
    "GeometryReport",
    "LayerGeometry",
    "angles",
    "draw_geometry",
    "geometry",
    "load_hidden",
    "normal_angle",
    "random_rotation",
    "rotated_sign",
    "ternary_angle",
]

BEST_WINDOW = 0.612  # t at which ternary_angle is least
CHUNK = 50  # samples run at a time
ROWS = 4000  # of (sample, position) pairs looked at in a layer
SAME = 0.6  # share of equal signs below which two networks have nothing to do with each other

Array = NDArray[np.float64]


def ternary_angle(t: ArrayLike) -> Array:
    """Angle in degrees of a normal vector to its ternary one, threshold t in units of σ.

    Examples
    --------
    >>> ternary_angle([0.0, 0.612]).round(2).tolist()
    [37.07, 25.85]
    """
    t = np.asarray(t, dtype=np.float64)
    density = np.exp(-t * t / 2) / math.sqrt(2 * math.pi)
    angle: Array = np.degrees(np.arccos(2 * density / np.sqrt(2 * _above(t))))
    return angle


_above = np.vectorize(lambda t: NormalDist().cdf(-t), otypes=[np.float64])  # P(normal > t)


def normal_angle(levels: ArrayLike) -> float:
    """Angle in degrees a normal vector would have to levels of the same shares.

    Parameters
    ----------
    levels : integer array
        Any shape; only the shares of its values count.

    Examples
    --------
    >>> round(normal_angle([-1, 1, 1, -1]), 2)
    37.07
    """
    values, counts = np.unique(np.asarray(levels), return_counts=True)
    shares = np.cumsum(counts)[:-1] / counts.sum()
    edges = np.array([-np.inf, *map(NormalDist().inv_cdf, shares.tolist()), np.inf])
    density = np.exp(-edges * edges / 2) / math.sqrt(2 * math.pi)
    along = (values * (density[:-1] - density[1:])).sum()
    length = math.sqrt((values.astype(np.float64) ** 2 * counts).sum() / counts.sum())
    return math.degrees(math.acos(along / length)) if length else 90.0


def random_rotation(size: int, seed: int = 0) -> Array:
    """An orthogonal matrix, uniform over all (Haar), float64 of shape (size, size)."""
    matrix, upper = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
    rotation: Array = matrix * np.sign(np.diag(upper))
    return rotation


def rotated_sign(x: ArrayLike, rotation: Array) -> Array:
    """Generalised binarization Rᵀ sign(R x) of the rows of ``x``, shape (rows, size).

    Vectors whose variance sits in few components are far from their sign; a
    random rotation spreads it, and the angle is again about 37°.
    """
    turned = np.asarray(x, dtype=np.float64) @ rotation.T
    back: Array = np.where(turned >= 0, 1.0, -1.0) @ rotation
    return back


def angles(one: ArrayLike, other: ArrayLike) -> Array:
    """Angles in degrees between the rows of two arrays; 90 where a row is zero."""
    a, b = (np.asarray(x, dtype=np.float64) for x in (one, other))
    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = np.divide((a * b).sum(1), length, out=np.zeros(len(a)), where=length > 0)
    found: Array = np.degrees(np.arccos(cosine.clip(-1, 1)))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerGeometry:
    """One layer; fields that need real weights are None without them.

    ``angle_mean``, ``angle_sd``: of the weights of a neuron, degrees;
    ``angle_normal``: for normal weights with this layer's shares of levels.
    ``sums_r``: correlation of sums with levels and with real weights, mean
    over neurons; ``sums_r_normal``: the cosine of ``angle_normal``;
    ``sums_r_permuted``: ``sums_r`` with each input permuted over the samples;
    ``slope``: of the sums with levels on those with real weights.
    ``levels_r``: correlation of levels fired with the sums they come from.
    ``window``, ``window_best``: half-width of the zero window of ternary
    neurons in standard deviations of their sums, and where their angle to the
    sums would be least.
    """

    name: str
    fan_in: int
    neurons: int
    zero_weights: float
    angle_normal: float
    sums_r_normal: float
    angle_mean: float | None = None
    angle_sd: float | None = None
    same_signs: float | None = None
    sums_r: float | None = None
    sums_r_permuted: float | None = None
    slope: float | None = None
    levels_r: float | None = None
    window: float | None = None
    window_best: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GeometryReport:
    """What :func:`geometry` found; prints as a table with its notes."""

    network: str
    samples: int
    layers: tuple[LayerGeometry, ...]
    notes: tuple[str, ...]
    neuron_angles: tuple[Array, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        layers = [asdict(layer) for layer in self.layers]
        return {"network": self.network, "samples": self.samples, "layers": layers} | {
            "notes": list(self.notes)
        }

    def __str__(self) -> str:
        header = ["layer", "fan-in", "zeros", "angle", "normal", "sums r", "normal", "permuted"]
        header += ["levels r", "window", "best"]
        rows = [
            [
                layer.name,
                str(layer.fan_in),
                f"{layer.zero_weights:.1%}",
                "–"
                if layer.angle_mean is None
                else f"{layer.angle_mean:.1f} ± {layer.angle_sd:.1f}°",
                f"{layer.angle_normal:.1f}°",
                _short(layer.sums_r),
                _short(layer.sums_r_normal),
                _short(layer.sums_r_permuted),
                _short(layer.levels_r),
                _short(layer.window),
                _short(layer.window_best),
            ]
            for layer in self.layers
        ]
        return "\n".join([format_table(header, rows), *self.notes])


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def load_hidden(path: str | os.PathLike[str], network: Network) -> list[Array]:
    """Real weights of each layer, from a training checkpoint or another network.

    Parameters
    ----------
    path : path
        ``checkpoints/seed-S.safetensors`` of a training, or a network file,
        whose levels are taken as real numbers k/K.
    network : Network
        Whose layers they must fit.

    Returns
    -------
    list of float64 arrays
        Of the shapes of the layers' weights.

    Raises
    ------
    NetworkError
        A file of neither kind, or of other shapes; names the layer.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            kind = (file.metadata() or {}).get("format", "")
            names = [f"model.stages.{i}.synapses.weight" for i in range(len(network.stages))]
            known = set(file.keys())
            weights = [file.get_tensor(n).astype(np.float64) for n in names if n in known]
            more = f"model.stages.{len(names)}.synapses.weight" in known
    except (OSError, SafetensorError) as error:
        raise NetworkError(f"cannot read hidden weights from {path}: {error}") from None
    if kind == "neuromorph-network":
        other = load_network(path)
        weights = [s.weights / s.weight_levels.unit for s in other.stages]
    elif not kind.startswith("neuromorph-checkpoint"):
        raise NetworkError(f"{path} is neither a training checkpoint nor a network file")
    if len(weights) != len(network.stages) or (more and kind != "neuromorph-network"):
        raise NetworkError(
            f"{path} does not have the {len(network.stages)} layers of network {network.name!r}"
        )
    for stage, weight in zip(network.stages, weights):
        if weight.size != stage.weights.size or len(weight) != len(stage.weights):
            raise NetworkError(
                f"{path}: layer {stage.name!r} has weights of shape {list(weight.shape)}; network "
                f"{network.name!r} has {list(stage.weights.shape)}"
            )
    return [w.reshape(s.weights.shape) for s, w in zip(network.stages, weights)]


def geometry(
    network: Network,
    samples: ArrayLike,
    *,
    hidden: Sequence[Sequence[Array]] = (),
    seed: int = 0,
) -> GeometryReport:
    """Angles and correlations of every layer.

    Parameters
    ----------
    network : Network
    samples : integer array, shape (batch, *shape)
        Raw samples that are run through the network.
    hidden : sequence of lists of arrays, optional
        From :func:`load_hidden`; several are averaged, such as snapshots of a
        network trained without hidden weights.
    seed : int
        Of the permutation and of the choice of positions.

    Raises
    ------
    NetworkError
        Fewer than two samples, or samples that do not fit.
    """
    samples = np.asarray(samples)
    if samples.ndim < 1 or len(samples) < 2:
        raise NetworkError("geometry correlates over samples; give at least two")
    rng = np.random.default_rng(seed)
    inputs: NDArray[Any] = network.encode(samples)
    levels: list[NDArray[Any]] = []
    layers, notes, spread = [], [], []
    for index, stage in enumerate(network.stages):
        heard = arriving(stage, inputs, levels)
        patches = _patches(stage, heard, rng)
        found = _of_neurons(stage, patches)
        if hidden:
            real = np.mean([h[index].reshape(len(stage.weights), -1) for h in hidden], axis=0)
            found |= _of_weights(stage, real, patches, rng)
            spread.append(angles(real, _rows(stage)))
        layer = _layer(stage, found)
        layers.append(layer)
        if layer.same_signs is not None and layer.same_signs < SAME:
            notes.append(
                f"{layer.name}: only {layer.same_signs:.0%} of the signs agree; the hidden weights "
                "are of another run (another seed?)"
            )
        if stage.levels is not None:
            parts = np.array_split(heard, -(-len(heard) // CHUNK))
            fired = [run_stage(stage, part).astype(stage.levels.dtype) for part in parts]
            levels.append(np.concatenate(fired))
    return GeometryReport(
        network=network.name,
        samples=len(samples),
        layers=tuple(layers),
        notes=(*notes, *_advice(layers, bool(hidden))),
        neuron_angles=tuple(spread),
    )


def _layer(stage: Stage, found: dict[str, float]) -> LayerGeometry:
    normal = normal_angle(stage.weights)
    return LayerGeometry(
        name=stage.name,
        fan_in=stage.fan_in,
        neurons=len(stage.weights),
        zero_weights=float((stage.weights == 0).mean()),
        angle_normal=normal,
        sums_r_normal=math.cos(math.radians(normal)),
        **found,
    )


def _rows(stage: Stage) -> Array:
    return stage.weights.reshape(len(stage.weights), -1).astype(np.float64)


def _patches(stage: Stage, levels: NDArray[Any], rng: np.random.Generator) -> Array:
    """What arrives at a neuron, (rows, fan_in), for some samples and positions."""
    images = levels.reshape(-1, *stage.input_shape)
    (top, left), (down, right) = stage.padding, stage.stride
    images = np.pad(images, ((0, 0), (0, 0), (top, top), (left, left)))
    view = windows(images, stage.extent, (down, right))
    view = view[..., :: stage.dilation[0], :: stage.dilation[1]]
    count, _, rows, columns = view.shape[:4]
    chosen = rng.permutation(count * rows * columns)[:ROWS]
    sample, row, column = np.unravel_index(chosen, (count, rows, columns))
    patches: Array = view[sample, :, row, column].reshape(len(chosen), -1).astype(np.float64)
    return patches


def _correlation(one: Array, other: Array) -> float | None:
    """Mean over columns of Pearson's r; columns that never change are left out."""
    a, b = one - one.mean(0), other - other.mean(0)
    length = np.sqrt((a * a).sum(0) * (b * b).sum(0))
    live = length > 0
    return float(((a * b).sum(0)[live] / length[live]).mean()) if live.any() else None


def _of_weights(
    stage: Stage, real: Array, patches: Array, rng: np.random.Generator
) -> dict[str, Any]:
    discrete = _rows(stage)
    turned = angles(real, discrete)
    shuffled = rng.permuted(patches, axis=0)
    with_levels, with_real = patches @ discrete.T, patches @ real.T
    a, b = with_real - with_real.mean(0), with_levels - with_levels.mean(0)
    power = float((a * a).sum())
    awake = discrete != 0
    signs = (np.sign(real) == np.sign(discrete))[awake]
    return {
        "angle_mean": float(turned.mean()),
        "angle_sd": float(turned.std()),
        "same_signs": float(signs.mean()) if signs.size else None,
        "sums_r": _correlation(with_levels, with_real),
        "sums_r_permuted": _correlation(shuffled @ discrete.T, shuffled @ real.T),
        "slope": float((a * b).sum() / power) if power else None,
    }


def _of_neurons(stage: Stage, patches: Array) -> dict[str, Any]:
    """Levels against the sums they come from, and the zero window of ternary neurons."""
    if stage.levels is None:
        return {}
    assert stage.directions is not None
    sums = patches @ _rows(stage).T * stage.directions
    if stage.rounding is not None:
        whole = sums.astype(np.int64).T[:, :, None]  # exact: see neuromorph.network.forward
        fired = stage.rounding.levels(whole)[:, :, 0].T
        return {"levels_r": _correlation(fired.astype(np.float64), sums)}
    assert stage.thresholds is not None
    fired = np.stack(
        [np.searchsorted(t, s, side="right") for t, s in zip(stage.thresholds, sums.T)], axis=1
    )
    found: dict[str, Any] = {"levels_r": _correlation(fired.astype(np.float64), sums)}
    if stage.levels == Levels(1):
        low, high = (stage.thresholds[:, i].astype(np.float64) for i in (0, 1))
        spread = sums.std(0)
        live = (spread > 0) & (low > THRESHOLD_MIN) & (high < THRESHOLD_MAX)
        if live.any():
            low, high, spread, sums = low[live], high[live], spread[live], sums[:, live]
            found["window"] = float(((high - low) / 2 / spread).mean())
            # sums are integers: low <= s < high rests, so the middle is that of low and high - 1
            found["window_best"] = _best_window((sums - (low + high - 1) / 2) / spread)
    return found


def _best_window(x: Array) -> float:
    """Threshold t at which the ternary vector of all x has the least angle to x."""
    size = np.sort(np.abs(x), axis=None)[::-1]
    score = np.cumsum(size) / np.sqrt(np.arange(1, size.size + 1))
    return float(size[score.argmax()])


def _advice(layers: Sequence[LayerGeometry], has_hidden: bool) -> list[str]:
    notes = []
    if not has_hidden:
        notes.append(
            "no hidden weights given: angles and correlations of sums need them (--hidden, a "
            "checkpoint of the training); a network trained by DST has none, so give snapshots "
            "whose mean stands for them"
        )
    for layer in layers:
        if layer.window is None or layer.window_best is None or layer.window <= 0:
            continue
        factor = layer.window_best / layer.window
        verdict = "as it is" if 0.9 < factor < 1.1 else f"{factor:.2f} times as wide"
        notes.append(
            f"{layer.name}: zero window of {layer.window:.2f} σ, least angle at "
            f"{layer.window_best:.2f} σ (normal sums: {BEST_WINDOW}); for it, r {verdict}"
        )
    return notes


def draw_geometry(report: GeometryReport, path: Path) -> None:
    """Angles of the neurons and correlations of the sums, layer by layer, as PNG.

    Needs matplotlib (extra ``report``).

    Raises
    ------
    NetworkError
        A report without hidden weights, or a file that cannot be written.
    """
    if not report.neuron_angles:
        raise NetworkError("a picture of angles needs hidden weights; give --hidden CHECKPOINT")
    figure = blank_figure(9, 3.6)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    every = np.concatenate(report.neuron_angles)
    bins = np.linspace(every.min(), every.max() + 1e-6, 41)
    for index, (layer, found) in enumerate(zip(report.layers, report.neuron_angles)):
        colour = f"C{index}"
        label = f"{layer.name}, {layer.fan_in} inputs"
        share = np.full(len(found), 1 / len(found))
        left.hist(found, bins=bins, weights=share, alpha=0.5, color=colour, label=label)
        left.axvline(layer.angle_normal, color=colour, linestyle="--", linewidth=1)
    left.set(
        xlabel="angle of real and discrete weights, degrees",
        ylabel="share of neurons",
        title="dashed: normal weights with the same zeros",
    )
    left.legend(fontsize=8)
    places = np.arange(len(report.layers))
    for key, marker, label in (
        ("sums_r", "o", "measured"),
        ("sums_r_permuted", "x", "inputs permuted"),
        ("sums_r_normal", "_", "normal weights"),
    ):
        values = [getattr(layer, key) for layer in report.layers]
        right.plot(places, [math.nan if v is None else v for v in values], marker, label=label)
    right.set_xticks(places, [layer.name for layer in report.layers])
    right.set(title="correlation of the sums", ylim=(0, 1.03), xlim=(-0.5, len(places) - 0.5))
    right.grid(True, linewidth=0.3)
    right.legend(fontsize=8, loc="lower right")
    figure.suptitle(f"{report.network}, {plural(report.samples, 'sample')}", fontsize=11)
    save_png(figure, path, NetworkError, dpi=110)
