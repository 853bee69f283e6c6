"""`gnnq quantize` and `gnnq evaluate` as a user meets them."""

from __future__ import annotations

import json

import pytest

from gnnq_lib.datasets import write_example_folder
from gnnq_lib.deployment import PackedModel, load_packed
from gnnq_lib.deployment.pipeline import quantize, training_config
from gnnq_lib.errors import InputError
from tests.test_cli import gnnq


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A model of digits, quantized from the command line, with what was printed."""
    out = tmp_path_factory.mktemp("models") / "digits.safetensors"
    numbers = out.with_suffix(".json")
    run = gnnq("quantize", "--data", "digits", "--bits", 2, "--epochs", 6, "--out", out, "--json", numbers)
    assert run.returncode == 0, run.stderr
    return out, run.stdout, json.loads(numbers.read_text())


def test_quantize_prints_accuracy_and_size(digits):
    out, text, numbers = digits
    results = numbers["results"]
    assert results["accuracy_packed"] == results["accuracy_simulated"] > 20
    assert results["largest_difference"] == 0 and results["other_classes"] == 0
    assert results["file_bytes"] == out.stat().st_size and f"{out.stat().st_size:,} bytes" in text
    assert f"packed {results['accuracy_packed']:.2f} %" in text
    assert results["times_smaller"] == results["fp32_bytes"] / results["file_bytes"]
    assert "commit" in numbers


def test_evaluate_finds_the_same_accuracy(digits, tmp_path):
    out, _, numbers = digits
    for options in ((), ("--data", "digits")):
        run = gnnq("evaluate", out, *options, "--json", tmp_path / "e.json")
        assert "the graph it was trained on" in run.stdout, run.stderr
        result = json.loads((tmp_path / "e.json").read_text())["results"]
        assert result["test_accuracy"] == numbers["results"]["accuracy_packed"]
    other = gnnq("evaluate", out, "--split-seed", 1, "--json", tmp_path / "e.json")
    assert other.returncode == 0
    assert json.loads((tmp_path / "e.json").read_text())["results"]["test_accuracy"] != result["test_accuracy"]


def test_the_file_says_how_it_was_made(digits):
    config = load_packed(digits[0]).header.config
    assert config["dataset"] == "digits" and config["split"] == "random" and config["epochs"] == 6


def test_classes_of_other_names_are_refused(tmp_path):
    """A class that was renamed gets another number: accuracies would be those of other classes."""
    folder, out = write_example_folder(tmp_path / "mine"), tmp_path / "m.safetensors"
    run = gnnq("quantize", "--data", folder, "--bits", 4, "--epochs", 2, "--out", out)
    assert run.returncode == 0, run.stderr
    labels = folder / "labels.csv"
    labels.write_text(labels.read_text().replace("physics", "astronomy"))
    run = gnnq("evaluate", out, "--data", folder)
    assert run.returncode == 2 and "has the classes astronomy, biology, history and" in run.stderr
    assert "predicts biology, history, physics" in run.stderr


def test_a_place_that_cannot_be_written_to_is_said_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr("gnnq_lib.deployment.pipeline.fit", lambda *_: pytest.fail("trained first"))
    config = training_config("digits", 2, None, 0, 0, 1)
    with pytest.raises(InputError, match="cannot be written"):
        quantize(config, "/proc/m.safetensors")


def test_a_folder_of_ones_own(tmp_path):
    folder = write_example_folder(tmp_path / "mine")
    out = tmp_path / "m.safetensors"
    run = gnnq("quantize", "--data", folder, "--bits", 4, "--epochs", 2, "--layers", 3, "--hidden", 16, "--out", out)
    assert run.returncode == 0, run.stderr
    header = load_packed(out).header
    assert (header.num_layers, header.hidden) == (3, 16)
    run = gnnq("evaluate", out, "--data", folder)
    assert run.returncode == 0 and "mine, INT4, 60 nodes, the graph it was trained on" in run.stdout
    assert str(tmp_path).encode() not in out.read_bytes(), "the file tells where its author keeps files"
    run = gnnq("evaluate", out)
    assert run.returncode == 2 and "data 'mine' is neither a data set nor a folder" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["quantize", "--data", "digits", "--bits", "3", "--out", "m"], 2, "bits=3 was given; 2, 4 or 8"),
        (["quantize", "--data", "digit", "--out", "m"], 2, "neither a data set (did you mean digits?) nor a folder"),
        (["quantize", "--data", "digits", "--split", "public", "--out", "m"], 2, "digits has no public split"),
        (["quantize", "--data", "digits", "--out", "no-such-folder/m"], 2, "a file name in a folder that exists"),
        (["quantize", "--data", "cora", "--out", "m"], 1, "could not be had from any source"),
        (["evaluate", "nothing.safetensors"], 2, "nothing.safetensors is not a file"),
    ],
    ids=["bits", "data", "split", "out", "no data", "no model"],
)
def test_bad_input_is_one_sentence(arguments, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = gnnq(*arguments)
    assert run.returncode == code and run.stderr.startswith("Error: ") and run.stderr.count("\n") == 1
    assert message in run.stderr
    assert not list(tmp_path.iterdir())


def test_evaluate_refuses_data_that_do_not_fit(digits, tmp_path):
    run = gnnq("evaluate", digits[0], "--data", "csbm")
    assert run.returncode == 2 and "csbm has 4 classes" in run.stderr


def test_a_model_that_differs_is_not_written(tmp_path, monkeypatch):
    right = PackedModel.logits
    monkeypatch.setattr(PackedModel, "logits", lambda self, graph: right(self, graph) + 1e-4)
    run = gnnq("quantize", "--data", "digits", "--epochs", 1, "--out", tmp_path / "m.safetensors")
    assert run.returncode == 1 and "differ from the simulated ones by up to 1.0e-04" in run.stderr
    assert not list(tmp_path.iterdir())
