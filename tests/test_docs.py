"""Every example in the docs and in docstrings runs and prints what it says.

A Markdown file is one session: its ```python blocks with ``>>>`` run in order
and share their names.  Everything runs in an empty folder, so an example that
needs a file makes it; networks that ship resolve by name from anywhere.
"""

import doctest
import importlib
import re
from pathlib import Path

import pytest

import neuromorph

try:
    import brian2
except ImportError:
    pass
else:
    brian2.prefs.codegen.target = "numpy"  # the default compiles for minutes

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("docs/**/*.md"), ROOT / "README.md"])
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^ *```", re.MULTILINE)
# Modules whose import or examples need an optional package, and the package.
OPTIONAL = {
    "neuromorph.training": "torch",
    "neuromorph.cli.training": "torch",
    "neuromorph.interop.brian2": "brian2",
}


def modules():
    """Names of all modules, by their files: nothing is imported to find them."""
    package = Path(neuromorph.__file__).parent
    paths = [f.relative_to(package.parent).with_suffix("").parts for f in package.rglob("*.py")]
    names = {".".join(p[:-1] if p[-1] == "__init__" else p) for p in paths}
    return sorted(name for name in names if not name.endswith(".__main__"))


def blocks(page):
    """(line, text) of the examples on a page."""
    text = page.read_text(encoding="utf-8")
    return [
        (text[: match.start(1)].count("\n"), match[1])
        for match in BLOCK.finditer(text)
        if ">>>" in match[1]
    ]


def run(tests):
    """Run examples; how many there were."""
    runner, report = doctest.DocTestRunner(), []
    for test in tests:
        runner.run(test, out=report.append, clear_globs=False)
    assert not runner.failures, "".join(report)
    return runner.tries


def session(page):
    """The blocks of a page as tests that share one namespace."""
    tests = [
        doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), line)
        for line, text in blocks(page)
    ]
    for test in tests:
        test.globs = tests[0].globs
    return tests


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(session(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_example_of_a_page_is_left_out(page):
    """Fences are paired, and every ``>>>`` stands in a block that runs."""
    text = page.read_text(encoding="utf-8")
    assert len(FENCE.findall(text)) % 2 == 0, "a fence is not closed"
    prompts = sum(block.count(">>> ") for _, block in blocks(page))
    assert text.count(">>> ") == prompts


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_and_commands_of_a_page_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), f"link to {target}"
    scripts = r"python ((?:benchmarks|verification|examples|traces)/[\w/]+\.py)"
    for script in re.findall(scripts, text):
        assert (ROOT / script).is_file(), f"command {script}"


@pytest.mark.parametrize("name", modules())
def test_docstrings(name, tmp_path, monkeypatch):
    for prefix, package in OPTIONAL.items():
        if name == prefix or name.startswith(f"{prefix}."):
            pytest.importorskip(package, reason=f"{package} is not installed")
    module = importlib.import_module(name)
    monkeypatch.chdir(tmp_path)
    run(doctest.DocTestFinder(exclude_empty=True).find(module, name))


def test_there_are_examples():
    assert {"docs/energy.md", "docs/network-format.md", "docs/networks.md", "docs/paper.md"} <= {
        page.relative_to(ROOT).as_posix() for page in PAGES if blocks(page)
    }
    assert {"neuromorph.levels", "neuromorph.network.model", "neuromorph.training.dst"} <= set(
        modules()
    )


def test_a_wrong_example_fails(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("text\n\n```python\n>>> 1 + 1\n3\n```\n")
    with pytest.raises(AssertionError, match=r"(?s)line 4.*Expected:\s+3\s+Got:\s+2"):
        run(session(page))
    page.write_text("```python\n>>> x = 1\n```\ntext\n```python\n>>> x + 1\n2\n```\n")
    assert run(session(page)) == 2
