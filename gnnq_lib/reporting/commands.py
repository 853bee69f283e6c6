"""`gnnq report`: the command only; pandas and torch are imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the verdicts to this JSON file.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)


def report(
    out: Annotated[Path | None, typer.Option(help="The page to write; figures/report.html if not given.")] = None,
    json_file: JsonFile = None,
) -> None:
    """Judge every claim of both papers by the stored results and write the report, one self-contained page."""
    from gnnq_lib.cli import print_table, write_json
    from gnnq_lib.reporting import Results, build_report, judge_all, verdict_frame
    from gnnq_lib.reporting.verdicts import counts

    results = Results.stored()
    verdicts = judge_all(results)
    frame = verdict_frame(verdicts)
    shown = ["claim", "paper's number", "ours", "verdict", "command"]
    judged = frame[frame.verdict != "not run"]
    if len(judged):
        print_table("Claims that results are there for", shown, judged[shown].to_numpy().tolist())
    typer.echo(", ".join(f"{number} {status}" for status, number in counts(verdicts).items()))
    missing = frame[frame.verdict == "not run"].groupby("command", sort=False).claim.agg(" ".join)
    for command, names in missing.items():
        typer.echo(f"not run: {names}: {command}")
    path = build_report(out, results)
    typer.echo(f"{path.name} written, {path.stat().st_size / 1000:,.0f} kB, in {path.parent.name}/")
    write_json(json_file, frame.to_dict("records"))
