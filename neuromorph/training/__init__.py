"""Training of networks with discrete weights by DST; the only part that needs torch.

from neuromorph.training import load_recipe, train_seeds

result = train_seeds(load_recipe("digits-gxnor"), 5, out="trained")
"""

from neuromorph.errors import MissingDependencyError

try:
    import torch as _torch  # noqa: F401
except ImportError as _error:
    raise MissingDependencyError(
        "training needs torch; run: pip install 'neuromorph[train]'"
    ) from _error

from neuromorph.training.dst import DST, parameter_groups
from neuromorph.training.export import export
from neuromorph.training.functional import phi
from neuromorph.training.importing import from_torch
from neuromorph.training.layers import Activation, BatchNorm, DiscreteConv2d, DiscreteLinear
from neuromorph.training.loss import squared_hinge
from neuromorph.training.models import DiscreteNetwork, Stage, build_model
from neuromorph.training.neurobench import to_neurobench, to_torch
from neuromorph.training.quantize import quantize
from neuromorph.training.recipe import Recipe, load_recipe, parse_recipe
from neuromorph.training.seeds import train_seeds
from neuromorph.training.sweep import sweep
from neuromorph.training.train import Trained, train

__all__ = [
    "DST",
    "Activation",
    "BatchNorm",
    "DiscreteConv2d",
    "DiscreteLinear",
    "DiscreteNetwork",
    "Recipe",
    "Stage",
    "Trained",
    "build_model",
    "export",
    "from_torch",
    "load_recipe",
    "parameter_groups",
    "parse_recipe",
    "phi",
    "quantize",
    "squared_hinge",
    "sweep",
    "to_neurobench",
    "to_torch",
    "train",
    "train_seeds",
]
