"""The cost of counts on CUDA: the steps of the reference, each a kernel of PyTorch.

They pass over numbers of probes and rounds alone, a few milliseconds for a million
probes: a kernel of our own would save nothing that is seen beside the windows' scores.
"""

from pyprobound.kernels.selection._reference import selection_cost

__all__ = ["selection_cost"]
