"""The public function for sums over pairs of windows: it checks, then calls on."""

from torch import Tensor

from pyprobound.kernels._backends import implementation
from pyprobound.kernels._checks import check_float, check_group, check_hill
from pyprobound.kernels.log_sum_dimers import _reference


def log_sum_dimers(
    windows_a: Tensor,
    windows_b: Tensor,
    log_omega: Tensor,
    *,
    group: Tensor | None = None,
    hill: Tensor | None = None,
) -> Tensor:
    """Sum over all pairs of windows of two modes, without storing the pairs.

    log Σ_{s,t,m,n} exp( hill · (ω[group[i], s, t, m, n] + a[i, s, m] + b[i, t, n]) )

    Args:
        windows_a: Scores (N, Sa, La) of the first mode; −∞ is absent.
        windows_b: Scores (N, Sb, Lb) of the second; the same tensor for a homodimer.
        log_omega: Cooperativity ω (G, Sa, Sb, La, Lb) of each group of probes; −∞ is a
            pair that cannot be.
        group: Index (N,) of each probe's group, int32 or int64; None if G is 1.
        hill: Positive Hill coefficient, 0-dimensional; None is 1.

    Returns:
        Log sums (N,); −∞, with zero gradient, where no pair is finite. As accurate as
        a sum in the log domain, whatever the range of the energies.

    Raises:
        ValueError: A shape does not fit.
        TypeError: Scores are not all float32 or all float64, or groups not integers.
    """
    for name, windows in (("windows_a", windows_a), ("windows_b", windows_b)):
        if windows.ndim != 3 or len(windows) != len(windows_a):
            raise ValueError(
                f"{name} has shape {tuple(windows.shape)}, not (N, strands, windows)"
                f" with N = {len(windows_a)}"
            )
    _, strands_a, n_windows_a = windows_a.shape
    _, strands_b, n_windows_b = windows_b.shape
    expected = (strands_a, strands_b, n_windows_a, n_windows_b)
    if log_omega.ndim != 5 or tuple(log_omega.shape[1:]) != expected:
        raise ValueError(
            f"log_omega has shape {tuple(log_omega.shape)}; these windows need"
            f" (groups, {', '.join(map(str, expected))})"
        )
    check_float("windows_a", windows_a)
    check_float("windows_b", windows_b, windows_a.dtype)
    check_float("log_omega", log_omega, windows_a.dtype)
    check_group(group, len(windows_a), len(log_omega))
    check_hill(hill)
    n_scores = windows_a.numel() + windows_b.numel()
    module = implementation("log_sum_dimers", windows_a.device, n_scores)
    sums: Tensor = (module or _reference).log_sum_dimers(
        windows_a, windows_b, log_omega, group, hill
    )
    return sums
