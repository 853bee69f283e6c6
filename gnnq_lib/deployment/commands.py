"""`gnnq quantize` and `gnnq evaluate`: commands only; torch is imported when one runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the numbers to this JSON file.")]
Split = Annotated[str | None, typer.Option(help="public, random or given; the data set's own if not given.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("quantize")(quantize)
    app.command("evaluate")(evaluate)


def quantize(
    data: Annotated[str, typer.Option(help="Name of a data set, or a folder with a graph of your own.")],
    out: Annotated[Path, typer.Option(help="The model file to write (safetensors).")],
    bits: Annotated[int, typer.Option(help="Bits of every stage: 2, 4 or 8.")] = 2,
    split: Split = None,
    split_seed: Annotated[int, typer.Option(help="Of a random split.", min=0)] = 0,
    seed: Annotated[int, typer.Option(help="Of weights and dropout.", min=0)] = 0,
    epochs: Annotated[
        int | None, typer.Option(help="Of both trainings, FP32 and low bit; the recipe's if not given.", min=1)
    ] = None,
    layers: Annotated[int | None, typer.Option(help="Layers of propagation; the recipe's if not given.", min=0)] = None,
    hidden: Annotated[int | None, typer.Option(help="Hidden width; the recipe's if not given.", min=1)] = None,
    json_file: JsonFile = None,
) -> None:
    """Train a low-bit classifier, pack it into a file, and check that integers give the simulated answers."""
    from dataclasses import asdict

    from gnnq_lib.cli import write_json
    from gnnq_lib.deployment.pipeline import PackingError, training_config
    from gnnq_lib.deployment.pipeline import quantize as train_and_pack

    try:
        config = training_config(data, bits, split, split_seed, seed, epochs, num_layers=layers, hidden=hidden)
        _, report = train_and_pack(config, out)
    except PackingError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{report.dataset}, INT{report.bits}, {report.num_nodes:,} nodes")
    typer.echo(f"test accuracy: simulated {report.accuracy_simulated:.2f} %, packed {report.accuracy_packed:.2f} %")
    typer.echo(f"largest difference of a logit: {report.largest_difference:g}; other classes: {report.other_classes}")
    typer.echo(f"bits per value, largest of all stages: {report.bits_per_value:.2f}")
    typer.echo(f"{out}: {report.file_bytes:,} bytes, {report.bits_per_weight:.2f} bits per weight, all included")
    typer.echo(f"FP32 weights: {report.fp32_bytes:,} bytes, {report.times_smaller:.1f} times as many")
    write_json(json_file, {**asdict(report), "times_smaller": report.times_smaller})


def evaluate(
    model: Annotated[Path, typer.Argument(help="A file that `gnnq quantize` wrote.")],
    data: Annotated[str | None, typer.Option(help="Data set or folder; the one trained on if not given.")] = None,
    split: Split = None,
    split_seed: Annotated[int | None, typer.Option(help="Of a random split.", min=0)] = None,
    json_file: JsonFile = None,
) -> None:
    """Run a packed model on integer kernels and print its accuracy."""
    from dataclasses import asdict

    from gnnq_lib.cli import write_json
    from gnnq_lib.deployment.pipeline import evaluate_file

    result = evaluate_file(model, data, split, split_seed)
    graph = "the graph it was trained on" if result.trained_graph else "another graph than it was trained on"
    typer.echo(f"{result.dataset}, INT{result.bits}, {result.num_nodes:,} nodes, {graph}")
    typer.echo(f"accuracy: test {result.test_accuracy:.2f} %, validation {result.val_accuracy:.2f} %")
    write_json(json_file, asdict(result))
