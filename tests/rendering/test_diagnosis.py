"""A diagnosis as tables, curves, maps and files, from constructed numbers."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest

from attnlab.charts.pooling import pool_max
from attnlab.diagnosis.result import AttentionMap, DecayFit, Diagnosis, Panel, Series
from attnlab.errors import InvalidValueError
from attnlab.rendering._attention_map import HeadMap
from attnlab.rendering.attention_map_plot import plot_maps
from attnlab.rendering.diagnosis import DiagnosisView, as_csv, as_json, curve_range, short_spread
from tests.rendering.capture import console, drawn, output

NAN = math.nan
LAYERS = tuple(map(str, range(13)))
FALLING = (*(10.0**-layer for layer in range(12)), 1e-20)
BELOW = (False,) * 12 + (True,)


def falling(variant: str = "softmax") -> Series:
    return Series(variant, (FALLING, FALLING), FALLING, BELOW, DecayFit(0.1, 1.0, 1.0, 12))


def diagnosis(*rows: Series, columns: tuple[str, ...] = LAYERS, geometric: bool = True) -> Diagnosis:
    panel = Panel("residual", "How far tokens are apart.", "the residual stream", geometric, columns, rows)
    return Diagnosis("rank-collapse", "12 layers", (panel,))


def with_heads() -> Series:
    heads = ((0.25, 0.75), (0.5, 0.125))
    return Series("gpam", ((0.5, 0.3125),), (0.5, 0.3125), (False, False), heads=heads)


def test_at_80_columns_some_layers_are_left_out_and_both_ends_are_shown() -> None:
    lines = drawn(DiagnosisView(diagnosis(falling())))
    head = next(line for line in lines if line.startswith("layer")).split()
    assert (head[1], head[-2], head[-1]) == ("0", "12", "curve")
    assert len(head) == 10  # "layer", eight layers, "curve"


def test_at_120_columns_every_layer_is_shown() -> None:
    lines = drawn(DiagnosisView(diagnosis(falling())), width=120)
    head = next(line for line in lines if line.startswith("layer")).split()
    assert head[1:-1] == list(LAYERS)


def test_a_value_below_the_float_floor_is_marked_and_not_drawn() -> None:
    lines = drawn(DiagnosisView(diagnosis(falling())), width=120)
    row = next(line for line in lines if line.startswith("softmax"))
    assert "<1e-12" in row
    assert "1.0e-20" not in row
    # Twelve falling blocks, then nothing at the thirteenth.
    assert row.split("<1e-12")[1].strip() == "█▇▇▆▅▅▄▄▃▂▂▁"
    assert any("below the float floor" in line for line in lines)


def test_the_decay_is_below_the_curve() -> None:
    lines = drawn(DiagnosisView(diagnosis(falling())))
    assert any(line.endswith("×0.10 R² 1.00") for line in lines)


def test_the_curves_of_a_panel_have_one_scale() -> None:
    one = Series("one", ((1.0, 2.0),), (1.0, 2.0), (False, False))
    ten = Series("ten", ((9.0, 10.0),), (9.0, 10.0), (False, False))
    both = diagnosis(one, ten, columns=("1", "2"), geometric=False)
    assert curve_range(both.panels[0]) == (1.0, 10.0)
    lines = drawn(DiagnosisView(both))
    assert [line.split()[-1] for line in lines if line.startswith(("one", "ten"))] == ["▁▂", "▇█"]


def test_geometric_metrics_are_drawn_by_their_logarithm() -> None:
    row = Series("one", ((1.0, 0.1, 0.01),), (1.0, 0.1, 0.01), (False,) * 3)
    assert curve_range(diagnosis(row, columns=("1", "2", "3")).panels[0]) == (-2.0, 0.0)


def test_the_spread_over_seeds_is_below_the_mean() -> None:
    row = Series("one", ((0.4,), (0.6,)), (0.5,), (False,))
    lines = drawn(DiagnosisView(diagnosis(row, columns=("1",))))
    index = next(number for number, line in enumerate(lines) if line.startswith("one"))
    assert lines[index].split()[1] == "0.500"
    assert lines[index + 1].split() == [f"±{short_spread(2**0.5 / 10)}"]


def test_one_seed_has_no_spread() -> None:
    row = Series("one", ((0.5,),), (0.5,), (False,))
    assert "±" not in "\n".join(drawn(DiagnosisView(diagnosis(row, columns=("1",)))))


def test_the_head_with_the_largest_value_is_named() -> None:
    lines = drawn(DiagnosisView(diagnosis(with_heads(), columns=("1", "2"), geometric=False)))
    index = next(number for number, line in enumerate(lines) if line.startswith("gpam"))
    assert (lines[index].split()[-1], lines[index + 1].split()[-4:]) == ("0.750", ["layer", "1", "head", "2"])


def test_there_is_no_top_head_where_all_are_equal() -> None:
    assert Series("one", ((0.0,),), (0.0,), (False,), heads=((0.0, 0.0),)).top_head is None


def test_a_value_that_could_not_be_measured_is_a_dash() -> None:
    row = Series("delta", ((NAN, NAN),), (NAN, NAN), (False, False))
    lines = drawn(DiagnosisView(diagnosis(row, columns=("1", "2"))))
    assert next(line for line in lines if line.startswith("delta")).split() == ["delta", "-", "-"]
    assert any("A dash: there is nothing to measure." in line for line in lines)


@pytest.mark.parametrize("name", ["softmax · d27b4d", "softmax as loud as gpam:plus=0.25", "mixed:" + 30 * "parts"])
def test_a_long_name_is_above_its_numbers_in_full(name: str) -> None:
    screen = console()
    screen.print(DiagnosisView(diagnosis(falling(name), falling("gpam"))), highlight=False, crop=False)
    lines = [line.rstrip() for line in output(screen).splitlines()]
    for one in (name, "gpam"):
        above = lines.index(one)
        assert lines[above + 1].split()[0] == "1.000"
        assert lines[above + 2].split()[0] == "±0"
    head = next(line for line in lines if line.startswith("layer"))
    assert head.index(" 12 ") == lines[above + 1].index("<1e-12") + 3


def test_a_long_name_is_beside_its_numbers_where_they_all_fit() -> None:
    view = DiagnosisView(diagnosis(falling("softmax · d27b4d"), falling("gpam")))
    lines = drawn(view, width=126)
    assert next(line for line in lines if line.startswith("softmax")).split()[3:5] == ["1.000", "0.100"]
    assert next(line for line in lines if line.startswith("layer")).split()[1:-1] == list(LAYERS)
    assert "softmax · d27b4d" in drawn(view, width=122)


def test_json_has_every_number_and_null_for_nan() -> None:
    row = Series("one", ((0.5, NAN),), (0.5, NAN), (False, False))
    data = json.loads(as_json(diagnosis(row, columns=("1", "2"))))
    (panel,) = data["panels"]
    assert (panel["metric"], panel["mean"], panel["columns"]) == ("residual", "geometric", ["1", "2"])
    assert panel["variants"][0]["mean"] == [0.5, None]
    assert panel["variants"][0]["decay"] is None


def test_csv_has_a_line_for_each_layer_and_seed_and_for_each_head() -> None:
    listed = list(csv.DictReader(io.StringIO(as_csv(diagnosis(with_heads(), columns=("1", "2"))).decode())))
    assert [(row["layer"], row["head"], row["seed"], row["value"]) for row in listed] == [
        ("1", "", "0", "0.5"),
        ("1", "1", "", "0.25"),
        ("1", "2", "", "0.75"),
        ("2", "", "0", "0.3125"),
        ("2", "1", "", "0.5"),
        ("2", "2", "", "0.125"),
    ]


def test_the_shades_of_a_map_follow_its_weights() -> None:
    lines = drawn(HeadMap(AttentionMap("gpam", 2, 1, ((1.0, 0.0), (0.25, -1.0)))))
    assert lines[1] == "gpam  layer 2, head 1: queries down, keys across"
    assert [line[5:] for line in lines[2:4]] == ["██", "▒▒≡≡"]
    assert lines[4] == "░▒▓█ weights up to 1 (square-root scale); ·-=≡ negative weights"


def test_large_maps_show_the_largest_weight_of_each_square() -> None:
    rows = tuple(tuple(float(key == 0) for key in range(64)) for _ in range(64))
    lines = drawn(HeadMap(AttentionMap("softmax", 1, 1, rows)))
    assert len(lines) == 2 + 32 + 1
    assert [line[5:] for line in lines[2:34]] == ["██"] * 32
    assert lines[-1].endswith("each cell is the largest of 2 x 2")


def test_a_map_of_zeros_is_blank() -> None:
    lines = drawn(HeadMap(AttentionMap("relu", 1, 1, ((0.0, 0.0), (0.0, 0.0)))))
    assert [line[5:] for line in lines[2:4]] == ["", ""]


def test_weights_that_are_not_finite_are_marked_and_do_not_end_the_scale() -> None:
    broken = AttentionMap("nan", 1, 1, ((math.nan, 0.0), (0.5, math.inf)))
    lines = drawn(HeadMap(broken))
    assert [line[5:] for line in lines[2:4]] == ["??", "██??"]
    assert lines[4] == "░▒▓█ weights up to 0.5 (square-root scale); ? not finite"
    assert pool_max([[math.nan, 0.5], [-2.0, math.nan]], 2) == [[-2.0]]
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    page = plot_maps([broken], ".html").decode()
    assert page.count('"weight": ') == 1
    assert "NaN" not in page.rsplit('"datasets"')[-1]


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<svg"), (".html", b"<!DOCTYPE html>")])
def test_a_map_is_plot_maps(suffix: str, start: bytes) -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    maps = [AttentionMap("gpam", 1, 1, ((1.0, 0.0), (1.5, -0.5)))]
    assert plot_maps(maps, suffix).lstrip().startswith(start)


def test_a_plotted_map_of_a_long_sequence_is_reduced_and_says_so() -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    rows = tuple(tuple(float(query == key) for key in range(300)) for query in range(300))
    page = plot_maps([AttentionMap("softmax", 1, 1, rows)], ".html").decode()
    assert "each cell is the largest of 3 x 3" in page
    assert page.count('"weight": ') == 100 * 101 // 2


def test_another_format_is_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"An attention map cannot be written as '\.gif'"):
        plot_maps([], ".gif")


def test_it_opens_with_its_conclusion() -> None:
    lines = drawn(DiagnosisView(diagnosis(falling())))
    assert lines[1].startswith("in short  softmax: residual 1 -> below the float floor over 12 layers: rank")
    data = json.loads(as_json(diagnosis(falling())))
    assert data["conclusions"] == ["softmax: residual 1 -> below the float floor over 12 layers: rank collapse"]


def test_every_layer_can_be_reached_at_80_columns() -> None:
    few, every = (drawn(DiagnosisView(diagnosis(falling()), all_layers)) for all_layers in (False, True))
    heads = [word for line in every if line.startswith("layer") for word in line.split()]
    assert [word for word in heads if word.isdigit()] == list(LAYERS)
    assert max(map(len, every)) <= 80
    assert any("--all-layers" in line for line in few)
    assert not any("--all-layers" in line for line in every)


def test_a_map_of_shares_has_a_scale_from_0_to_1() -> None:
    rows = ((1.0, 0.0), (0.5, 0.5))
    lines = drawn(HeadMap(AttentionMap("softmax", 1, 1, ((0.5, 0.0), (0.25, 0.25)), is_share=True)))
    assert any("weights 0 to 1" in line for line in lines)
    assert not any("█" in line for line in lines[:-1])  # half is not the darkest shade
    assert any("█" in line for line in drawn(HeadMap(AttentionMap("softmax", 1, 1, rows, is_share=True)))[:-1])
