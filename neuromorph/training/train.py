"""Training by a recipe: a fixed schedule, of which the last epoch is the result.

Nothing is chosen here, neither an epoch nor a setting; the test images are
read once, when the last epoch is done.  Order of samples and shifts are drawn
by counters keyed by (seed, epoch), so a run that was stopped goes on bit for
bit as if it had not been.  torch runs on one thread: how it splits a sum over
more would change its last bits, and with them the trained network.  On a GPU
draws are the same, but convolutions add up in any order and round as they
please, so no run repeats another bit for bit.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from neuromorph import draws
from neuromorph.errors import RecipeError
from neuromorph.training.checkpoint import load_checkpoint, save_checkpoint
from neuromorph.training.dst import DST, parameter_groups, share_curvature
from neuromorph.training.loss import squared_hinge
from neuromorph.training.measure import accuracy, accuracy_and_dice, dice, measure_rest
from neuromorph.training.models import DiscreteNetwork, build_model
from neuromorph.training.quantize import quantize
from neuromorph.training.recipe import Recipe
from neuromorph.writing import write_whole

__all__ = ["Trained", "Training", "train"]

CALIBRATION = 2000  # training images by which float activations are scaled

# Layer numbers of the draws that are not weights; layers of a network count from 0.
_ORDER, _SHIFT_DOWN, _SHIFT_RIGHT, _FLIP = 0xFFFF0000, 0xFFFF0001, 0xFFFF0002, 0xFFFF0003


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """A network after the last epoch of its schedule.

    Parameters
    ----------
    model : DiscreteNetwork
    deployed : DiscreteNetwork
        What is exported: the model itself, or, where parts of it are float,
        its post-training quantisation (calibrated on training images).
    result : dict
        ``seed``, ``validation_accuracy``, ``test_accuracy``,
        ``deployed_test_accuracy`` (of ``deployed``), ``best_validation``
        (epoch and both accuracies of the epoch best on validation), ``best_test``
        (the same of the epoch best on test, if the recipe looks), ``layers``
        (see :func:`neuromorph.training.measure.measure_rest`, on the test
        images), ``resting_fraction`` (over all pairs),
        ``optimizer_bits_per_weight``, ``hidden_bits_per_weight`` (0 with DST),
        ``devices`` (on which it was trained, with torch's version) and
        ``history`` (one dict an epoch); where every pixel has a label also
        ``validation_dice``, ``test_dice`` and ``deployed_test_dice``.
    """

    model: DiscreteNetwork
    deployed: DiscreteNetwork
    result: dict[str, Any]


class Training:
    """A training in progress.

    Parameters
    ----------
    recipe : Recipe
    seed : int
    folder : path, optional
        Where data sets lie; see :func:`neuromorph.data.data_folder`.
    out : path
        Checkpoints go to ``out/checkpoints/seed-<seed>.safetensors``.

    Raises
    ------
    RecipeError
        Data that are missing, a recipe that does not fit them.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        seed: int,
        folder: str | os.PathLike[str] | None,
        out: str | os.PathLike[str],
    ) -> None:
        self.recipe, self.seed = recipe, seed
        self.data = recipe.load_data(folder)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = build_model(recipe, self.data, seed).to(self.device)
        rules = recipe.optimizer
        self.optimizer = DST(
            parameter_groups(self.model),
            rules.rate,
            increments=rules.increments,
            betas=rules.betas,
            m=rules.m,
            kind=rules.transition,
            seed=seed,
        )
        if self.data.is_segmentation and recipe.data.shift:
            raise RecipeError(
                f"data.shift is {recipe.data.shift}, but images of {self.data.name!r} have a label "
                "a pixel, which cannot be shifted in; leave it out"
            )
        images, batch = len(self.data.train_labels), recipe.training.batch
        if batch > images and recipe.data.limit is None:
            raise RecipeError(
                f"training.batch is {batch}, but data set {self.data.name!r} has {images} images "
                "to train on; take a smaller batch"
            )
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Tensor] = {}  # state of the epoch best on validation
        self.devices: list[str] = []  # on which epochs were trained
        self.checkpoint = Path(out) / "checkpoints" / f"seed-{seed}.safetensors"
        self._images = torch.tensor(self.data.train_images, device=self.device)
        self._labels = torch.tensor(self.data.train_labels, device=self.device)

    @property
    def is_done(self) -> bool:
        """Whether the schedule has come to its end."""
        return len(self.history) >= self.recipe.training.epochs

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one.

        Raises
        ------
        RecipeError
            A checkpoint that is damaged or of another recipe.
        """
        if self.checkpoint.exists():
            self.history, self.best, self.devices = load_checkpoint(
                self.checkpoint, self.model, self.optimizer, recipe=self.recipe, seed=self.seed
            )

    def epoch(self) -> dict[str, float]:
        """Train one epoch, write the checkpoint, return the new history entry.

        Raises
        ------
        RecipeError
            The loss is not finite (the checkpoint stays that of the epoch
            before), or the checkpoint cannot be written.
        """
        number = len(self.history)
        batch = min(self.recipe.training.batch, len(self._labels))
        steps = len(self._labels) // batch
        order = self._order(number)
        images, labels = self.varied(number)
        total = torch.zeros((), device=self.device)
        self.model.train()
        with _settled():
            for step in range(steps):
                t = (number + step / steps) / self.recipe.training.epochs
                self._set_rate(t)
                self.model.anneal(t)
                chosen = order[step * batch : (step + 1) * batch]
                loss = squared_hinge(self.model(images[chosen]), labels[chosen])
                self.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                self.optimizer.step()
                share_curvature(self.model, self.optimizer)
                total += loss.detach()
        mean = total.item() / steps
        if not math.isfinite(mean):
            kept = f"; the checkpoint of epoch {number} is kept" if number else ""
            raise RecipeError(
                f"training of {self.recipe.name!r}, seed {self.seed}, stopped: the loss of epoch "
                f"{number + 1} is {mean}{kept}; lower optimizer.rate or optimizer.float_rate"
            )
        entry = {"loss": mean, "validation_accuracy": self._accuracy("validation")}
        if self.recipe.training.test_each_epoch:
            entry["test_accuracy"] = self._accuracy("test")
        self.history.append(entry)
        if (device := _device_name(self.device)) not in self.devices:
            self.devices.append(device)
        if number == self._best_epoch:
            self.best = {k: v.clone() for k, v in self.model.state_dict().items()}
        save_checkpoint(
            self.checkpoint,
            self.model,
            self.optimizer,
            recipe=self.recipe,
            seed=self.seed,
            history=self.history,
            best=self.best,
            devices=self.devices,
        )
        return entry

    @property
    def _best_epoch(self) -> int:
        """The epoch (from 0) of the best validation accuracy, the first among equals."""
        return max(
            range(len(self.history)), key=lambda e: (self.history[e]["validation_accuracy"], -e)
        )

    def run(self, *, progress: bool = False) -> None:
        """Train to the end of the schedule; ``progress`` shows a bar on standard error.

        Raises
        ------
        RecipeError
            As :meth:`epoch`; a folder that cannot be written is told before
            the first.
        """
        probe = self.checkpoint.with_suffix(".probe")
        write_whole(probe, b"", RecipeError)
        probe.unlink()
        with tqdm(
            total=self.recipe.training.epochs,
            initial=len(self.history),
            desc=f"{self.recipe.name} seed {self.seed}",
            unit="epoch",
            disable=not progress,
        ) as bar:
            while not self.is_done:
                entry = self.epoch()
                bar.set_postfix(validation=f"{entry['validation_accuracy']:.2%}", refresh=False)
                bar.update()

    def finish(self) -> Trained:
        """Read the test images, once, and measure."""
        deployed = self.model
        if not self.recipe.levels.is_integer:
            deployed = quantize(self.model, self._images[:CALIBRATION])
        test = self.part("test")
        layers = measure_rest(self.model, test[0])
        pairs = sum(layer["synapses"] for layer in layers)
        resting = sum(layer["synapses"] * layer["resting_fraction"] for layer in layers) / pairs
        test_accuracy, test_dice = deployed_accuracy, deployed_dice = accuracy_and_dice(
            self.model, *test
        )
        if deployed is not self.model:
            deployed_accuracy, deployed_dice = accuracy_and_dice(deployed, *test)
        result: dict[str, Any] = {
            "seed": self.seed,
            "validation_accuracy": self._accuracy("validation"),
            "test_accuracy": test_accuracy,
            "deployed_test_accuracy": deployed_accuracy,
            "best_validation": self._at_best_validation(),
            "resting_fraction": resting,
            "optimizer_bits_per_weight": self.optimizer.state_bits,
            "hidden_bits_per_weight": 0 if self._hops else 32,
            "devices": self.devices,
            "layers": layers,
            "history": self.history,
        }
        if all("test_accuracy" in entry for entry in self.history):
            epoch = max(range(len(self.history)), key=lambda e: self.history[e]["test_accuracy"])
            result["best_test"] = {"epoch": epoch + 1, **self.history[epoch]}
            del result["best_test"]["loss"]
        if self.data.is_segmentation:
            result["validation_dice"] = dice(self.model, *self.part("validation"))
            result["test_dice"], result["deployed_test_dice"] = test_dice, deployed_dice
        return Trained(model=self.model, deployed=deployed, result=result)

    @property
    def _hops(self) -> bool:
        """Whether weights are discrete while they are trained."""
        levels = self.recipe.levels
        return levels.n1 is not None and levels.method == "dst"

    def _at_best_validation(self) -> dict[str, float]:
        """What the epoch best on validation would have given: a second figure, never the first."""
        model = copy.deepcopy(self.model)
        model.load_state_dict(self.best)
        return {
            "epoch": self._best_epoch + 1,
            "validation_accuracy": self.history[self._best_epoch]["validation_accuracy"],
            "test_accuracy": accuracy(model, *self.part("test")),
        }

    def _set_rate(self, t: float) -> None:
        """Learning rates at the fraction t of the whole schedule."""
        rules = self.recipe.optimizer
        factor = rules.factor(t)
        for group in self.optimizer.param_groups:
            group["lr"] = (rules.float_rate if group["layer"] is None else rules.rate) * factor

    def _order(self, epoch: int) -> Tensor:
        draw = draws.uniform(self.seed, _ORDER, epoch, np.arange(len(self._labels)))
        return torch.from_numpy(np.argsort(draw, kind="stable")).to(self.device)

    def varied(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Training images and labels of an epoch: mirrored and moved, each by its own draws."""
        images, labels, count = self._images, self._labels, len(self._images)
        if self.recipe.data.flip:
            mirrored = draws.uniform(self.seed, _FLIP, epoch, np.arange(count)) < 0.5
            chosen = torch.from_numpy(mirrored).to(self.device)[:, None, None, None]
            images = torch.where(chosen, images.flip(3), images)
            if self.data.is_segmentation:
                labels = torch.where(chosen[:, 0], labels.flip(2), labels)
        return self._shifted(images, epoch) if self.recipe.data.shift else images, labels

    def _shifted(self, images: Tensor, epoch: int) -> Tensor:
        """Images moved by whole pixels; zeros move in."""
        reach = self.recipe.data.shift
        count, channels, height, width = images.shape
        padded = F.pad(images, (reach,) * 4)
        starts = (
            np.floor(draws.uniform(self.seed, key, epoch, np.arange(count)) * (2 * reach + 1))
            for key in (_SHIFT_DOWN, _SHIFT_RIGHT)
        )
        top, left = (torch.from_numpy(s.astype(np.int64)).to(self.device) for s in starts)
        rows = (top[:, None] + torch.arange(height, device=self.device))[:, None, :, None]
        columns = (left[:, None] + torch.arange(width, device=self.device))[:, None, None, :]
        index = torch.arange(count, device=self.device)[:, None, None, None]
        channel = torch.arange(channels, device=self.device)[None, :, None, None]
        return padded[index, channel, rows, columns]

    def part(self, part: str) -> tuple[Tensor, Tensor]:
        """Images and labels of ``train``, ``validation`` or ``test``, on the device."""
        images, labels = (getattr(self.data, f"{part}_{what}") for what in ("images", "labels"))
        return torch.tensor(images, device=self.device), torch.tensor(labels, device=self.device)

    def _accuracy(self, part: str) -> float:
        return accuracy(self.model, *self.part(part))


def _device_name(device: torch.device) -> str:
    name = "CPU" if device.type == "cpu" else torch.cuda.get_device_name(device)
    return f"{name} (torch {torch.__version__})"


@contextmanager
def _settled() -> Iterator[None]:
    """One thread; on a GPU, the convolution that is fastest for shapes that stay the same."""
    before = torch.get_num_threads(), torch.backends.cudnn.benchmark
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.backends.cudnn.benchmark = before[1]


def train(
    recipe: Recipe,
    *,
    seed: int,
    folder: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str],
    epochs: int | None = None,
    resume: bool = True,
    progress: bool = True,
) -> Trained:
    """Train one network to the end of its schedule.

    Parameters
    ----------
    recipe : Recipe
    seed : int
        Decides initial weights, order, shifts and every transition.
    folder : path, optional
        Where data sets lie; see :func:`neuromorph.data.data_folder`.
    out : path
        Gets ``checkpoints/seed-<seed>.safetensors`` after every epoch.
    epochs : int, optional
        Length of the schedule instead of the recipe's.
    resume : bool
        Go on from the checkpoint, if there is one; else start anew.
    progress : bool
        Show a progress bar on standard error.

    Raises
    ------
    RecipeError
        Missing data, a checkpoint of another recipe, a loss that is not
        finite, a folder that cannot be written.
    """
    training = Training(recipe.with_epochs(epochs), seed=seed, folder=folder, out=out)
    if resume:
        training.resume()
    training.run(progress=progress)
    return training.finish()
