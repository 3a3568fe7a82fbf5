"""The public function for the posterior over pairs: it checks, then calls on."""

from torch import Tensor

from pyprobound.kernels._backends import implementation
from pyprobound.kernels._checks import check_float, check_group, check_hill
from pyprobound.kernels.dimer_posterior import _reference
from pyprobound.kernels.dimer_posterior._found import Found


def dimer_posterior(
    windows_a: Tensor,
    windows_b: Tensor,
    log_omega: Tensor,
    log_sums: Tensor,
    places: Tensor,
    n_places: int,
    *,
    group: Tensor | None = None,
    hill: Tensor | None = None,
) -> Found:
    """Sum the shares of pairs of windows in the sum over all pairs.

    π = exp( hill · (ω[group[i], s, t, m, n] + a[i, s, m] + b[i, t, n]) − X[i] )

    of which a probe has thousands, over those that share a window or a place. There is
    no gradient of it.

    Args:
        windows_a: As in `log_sum_dimers`, and so are others.
        windows_b: Scores of the second mode.
        log_omega: Cooperativity ω (G, Sa, Sb, La, Lb).
        log_sums: (N,) the log sums X over all pairs.
        places: (G, Sa, Sb, La, Lb) int64, in which of the sums over places a pair is;
            −1 if in none. One of (0, …) puts none in any.
        n_places: How many places there are.
        group: Index (N,) of each probe's group; None if G is 1.
        hill: Positive Hill coefficient, 0-dimensional; None is 1.

    Returns:
        The sums; all 0 in a probe in which no pair is finite.

    Raises:
        ValueError: A shape does not fit.
        TypeError: Scores are not all float32 or all float64, or groups not integers.
    """
    n_probes, strands_a, n_windows_a = windows_a.shape
    _, strands_b, n_windows_b = windows_b.shape
    expected = (strands_a, strands_b, n_windows_a, n_windows_b)
    for name, values in (("log_omega", log_omega), ("places", places)):
        if values.ndim != 5 or tuple(values.shape[1:]) != expected:
            raise ValueError(
                f"{name} has shape {tuple(values.shape)}; these windows need"
                f" (groups, {', '.join(map(str, expected))})"
            )
    if len(places) not in {0, len(log_omega)}:
        raise ValueError(
            f"places of {len(places)} groups, where log_omega has {len(log_omega)}"
        )
    if len(windows_b) != n_probes or tuple(log_sums.shape) != (n_probes,):
        raise ValueError(
            f"{n_probes} probes in windows_a, {len(windows_b)} in windows_b, log_sums"
            f" of shape {tuple(log_sums.shape)}"
        )
    check_float("windows_a", windows_a)
    check_float("windows_b", windows_b, windows_a.dtype)
    check_float("log_omega", log_omega, windows_a.dtype)
    check_group(group, n_probes, len(log_omega))
    check_hill(hill)
    n_pairs = n_probes * log_omega[:1].numel()
    module = implementation("dimer_posterior", windows_a.device, n_pairs)
    found: Found = (module or _reference).dimer_posterior(
        windows_a, windows_b, log_omega, log_sums, places, n_places, group, hill
    )
    return found
