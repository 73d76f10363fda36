"""Scenarios of learning on a chip: one file each, one function ``run`` in each."""

from __future__ import annotations

from neuromorph.errors import LearningError
from neuromorph.learning.scenarios import online_scratch
from neuromorph.learning.scenarios.common import Result, Scenario, Settings
from neuromorph.learning.scenarios.curves import draw

__all__ = ["SCENARIOS", "Result", "Scenario", "Settings", "draw", "run_scenario"]

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario for scenario in (online_scratch.SCENARIO,)
}


def run_scenario(name: str, settings: Settings) -> Result:
    """Run a scenario by name.

    Raises
    ------
    LearningError
        No such scenario; lists those there are.
    """
    if name not in SCENARIOS:
        raise LearningError(f"no scenario {name!r}; scenarios are {', '.join(SCENARIOS)}")
    return SCENARIOS[name].run(settings)
