"""gnnq_lib: low-bit graph neural networks, as two papers describe them, really low-bit."""

__version__ = "0.1.0"
