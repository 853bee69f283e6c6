"""Runner of `gnnq run packed_models`: a packed model beside its simulated one, for the results store."""

from __future__ import annotations

import tempfile
from pathlib import Path

from gnnq_lib.deployment.pipeline import quantize
from gnnq_lib.experiments.node_classification import Config, resolve
from gnnq_lib.experiments.store import Measurement

__all__ = ["Config", "resolve", "run_one"]


def run_one(config: Config) -> list[Measurement]:
    """Train, pack, compare on every node; accuracies, differences and sizes as measurements."""
    with tempfile.TemporaryDirectory() as folder:
        _, report = quantize(config, Path(folder) / "model.safetensors")
    common = {"bits_per_value": report.bits_per_value, "method": config.method}
    rows = (
        ("test_accuracy", report.accuracy_packed, "%"),
        ("accuracy_simulated", report.accuracy_simulated, "%"),
        ("largest_logit_difference", report.largest_difference, ""),
        ("nodes_of_another_class", report.other_classes, "nodes"),
        ("nodes_compared", report.num_nodes, "nodes"),
        ("model_bytes", report.file_bytes, "bytes"),
        ("expected_bytes", report.expected_bytes, "bytes"),
        ("fp32_bytes", report.fp32_bytes, "bytes"),
        ("times_smaller", report.times_smaller, ""),
    )
    return [Measurement(*row, **common) for row in rows]
