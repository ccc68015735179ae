"""What docs/scaling.md says of a relay's costs is held against what was measured."""

from __future__ import annotations

import pytest

from docs.figures.scaling import MADE_FROM, PLAIN, load, model
from tests.bench.scaling import POINTS

pytestmark = pytest.mark.once

WITHIN = 1.5
"""Factor by which the model may be wrong: each load was measured twice, on a machine that was busy otherwise."""

PREDICTED = [name for name in POINTS if name not in (*MADE_FROM, PLAIN)]


def test_all_points_were_measured_and_nothing_failed() -> None:
    points = load()
    assert list(points) == list(POINTS)
    assert not [name for name, point in points.items() if point.failures]


@pytest.mark.parametrize("name", [*MADE_FROM, PLAIN])
def test_the_model_is_made_from_these_points(name: str) -> None:
    points = load()
    assert model(points).processor(points[name]) == pytest.approx(
        points[name].processor, rel=0.05
    )  # pairings move a little, too


@pytest.mark.parametrize("name", PREDICTED)
def test_the_model_predicts_the_processor_time_of_the_others(name: str) -> None:
    points = load()
    predicted, measured = model(points).processor(points[name]), points[name].processor
    assert measured / WITHIN < predicted < measured * WITHIN


@pytest.mark.parametrize("name", ["1000 wait", "2000 wait, 50 move", "2000 wait, short"])
def test_the_model_predicts_the_memory_of_the_others(name: str) -> None:
    points = load()
    predicted, measured = model(points).memory(points[name]), points[name].memory
    assert measured / WITHIN < predicted < measured * WITHIN
