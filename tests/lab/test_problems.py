"""The functions that traces walk on: gradients and minimizers are what they say."""

import numpy as np
import pytest

from surefoot.lab import problems
from surefoot.lab.problems import PROBLEMS, Problem


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
class TestEvery:
    def test_the_gradient_is_the_slope_of_the_value(self, problem):
        points, h = np.random.default_rng(0).normal(size=(50, 2)), 1e-6
        for i, axis in enumerate(np.eye(2)):
            slope = (problem.at(points + h * axis) - problem.at(points - h * axis)) / (2 * h)
            np.testing.assert_allclose(problem.slope(points)[:, i], slope, rtol=1e-6, atol=1e-6)

    def test_nothing_in_the_window_is_below_the_minimizer(self, problem):
        left, right, low, high = problem.window
        x1, x2 = np.meshgrid(np.linspace(left, right, 101), np.linspace(low, high, 101))
        minimum = problem.at(np.array(problem.minimizer))
        assert problem.at(np.stack([x1, x2], -1)).min() >= minimum
        np.testing.assert_allclose(problem.slope(np.array(problem.minimizer)), 0, atol=1e-12)

    def test_start_and_minimizer_are_in_the_window(self, problem):
        left, right, low, high = problem.window
        for x1, x2 in (problem.start, problem.minimizer):
            assert left <= x1 <= right
            assert low <= x2 <= high

    def test_arrays_and_single_points_agree(self, problem):
        points = np.random.default_rng(1).normal(size=(4, 3, 2))
        assert problem.at(points).shape == (4, 3)
        assert problem.slope(points).shape == (4, 3, 2)
        np.testing.assert_allclose(problem.slope(points)[1, 2], problem.slope(points[1, 2]), rtol=1e-13)
        assert problem.distance(points)[0, 0] == pytest.approx(np.hypot(*(points[0, 0] - problem.minimizer)))


def test_turning_elongated_by_45_degrees_gives_rotated():
    turn = np.sqrt(0.5) * np.array([[1, 1], [1, -1]])
    points = np.random.default_rng(2).normal(size=(20, 2))
    np.testing.assert_allclose(
        PROBLEMS["rotated"].at(points), 2 * PROBLEMS["elongated"].at(points @ turn.T), rtol=1e-12
    )


def test_a_quadratic_needs_a_symmetric_matrix():
    with pytest.raises(ValueError, match="skewed: the matrix must be symmetric"):
        problems.quadratic("skewed", "", [[1, 2], [3, 4]])


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'rosenbrock'"):
        problems.get("rosenbrok")
    own = Problem("own", "x₁", lambda x1, x2: x1, lambda x1, x2: (1 + 0 * x1, 0 * x2))
    assert problems.get(own) is own
