"""The layer rule of the design: a module imports only from rows below its own.

Read from the source, nothing is imported.  ``parts`` are the modules and
folders right under ``neuromorph``; files of one part may import each other.
"""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "neuromorph"

# From the bottom up.  ``draws``, ``data`` and ``fetch`` serve training and commands; the
# row "simulate · trace" of the design is two rows: a run may be recorded, a
# trace knows no runs.
ROWS = [
    {"errors"},
    {"levels", "draws", "workers", "writing", "toml"},
    {"events", "packing", "data", "canvas"},
    {"network", "chip", "fetch"},
    {"mapping", "plasticity"},
    {"kernels", "reference"},
    {"trace", "folding"},
    {"simulation"},
    {"energy", "interop", "geometry"},
    {"training"},
    {"learning"},
    {"compare"},
    {"report"},
    {"cli"},
    {"__main__"},
]
RANK = {part: rank for rank, row in enumerate(ROWS) for part in row}
REQUIRED = {"numpy", "scipy", "h5py", "click", "msgspec", "safetensors", "tqdm", "jinja2"}


def sources():
    return sorted(p for p in PACKAGE.rglob("*.py"))


def part_of(path):
    """Part of a file; the empty name for ``neuromorph/__init__.py``."""
    first = path.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imports(tree):
    """(imported name, whether inside a function, whether for type checkers only, line)."""

    def walk(node, inside, typing_only):
        for child in ast.iter_child_nodes(node):
            function = inside or isinstance(
                child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
            )
            typing = typing_only or (
                isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            )
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield alias.name, inside, typing_only, child.lineno
            elif isinstance(child, ast.ImportFrom):
                name = "." * child.level + (child.module or "")
                for alias in child.names:
                    yield f"{name}.{alias.name}", inside, typing_only, child.lineno
            else:
                yield from walk(child, function, typing)

    yield from walk(tree, False, False)


def violations(part, source):
    """Sentences about every import of a part that breaks the rule."""
    found = []
    tree = ast.parse(source)
    for name, lazy, typing, line in imports(tree):
        root, *rest = name.split(".")
        if name.startswith("."):
            found.append(f"{line}: {name} is relative")
        elif root == "torch" and part != "training":
            found.append(f"{line}: only training imports torch")
        elif root == "neuromorph":
            target = rest[0] if rest else "__version__"
            if lazy and part != "cli":
                found.append(f"{line}: {name} is imported inside a function")
            if target == "__version__" or target == part:
                continue
            if target not in RANK:
                found.append(f"{line}: {target} has no row")
            elif part and RANK[target] >= RANK[part]:
                found.append(f"{line}: {part} imports {target}, which is not below it")
            elif not part and not typing:
                found.append(f"{line}: the package itself imports {target} before it is used")
        elif root not in {*sys.stdlib_module_names, *REQUIRED, "torch"} and not (lazy or typing):
            found.append(f"{line}: optional {root} is imported before it is used")
    for node in ast.walk(tree):
        called = isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1]
        if called in ("import_module", "__import__") and part:
            found.append(f"{node.lineno}: {called} hides an import")
        used = isinstance(node, ast.Attribute) and ast.unparse(node)
        if used and used.startswith("neuromorph.") and used != "neuromorph.__version__":
            found.append(f"{node.lineno}: {used} hides an import")
    return found


def test_every_part_has_a_row():
    assert {part_of(p) for p in sources()} - {""} <= set(RANK)


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    assert violations(part_of(path), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("part", "source", "says"),
    [
        ("events", "from neuromorph.network import Network", "events imports network"),
        ("network", "from neuromorph.chip import Chip", "network imports chip, which is not below"),
        ("trace", "import neuromorph.simulation", "trace imports simulation"),
        ("levels", "from neuromorph import cli", "levels imports cli"),
        ("mapping", "def f():\n    from neuromorph.events import Counts", "inside a function"),
        ("chip", "class A:\n  def f(self):\n    import neuromorph.levels", "inside a function"),
        ("energy", "if True:\n    from neuromorph.report import draw_run", "energy imports report"),
        ("chip", "import neuromorph\nneuromorph.load_network('x')", "hides an import"),
        ("chip", "import importlib\nimportlib.import_module('neuromorph.cli')", "hides an import"),
        ("chip", "from .events import Counts", "is relative"),
        ("chip", "from neuromorph.secret import x", "secret has no row"),
        ("energy", "import torch", "only training imports torch"),
        ("report", "def f():\n    import torch.nn", "only training imports torch"),
        ("report", "import matplotlib.pyplot as plt", "optional matplotlib is imported before"),
        ("mapping", "import networkx", "optional networkx is imported before"),
        ("", "from neuromorph.chip import Chip", "imports chip before it is used"),
    ],
)  # fmt: skip
def test_the_rule_finds_what_breaks_it(part, source, says):
    assert any(says in v for v in violations(part, source)), violations(part, source)


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("network", "import numpy as np\nfrom neuromorph.levels import Levels"),
        ("cli", "def f():\n    from neuromorph.report import draw_run"),
        ("report", "def f():\n    import matplotlib"),
        ("training", "import torch\nfrom torch import nn"),
        ("trace", "from neuromorph import __version__"),
        ("trace", "import neuromorph\nx = neuromorph.__version__"),
        ("mapping", "from neuromorph.mapping.slices import Slice"),
        ("", "if TYPE_CHECKING:\n    from neuromorph.chip import Chip"),
    ],
)  # fmt: skip
def test_the_rule_lets_pass_what_keeps_it(part, source):
    assert violations(part, source) == []


def test_folders_of_things_are_no_packages():
    for folder in ("networks", "traces", "tests", "docs"):
        assert not list((PACKAGE.parent / folder).glob("**/__init__.py"))
