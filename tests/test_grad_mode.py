"""no_grad, set_grad_enabled and precision: as decorators, on generators, within themselves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

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


def test_brackets_may_be_left_out():
    @fn.no_grad
    def function(n):
        """Text."""
        return [recorded()] * n

    @fn.no_grad
    def generator():
        yield recorded()

    assert function(n=2) == [False, False]
    assert (function.__name__, function.__doc__) == ("function", "Text.")
    assert list(generator()) == [False]

    @fn.enable_grad
    def inner():
        return recorded()

    with fn.no_grad():
        assert inner()

    class Model:
        @fn.no_grad
        def method(self):
            return self, recorded()

    model = Model()
    assert model.method() == (model, False)
    with pytest.raises(TypeError, match="no_grad: decorates functions and generators, not 3"):
        fn.no_grad(3)
    with pytest.raises(TypeError, match="argument 'on' must be True or False, got function"):
        fn.set_grad_enabled(function)
    assert recorded()


def test_a_precision_decorates_as_modes_do():
    @fn.precision("fp32_fast")
    def function(depth=2):
        return fn.get_precision() if depth == 0 else function(depth - 1)

    @fn.precision("tf32")
    def generator():
        sent = yield fn.get_precision()
        yield sent, fn.get_precision()

    assert function() == "fp32_fast"
    g = generator()
    assert next(g) == "tf32"
    assert fn.get_precision() == "fp32"
    assert g.send(1) == (1, "tf32")
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: function(), range(20))) == {"fp32_fast"}
    with pytest.raises(ValueError, match=r'expected .* got "fp31"'):
        fn.precision("fp31")(function)()
    assert fn.get_precision() == "fp32"
    with pytest.raises(
        TypeError, match=r'precision: expected a name, as in fn.precision\("fp32_fast"\), not <f'
    ):
        fn.precision(function)
