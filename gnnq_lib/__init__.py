"""gnnq_lib: low-bit graph neural networks, as two papers describe them, really low-bit."""

import warnings

__version__ = "0.1.0"

# PyTorch says these once per process about every sparse CSR tensor. Nothing can be done about them, and a notebook
# that shows them hides the warnings that matter.
for _message in ("Sparse CSR tensor support is in beta state", "Sparse invariant checks are implicitly disabled"):
    warnings.filterwarnings("ignore", message=_message, category=UserWarning)
