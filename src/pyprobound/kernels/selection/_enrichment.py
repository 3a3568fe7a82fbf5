"""How each kind of round enriches a probe, given log Z: the formulas, said once.

Where nothing binds (log Z = −∞) values are the limits, and no gradient flows to what
is absent.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pyprobound._numerics import NEG_INF, log1mexp, logsumexp
from pyprobound.kernels.selection._chain import Kind


def log_enrichment(
    kind: Kind, log_aggregate: Tensor, first: Tensor, second: Tensor
) -> Tensor:
    """Return the log enrichment over the reference round.

    Args:
        kind: Which formula.
        log_aggregate: log Z, of any shape.
        first: ρ or δ, 0-dimensional; read only by the kinds that have it.
        second: γ, 0-dimensional.
    """
    match kind:
        case Kind.INITIAL:
            return torch.zeros_like(log_aggregate)
        case Kind.BOUND:
            return bound(log_aggregate)
        case Kind.UNSATURATED:
            return log_aggregate
        case Kind.UNBOUND:
            return unbound(log_aggregate)
        case Kind.RHO_GAMMA:
            return rho_gamma(log_aggregate, first, second)
        case Kind.EXPONENTIAL:
            return exponential(log_aggregate, first)


def bound(log_aggregate: Tensor) -> Tensor:
    """Return log Z − log(1+Z)."""
    return logsigmoid(log_aggregate)


def unbound(log_aggregate: Tensor) -> Tensor:
    """Return −log(1+Z)."""
    return logsigmoid(-log_aggregate)


def rho_gamma(log_aggregate: Tensor, rho: Tensor, gamma: Tensor) -> Tensor:
    """Return ρ log Z + γ log(1+Z).

    Where Z is 0, Z^ρ is 1 for ρ = 0, and 0 otherwise: also for a negative ρ, where the
    formula diverges and a fit would turn NaN.
    """
    absent = log_aggregate == NEG_INF
    power = rho * log_aggregate.masked_fill(absent, 0.0)
    power = power.masked_fill(absent & (rho != 0), NEG_INF)
    return power - gamma * logsigmoid(-log_aggregate)


def exponential(log_aggregate: Tensor, delta: Tensor) -> Tensor:
    """Return log[σ(δ) e^{−Z} + σ(−δ) (1 − e^{−Z})]."""
    # Above e^80 (float32 ends at e^88) both terms have long reached their limits; the
    # clamp keeps Z, and with it the gradient, finite.
    aggregate = log_aggregate.clamp(max=80.0).exp()
    unmodified = logsigmoid(delta) - aggregate
    modified = logsigmoid(-delta) + _log_modified(log_aggregate)
    return logsumexp(torch.stack((unmodified, modified)), 0)


def _log_modified(log_aggregate: Tensor) -> Tensor:
    """Return log(1 − e^{−Z}), given log Z: −∞ for Z = 0, accurate at both ends."""
    # Below e^−10 the series is exact, where Z itself would underflow.
    small = log_aggregate < -10.0
    tiny = torch.where(small, log_aggregate, -10.0)
    z = tiny.exp()
    series = tiny - z / 2 + z.square() / 24
    rest = torch.where(small, 0.0, log_aggregate).clamp(max=80.0)
    return torch.where(small, series, log1mexp(rest.exp()))
