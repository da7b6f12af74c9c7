"""Random numbers: the stream against Philox written out in Python, distributions, the generator's state."""

from __future__ import annotations

import fastnn as fn
import fastnn.nn.functional as F
import numpy as np
import pytest

SEED = 0x123456789ABCDEF
SIZES = [1, 3, 15, 16, 17, 255, 256, 257, 1000]


def philox(seed: int, op: int, block: int) -> list[int]:
    """Philox 4x32-10 of Salmon et al. 2011."""
    low = 0xFFFFFFFF
    c, k = [block & low, block >> 32, op & low, op >> 32], [seed & low, seed >> 32]
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(q >> 32) ^ c[1] ^ k[0], q & low, (p >> 32) ^ c[3] ^ k[1], p & low]
        k = [(k[0] + 0x9E3779B9) & low, (k[1] + 0xBB67AE85) & low]
    return c


@pytest.fixture(scope="module")
def words() -> np.ndarray:
    return np.array([philox(SEED, 0, block) for block in range(500)], dtype=np.uint64).ravel()


@pytest.fixture(autouse=True)
def seeded():
    fn.manual_seed(SEED)


def test_philox_of_the_paper():
    assert philox(0, 0, 0) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]  # the authors' known answer


@pytest.mark.parametrize("n", SIZES)
def test_uniform_is_the_stream(n, words):
    np.testing.assert_array_equal(fn.rand(n).numpy(), ((words[:n] >> 8) * 2.0**-24).astype(np.float32))
    fn.manual_seed(SEED)
    pairs = words[0::2] | words[1::2] << 32
    np.testing.assert_array_equal(fn.rand(n, dtype=fn.float64).numpy(), (pairs[:n] >> 11) * 2.0**-53)


@pytest.mark.parametrize(("low", "high"), [(0, 2), (-5, 7), (-(2**63), 2**63 - 1)])
def test_integers_are_the_stream(low, high, words):
    pairs = words[0::2] | words[1::2] << 32
    assert fn.randint(low, high, 100).tolist() == [low + (int(v) * (high - low) >> 64) for v in pairs[:100]]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("p", [0.1, 0.5, 1.0])
def test_dropout_is_the_stream(n, p, words):
    kept = words[:n] >= np.uint64(round(p * 2**32))
    scale = np.float32(1 / (1 - p)) if p < 1 else np.float32(0)
    np.testing.assert_array_equal(F.dropout(fn.ones(n), p).numpy(), np.where(kept, scale, np.float32(0)))


def test_normal_numbers():
    pairs = [fn.randn(100_003, dtype=fn.float64).numpy(), fn.randn(100_003).numpy().astype(np.float64)]
    for x in pairs:
        assert abs(x.mean()) < 0.02
        assert abs(x.std() - 1) < 0.02
        assert abs((x**3).mean()) < 0.05
        assert abs((x**4).mean() - 3) < 0.15
        assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 0.02
    y = fn.empty(1000, 3).normal_(5.0, 0.0)
    assert bool((y == 5).all())


def test_an_interval_excludes_its_end():
    above = np.nextafter(np.float32(1), np.float32(2))
    assert bool((fn.empty(1000).uniform_(1.0, float(above)) == 1).all())


def test_draws_into_views_follow_their_order():
    x = fn.zeros(4, 6).transpose(0, 1).uniform_()
    fn.manual_seed(SEED)
    np.testing.assert_array_equal(x.numpy(), fn.rand(6, 4).numpy())


def test_the_state_continues():
    fn.rand(3)
    state = fn.get_rng_state()
    first = fn.randn(50).numpy()
    assert not np.array_equal(first, fn.randn(50).numpy())
    fn.set_rng_state(state)
    np.testing.assert_array_equal(first, fn.randn(50).numpy())


def test_permutations():
    order = fn.randperm(1000).numpy()
    assert sorted(order) == list(range(1000))
    assert not np.array_equal(order, np.arange(1000))


@pytest.mark.parametrize("kind", [np.uint64, np.int64])
def test_many_keys_are_sorted_in_steps_and_alike(kind, monkeypatch):
    from fastnn.data import order

    for bits, sizes in ((20, [0, 1, 2**20 + 1]), (3, [8, 9, 16, 17, 1000])):
        monkeypatch.setattr(order, "_STEP_BITS", bits)
        for n in sizes:
            keys = np.random.Philox(key=n).random_raw(n)
            keys[::3] = keys[:1]  # equal ones keep their order
            keys = keys.view(kind)
            np.testing.assert_array_equal(order.stable_order(keys), np.argsort(keys, kind="stable"))
