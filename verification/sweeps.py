"""The sweeps of the paper (sections 7 to 10 of ``docs/paper.md``) on a small network.

    python verification/sweeps.py                    # all of them, about 40 CPU minutes
    python verification/sweeps.py r a --out sweeps   # some, into another folder

Each is the command ``neuromorph train verification/sweeps.toml --sweep …`` with
the settings below, three seeds, last epoch.  A stopped run goes on where it was;
``--pictures FOLDER`` copies each picture there as ``sweep-NAME.png``.
"""

import argparse
import shutil
from pathlib import Path

from neuromorph.training import load_recipe, sweep
from neuromorph.training.sweep import vary
from neuromorph.workers import Workers

RECIPE = Path(__file__).with_suffix(".toml")
HIDDEN = {"optimizer.betas": [0.9, 0.999], "optimizer.rate": 0.03}

# name: (settings that differ from the recipe, the axes)
SWEEPS = {
    "m": ({}, [("optimizer.m", [0.3, 1.0, 3.0, 10.0, 30.0])]),
    "r": ({}, [("activation.r", [0.1, 0.3, 0.5, 0.7, 0.9])]),
    "a": ({}, [("activation.a", [0.1, 0.25, 0.5, 1.0, 2.0])]),
    "beta1": ({}, [("optimizer.betas", [[b, 0.999] for b in (0.0, 0.9, 0.99, 0.997)])]),
    "pulse": (
        {},
        [
            ("activation.pulse", ["rectangular", "triangular"]),
            ("optimizer.transition", ["tanh", "unbiased"]),
        ],
    ),
    "spaces": ({}, [("levels.weights", [0, 1, 2]), ("levels.activations", [0, 1, 2, 4, "float"])]),
    "increments": ({}, [("optimizer.increments", ["sgd", "momentum", "adam8", "adam"])]),
    "bnn-dst": ({"levels.weights": 0, "levels.activations": 0}, [("levels.method", ["dst"])]),
    "bnn": (
        {"levels.weights": 0, "levels.activations": 0, **HIDDEN},
        [("levels.method", ["sign", "stochastic"])],
    ),
    "bwn-dst": ({"levels.weights": 0, "levels.activations": "float"}, [("levels.method", ["dst"])]),
    "bwn": (
        {"levels.weights": 0, "levels.activations": "float", **HIDDEN},
        [("levels.method", ["bwn"])],
    ),
    "twn-dst": ({"levels.activations": "float"}, [("levels.method", ["dst"])]),
    "twn": ({"levels.activations": "float", **HIDDEN}, [("levels.method", ["twn"])]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SWEEPS))
    parser.add_argument("--out", type=Path, default=Path("sweeps"))
    parser.add_argument("--data", help="folder of the data sets")
    parser.add_argument("--jobs", type=int, default=1, help="seeds side by side")
    parser.add_argument("--pictures", type=Path)
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(SWEEPS))
    if unknown:
        parser.error(f"no sweep {', '.join(unknown)}; there are {', '.join(SWEEPS)}")
    for name in given.names or SWEEPS:
        settings, axes = SWEEPS[name]
        out = given.out / name
        summary = sweep(
            vary(load_recipe(RECIPE), settings),
            axes,
            folder=given.data,
            out=out,
            workers=Workers(jobs=given.jobs),
            progress=False,
        )
        print(f"\n{name}: {', '.join(key for key, _ in axes)}")
        for row in summary["rows"]:
            print(describe(row), flush=True)
        if given.pictures and (out / "sweep.png").exists():
            shutil.copy(out / "sweep.png", given.pictures / f"sweep-{name}.png")


def describe(row: dict) -> str:
    """One line of the table of a sweep."""
    values = ", ".join(str(value) for value in row["settings"].values())
    test = row["test_accuracy"]
    zeros = row["activation_zeros"]
    return (
        f"{values:24} {100 * test['mean']:6.2f} ± {100 * (test['sd'] or 0):.2f} %"
        f"   zeros: weights {row['weight_zeros']:.1%}"
        + (f", activations {zeros:.1%}" if zeros is not None else "")
        + f"   rest {row['resting_fraction']:.1%}"
    )


if __name__ == "__main__":
    main()
