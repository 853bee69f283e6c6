"""Experiments: typed configs, the results store, the runner of many runs, and the runner of notebooks."""

from gnnq_lib.experiments.config import ExperimentConfig, config_key, make_config
from gnnq_lib.experiments.provenance import provenance
from gnnq_lib.experiments.runner import RunReport, run_all
from gnnq_lib.experiments.store import Measurement, ResultsStore, all_results, summarise
from gnnq_lib.experiments.tables import Table, load_table, table_names

__all__ = [
    "ExperimentConfig",
    "Measurement",
    "ResultsStore",
    "RunReport",
    "Table",
    "all_results",
    "config_key",
    "load_table",
    "make_config",
    "provenance",
    "run_all",
    "summarise",
    "table_names",
]
