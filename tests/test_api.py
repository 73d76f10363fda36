"""The public names: few, documented, annotated, and cheap to import."""

import dataclasses
import inspect
import re
import subprocess
import sys

import pytest

import neuromorph as nm

# The list of the design.
PUBLIC = [
    "Chip",
    "Counts",
    "EnergyReport",
    "Levels",
    "Mapping",
    "Network",
    "NeuromorphError",
    "Prices",
    "Run",
    "Trace",
    "estimate_energy",
    "learn",
    "load_chip",
    "load_network",
    "load_prices",
    "map_network",
    "save_network",
    "simulate",
]
FUNCTIONS = [name for name in PUBLIC if name[0].islower()]
CLASSES = [name for name in PUBLIC if name[0].isupper()]
HEAVY = ("torch", "brian2", "matplotlib", "plotly", "dask", "nir", "onnx", "pandas", "scipy")


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_public_names():
    assert sorted(nm.__all__) == PUBLIC
    assert len(nm.__all__) <= 20
    assert dir(nm) == sorted(nm.__all__)
    for name in PUBLIC:
        assert getattr(nm, name).__name__ == name


def test_unknown_name():
    with pytest.raises(AttributeError, match="module 'neuromorph' has no attribute 'train'"):
        nm.train  # noqa: B018


def sections(docstring):
    """Headings of a numpy docstring."""
    return set(re.findall(r"^\s*(\w+)\n\s*-{3,}$", docstring or "", re.MULTILINE))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_documented_and_annotated(name):
    function = getattr(nm, name)
    signature = inspect.signature(function)
    assert sections(function.__doc__) >= {"Parameters", "Returns", "Raises"}
    assert signature.return_annotation is not inspect.Signature.empty
    parameters = list(signature.parameters.values())
    assert len(parameters) <= 6
    for number, parameter in enumerate(parameters):
        assert parameter.annotation is not inspect.Parameter.empty, parameter
        assert parameter.name in function.__doc__, f"{parameter.name} is not documented"
        assert number < 2 or parameter.kind is inspect.Parameter.KEYWORD_ONLY, parameter


def members(kind):
    """(name, function) of every public method and property that a class defines itself."""
    for name, value in vars(kind).items():
        function = value.fget if isinstance(value, property) else value
        function = getattr(function, "func", function)  # cached_property
        function = getattr(function, "__func__", function)  # static and class methods
        if not name.startswith("_") and inspect.isfunction(function):
            yield name, function


@pytest.mark.parametrize("name", CLASSES)
def test_classes_are_documented_and_annotated(name):
    kind = getattr(nm, name)
    assert kind.__doc__
    assert not kind.__doc__.startswith(f"{name}("), "the docstring is made by dataclass"
    for member, function in members(kind):
        assert function.__doc__, f"{name}.{member} has no docstring"
        signature = inspect.signature(function)
        assert signature.return_annotation is not inspect.Signature.empty, member
        for parameter in list(signature.parameters.values())[1:]:
            assert parameter.annotation is not inspect.Parameter.empty, f"{member}: {parameter}"


@pytest.mark.parametrize("name", ["Counts", "Levels", "Network", "Trace"])
def test_classes_that_users_make_say_how(name):
    kind = getattr(nm, name)
    assert sections(kind.__doc__) >= {"Parameters", "Raises"}
    for parameter in list(inspect.signature(kind).parameters)[:3]:
        assert parameter in kind.__doc__


@pytest.mark.parametrize(
    "name", ["Chip", "Counts", "Levels", "Mapping", "Network", "Prices", "Run"]
)
def test_values_are_frozen(name):
    assert dataclasses.fields(getattr(nm, name))
    assert getattr(nm, name).__dataclass_params__.frozen


def test_import_brings_in_nothing_heavy():
    watched = (*HEAVY, "numpy", "h5py")
    code = f"import neuromorph, sys; print([m for m in {watched} if m in sys.modules])"
    assert run_python(code) == "[]"


def test_using_every_public_name_needs_no_optional_package():
    code = (
        "import neuromorph as nm, sys\n"
        "for name in nm.__all__: getattr(nm, name)\n"
        f"print([m for m in {HEAVY} if m in sys.modules and m != 'scipy'])"
    )
    assert run_python(code) == "[]"


def test_star_import_gives_the_public_names():
    code = "from neuromorph import *; print(sorted(n for n in dir() if not n.startswith('_')))"
    assert run_python(code) == str(PUBLIC)


def test_version_is_one_place():
    from importlib.metadata import version

    assert version("neuromorph") == nm.__version__
