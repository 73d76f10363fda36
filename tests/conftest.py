"""What every test shares: a check that the kernels are built, hypothesis profiles, data."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
KERNELS = ROOT / "neuromorph" / "kernels"

# Shared machines stall for seconds, so no test has a deadline; CI repeats the same cases.
settings.register_profile("local", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def stale_kernels(folder):
    """Sources of the kernels that are newer than what was built from them, or never built."""
    stale = []
    for door in sorted(folder.glob("_*.pyx")):
        family = door.stem.removeprefix("_")  # _vcount.pyx goes with vcount*.c and vcount*.h
        built = [p for end in ("so", "pyd") for p in folder.glob(f"{door.stem}.*.{end}")]
        oldest = min((p.stat().st_mtime for p in built), default=0.0)
        sources = [door, *folder.glob(f"{family}*.c"), *folder.glob(f"{family}*.h")]
        stale += [p.name for p in sources if p.stat().st_mtime > oldest]
    return stale


def pytest_configure(config):
    import neuromorph

    if Path(neuromorph.__file__).resolve().parent != KERNELS.parent:
        return  # an installed package is tested, not this folder
    stale = stale_kernels(KERNELS)
    if stale:
        pytest.exit(
            f"{', '.join(stale)} newer than the built kernels; build them first: "
            "python setup.py build_ext --inplace",
            returncode=3,
        )


@pytest.fixture(scope="session")
def data_root():
    """Folder of the data sets: NEUROMORPH_DATA, else ../shared/data."""
    folder = Path(os.environ.get("NEUROMORPH_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no data folder {folder}; set NEUROMORPH_DATA")
    return folder


@pytest.fixture(scope="session")
def mnist_root(data_root):
    """The data folder, if MNIST is in it."""
    if not (data_root / "mnist").is_dir():
        pytest.skip(f"no MNIST in {data_root}; set NEUROMORPH_DATA to a folder that holds mnist/")
    return data_root
