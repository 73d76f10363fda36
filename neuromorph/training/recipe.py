"""Training recipes: one TOML file says everything that decides a trained network.

Unknown keys, wrong types and impossible values are refused in one sentence
that names the key.  The keys are explained in ``docs/training.md``.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
import numpy as np

from neuromorph.data import DATA_NAMES, Dataset, load_data
from neuromorph.errors import RecipeError
from neuromorph.levels import MAX_TRAINED_N, Pulse, Transition
from neuromorph.network import Encoding, network_folders
from neuromorph.toml import checked, parse_toml
from neuromorph.training.lossaware import LOSS_AWARE, TWO_SCALES

__all__ = [
    "METHODS",
    "ActivationPart",
    "ConvLayer",
    "DataPart",
    "InputPart",
    "LevelsPart",
    "LinearLayer",
    "Method",
    "NormPart",
    "OptimizerPart",
    "Recipe",
    "TrainingPart",
    "load_recipe",
    "parse_recipe",
    "parse_recipe_dict",
]

RECIPE_FILE = "recipe.toml"

Method = Literal[
    "dst",
    "sign",
    "stochastic",
    "bwn",
    "twn",
    "lab",
    "lat_exact",
    "lat_approx",
    "lat2_exact",
    "lat2_approx",
    "laq_linear",
    "laq_log",
]
METHODS: dict[Method, tuple[int, ...]] = {  # method -> N1 that it can make
    "dst": tuple(range(MAX_TRAINED_N + 1)),
    "sign": (0,),
    "stochastic": (0,),
    "bwn": (0,),
    "twn": (1,),
    "lab": (0,),
    "lat_exact": (1,),
    "lat_approx": (1,),
    "lat2_exact": (1,),
    "lat2_approx": (1,),
    "laq_linear": tuple(range(2, MAX_TRAINED_N + 1)),
    "laq_log": tuple(range(2, MAX_TRAINED_N + 1)),
}
assert tuple(METHODS) == get_args(Method)

_Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 16)]
_Space = Annotated[int, msgspec.Meta(ge=0, le=MAX_TRAINED_N)]
_Beta = Annotated[float, msgspec.Meta(ge=0, lt=1)]
_Positive = Annotated[float, msgspec.Meta(gt=0, le=1e6)]
_Rate = Annotated[float, msgspec.Meta(ge=0, le=1e6)]
_Name = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9_-]{1,64}$", description="text of 1 to 64 letters, digits, - or _"
    ),
]


Schedule = Literal["quadratic", "linear", "constant", "exponential"]  # see `factor`


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class DataPart(_Part, frozen=True):
    """``[data]``: which images, and how training images are varied."""

    name: str
    shift: Annotated[int, msgspec.Meta(ge=0, le=16)] = 0  # pixels, drawn for each sample
    flip: bool = False  # mirror left and right, drawn for each sample
    limit: Annotated[int, msgspec.Meta(ge=2, le=1 << 31)] | None = None  # images of each part


class InputPart(_Part, frozen=True):
    """``[input]``: how grey values become the first events."""

    encoding: Encoding
    thresholds: tuple[int, int] | None = None  # ternary: −1 below the first, +1 from the second on
    bits: Annotated[int, msgspec.Meta(ge=1, le=12)] | None = None  # bitplane and graded


class LevelsPart(_Part, frozen=True):
    """``[levels]``: N1 of the weights, N2 of the activations."""

    weights: _Space | Literal["float"] = 1
    activations: _Space | Literal["float"] = 1
    # how weights come to be discrete; all but dst keep a hidden real weight
    method: Method = "dst"

    @property
    def n1(self) -> int | None:
        """N1, or None for float weights."""
        return self.weights if isinstance(self.weights, int) else None

    @property
    def n2(self) -> int | None:
        """N2, or None for float activations (ReLU)."""
        return self.activations if isinstance(self.activations, int) else None

    @property
    def is_integer(self) -> bool:
        """Whether the trained network is one of integers as it stands."""
        folds = self.method not in TWO_SCALES
        return self.n1 is not None and self.n2 is not None and folds


class ActivationPart(_Part, frozen=True):
    """``[activation]``: φ_r and the window that stands for its derivative."""

    r: Annotated[float, msgspec.Meta(ge=0, lt=1e3)] = 0.5
    a: _Positive = 0.5
    h: _Positive = 1.0  # H, below which all thresholds lie (activations above 1)
    pulse: Pulse = "rectangular"
    # β at the start and the end of training, of a hyperbolic tangent that becomes φ_0.5
    slope: tuple[_Positive, _Positive] | None = None


class NormPart(_Part, frozen=True):
    """``[norm]``: batch norm, plain or by shifts (its factors are powers of two)."""

    kind: Literal["plain", "shift"] = "plain"


class LinearLayer(_Part, frozen=True, tag_field="kind", tag="linear"):
    """``[[layers]]`` of kind ``linear``: fully connected, batch norm, φ_r."""

    features: _Count


class ConvLayer(_Part, frozen=True, tag_field="kind", tag="conv"):
    """``[[layers]]`` of kind ``conv``: convolution, max-pool, batch norm, φ_r."""

    channels: _Count
    kernel: Annotated[int, msgspec.Meta(ge=1, le=64)]
    stride: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    padding: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0
    dilation: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    pool: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1  # 1: none
    # what it hears, if not the layer before: "input", "conv1", …, joined along channels
    sources: tuple[str, ...] = ()
    upsample: tuple[_Count, ...] = ()  # a factor for each of them; left out, all 1

    @property
    def extent(self) -> int:
        """Pixels from the first tap of a row to its last."""
        return (self.kernel - 1) * self.dilation + 1


class OptimizerPart(_Part, frozen=True):
    """``[optimizer]``: increments, their schedule, and the transition."""

    increments: Literal["sgd", "momentum", "adam", "adam8", "adamax", "shift_adamax"] = "adam"
    betas: tuple[_Beta, _Beta] = (0.99, 0.999)
    rate: _Rate = 0.03  # of discrete weights, at the start
    float_rate: _Rate = 0.03  # of batch-norm γ and β, at the start; same schedule
    schedule: Schedule = "quadratic"
    m: _Positive = 3.0
    transition: Transition = "tanh"

    def factor(self, t: float) -> float:
        """What rates are multiplied by at the fraction t of the schedule.

        (1 − t)², 1 − t, 1, or 10⁻⁴ᵗ (from 10⁻² to 10⁻⁶ in the authors' code).
        """
        return {
            "quadratic": (1 - t) ** 2,
            "linear": 1 - t,
            "constant": 1.0,
            "exponential": 10 ** (-4 * t),
        }[self.schedule]


class TrainingPart(_Part, frozen=True):
    """``[training]``: how long, in which portions, how often."""

    epochs: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
    batch: Annotated[int, msgspec.Meta(ge=2, le=1 << 20)] = 100
    seeds: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5  # seeds 1 … seeds
    test_each_epoch: bool = False  # for the best test epoch, reported apart; decides nothing


class Recipe(_Part, frozen=True):
    """A whole recipe; the output layer is implied by the data's classes."""

    name: _Name
    data: DataPart
    input: InputPart
    layers: Annotated[list[LinearLayer | ConvLayer], msgspec.Meta(max_length=100)]
    training: TrainingPart
    levels: LevelsPart = LevelsPart()
    activation: ActivationPart = ActivationPart()
    norm: NormPart = NormPart()
    optimizer: OptimizerPart = OptimizerPart()
    description: str = ""

    def __post_init__(self) -> None:
        if self.data.name not in DATA_NAMES:
            known = ", ".join(DATA_NAMES)
            raise RecipeError(f"data.name is {self.data.name!r}; known data sets are {known}")
        entry = self.input
        if entry.encoding == "ternary":
            if entry.thresholds is None:
                raise RecipeError("input.thresholds is missing; ternary input needs [low, high]")
            if entry.bits is not None:
                raise RecipeError("input.bits is for bitplane and graded input, not for ternary")
            if entry.thresholds[0] > entry.thresholds[1]:
                raise RecipeError(f"input.thresholds is {list(entry.thresholds)}; need low <= high")
        else:
            if entry.bits is None:
                raise RecipeError(f"input.bits is missing; {entry.encoding} input needs it")
            if entry.thresholds is not None:
                raise RecipeError(
                    f"input.thresholds is for ternary input, not for {entry.encoding}"
                )
        levels, phi = self.levels, self.activation
        if levels.n1 is None and levels.method != "dst":
            raise RecipeError(
                f"levels.method is {levels.method!r}, which makes discrete weights, but "
                "levels.weights is 'float'; leave the method out"
            )
        able = METHODS[levels.method]
        if levels.n1 is not None and levels.n1 not in able:
            others = ", ".join(m for m, spaces in METHODS.items() if levels.n1 in spaces)
            raise RecipeError(
                f"levels.method {levels.method!r} cannot make weights of Z_{levels.n1}; "
                f"it makes Z_{able[0]}"
                + (f" … Z_{able[-1]}" if len(able) > 1 else "")
                + f", and Z_{levels.n1} is made by {others}"
            )
        if levels.method in LOSS_AWARE and self.optimizer.increments not in ("adam", "adam8"):
            raise RecipeError(
                f"levels.method {levels.method!r} weighs by Adam's second moment, which "
                f"optimizer.increments {self.optimizer.increments!r} does not keep; use 'adam' or "
                "'adam8'"
            )
        if levels.n2 is not None and levels.n2 > 1 and phi.r >= phi.h:
            raise RecipeError(f"activation.r is {phi.r} and activation.h is {phi.h}; need r < h")
        if phi.slope is not None and (levels.n2 != 1 or phi.r != 0.5):
            raise RecipeError(
                f"activation.slope makes ternary neurons with r = 0.5, but levels.activations is "
                f"{levels.activations!r} and activation.r {phi.r}; leave the slope out"
            )
        if phi.slope is not None and phi.slope[0] > phi.slope[1]:
            raise RecipeError(
                f"activation.slope is {list(phi.slope)}; it grows steeper, so give the lower first"
            )
        kinds = [isinstance(layer, ConvLayer) for layer in self.layers]
        if kinds != sorted(kinds, reverse=True):
            place = kinds.index(True, kinds.index(False))
            raise RecipeError(f"layers[{place}] is a conv after a linear layer; put convs first")
        self._check_sources()
        for place, layer in enumerate(self.layers):
            if isinstance(layer, ConvLayer) and layer.padding >= layer.extent:
                dilated = f" with dilation {layer.dilation}" if layer.dilation > 1 else ""
                raise RecipeError(
                    f"layers[{place}].padding is {layer.padding}; it must be smaller than the "
                    f"kernel, {layer.kernel}{dilated}"
                )

    def _check_sources(self) -> None:
        """Refuse sources that are not there, and layers that nobody hears."""
        unheard, before = {"input"}, "input"
        for place, layer in enumerate(self.layers):
            known = ["input", *(f"conv{i + 1}" for i in range(place))]
            sources = [before]
            if isinstance(layer, ConvLayer) and (layer.sources or layer.upsample):
                sources = list(layer.sources)
                if not sources:
                    raise RecipeError(
                        f"layers[{place}].upsample is {list(layer.upsample)} but layers[{place}]."
                        "sources is missing; name what is up-sampled, a factor each"
                    )
                factors = layer.upsample or (1,) * len(sources)
                if len(factors) != len(sources):
                    raise RecipeError(
                        f"layers[{place}].upsample has {len(factors)} factors for {len(sources)} "
                        "sources; give one a source"
                    )
                for name in sources:
                    if name not in known or sources.count(name) > 1:
                        raise RecipeError(
                            f"layers[{place}].sources is {sources}; name each once of "
                            f"{', '.join(known)}"
                        )
                self._check_units(place, sources)
            unheard -= set(sources)
            before = f"conv{place + 1}" if isinstance(layer, ConvLayer) else f"fc{place + 1}"
            unheard.add(before)
        if unheard != {before}:
            name = min(unheard - {before})
            raise RecipeError(f"{name} is heard by no layer; name it in sources or leave it out")

    def _check_units(self, place: int, sources: list[str]) -> None:
        """Refuse to join levels that stand for different numbers: no threshold folds their sum."""
        n2, encoding = self.levels.n2, self.input.encoding
        if len(sources) < 2 or "input" not in sources:
            return
        if n2 not in (0, 1) or encoding != "ternary":
            raise RecipeError(
                f"layers[{place}].sources joins {encoding} input with levels of other layers "
                f"(levels.activations is {self.levels.activations!r}), which have no unit in "
                "common; only ternary input joins others, where levels.activations is 0 or 1"
            )

    @property
    def sha256(self) -> str:
        """Hash of all that decides the outcome: not name, description, number of seeds
        and what is only looked at.

        Keys at their default are left out, so that a new key does not change old hashes.
        """
        plain = _chosen(self)
        plain.pop("description", None)
        plain["training"].pop("seeds", None)
        plain["training"].pop("test_each_epoch", None)
        del plain["name"]
        return hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()

    def with_epochs(self, epochs: int | None) -> Recipe:
        """The same recipe with another length of schedule (None: as it is).

        Raises
        ------
        RecipeError
            ``epochs`` below 1.
        """
        if epochs is None:
            return self
        if epochs < 1:
            raise RecipeError(f"epochs is {epochs}; it must be at least 1")
        training = msgspec.structs.replace(self.training, epochs=epochs)
        return msgspec.structs.replace(self, training=training)

    def with_limit(self, limit: int | None) -> Recipe:
        """The same recipe on ``limit`` images of each part: a trial (None: as it is).

        Raises
        ------
        RecipeError
            ``limit`` below 2.
        """
        if limit is None:
            return self
        if limit < 2:
            raise RecipeError(f"limit is {limit}; it must be at least 2, for batch norm")
        return msgspec.structs.replace(self, data=msgspec.structs.replace(self.data, limit=limit))

    def load_data(self, folder: str | os.PathLike[str] | None = None) -> Dataset:
        """The data set of the recipe; see :func:`neuromorph.data.load_data`.

        Raises
        ------
        RecipeError, MissingDependencyError
            As there; fewer classes in ``data.limit`` training images than in all.
        """
        data = load_data(self.data.name, folder)
        if self.data.limit is None:
            return data
        some = data.some(self.data.limit)
        shown = len(np.unique(some.train_labels))
        if shown != data.classes:
            raise RecipeError(
                f"data.limit is {self.data.limit}, and so few training images show {shown} of "
                f"{data.classes} classes; take more"
            )
        return some


def _chosen(part: msgspec.Struct) -> dict[str, Any]:
    """The keys of a part that are not at their default, parts inside likewise."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(part):
        value = getattr(part, field.name)
        if value == field.default:
            continue
        if isinstance(value, msgspec.Struct):
            value = _chosen(value)
        elif isinstance(value, list):
            value = [
                {"kind": item.__struct_config__.tag, **_chosen(item)}
                if isinstance(item, msgspec.Struct)
                else item
                for item in value
            ]
        found[field.name] = value
    return found


def load_recipe(name: str | os.PathLike[str]) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    name : str or path
        A TOML file, a folder with ``recipe.toml``, or the name of a network in
        ``./networks`` or among the installed ones (in this order).

    Raises
    ------
    RecipeError
        Not found, or not a valid recipe; names the file and the key.
    """
    path = _find(name)
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise RecipeError(f"cannot read recipe {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: this is not a TOML file (not UTF-8 text)") from None
    try:
        return parse_recipe(text)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None


def parse_recipe(text: str) -> Recipe:
    """Recipe of a TOML text.

    Raises
    ------
    RecipeError
        Not TOML, an unknown key, a wrong type or value; names the key.
    """
    return parse_recipe_dict(parse_toml(text, RecipeError))


def parse_recipe_dict(plain: dict[str, Any]) -> Recipe:
    """Recipe of plain tables, as TOML gives them.

    Raises
    ------
    RecipeError
        An unknown key, a wrong type or value; names the key.
    """
    return checked(plain, Recipe, RecipeError)


def _find(name: str | os.PathLike[str]) -> Path:
    path = Path(name)
    if path.is_dir() and (path / RECIPE_FILE).exists():
        return path / RECIPE_FILE
    if path.is_file():
        return path
    found = {f.parent.name: f for d in network_folders()[::-1] for f in d.glob(f"*/{RECIPE_FILE}")}
    if str(name) in found:
        return found[str(name)]
    known = ", ".join(sorted(found)) or "none"
    raise RecipeError(f"no recipe {str(name)!r}: no such file or folder; known names: {known}")
