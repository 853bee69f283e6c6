"""A kernel whose port was taken is started again; whatever else fails is not repeated."""

from __future__ import annotations

import socket

import nbformat
import pytest
from jupyter_client.provisioning import LocalProvisioner
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, RunningKernel

from gnnq_lib.experiments.kernel_start import retry_kernel_start
from gnnq_lib.experiments.notebook_authoring import refresh
from gnnq_lib.experiments.notebook_runner import _run_cells, plan
from tests import nbval_kernel_start  # noqa: F401 - the plugin
from tests.toy_notebooks import write_toy


def failing(*errors: Exception):
    """A start that raises these errors, one a call, and then succeeds; and the list of its calls."""
    left, calls = list(errors), []

    def start():
        calls.append(1)
        if left:
            raise left.pop(0)
        return "client"

    return start, calls


SILENT = RuntimeError("Kernel didn't respond in 60 seconds")
DEAD = RuntimeError("Kernel died before replying to kernel_info")


def test_starts_again_until_the_kernel_comes_up():
    start, calls = failing(SILENT, DEAD)
    with pytest.warns(RuntimeWarning, match="started again: Kernel") as warned:
        assert retry_kernel_start(start) == "client"
    assert len(calls) == 3 and len(warned) == 2


def test_gives_up_with_the_last_error():
    start, calls = failing(SILENT, SILENT, DEAD)
    with pytest.warns(RuntimeWarning), pytest.raises(RuntimeError, match="died before"):
        retry_kernel_start(start)
    assert len(calls) == 3


@pytest.mark.parametrize("error", [RuntimeError("Kernel died"), ValueError("Kernel didn't respond in 60 seconds")])
def test_other_errors_are_raised_at_once(error):
    start, calls = failing(error)
    with pytest.raises(type(error)):
        retry_kernel_start(start)
    assert len(calls) == 1


@pytest.fixture
def port_taken(monkeypatch):
    """The real thing: between choosing and binding, somebody else listens on the first kernel's shell port."""
    launch, taken = LocalProvisioner.launch_kernel, []

    async def launch_after_another(self, *args, **kwargs):
        if not taken:
            taken.append(socket.create_server(("127.0.0.1", self.parent.shell_port)))
        return await launch(self, *args, **kwargs)

    monkeypatch.setattr(LocalProvisioner, "launch_kernel", launch_after_another)
    yield
    assert taken, "no kernel was started"
    taken[0].close()


def test_nbval_survives_a_port_that_was_taken(port_taken):
    with pytest.warns(RuntimeWarning, match="died before replying"):
        kernel = RunningKernel(CURRENT_ENV_KERNEL_NAME)
    try:
        assert kernel.is_alive()
    finally:
        kernel.stop()


def test_papermill_survives_it(port_taken, tmp_path, monkeypatch):
    monkeypatch.setenv("GNNQ_ROOT", str(tmp_path))
    run = plan(write_toy(tmp_path), "quick", {"bits": 3})
    run.folder.mkdir(parents=True)
    with pytest.warns(RuntimeWarning, match="died before replying"):
        retry_kernel_start(lambda: _run_cells(run))
    (cell,) = [cell for cell in nbformat.read(run.executed, as_version=4).cells if cell.source.endswith("levels")]
    assert cell.outputs[0].data["text/plain"] == "8"  # of 3 bits


def test_refresh_survives_it(port_taken, tmp_path):
    path = write_toy(tmp_path)
    with pytest.warns(RuntimeWarning, match="died before replying"):
        refresh(path)
    assert all(cell.execution_count for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
