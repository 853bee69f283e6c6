"""`gnnq bench ...`: commands only; torch is imported when one runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the numbers to this JSON file.")]
CsvFile = Annotated[Path | None, typer.Option("--csv", help="Also write the table to this CSV file.")]

SECONDS = "command_seconds"  # what the whole command took, in every row
_MACHINE = ("processor", "isa", "threads", "torch", SECONDS)  # columns that are written but not shown


def register(app: typer.Typer) -> None:
    """Add the benchmark commands."""
    app.command("kernels")(kernels)
    app.command("inference")(inference)
    app.command("scaling")(scaling)
    app.command("training")(training)
    app.command("memory")(memory)
    app.command("serving")(serving)
    app.command("fresh-clone")(fresh_clone)
    app.command("similarity")(similarity)


def kernels(
    rounds: Annotated[int, typer.Option(help="Rounds that each call is timed in.", min=1)] = 7,
    json_file: JsonFile = None,
    csv_file: CsvFile = None,
) -> None:
    """Sums over neighbours and linear layers on packed codes, beside the fastest full-precision and library paths."""
    from gnnq_lib.benchmarks.kernels import KernelBench, run

    measure = partial(run, KernelBench(rounds=rounds))
    _show("Kernels (packed, real low bit)", partial(_described, measure), json_file, csv_file, hidden=_MACHINE)


def inference(
    case: Annotated[
        list[str] | None, typer.Option(help="Data set, generated or generated-NODES-EDGES-CLASSES; repeatable.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Rounds that each call is timed in.", min=1)] = 9,
    layers: Annotated[int, typer.Option(help="Propagation steps K.", min=0)] = 10,
    multiplier: Annotated[bool, typer.Option(help="SMP's correction: a second propagation per step.")] = False,
    compiled: Annotated[bool, typer.Option(help="Full precision under torch.compile, too.")] = True,
    stages: Annotated[bool, typer.Option(help="Also the linear layers and the propagation by themselves.")] = False,
    json_file: JsonFile = None,
    csv_file: CsvFile = None,
) -> None:
    """The whole SMP classifier on packed integers, beside every full-precision path."""
    from gnnq_lib.benchmarks.inference import DEFAULT_CASES, InferenceBench, run

    config = InferenceBench(
        tuple(case or DEFAULT_CASES), rounds=rounds, num_layers=layers, multiplier=multiplier, compiled=compiled,
        stages=stages,
    )  # fmt: skip
    measure = partial(_described, partial(run, config), layers=layers, multiplier=multiplier)
    title = "Whole classifier, untrained weights (packed, real low bit)"
    _show(title, measure, json_file, csv_file, hidden=("bench", "layers", "multiplier", *_MACHINE))


def scaling(
    largest: Annotated[int, typer.Option(help="Edges of the largest graph, a power of ten.", min=10_000)] = 10_000_000,
    rounds: Annotated[int, typer.Option(help="Rounds that each call is timed in.", min=1)] = 5,
    json_file: JsonFile = None,
    csv_file: CsvFile = None,
) -> None:
    """Sums over neighbours against the number of edges and the width, with the memory bandwidth of this machine."""
    from gnnq_lib.benchmarks.kernels import sweep

    edges = tuple(count for count in (10**power for power in range(4, 10)) if count <= largest)
    measure = partial(_described, partial(sweep, edges, rounds=rounds))
    title = "Cost against edges and width (packed, real low bit)"
    _show(title, measure, json_file, csv_file, hidden=("bench", *_MACHINE))


def training(
    case: Annotated[str, typer.Option(help="smp (node classification) or lightgcn (recommendation).")] = "smp",
    dataset: Annotated[str, typer.Option(help="cora for smp, gowalla for lightgcn, if not given.")] = "",
    rounds: Annotated[int, typer.Option(help="Turns of each side.", min=1)] = 3,
    epochs: Annotated[int, typer.Option(help="Epochs of the full training.", min=1)] = 200,
    json_file: JsonFile = None,
    csv_file: CsvFile = None,
) -> None:
    """An epoch of INT2 SMP beside the released scheme; or a step of LightGCN beside its products and PyG's."""
    if case == "smp":
        from gnnq_lib.benchmarks.training import TrainingBench, run

        measure = partial(run, TrainingBench(dataset or "cora", rounds=rounds, epochs=epochs))
    elif case == "lightgcn":
        from gnnq_lib.benchmarks import lightgcn

        measure = partial(lightgcn.run, lightgcn.LightgcnBench(dataset or "gowalla", rounds=rounds))
    else:
        from gnnq_lib.errors import InputError

        raise InputError(f"case {case!r} is unknown; smp or lightgcn is accepted")
    _show("Training (simulated low bit)", measure, json_file, csv_file, hidden=_MACHINE)


def memory(
    method: Annotated[str, typer.Option(help="Quantization method.")] = "node_pow2",
    json_file: JsonFile = None,
) -> None:
    """Peak memory of a training epoch on a generated graph of 169,343 nodes and 2.5 million edges."""
    from dataclasses import asdict

    from gnnq_lib.benchmarks.memory import MemoryCase, run

    def measure() -> list[dict]:
        result = asdict(run(MemoryCase(method=method)))
        return [{**result.pop("case"), **result, "peak_GiB": round(result["peak_bytes"] / 2**30, 2)}]

    _show("Memory of training", measure, json_file, hidden=(SECONDS,))


def similarity(
    case: Annotated[
        list[str] | None, typer.Option(help="Data set, generated or generated-ROWS; repeatable; pubmed, cs, generated.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Rounds that each call is timed in.", min=1)] = 5,
    json_file: JsonFile = None,
    csv_file: CsvFile = None,
) -> None:
    """Top-20 search on packed embeddings beside full precision and faiss (where installed): recall, size, speed."""
    from gnnq_lib.benchmarks.similarity import SimilarityBench, run

    config = SimilarityBench(tuple(case), rounds=rounds) if case else SimilarityBench(rounds=rounds)
    measure = partial(_described, partial(run, config))
    title = "Similarity search (packed, real low bit)"
    _show(title, measure, json_file, csv_file, hidden=("bench", "path", "gb_per_s", *_MACHINE))


def serving(
    dims: Annotated[
        str, typer.Option(help="D of the random tables, separated by commas; may be empty.")
    ] = "64,128,256",
    model: Annotated[
        list[Path] | None, typer.Option(help="A file of `gnnq train-recommender`: its tables too; repeatable.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Users per call.", min=1)] = 256,
    rounds: Annotated[int, typer.Option(help="Rounds that each call is timed in.", min=1)] = 7,
    json_file: JsonFile = None,
    csv_file: CsvFile = None,
) -> None:
    """Users per second for lists of 20 over all items, and memory: packed tables, FP32, faiss-cpu if installed."""
    from gnnq_lib.benchmarks.serving import ServingBench, run
    from gnnq_lib.errors import InputError

    parts = [part.strip() for part in dims.split(",")] if dims.strip() else []
    if not all(part.isdecimal() for part in parts):
        raise InputError(f"dims={dims!r} given; whole numbers separated by commas are accepted, such as 64,128")
    config = ServingBench(dims=tuple(map(int, parts)), models=tuple(model or ()), batch=batch, rounds=rounds)
    _show("Serving, lists of 20", partial(run, config), json_file, csv_file, hidden=_MACHINE)


def fresh_clone(
    folder: Annotated[Path, typer.Argument(help="Where the clone goes; must not exist.")],
    json_file: JsonFile = None,
    csv_file: CsvFile = None,
) -> None:
    """Installation, `make reproduce` and `make test` in a clone of the last commit, and each notebook in it."""
    from gnnq_lib.benchmarks.fresh_clone import run

    _show("A fresh clone", partial(run, folder), json_file, csv_file, hidden=("bench", "bits", SECONDS))


def _described(measure: Callable[[], list[dict]], **settings: object) -> list[dict]:
    """Rows with settings and what they were measured on."""
    from gnnq_lib.benchmarks.kernels import describe_machine

    return [{**row, **settings, **describe_machine()} for row in measure()]


def _show(
    title: str,
    measure: Callable[[], list[dict]],
    json_file: Path | None,
    csv_file: Path | None = None,
    hidden: tuple[str, ...] = (),
) -> None:
    """Measure, print a table without the columns in `hidden`, and write all of it where asked to."""
    from gnnq_lib.cli import print_table, write_json

    began = time.perf_counter()
    rows = measure()
    seconds = time.perf_counter() - began
    rows = [{**row, SECONDS: seconds} for row in rows]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    shown = [name for name in columns if name not in hidden]
    print_table(title, shown, [[_text(row.get(name)) for name in shown] for row in rows])
    write_json(json_file, rows)
    if csv_file is not None:
        import pandas as pd

        from gnnq_lib.files import atomic_write

        atomic_write(csv_file, pd.DataFrame(rows, columns=columns).to_csv(index=False, float_format="%.6g"))


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
