"""A sequence is held out as a whole, wherever it occurs."""

import numpy as np
import pandas as pd
import pytest
import torch

from pyprobound import CountTable
from pyprobound.alphabets import DNA
from pyprobound.held_out import split_by_sequence
from tests.recovery.simulated import random_texts


def table_of(texts: list[str], counts: object = None, **settings: object) -> CountTable:
    if counts is None:
        counts = np.random.default_rng(0).integers(1, 9, (len(texts), 2))
    return CountTable(pd.DataFrame(counts, texts), DNA(), **settings)


def texts_of(table: CountTable) -> list[str]:
    """Return the probes without flanks; the tables here have no padding."""
    bare = CountTable.__new__(CountTable)
    bare.__dict__.update(table.__dict__)
    bare.set_flank_length(0, 0)
    return [table.alphabet.decode(row).rstrip(" *") for row in bare.seqs]


def test_every_sequence_is_held_out_once_over_the_folds() -> None:
    texts = random_texts(100, 8, seed=1)
    splits = split_by_sequence([table_of(texts)], folds=3)
    held_out = [set(texts_of(s.held_out_tables()[0])) for s in splits]
    train = [set(texts_of(s.train_tables()[0])) for s in splits]
    assert sorted(x for each in held_out for x in each) == sorted(texts)
    assert [a | b for a, b in zip(held_out, train, strict=True)] == [set(texts)] * 3
    assert [len(each) for each in held_out] == [33, 34, 33]


def test_one_split_holds_out_the_fraction_that_is_asked_for() -> None:
    table = table_of(random_texts(200, 8, seed=1))
    (split,) = split_by_sequence([table], held_out=0.1)
    sizes = len(split.held_out_tables()[0]), len(split.train_tables()[0])
    assert sizes == (20, 180)
    assert len(table) == 200  # nothing has happened to it


def test_a_sequence_that_is_repeated_stays_together() -> None:
    texts = random_texts(30, 6, seed=2)
    repeated = [texts[i % 30] for i in range(120)]
    (split,) = split_by_sequence([table_of(repeated)], held_out=0.3)
    held_out = texts_of(split.held_out_tables()[0])
    train = texts_of(split.train_tables()[0])
    assert len(held_out) == 36
    assert not set(held_out) & set(train)


@pytest.mark.parametrize("wildcard_pad", [False, True])
def test_a_sequence_is_on_the_same_side_in_all_tables(wildcard_pad: bool) -> None:
    short, long = random_texts(40, 5, seed=3), random_texts(40, 9, seed=4)
    first = table_of(
        short + long, left_flank="ACG", left_flank_length=2, wildcard_pad=wildcard_pad
    )
    second = table_of(short[::-1], right_flank="TT", right_flank_length=1)
    (split,) = split_by_sequence([first, second], held_out=0.4)
    held_out = [set(texts_of(table)) for table in split.held_out_tables()]
    train = [set(texts_of(table)) for table in split.train_tables()]
    assert not (held_out[0] | held_out[1]) & (train[0] | train[1])
    assert held_out[1] == held_out[0] & set(short)
    assert len(held_out[0]) == 32


def test_parts_score_the_flanks_and_take_the_lengths_of_the_whole() -> None:
    texts = random_texts(40, 5, seed=3) + random_texts(40, 9, seed=4)
    table = table_of(texts, left_flank="ACG", left_flank_length=2)
    (split,) = split_by_sequence([table])
    for part in (*split.train_tables(), *split.held_out_tables()):
        assert (part.input_shape, part.min_read_length) == (11, 7)
        part.set_flank_length(3, 0)
        assert part.seqs[:, :3].tolist() == [[0, 1, 2]] * len(part)
    assert table.input_shape == 11


def test_a_sample_is_drawn_before_the_folds() -> None:
    texts = random_texts(100, 8, seed=1)
    splits = split_by_sequence([table_of(texts)], folds=2, sample=40)
    used = [
        set(texts_of(s.held_out_tables()[0])) | set(texts_of(s.train_tables()[0]))
        for s in splits
    ]
    assert used[0] == used[1]
    assert len(used[0]) == 40
    assert len(splits[0].held_out_tables()[0]) == 20


def test_seed_decides_what_is_held_out() -> None:
    tables = [table_of(random_texts(100, 8, seed=1))]
    masks = [split_by_sequence(tables, seed=x)[0].held_out[0] for x in (0, 0, 1)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_strong_binders_fall_on_both_sides() -> None:
    """Of a tenth that is enriched, a tenth is held out, whatever the seed."""
    counts = np.ones((1000, 2))
    counts[:100, 1] = 50
    table = table_of(random_texts(1000, 8, seed=1), counts)
    for seed in range(5):
        (split,) = split_by_sequence([table], held_out=0.1, seed=seed)
        enriched = int((split.held_out_tables()[0].target[:, 1] == 50).sum())
        assert abs(enriched - 10) <= 1


def test_bad_settings_are_refused() -> None:
    texts = random_texts(10, 8, seed=1)
    table = table_of(texts)
    with pytest.raises(ValueError, match=r"held_out 1\.0 must be between 0 and 1"):
        split_by_sequence([table], held_out=1.0)
    with pytest.raises(ValueError, match="folds 0 must be at least 1"):
        split_by_sequence([table], folds=0)
    with pytest.raises(ValueError, match="table 0: fewer than two sequences"):
        split_by_sequence([table], held_out=0.1)
    read = np.zeros((10, 2))
    read[0] = 5
    with pytest.warns(UserWarning, match="no positive count"):
        unread = table_of(texts, read)
    with pytest.raises(ValueError, match="table 1: "):
        split_by_sequence([table, unread], held_out=0.5)
