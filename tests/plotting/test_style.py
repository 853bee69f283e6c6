"""The look of methods and models, and saving figures."""

from __future__ import annotations

import matplotlib
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.colors import to_rgb

from gnnq_lib.errors import InputError
from gnnq_lib.experiments.node_classification import ModelName
from gnnq_lib.models import Method
from gnnq_lib.plotting import LOOKS, look, save_figure, set_finding, use_style

METHODS = [method.value for method in Method]
MODELS = list(ModelName.__args__)
GRANULARITIES = ["per_tensor", "per_channel", "per_degree_bucket", "per_node"]


@pytest.mark.parametrize("name", METHODS + MODELS)
def test_every_method_and_model_has_a_look(name):
    assert look(name) is LOOKS[name]


@pytest.mark.parametrize("names", [METHODS, MODELS, GRANULARITIES], ids=["methods", "models", "granularities"])
@pytest.mark.parametrize("attribute", ["label", "color", "marker"])
def test_no_two_names_of_one_kind_share(names, attribute):
    values = [getattr(look(name), attribute) for name in names]
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("name", list(LOOKS))
def test_colours_stand_out_from_white(name):
    red, green, blue = to_rgb(look(name).color)
    assert 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.72


def test_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(InputError, match=r"'bt_sta'.*did you mean bt_star"):
        look("bt_sta")


def test_equal_figures_are_equal_files(tmp_path):
    use_style()
    files = []
    for name in ("one", "two"):
        drawing, axes = plt.subplots()
        axes.plot([1, 2], [3, 4], **look("qlr").line())
        files.append(save_figure(drawing, name, tmp_path))
        plt.close(drawing)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["one.png", "two.png"]


def test_figures_go_to_the_figures_folder_by_default(tmp_path, monkeypatch):
    monkeypatch.setenv("GNNQ_FIGURES", str(tmp_path / "figures"))
    drawing = plt.figure()
    assert save_figure(drawing, "empty") == tmp_path / "figures" / "empty.png"
    plt.close(drawing)


def test_a_long_finding_fits_the_figure():
    use_style()
    drawing, _ = plt.subplots()
    set_finding(drawing, "A finding that is much longer than one line of a figure of the usual width would ever hold")
    drawing.canvas.draw()
    box = drawing._suptitle.get_window_extent()
    assert "\n" in drawing.get_suptitle()
    assert box.x1 <= drawing.bbox.x1
    plt.close(drawing)
