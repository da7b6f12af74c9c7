"""no_grad and set_grad_enabled: as decorators, on generators, within themselves."""

from __future__ import annotations

import fastnn as fn
import pytest


def recorded():
    return (fn.ones(1, requires_grad=True) * 2).requires_grad


def test_a_generator_runs_in_its_mode_and_its_caller_in_its_own():
    @fn.no_grad()
    def generator():
        got = []
        try:
            while True:
                try:
                    got.append((yield recorded()))
                except KeyError:
                    got.append(recorded())
                if len(got) == 3:
                    return got
        finally:
            closed.append(recorded())

    closed = []
    g = generator()
    assert next(g) is False
    assert recorded()
    assert g.send(1) is False
    assert g.throw(KeyError()) is False
    assert recorded()
    with pytest.raises(StopIteration) as end:
        g.send(3)
    assert end.value.value == [1, False, 3]
    g = generator()
    next(g)
    g.close()
    assert closed == [False, False]
    assert recorded()
    assert generator.__name__ == "generator"

    @fn.no_grad()
    def delegating():
        yield from (recorded() for _ in range(2))
        raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        assert list(delegating()) == [False, False]
    assert recorded()


def test_set_grad_enabled_in_all_its_uses():
    @fn.set_grad_enabled(False)
    def function():
        return recorded()

    assert recorded(), "a decorator changes nothing here"
    assert function() is False
    assert recorded()
    with fn.set_grad_enabled(False):
        assert not recorded()
        with fn.set_grad_enabled(True):
            assert recorded()
        assert not recorded()
    assert recorded()
    fn.set_grad_enabled(False)
    assert not recorded()
    fn.set_grad_enabled(True)

    @fn.set_grad_enabled(False)
    def generator():
        yield recorded()

    assert list(generator()) == [False]


def test_a_mode_can_be_entered_within_itself():
    off = fn.no_grad()
    with off:
        with off:
            pass
        assert not recorded()
    assert recorded()
    settings = fn.set_grad_enabled(False)
    for _ in range(2):
        with settings:
            assert not recorded()
        assert recorded()

    @off
    def deep(n):
        return recorded() if n == 0 else deep(n - 1)

    assert deep(3) is False
    assert recorded()


def test_asynchronous_functions_are_refused():
    async def waits():
        pass

    with pytest.raises(TypeError, match="no_grad: waits is asynchronous"):
        fn.no_grad()(waits)
