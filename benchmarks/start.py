"""From nothing to a first result: import, demo, size; a fresh environment if asked.

    python benchmarks/start.py [--json] [--fresh]

Wall time, for that is what a user waits for; medians of rounds.  --fresh
clones this checkout, makes a virtual environment, installs the package into it
as README.md says and runs the demo there: it needs pip's packages and minutes.
"""

import statistics  # isort: split

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import ROOT, machine, parser, print_machine, report, table

GOALS = {
    "import neuromorph": "< 0.3 s",
    "demo": "< 5 s",
    "clone to first result": "< 60 s",
    "installed, with everything it needs": "< 250 MB",
}


def wall(command, number, **options):
    """Median seconds of a command, after one that warms the disk."""
    found = []
    for _ in range(number + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, **options)
        found.append(time.perf_counter() - start)
    return statistics.median(found[1:])


def import_seconds(number):
    """`import neuromorph` inside a fresh interpreter, and that it stays light."""
    code = (
        "import time; t = time.perf_counter(); import neuromorph; "
        "print(time.perf_counter() - t); import sys; "
        "heavy = {'torch', 'brian2', 'matplotlib', 'scipy'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    found = []
    for _ in range(number + 1):
        done = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        )
        found.append(float(done.stdout))
    return statistics.median(found[1:])


def fresh():
    """(seconds from clone to the end of the demo, megabytes of the environment)."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run(["git", "clone", "-q", ROOT, f"{folder}/clone"], check=True)
        subprocess.run([sys.executable, "-m", "venv", f"{folder}/venv"], check=True)
        pip = [f"{folder}/venv/bin/pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, f"{folder}/clone"], check=True)
        subprocess.run(
            [f"{folder}/venv/bin/neuromorph", "demo", "--out", f"{folder}/out"],
            check=True,
            capture_output=True,
            cwd=folder,
        )
        seconds = time.perf_counter() - start
        files = [f for f in Path(folder, "venv").rglob("*") if f.is_file() and not f.is_symlink()]
        return seconds, sum(f.stat().st_size for f in files) / 1e6


def main():
    p = parser(__doc__)
    p.add_argument("--fresh", action="store_true", help="also clone and install")
    arguments = p.parse_args()
    number = max(arguments.rounds, 5)
    found = {"import neuromorph": import_seconds(number)}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "neuromorph", "demo", "--out", f"{folder}/out"]
        found["demo"] = wall(command, number, cwd=folder)
    if arguments.fresh:
        keys = list(GOALS)[2:]
        found.update(zip(keys, fresh()))
    facts = machine()
    rows = [{"case": k, "value": v, "goal": GOALS[k]} for k, v in found.items()]
    report(arguments, {"machine": facts, "cases": rows})
    if not arguments.json:
        print_machine(facts)
        print(table(["what", "measured", "goal"], [list(r.values()) for r in rows]))


if __name__ == "__main__":
    main()
