"""The sums that take the time: windows of probes, and pairs of windows.

Each kernel is one public function, which checks its arguments once, and a readable
PyTorch reference, which says what is computed: exact in float32 and float64, on CPU and
CUDA, differentiable (twice), and bounded in memory. Faster implementations stand beside
it; `use_backend` chooses (see `_backends`).

    window_scores        log 1/K(S_i, x)                            (N, C, W)
    soft_window_scores   the same for sequences of letter fractions (N, C, W)
    log_sum              log Σ_{c,x} exp(h · windows)               (N,)
    log_sum_windows      both steps at once, windows never stored   (N,)
    log_sum_dimers       log Σ over all pairs of windows            (N,)
    window_features      weighted sums of the letters in windows    (n, columns)
    window_posterior     the weights of windows in their log sum    (n, C, W)
    dimer_posterior      those of pairs, summed over windows, …     (n, …)

The last three are derivatives themselves, and have none; so is `selection_information`,
beside the cost of counts in `selection`. They are made for a piece of the probes at a
time.
"""

from pyprobound.kernels._backends import use_backend
from pyprobound.kernels.dimer_posterior import dimer_posterior
from pyprobound.kernels.log_sum_dimers import log_sum_dimers
from pyprobound.kernels.log_sum_windows import log_sum, log_sum_windows
from pyprobound.kernels.window_features import window_features
from pyprobound.kernels.window_posterior import window_posterior
from pyprobound.kernels.window_scores import soft_window_scores, window_scores

__all__ = [
    "dimer_posterior",
    "log_sum",
    "log_sum_dimers",
    "log_sum_windows",
    "soft_window_scores",
    "use_backend",
    "window_features",
    "window_posterior",
    "window_scores",
]
