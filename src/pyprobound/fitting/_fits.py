"""Regressions with a slope and an intercept, in measurements or in their logarithms.

Fit       obs(y) ≈ m·pred(log Z) + b
LogFit    log obs(y) ≈ log(e^{m + pred(log Z)} + e^b)
"""

import abc
import math
import os
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import Sampler

from pyprobound._numerics import NEG_INF, logsumexp
from pyprobound.aggregate import Aggregate
from pyprobound.errors import PyProBoundError
from pyprobound.fitting._agreement import Agreement
from pyprobound.fitting._base import BaseFit, Prediction, Scored, as_measured
from pyprobound.fitting._least_squares import LeastSquares, Normal, covariance, descend
from pyprobound.fitting._measured import Observation, half_bar, measured
from pyprobound.fitting._starts import (
    GAIN,
    Start,
    background_offsets,
    best_starts,
    linear_offsets,
    sampled,
)
from pyprobound.optimizer import Optimizer
from pyprobound.rounds import BaseRound
from pyprobound.table import CountBatch, CountTable, score
from pyprobound.uncertainty import LARGEST_ERROR, NOT_IDENTIFIED, Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class OffsetFit(BaseFit):
    """A regression with m and b.

    Attributes:
        m: Slope (`Fit`) or log signal (`LogFit`), 0-dimensional.
        b: Intercept, or log background (−∞ for none).
        train_offset: Whether `fit` trains both.
    """

    unfreezable = Literal["all", "offset", "activity", "posbias", "hill"]
    trainable: ClassVar[Mapping[str, tuple[str, ...]]] = {"offset": ("m", "b")}
    start: ClassVar[tuple[float, float]]
    """m and b as long as they are not trained."""
    is_log: ClassVar[bool]
    """Whether logarithms are compared."""
    formula: ClassVar[str]
    """What is regressed, as text."""

    def __init__(
        self,
        rnd: BaseRound | Aggregate,
        dataset: CountTable,
        prediction: Prediction,
        observation: Observation = as_measured,
        update_construct: bool = False,
        train_offset: bool = False,
        train_posbias: bool = False,
        train_hill: bool = False,
        max_split: int | None = None,
        batch_size: int | None = None,
        checkpoint: str | os.PathLike[str] = "valmodel.pt",
        output: str | os.PathLike[str] = "/dev/null",
        device: str | None = None,
        sampler: type[Sampler[CountBatch]] | None = None,
        optimizer: type[torch.optim.Optimizer] | None = None,
        optim_args: MutableMapping[str, Any] | None = None,
        sampler_args: MutableMapping[str, Any] | None = None,
        name: str = "",
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Copy the trained model and check that it takes the probes.

        Args:
            rnd: The trained round or aggregate; it is copied and never changed.
            dataset: Probes and measurements: y in the first column; a symmetric error
                in the second, or a lower and an upper error in the second and third.
                Errors are distances from y.
            prediction: Makes of log Z (natural logarithm, float64) what is compared,
                elementwise and differentiable: ``lambda z: z``, `torch.exp`,
                `torch.sigmoid` (the fraction bound).
            observation: Makes of y what is compared, elementwise; by default nothing.
            update_construct: Whether to lay the copy on the dataset's probe lengths:
                needed where they are not those of the training table.
            train_offset: Whether to train m and b.
            train_posbias: Whether to train the position bias of every motif (and of
                dimers and non-specific binding that were trained with one).
            train_hill: Whether to train the Hill coefficients of motifs and dimers.
            max_split: The most probes that are scored at once.
            batch_size: Probes in a batch, with an optimizer of torch.optim; by default
                all.
            checkpoint: Where the best model is kept.
            output: Where progress is printed.
            device: By default CUDA where there is any, else the CPU.
            sampler: Class that draws the probes of a batch.
            optimizer: A class of torch.optim; by default least squares are solved by
                Gauss–Newton steps.
            optim_args: Its arguments.
            sampler_args: Arguments of the sampler.
            name: Shown in messages and plots.
            dtype: Floating-point type of the copy; by default the round's.

        Raises:
            PyProBoundError: Nothing binds in the round, or a measurement or its error
                cannot be used; the message names its row.
            RuntimeError: The probes have other lengths than those of the model, and
                update_construct is False.
        """
        self.train_offset = train_offset
        super().__init__(
            rnd,
            dataset,
            prediction,
            observation=observation,
            update_construct=update_construct,
            train_posbias=train_posbias,
            train_hill=train_hill,
            max_split=max_split,
            batch_size=batch_size,
            checkpoint=checkpoint,
            output=output,
            device=device,
            sampler=sampler,
            optimizer=optimizer,
            optim_args=optim_args,
            sampler_args=sampler_args,
            name=name,
            dtype=dtype,
        )
        like = next(self.parameters())
        self.m, self.b = (nn.Parameter(like.new_tensor(x)) for x in self.start)
        self._unfreeze_offset()

    def _unfreeze_offset(self) -> None:
        for each in self.offset:
            each.requires_grad_(self.train_offset)

    @property
    def offset(self) -> list[nn.Parameter]:
        """The parameters m and b."""
        return [self.m, self.b]

    # --- scores ----------------------------------------------------------------------

    @abc.abstractmethod
    def linked(self, x: Tensor) -> Tensor:
        """Return what is predicted of x = pred(log Z), (probes,)."""

    @abc.abstractmethod
    def best_offsets(self, x: Tensor, obs: Tensor, weights: Tensor) -> Start:
        """Return the best m and b, or a good guess.

        Args:
            x: (probes,) pred(log Z).
            obs: (probes,) what was observed.
            weights: (probes,) 1/σ².
        """

    def predicted(self, log_z: Tensor) -> Tensor:
        """Return what is predicted, given log Z in float64, (probes,)."""
        return self.linked(self.prediction(log_z))

    def obs_pred(self, seqs: Tensor, target: Tensor) -> Scored:
        """Return what was observed, what is predicted, and the ends of error bars.

        Args:
            seqs: (probes, length) letter codes.
            target: (probes, columns) measurements and their errors.

        Returns:
            obs, pred, and the lower and upper ends of the error bars (None without
            errors), each (probes,) float64, on the scale of the fit: logarithms in a
            `LogFit`.
        """
        pred = self.predicted(self.log_z(seqs))
        found = measured(target.to(pred.device), self.observed)
        return found.obs, pred, found.lower, found.upper

    def _settings(self) -> dict[str, object]:
        return {**super()._settings(), "train_offset": self.train_offset}

    # --- fit -------------------------------------------------------------------------

    def fit(self) -> None:
        """Train m and b, then activities, then what else the arguments allow.

        With train_offset, m and b have closed forms or are searched over all
        backgrounds, and all scales of Z are tried where activities are trained. The
        model that is left here, and in the checkpoint, is the best one, also where the
        fit is interrupted.

        Raises:
            PyProBoundError: A prediction is not finite; the message names the probe.
        """
        run = self.make_optimizer()
        run.print(f"{self.dataset.get_setup_string()}\n{self.get_setup_string()}")
        starts = self._starts()
        try:
            self._train_from_the_best_of(starts, run)
            if len(self._stages) > 1:
                self._train(self._stages[-1], run)
        finally:
            run.save(self.checkpoint)
        run.print(self.summary())

    @property
    def _stages(self) -> list[list[str]]:
        """The words that are trained together, before and with what comes last."""
        first = ["offset"] * self.train_offset + ["activity"]
        last = [word for word in ("posbias", "hill") if getattr(self, f"train_{word}")]
        return [first, first + last] if last else [first]

    def _starts(self) -> list[Start]:
        """Return where to begin, the best start first.

        Raises:
            PyProBoundError: A prediction is not finite.
        """
        log_z = score(self, self.dataset, fun="log_z", max_split=self.max_split)[1]
        found = measured(self.dataset.target.cpu(), self.observed)
        sigma = half_bar(*found)
        weights = torch.ones_like(log_z) if sigma is None else sigma**-2
        with torch.no_grad():
            self._check_predictions(log_z)
            starts = best_starts(
                *sampled(log_z, found.obs, weights),
                self.prediction,
                self.best_offsets if self.train_offset else self._as_they_are,
                scales=all(part.train_activity for part in self.aggregate.present()),
            )
        return starts if self._by_least_squares else starts[:1]

    def _train_from_the_best_of(
        self, starts: Sequence[Start], run: Optimizer[CountBatch]
    ) -> None:
        """Train m, b and activities from each start; keep what is best.

        Where the fit is interrupted, the best so far is kept.
        """
        before = self._offsets_and_activities()
        best, kept = math.inf, before
        try:
            for start in starts:
                self._write(before)
                self._go_to(start, run)
                if self.train_offset:
                    self._train(["offset"], run)
                self._train(self._stages[0], run)
                loss = self._problem().loss()
                if loss < (1 - GAIN) * best:
                    best, kept = loss, self._offsets_and_activities()
        finally:
            self._write(kept)

    def _offsets_and_activities(self) -> list[tuple[nn.Parameter, Tensor]]:
        parts = self.aggregate.present()
        found = [*self.offset, *(part.log_activity for part in parts)]
        return [(each, each.detach().clone()) for each in found]

    @staticmethod
    def _write(values: Sequence[tuple[nn.Parameter, Tensor]]) -> None:
        with torch.no_grad():
            for parameter, value in values:
                parameter.copy_(value)

    def _go_to(self, start: Start, run: Optimizer[CountBatch]) -> None:
        if self.train_offset:
            with torch.no_grad():
                self.m.fill_(start.m)
                self.b.fill_(start.b)
        if start.shift:
            for part in self.aggregate.present():
                part.scale_by(start.shift)
        run.print(
            f"### Start: m = {self.m.item():.6g}, b = {self.b.item():.6g}, activities"
            f" times {math.exp(start.shift):.3g}, loss {start.loss:.6g}"
        )

    def _as_they_are(self, x: Tensor, obs: Tensor, weights: Tensor) -> Start:
        residual = obs - self.linked(x)
        loss = float((weights @ residual.square()) / len(obs))
        return Start(loss, self.m.item(), self.b.item())

    def _check_predictions(self, log_z: Tensor) -> None:
        x = self.prediction(log_z)
        if x.shape != log_z.shape:
            msg = (
                f"prediction made the shape {tuple(x.shape)} of {tuple(log_z.shape)};"
                " give an elementwise function"
            )
            raise PyProBoundError(msg)
        absent = x == NEG_INF if self.is_log else torch.zeros_like(x).bool()
        wrong = ~x.isfinite() & ~absent
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            probe = self.dataset.alphabet.decode(self.dataset.seqs[row])
            msg = (
                f"row {row} (from 0), {str(probe).strip()}: log Z ="
                f" {float(log_z[row]):g} gives the prediction {float(x[row]):g}; leave"
                " such probes out, or add non-specific binding to the model"
            )
            raise PyProBoundError(msg)

    @property
    def _by_least_squares(self) -> bool:
        """Whether nothing is asked for that only torch.optim can do."""
        return not (self.optimizer is not None or self.optim_args or self.batch_size)

    def _train(self, words: Sequence[str], run: Optimizer[CountBatch]) -> None:
        self.freeze()
        for word in words:
            self.unfreeze(word)
        if not any(each.requires_grad for each in self.parameters()):
            return
        run.print(f"### Training {', '.join(words)}")
        if self._by_least_squares:
            descend(self._problem(), run.print)
        else:
            run.train_until_convergence()

    def _problem(self) -> LeastSquares:
        return LeastSquares(self, self.dataset)

    # --- what was found --------------------------------------------------------------

    def estimates(self) -> dict[str, Estimate]:
        """Return m, b and the parameters of the model that `fit` trains, with errors.

        Standard errors are those of least squares (Gauss–Newton): with error bars from
        their lengths, widened by the root of χ² per degree of freedom where that is
        above 1; without, from the scatter of the residuals. The specifications count as
        known. A parameter whose effect those before it have, too (an activity beside a
        slope), is held and not identified (NaN); so is a logarithm with an error above
        10.
        """
        problem = self._problem()
        labels = problem.free.labels()
        found = problem.normal()
        effect = found.gram.diagonal()
        order = sorted(
            range(len(labels)), key=lambda i: (_rank_of(labels[i]), -float(effect[i]))
        )
        squared = covariance(found, problem.n, order).diagonal()
        freedom = problem.n - int((~squared.isnan()).sum())
        errors = (squared * self._scatter(found, problem.n, freedom)).sqrt()
        unknown = ~problem.linear & (errors > LARGEST_ERROR)
        errors = errors.masked_fill(unknown, math.nan)
        names, values = self._names(), problem.free.get()
        return {
            names.get(labels[i], labels[i]): Estimate(values[i], errors[i])
            for i in order
        }

    def _scatter(self, found: Normal, n: int, freedom: int) -> float:
        """Return what variances are multiplied by."""
        if freedom <= 0:
            return math.nan
        scatter = found.loss * n / freedom
        has_bars = self.dataset.target.shape[1] > 1
        return max(1.0, scatter) if has_bars else scatter

    def _names(self) -> dict[str, str]:
        """Return short names of single parameters by their names in the model."""
        long = {id(value): name for name, value in self.named_parameters()}
        found: dict[str, str] = {}
        for number, part in enumerate(self.aggregate.present()):
            binding = part.binding.name or f"binding {number}"
            found[long[id(part.log_activity)]] = f"log activity {binding}"
            hill = getattr(part.binding, "log_hill", None)
            if hill is not None:
                found[long[id(hill)]] = f"log Hill {binding}"
        unique = len(set(found.values())) == len(found)
        return found if unique else {}

    def summary(self) -> str:
        """Return what was found, as text: parameters ± errors, and the agreement."""
        lines = [f"### {self}: {self.formula}"]
        known = self.estimates()
        shown = [name for name in known if "[" not in name]
        lines += [f"\t{name} = {_shown(known[name])}" for name in shown]
        if len(shown) < len(known):
            lines.append(f"\tand {len(known) - len(shown)} entries of position biases")
        return "\n".join([*lines, f"\t{self.agreement()}"])

    # --- picture ---------------------------------------------------------------------

    def plot(
        self,
        xlabel: str = "Predicted",
        ylabel: str = "Observed",
        kernel: int = 1,
        xlog: bool = True,
        ylog: bool = True,
        labels: Sequence[str] | None = None,
        colors: Sequence[str] | None = None,
    ) -> "Figure":
        """Draw what was observed against what is predicted, with R².

        Measurements stand on the scale of obs(y), in a `LogFit` too. R² and the other
        numbers are those of `agreement`, of all probes. Many probes are drawn as
        hexagons that show their number.

        Args:
            xlabel: Name and unit of the prediction.
            ylabel: Name and unit of the measurement.
            kernel: Neighbours, in the order of the prediction, that are averaged (on
                the scale of the fit); 1 for none.
            xlog: Whether the axis of the predictions is logarithmic; it is linear if
                one of them is not positive.
            ylog: Whether that of the measurements is.
            labels: The group of each probe, shown in a legend.
            colors: A colour for each group, in the order in which they first come; or
                without labels one for each probe.

        Returns:
            The figure.

        Raises:
            PyProBoundError: matplotlib is not installed, or there are too few labels or
                colours.
        """
        try:
            from pyprobound.fitting import _figures  # noqa: PLC0415 optional
        except ModuleNotFoundError as error:
            msg = (
                f"pictures need {(error.name or '').partition('.')[0]}; run"
                " `pip install 'pyprobound-engine[plots]'`"
            )
            raise PyProBoundError(msg) from None
        obs, pred, lower, upper = self.score(self.dataset)
        points = _figures.Points.of(obs, pred, lower, upper, labels, colors)
        return _figures.draw(
            points.averaged(kernel),
            xlabel=xlabel,
            ylabel=ylabel,
            xlog=xlog,
            ylog=ylog,
            is_log=self.is_log,
            agreement=Agreement.of(obs, pred, lower, upper),
            kernel=kernel,
            title=self.name,
        )


def _rank_of(label: str) -> int:
    """Return where a parameter comes in the order in which they are identified."""
    order = ("m", "b")
    if label in order:
        return order.index(label)
    ends = ("log_activity", "log_hill")
    return 2 + next((i for i, end in enumerate(ends) if label.endswith(end)), 2)


def _shown(estimate: Estimate) -> str:
    value = f"{estimate.value.item():.5g}"
    if not bool(estimate.is_identified):
        return f"{value} ({NOT_IDENTIFIED})"
    return f"{value} ± {estimate.error.item():.2g}"


class Fit(OffsetFit):
    """A linear regression of measurements: obs(y) ≈ m·pred(log Z) + b.

    It minimises the mean over probes of (obs(y) − [m·pred(log Z) + b])², divided by σ²
    where there are error bars, with σ half the length of the bar of obs(y).

    Without train_offset, m = 1 and b = 0.
    """

    start = (1.0, 0.0)
    is_log = False
    formula = "obs(y) = m·pred(log Z) + b"

    def linked(self, x: Tensor) -> Tensor:
        """Return m·x + b."""
        return self.m.to(x) * x + self.b.to(x)

    def best_offsets(self, x: Tensor, obs: Tensor, weights: Tensor) -> Start:
        """Return slope and intercept of the weighted linear regression."""
        return linear_offsets(x, obs, weights)


class LogFit(OffsetFit):
    """A regression of logarithms: log obs(y) ≈ log(e^{m + pred(log Z)} + e^b).

    Signal and background add up, and scatter by factors, as intensities do: pred makes
    the logarithm of the signal, up to m, and e^b is the background. It minimises the
    mean over probes of (log obs(y) − log(e^{m + pred(log Z)} + e^b))², divided by σ²
    where there are error bars, with σ half the length of the bar of log obs(y).

    Without train_offset, m = 0 and b = −∞: there is no background.
    """

    start = (0.0, NEG_INF)
    is_log = True
    formula = "log obs(y) = log(exp(m + pred(log Z)) + exp(b))"

    def observed(self, y: Tensor) -> Tensor:
        """Return log obs(y)."""
        return self.observation(y).log()

    def linked(self, x: Tensor) -> Tensor:
        """Return log(e^{m + x} + e^b)."""
        background = self.b.to(x).expand_as(x)
        return logsumexp(torch.stack([self.m.to(x) + x, background]), 0)

    def best_offsets(self, x: Tensor, obs: Tensor, weights: Tensor) -> Start:
        """Return the best log signal and log background of many."""
        return background_offsets(x, obs, weights)
