"""Figures are drawn no more often than is needed."""

from matplotlib.figure import Figure

from chemscale.laws.reports.plotting import new_figure, saved_inline, style


def test_a_figure_is_drawn_once_for_its_layout_and_once_for_each_file(tmp_path, monkeypatch):
    draws = []
    draw = Figure.draw
    monkeypatch.setattr(Figure, "draw", lambda self, *a: draws.append(self) or draw(self, *a))
    with style():
        figure, ax = new_figure(2.0)
        ax.plot([1, 2], [3, 4], label="a law")
        figure.legend(loc="outside lower center")
    saved_inline(figure, tmp_path / "figure")
    assert len(draws) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.png", "figure.svg"]
