"""Whole configurations drawn at random: what a user could write, sane or extreme.

Every choice is made by one function, `Choose`, from a list of options; the first one is
the plainest: Hypothesis shrinks to it.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from pyprobound import (
    Binding,
    Cooperativity,
    CountTable,
    Experiment,
    Mode,
    MultiExperimentLoss,
    Spacing,
    alphabets,
    layers,
    rounds,
)

Choose = Callable[[Sequence[Any]], Any]

ALPHABETS: dict[str, Callable[[], alphabets.Alphabet]] = {
    "DNA": alphabets.DNA,
    "RNA": alphabets.RNA,
    "protein": alphabets.Protein,
    "methylated": lambda: alphabets.Alphabet("ACMKGT", complement=True),
    "codes": lambda: alphabets.Alphabet("XYZ", encoding={"W": "XY"}),
}
COLUMNS = {
    "one": 2,
    "chain": 4,
    "siblings": 3,
    "kd": 3,
    "kinase": 3,
    "hidden": 2,
    "no start": 2,
    "alone": 1,
}
"""Arrangements of rounds, and how many of them are sequenced."""

KINDS = [
    rounds.BoundUnsaturatedRound,
    rounds.BoundRound,
    rounds.UnboundRound,
    rounds.RhoGammaRound,
    rounds.ExponentialRound,
]
ENGINES: dict[str, tuple[type[torch.optim.Optimizer] | None, dict[str, float]]] = {
    "default": (None, {}),
    "LBFGS": (torch.optim.LBFGS, {"max_iter": 5}),
    "Adam": (torch.optim.Adam, {"lr": 0.05}),
    "SGD": (torch.optim.SGD, {"lr": 0.1}),
}
LARGEST = 10_000_000
MAGNITUDES: dict[str, float] = {"plain": 0, "large": 3, "huge": 30, "absurd": 300}


@dataclass
class Drawn:
    """A configuration.

    Attributes:
        log: What was chosen, by name; shown when a test fails.
        model: The model.
        tables: Its tables.
        settings: Arguments of the optimizer.
        sequential: Whether one binding is fitted after the other.
        is_plain: Whether it starts from where fits start.
        is_possible: Whether something binds every probe.
    """

    log: dict[str, object]
    model: MultiExperimentLoss
    tables: list[CountTable]
    settings: dict[str, Any]
    sequential: bool
    is_plain: bool
    is_possible: bool


class Drawing:
    """Draws a configuration, part by part."""

    def __init__(self, choose: Choose) -> None:
        self._choose = choose
        self.log: dict[str, object] = {}
        self._rng = random.Random(self.pick("seed", *range(100)))
        self._alphabet = ALPHABETS[self.pick("alphabet", *ALPHABETS)]()
        self._arrangements: list[str] = []

    def pick(self, name: str, *options: Any) -> Any:
        """Choose one of several options."""
        chosen = self._choose(options)
        if chosen != options[0]:  # what is not shown is plain
            self.log[name] = chosen
        return chosen

    def rarely(self, name: str) -> bool:
        """Choose whether something uncommon is switched on."""
        return bool(self.pick(name, False, False, True))

    def whole(self) -> Drawn:
        """Draw everything."""
        torch.manual_seed(self._rng.randrange(2**30))
        names = ["first.", "second."][: self.pick("experiments", 1, 1, 1, 2)]
        tables = [self.table(name) for name in names]
        shortest = min(table.min_read_length for table in tables)
        reverse = self.pick("score_reverse", None, None, False)
        psams = [
            self.psam(name, shortest, reverse)
            for name in "ab"[: self.pick("motifs", 1, 2, 0)]
        ]
        nonspecific = None
        if not psams or self.pick("nonspecific", True, True, False):
            ignore_length = self.rarely("ignore_length")
            nonspecific = layers.NonSpecific(
                self._alphabet, ignore_length=ignore_length, name="ns"
            )
        spacing: list[Spacing] = []
        has_dimer = bool(psams) and self.rarely("dimer")
        experiments = []
        for name, table, arrangement in zip(
            names, tables, self._arrangements, strict=True
        ):
            bindings: list[Binding] = [
                self.mode(f"{name}{psam.name}.", psam, table) for psam in psams
            ]
            if has_dimer:
                bindings.append(self.dimer(name, bindings, spacing))
            if nonspecific is not None:
                bias = self.rarely(f"{name}nonspecific bias")
                mode = Mode.from_nonspecific(nonspecific, table, train_posbias=bias)
                bindings.insert(0, mode)
            elif has_dimer and self.rarely(f"{name}dimer alone"):
                bindings = bindings[-1:]
            experiments.append(self.experiment(name, arrangement, bindings, table))
        model = self.loss(experiments, tables)
        is_plain = self.start(model)
        return Drawn(
            self.log,
            model,
            tables,
            self.engine(tables),
            self.pick("sequential", True, False),
            is_plain,
            nonspecific is not None or not has_dimer,
        )

    # --- probes and counts ---------------------------------------------------------

    def table(self, name: str) -> CountTable:
        """Draw probes, wildcards among them, and their counts."""
        rng = self._rng
        low = self.pick(f"{name}shortest", 5, 3, 1, 8)
        high = low + self.pick(f"{name}longer", 0, 0, 1, 3)
        number = self.pick(f"{name}probes", 12, 12, 30, 2, 1)
        share = self.pick(f"{name}wildcards", 0, 0, 0.2, 0.9)
        letters = list(self._alphabet.alphabet)
        codes = ["*", "-", "W" if "W" in self._alphabet.get_index else "*"]
        texts: dict[str, None] = {}
        for _ in range(3 * number):
            drawn = [
                rng.choice(codes if rng.random() < share else letters)
                for _ in range(rng.randint(low, high))
            ]
            texts["".join(drawn)] = None
            if len(texts) == number:
                break
        arrangement = self.pick(f"{name}rounds", *COLUMNS)
        self._arrangements.append(arrangement)
        counts = self.counts(name, len(texts), COLUMNS[arrangement])
        flank = "".join(rng.choices(letters, k=4))
        return CountTable(
            pd.DataFrame(counts, index=list(texts)),
            self._alphabet,
            left_flank=flank,
            right_flank=flank[::-1],
            left_flank_length=self.pick(f"{name}left", 0, 2),
            right_flank_length=self.pick(f"{name}right", 0, 1),
            wildcard_pad=low < high and self.rarely(f"{name}wildcard_pad"),
        )

    def counts(self, name: str, n_probes: int, n_rounds: int) -> list[list[float]]:
        """Draw counts: few, many, all alike, of wide range; rounds without a read."""
        rng = self._rng
        choose = {
            "few": lambda: rng.choice([0, 1, 2, 5]),
            "single": lambda: rng.choice([0, 1]),
            "alike": lambda: 7,
            "many": lambda: rng.randint(0, LARGEST),
            "wide": lambda: rng.choice([0, 1, 100, LARGEST]),
        }[self.pick(f"{name}counts", "few", "single", "alike", "many", "wide")]
        rows = [[float(choose()) for _ in range(n_rounds)] for _ in range(n_probes)]
        unread = self.pick(f"{name}unread", None, None, None, "first", "last", "all")
        for row in rows:
            if unread == "first":
                row[0] = 0.0
            elif unread == "last":
                row[-1] = 0.0
            elif unread == "all":
                row[:] = [0.0] * n_rounds
        return rows

    # --- bindings ------------------------------------------------------------------

    def psam(self, name: str, shortest: int, reverse: bool | None) -> layers.PSAM:
        """Draw a motif that fits the shortest probe."""
        size = min(self.pick(f"{name}.size", 3, 1, 2, 4), shortest)
        symmetry = None
        if self.rarely(f"{name}.symmetry"):
            half = list(range(1, size // 2 + 1))
            symmetry = half + [size] * (size % 2) + half[::-1]
            if self._alphabet.complement and size % 2 == 0:
                symmetry = half + [-each for each in half[::-1]]
        pairs = min(self.pick(f"{name}.pairs", 0, 0, 1, 2), size - 1)
        may_dilate = pairs == 0 and 2 * size - 1 <= shortest
        greedy = {
            word: self.rarely(f"{name}.{word}")
            for word in (
                "shift_footprint",
                "shift_footprint_heuristic",
                "increment_footprint",
                "increment_flank",
                "increment_flank_with_footprint",
                "normalize",
                "train_bias",
            )
        }
        return layers.PSAM(
            size,
            self._alphabet,
            pairwise_distance=pairs,
            dilation=self.pick(f"{name}.dilation", 1, 2) if may_dilate else 1,
            symmetry=symmetry,
            score_reverse=reverse if self._alphabet.complement else None,
            information_threshold=self.pick(f"{name}.information", 0.1, 0.0, 1.0),
            max_kernel_size=size + 1,
            train_betas=self.pick(f"{name}.train", True, True, True, False),
            name=name,
            **greedy,
        )

    def bias(self, name: str, first_mode: str) -> dict[str, Any]:
        """Draw the settings of a position bias."""
        if not self.rarely(f"{name}posbias"):
            return {}
        return {
            "train_posbias": True,
            "bias_mode": self.pick(f"{name}bias_mode", first_mode, "same", "reverse"),
            "bias_bin": self.pick(f"{name}bin", 1, 2),
            "length_specific_bias": self.pick(f"{name}by length", True, False),
            "normalize": self.rarely(f"{name}centred"),
        }

    def mode(self, name: str, psam: layers.PSAM, table: CountTable) -> Mode:
        """Draw a mode of a motif."""
        settings = self.bias(name, "channel")
        return Mode.from_psam(
            psam, table, train_hill=self.rarely(f"{name}hill"), **settings
        )

    def dimer(
        self, name: str, modes: list[Binding], spacing: list[Spacing]
    ) -> Cooperativity:
        """Draw a dimer of the first and the last mode (which may be the same)."""
        first, last = modes[0], modes[-1]
        assert isinstance(first, Mode)
        assert isinstance(last, Mode)
        if not spacing:
            spacing.append(
                Spacing(
                    first.key(),
                    last.key(),
                    score_same=self.pick("same strand", True, True, False),
                    score_reverse=self.pick("opposite strand", True, True, False),
                    score_mode=self.pick("order", "both", "positive", "negative"),
                    max_overlap=self.pick("max_overlap", None, 0, 1, -1),
                    max_spacing=self.pick("max_spacing", None, 0, 2),
                    normalize=self.rarely("centred spacing"),
                )
            )
        settings = self.bias(f"{name}dimer.", "strand")
        hill = self.rarely(f"{name}dimer.hill")
        return Cooperativity(spacing[0], first, last, train_hill=hill, **settings)

    # --- rounds --------------------------------------------------------------------

    def round(
        self,
        name: str,
        bindings: list[Binding],
        reference: rounds.BaseRound | None,
        **settings: Any,
    ) -> rounds.Round:
        """Draw a round of any kind."""
        kind = self.pick(f"{name}kind", *KINDS)
        if kind is rounds.ExponentialRound:
            settings["delta"] = self.pick(f"{name}delta", -15.0, 0.0, 5.0)
            settings["train_delta"] = self.pick(f"{name}train_delta", True, False)
        if kind is rounds.RhoGammaRound:
            settings["rho"] = self.pick(f"{name}rho", 1.0, 0.0, -1.0)
            settings["gamma"] = self.pick(f"{name}gamma", -1.0, 0.0, 2.0)
        made: rounds.Round = kind.from_binding(
            bindings,
            reference,
            train_concentration=self.rarely(f"{name}concentration"),
            target_concentration=self.pick(f"{name}target", 1, 1, 1e-6, 1e6),
            **settings,
        )
        return made

    def experiment(
        self, name: str, arrangement: str, bindings: list[Binding], table: CountTable
    ) -> Experiment:
        """Draw the rounds of an experiment."""
        start = rounds.InitialRound()
        observed: list[rounds.BaseRound] = [start]
        if arrangement in ("one", "chain", "siblings"):
            for number in range(1, COLUMNS[arrangement]):
                reference = start if arrangement == "siblings" else observed[-1]
                observed.append(self.round(f"{name}{number}.", bindings, reference))
        elif arrangement == "kd":
            bound = rounds.BoundRound.from_binding(
                bindings,
                start,
                train_concentration=self.rarely(f"{name}concentration"),
                target_concentration=20,
                library_concentration=10,
            )
            observed += [bound, rounds.UnboundRound.from_round(bound)]
        elif arrangement == "kinase":
            first = rounds.ExponentialRound.from_binding(bindings, start)
            later = self.pick(f"{name}later", 3.0, 100.0)
            second = rounds.ExponentialRound.from_round(
                first, target_concentration=later
            )
            observed += [first, second]
        elif arrangement == "hidden":
            hidden = self.round(f"{name}hidden.", bindings, start, train_depth=False)
            observed.append(self.round(f"{name}1.", bindings, hidden))
        else:  # no library before selection
            observed = [self.round(f"{name}1.", bindings, None, train_depth=False)]
            if arrangement == "no start":
                observed.append(self.round(f"{name}2.", bindings, observed[0]))
        return Experiment(observed, counts_per_round=table.counts_per_round)

    # --- loss, start, engine -------------------------------------------------------

    def loss(
        self, experiments: list[Experiment], tables: list[CountTable]
    ) -> MultiExperimentLoss:
        """Draw what is minimised; a pseudocount is for tables that have reads."""
        have_reads = all(float(table.counts_per_round.sum()) > 0 for table in tables)
        weights = [self.pick("weight", 1.0, 0.0, 30.0) for _ in experiments]
        return MultiExperimentLoss(
            experiments,
            weights=weights if self.rarely("weights") else None,
            lambda_l2=self.pick("lambda_l2", 1e-6, 1e-6, 0, 1e-2, 1e3),
            lambda_l1=self.pick("lambda_l1", 0, 0, 1e-6, 10.0),
            pseudocount=self.pick("pseudocount", 0, 20, 1e6) if have_reads else 0,
            exponential_bound=self.pick("exponential_bound", 40, 40, 0, 5, 1000),
            full_loss=self.rarely("full_loss"),
            dilute_regularization=self.rarely("dilute"),
            exclude_regularization=self.pick("exclude", (), (), ("depth",), ("e",)),
            equalize_contribution=self.rarely("equalize"),
            max_split=self.pick("max_split", None, None, 8),
        )

    def start(self, model: MultiExperimentLoss) -> bool:
        """Draw where the parameters begin; tell whether it is where fits begin."""
        size = MAGNITUDES[self.pick("start", "plain", "plain", *MAGNITUDES)]
        if size == 0:
            return True
        enter = self.rarely("present at the start")
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "depth" in name and not parameter.requires_grad:
                    continue
                drawn = torch.randn_like(parameter) * size
                absent = parameter == float("-inf")
                parameter.copy_(
                    drawn if enter else drawn.masked_fill(absent, -torch.inf)
                )
        return False

    def engine(self, tables: list[CountTable]) -> dict[str, Any]:
        """Draw how the model is fitted."""
        name = self.pick("engine", "default", *ENGINES)
        chosen, arguments = ENGINES[name]
        return {
            "optimizer": chosen,
            "optim_args": arguments,
            "batch_size": self.pick("batch_size", None, 7) if name == "Adam" else None,
            "val_tables": tables if self.rarely("held out") else None,
            "dtype": self.pick("dtype", None, torch.float64),
            "epochs": self.pick("epochs", 3, 6),
        }
