"""Figures: one style, one way of saving, one look per method, one function per figure. Nothing here trains."""

from gnnq_lib.plotting.accuracy import accuracy_by_bits
from gnnq_lib.plotting.graphs import degree_distribution
from gnnq_lib.plotting.kernels import bench_rows, cost_by_edges, cost_by_width, recall_by_bytes, roofline, speedup_bars
from gnnq_lib.plotting.quantization import (
    accuracy_per_seed,
    alpha_over_epochs,
    error_by_degree,
    error_curves,
    error_map,
    levels_on_values,
    relative_errors,
    search_curves,
    staircase,
)
from gnnq_lib.plotting.recommendation import (
    ablation_changes,
    curves_side_by_side,
    node_levels,
    popularity_curve,
    quality_by_bytes,
    stored_ablations,
    stored_methods,
    validation_curves,
)
from gnnq_lib.plotting.registry import FIGURES, draw_figures, figure, missing_runs, show_figure
from gnnq_lib.plotting.report import (
    accuracy_by_bits_per_value,
    depth_of_all_models,
    energy_over_layers,
    error_over_layers,
    inference_speedups,
    switches_on_cora,
)
from gnnq_lib.plotting.results import accuracy_by_depth, loss_by_stage, methods_on_cora, range_calibration
from gnnq_lib.plotting.style import LOOKS, PALETTE, Look, bit_ticks, look, save_figure, set_finding, use_style

__all__ = [
    "FIGURES",
    "LOOKS",
    "PALETTE",
    "Look",
    "ablation_changes",
    "accuracy_by_bits",
    "accuracy_by_bits_per_value",
    "accuracy_by_depth",
    "accuracy_per_seed",
    "alpha_over_epochs",
    "bench_rows",
    "bit_ticks",
    "cost_by_edges",
    "cost_by_width",
    "curves_side_by_side",
    "degree_distribution",
    "depth_of_all_models",
    "draw_figures",
    "energy_over_layers",
    "error_by_degree",
    "error_curves",
    "error_map",
    "error_over_layers",
    "figure",
    "inference_speedups",
    "levels_on_values",
    "look",
    "loss_by_stage",
    "methods_on_cora",
    "missing_runs",
    "node_levels",
    "popularity_curve",
    "quality_by_bytes",
    "range_calibration",
    "recall_by_bytes",
    "relative_errors",
    "roofline",
    "save_figure",
    "search_curves",
    "set_finding",
    "show_figure",
    "speedup_bars",
    "staircase",
    "stored_ablations",
    "stored_methods",
    "switches_on_cora",
    "use_style",
    "validation_curves",
]
