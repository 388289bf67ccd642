"""Pictures of predictions: what is predicted is what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.figure import Figure

from hiclr.inference import Predictions
from hiclr.prediction_figures import MOST_CLIPS, predictions_figure, timelines_figure
from hiclr.timeline import DAMAGED, NOBODY, Timeline


def predictions(clips: int, truth: str | None = None) -> Predictions:
    chances = np.tile(np.array([[0.7, 0.299, 0.001]], np.float32), (clips, 1))
    chances[0] = [0.2, 0.8, 0]
    return Predictions(("a", "b", "c $"), tuple(f"clip {i} $" for i in range(clips)), chances, (truth,) * clips)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def bars(figure: Figure) -> list[float]:
    return [float(patch.get_width()) for patch in figure.axes[0].patches]  # type: ignore[attr-defined]


def test_few_clips_have_bars_of_their_own() -> None:
    figure = predictions_figure(predictions(2))
    assert texts(figure) == ["b  80%", "a  20%", "a  70%", "b  30%"]  # what is 0 % is not told
    np.testing.assert_allclose(bars(figure), [0.8, 0.2, 0.7, 0.299], rtol=1e-5)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["clip 0 $", "clip 1 $"]
    assert len(bars(predictions_figure(predictions(2), top=1))) == 2


def test_what_is_known_is_told() -> None:
    assert texts(predictions_figure(predictions(2, truth="a"), top=1)) == ["b  80%  (is a)", "a  70%  (right)"]
    assert texts(predictions_figure(predictions(2, truth="other"), top=1)) == ["b  80%", "a  70%"]


def test_many_clips_are_counted_by_class() -> None:
    figure = predictions_figure(predictions(MOST_CLIPS + 1, truth="a"))
    assert bars(figure) == [MOST_CLIPS, 0, 0, 1]  # right of a and b, wrong of a and b
    assert texts(figure)[0] == f"{MOST_CLIPS}, mean probability 70%"
    legend = figure.axes[0].get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["right", "wrong"]
    assert predictions_figure(predictions(MOST_CLIPS + 1)).axes[0].get_legend() is None


def timeline(name: str = "one") -> Timeline:
    chances = np.array([[0.9, 0.1, 0, 0], [0.9, 0.1, 0, 0], [0, 0, 0, 1], [np.nan] * 4, [0.2, 0.8, 0, 0]])
    return Timeline(name, ("a", "b", "c $", NOBODY), np.arange(0, 50, 10), 10, chances)


@pytest.mark.parametrize("fps", [None, 5.0])
def test_a_timeline_has_a_row_for_each_class_that_wins(fps: float | None) -> None:
    figure = timelines_figure([timeline(), timeline("two $")], fps)
    first = figure.axes[0]
    assert [label.get_text() for label in first.get_yticklabels()] == ["a", NOBODY, "b"]
    assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == ["one", "two $"]
    (mesh,) = [one for one in first.collections if isinstance(one, QuadMesh)]
    drawn = np.ma.filled(np.ma.masked_invalid(mesh.get_array()), -1)
    np.testing.assert_allclose(drawn, [[0.9, 0.9, 0, -1, 0.2], [0, 0, 1, -1, 0], [0.1, 0.1, 0, -1, 0.8]])
    scale = fps or 1
    winners = [one.get_segments()[0][:, 0] * scale for one in first.collections if isinstance(one, LineCollection)]
    np.testing.assert_allclose(winners, [[0, 20], [20, 30], [40, 50]])
    assert texts(figure) == [DAMAGED]
    assert first.get_xlim() == (0, 50 / scale)
    assert figure.axes[1].get_xlabel() == ("frames" if fps is None else "seconds")
    figure.savefig("/dev/null", format="png")
