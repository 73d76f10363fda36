"""Errors: one family, each also the builtin a caller would guess."""

import ast
import builtins
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import neuromorph as nm
from neuromorph import errors

PACKAGE = Path(errors.__file__).parent

# class: (its base in the family, the builtin it also is)
FAMILY = {
    "LevelError": ("NeuromorphError", ValueError),
    "NetworkError": ("NeuromorphError", ValueError),
    "ChipError": ("NeuromorphError", ValueError),
    "PriceError": ("ChipError", ValueError),
    "MappingError": ("NeuromorphError", ValueError),
    "LearningError": ("NeuromorphError", ValueError),
    "SimulationError": ("NeuromorphError", RuntimeError),
    "TraceError": ("NeuromorphError", ValueError),
    "TraceVersionError": ("TraceError", ValueError),
    "RecipeError": ("NeuromorphError", ValueError),
    "MissingDependencyError": ("NeuromorphError", ImportError),
}
# Builtins that a protocol of Python asks for, or that say a promise of our own is broken.
PROTOCOL = {"KeyError", "AttributeError", "AssertionError", "SystemExit", "NotImplementedError"}


def test_the_family_is_complete():
    helpers = ["check_path", "check_type"]
    assert sorted(errors.__all__) == sorted([*FAMILY, "NeuromorphError", *helpers])
    assert {n for n, v in vars(errors).items() if isinstance(v, type)} | set(helpers) == set(
        errors.__all__
    )


@pytest.mark.parametrize("name", FAMILY)
def test_each_error_has_its_place(name):
    kind, (base, builtin) = getattr(errors, name), FAMILY[name]
    assert kind.__mro__[1] is getattr(errors, base)
    assert issubclass(kind, builtin)
    assert issubclass(kind, errors.NeuromorphError)
    others = {ValueError, RuntimeError, ImportError, OSError, TypeError} - {builtin}
    assert not issubclass(kind, tuple(others))
    assert kind.__doc__
    with pytest.raises(builtin, match="a sentence"):
        raise kind("a sentence")


def test_the_base_is_no_builtin_but_exception():
    assert errors.NeuromorphError.__mro__[1:] == (Exception, BaseException, object)
    assert nm.NeuromorphError is errors.NeuromorphError


def raised():
    """(file, line, name) of every ``raise Name(...)`` that may leave its function."""

    def walk(node, caught):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name = ast.unparse(node.exc.func).split(".")[-1]
            if not caught & {name, "Exception"}:
                yield node.lineno, name
        for field, value in ast.iter_fields(node):
            here = caught
            if isinstance(node, ast.Try) and field == "body":
                types = [ast.unparse(h.type) for h in node.handlers if h.type]
                here = caught | {t.strip() for text in types for t in text.strip("()").split(",")}
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from walk(child, here)

    for path in sorted(PACKAGE.rglob("*.py")):
        for line, name in walk(ast.parse(path.read_text(encoding="utf-8")), frozenset()):
            yield path.name, line, name


def test_what_the_package_raises_is_of_the_family():
    known = set(errors.__all__) | PROTOCOL
    stray = [
        (file, line, name)
        for file, line, name in raised()
        if name not in known and isinstance(getattr(builtins, name, None), type)
    ]
    assert stray == [], "raise an error of neuromorph.errors instead"


def test_every_error_is_raised_somewhere():
    assert {name for _, _, name in raised()} >= set(FAMILY)


def test_user_input_is_not_checked_by_assert_with_a_message():
    """Asserts are for our own invariants; a message in one is meant for a user."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.Assert) and node.msg), f"{path}:{node.lineno}"


# --- the doors: a thing of the wrong type is one sentence


def doors():
    mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
    run = nm.simulate(mapping, np.zeros((1, 1, 8, 8), np.uint8))
    prices = nm.load_prices("horowitz45")
    return {
        "simulation": (
            lambda: nm.simulate(mapping.network, np.zeros((1, 1, 8, 8), np.uint8)),
            "mapping is a Network, not a Mapping; give map_network",
        ),
        "counts": (
            lambda: nm.estimate_energy(run, prices),
            "counts is a Run, not a Counts; give run.counts",
        ),
        "prices": (
            lambda: nm.estimate_energy(run.counts, "horowitz45"),
            "prices is a str, not a Prices; give load_prices",
        ),
        "network": (lambda: nm.load_network(None), "network is None; give a name or a path"),
        "chip": (lambda: nm.load_chip(3), "chip file is 3; give a name or a path"),
        "price file": (lambda: nm.load_prices([]), r"price file is \[\]; give a name or a path"),
        "long name": (lambda: nm.load_prices("x" * 9999), "cannot read price file xxx"),
        "trace": (lambda: nm.Trace(5), "trace is 5; give a name or a path"),
        "interval": (
            lambda: nm.estimate_energy(run.counts, prices, interval_s=1e308),
            r"interval_s is 1e\+308; must be a positive number of seconds, at most 1e\+09",
        ),
    }


@pytest.mark.parametrize(
    "door",
    [
        *("simulation", "counts", "prices", "network", "chip", "price file", "long name"),
        *("trace", "interval"),
    ],
)
def test_wrong_things_at_the_doors_are_one_sentence(door):
    call, sentence = doors()[door]
    with pytest.raises(errors.NeuromorphError, match=sentence):
        call()


def test_a_checkout_without_built_kernels_says_what_to_do(tmp_path):
    copy = tmp_path / "neuromorph"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"))
    code = "import neuromorph as nm\ntry:\n    nm.simulate\nexcept nm.NeuromorphError as error:\n"
    answer = subprocess.run(
        [sys.executable, "-c", code + "    print(error)"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.startswith("the compiled kernels cannot be loaded (")
    assert "run pip install -e . in its folder" in answer.stdout
