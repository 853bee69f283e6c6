"""`gnnq train-recommender` and `gnnq recommend`: commands only; torch is imported when one runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the numbers to this JSON file.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("train-recommender")(train_recommender)
    app.command("recommend")(recommend)


def train_recommender(
    data: Annotated[str, typer.Option(help="Name of a data set of interactions, or a folder of your own.")],
    out: Annotated[Path, typer.Option(help="The model file to write (safetensors).")],
    bits: Annotated[int, typer.Option(help="Bits of a code: 1, 2, 3 or 4.")] = 2,
    dim: Annotated[int, typer.Option(help="Values per user and item.")] = 64,
    method: Annotated[str, typer.Option(help="gnaq, gnaq_as_released, post_training_node, lsq, n2uq, ...")] = "gnaq",
    level_bits: Annotated[int, typer.Option(help="Bits of a level: 16 or 32.")] = 32,
    with_interactions: Annotated[
        bool, typer.Option("--with-interactions", help="Put the interactions into the file: it needs no data set then.")
    ] = False,
    split_seed: Annotated[int, typer.Option(help="Of the validation part.", min=0)] = 0,
    seed: Annotated[int, typer.Option(help="Of the first table, batches and negatives.", min=0)] = 0,
    epochs: Annotated[int | None, typer.Option(help="At most; the recipe's if not given.", min=0)] = None,
    teacher_epochs: Annotated[int | None, typer.Option(help="Likewise, of the FP32 table.", min=1)] = None,
    json_file: JsonFile = None,
) -> None:
    """Train a low-bit recommender, pack it into a file, and check that the file gives the same lists."""
    from dataclasses import asdict

    from gnnq_lib.cli import write_json
    from gnnq_lib.recommendation.pipeline import ListsDifferError, recommender_config, train_and_pack

    settings = {"bits": bits, "dim": dim, "method": method, "level_bits": level_bits, "split_seed": split_seed}
    lengths = {"seed": seed, "epochs": epochs, "teacher_epochs": teacher_epochs}
    try:
        report = train_and_pack(recommender_config(data, **settings, **lengths), out, with_interactions, typer.echo)
    except ListsDifferError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{report.dataset}, {report.method}, {report.bits} bits, D = {report.dim}")
    typer.echo(f"test: Recall@{report.k} {report.recall:.4f}, NDCG@{report.k} {report.ndcg:.4f}")
    typer.echo(f"lists that differ from the trained model's: {report.other_lists} of {report.num_users:,}")
    typer.echo(f"{out}: {report.file_bytes:,} bytes; codes and levels by the formula: {report.formula_bytes:,.0f}")
    typer.echo(f"FP32 table: {report.fp32_bytes:,} bytes, {report.times_smaller:.2f} times as many")
    write_json(json_file, {**asdict(report), "times_smaller": report.times_smaller})


def recommend(
    model: Annotated[Path, typer.Argument(help="A file that `gnnq train-recommender` wrote.")],
    user: Annotated[int, typer.Option(help="Number of the user, from 0.")],
    k: Annotated[int, typer.Option(help="Length of the list.")] = 10,
    item: Annotated[
        list[int] | None, typer.Option(help="Also show this item's score and place in the full list; repeatable.")
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Print the items a packed recommender ranks highest for a user, seen items left out."""
    from gnnq_lib.cli import write_json
    from gnnq_lib.recommendation.serving import NOBODY, serve

    server = serve(model)
    found = server.recommend([user], k)
    places = [(chosen, *server.place(user, chosen)) for chosen in item or []]
    rows = []
    for place, (number, score) in enumerate(zip(found.items[0].tolist(), found.scores[0].tolist()), start=1):
        if number == NOBODY:
            typer.echo(f"user {user} has only {place - 1} unseen items")
            break
        rows.append({"place": place, "item": number, "score": score, "title": server.title(number)})
        typer.echo(f"{place:4d}  item {number:<7d} {score:9.4f}  {server.title(number)}".rstrip())
    for number, score, place in places:
        where = f"place {place}" if place else "seen already, not listed"
        typer.echo(f"item {number}: score {score:.4f}, {where}  {server.title(number)}".rstrip())
    write_json(
        json_file, {"user": user, "list": rows, "items": [dict(zip(("item", "score", "place"), p)) for p in places]}
    )
