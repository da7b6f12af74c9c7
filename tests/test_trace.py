"""Ops announce themselves to a tracer: name, inputs, parameters, outputs, views, each within the op that is made of it.

announced.py names every op that a user can call and that is no row, with the parameters it must announce; a new one
without a line there fails. The op table is run under a trace, so that inputs and outputs of every case are checked too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import fastnn as fn
import pytest
from announced import (
    ANNOUNCED,
    CLASSES,
    ELSEWHERE,
    FILTERS,
    IMAGES,
    INDEXED,
    MADE_OF,
    NO_OPS,
    TRANSPOSED,
    VECTOR,
    VIEWS,
    X,
    normal,
)
from cases import CASES, Case
from cases.elementwise import ROWS
from cases.rows import described
from conftest import ROOT, needs_cuda
from test_ops import as_tuple, draw, floating, leaves

Event = dict[str, Any]


@contextmanager
def trace() -> Iterator[list[Event]]:
    """The events of the ops within, once they are done."""
    events: list[Event] = []
    tracer = fn._C._Trace()
    tracer.start()
    try:
        yield events
    finally:
        assert tracer.depth == 0
        tracer.stop()
        events += tracer.events()


def traced(call: Callable[[], Any]) -> list[Event]:
    with trace() as events:
        call()
    return events


def outermost(events: list[Event]) -> list[Event]:
    return [e for e in events if e["depth"] == 0]


def shapes(operands: list[Any]) -> list[Any]:
    return [o and o.get("shape") for o in operands]


# ---- every op that can be called --------------------------------------------------------------------------------------


def names_of(place: Any) -> set[str]:
    """Compiled functions of the module, or methods of Tensor, that a user sees."""
    kind = type(fn._C.matmul)
    return {
        name for name in dir(place) if not name.startswith("_") and isinstance(vars(place).get(name), kind)
    }


def test_every_op_has_a_line():
    rows = {name for row in described().values() for name in (row.name, f"{row.name}_")}
    known = rows | set(ANNOUNCED) | set(ELSEWHERE) | set(" ".join(NO_OPS).split())
    assert names_of(fn._C) | names_of(fn.Tensor) <= known, "give it a line in ANNOUNCED"


def test_every_recorded_op_announces_itself():
    for path in (ROOT / "csrc/ops").rglob("*.cpp"):
        text = path.read_text()
        recorded, announced = (
            set(re.findall(rf'\b{call}\("(\w+)"', text)) for call in ("record(?:_many)?", "OpScope scope")
        )
        assert recorded <= announced, path


@pytest.mark.parametrize(("name", "line"), [*ANNOUNCED.items(), *INDEXED.items()], ids=[*ANNOUNCED, *INDEXED])
@pytest.mark.parametrize("recorded", [False, True])
def test_op(name, line, recorded):
    call, attributes, inputs, outputs = line
    fn.autograd.set_grad_enabled(recorded)
    with trace() as events:
        call()
    event = outermost(events)[-1]
    assert event["op"] == name
    assert not event["backward"]
    assert event["attributes"] == attributes
    assert shapes(event["inputs"]) == inputs
    assert shapes(event["outputs"]) == outputs


@pytest.mark.parametrize(
    ("name", "call"), [("fill_", lambda x: x.zero_()), ("reshape", lambda x: x.view(35))]
)
def test_op_of_another_name(name, call):
    x = normal(5, 7)
    event, *_ = traced(lambda: call(x))
    assert (event["op"], event["outputs"][0]["shares"]) == (name, 0)


@pytest.mark.parametrize(
    "row", [row for row in described().values() if row.name in ROWS], ids=lambda r: r.name
)
def test_row(row):
    for parameters in ROWS[row.name].parameters:
        if not set(parameters) <= set(row.parameters):
            continue  # another row's
        xs = [
            fn.tensor(a) for a in draw(tuple(kind(5, 7) for kind in ROWS[row.name].operands), row.dtypes[0])
        ]
        forms = [(row.name, row.call), (f"{row.name}_", row.call_in_place)]
        for name, call in forms[: 1 + row.inplace]:
            (event,) = traced(lambda call=call, p=parameters, xs=xs: call(*xs, **p))
            assert event["op"] == name
            assert event["attributes"] == {**row.parameters, **parameters}
            assert shapes(event["inputs"]) == [(5, 7)] * row.operands
            assert shapes(event["outputs"]) == [(5, 7)]
            assert event["outputs"][0]["shares"] == (0 if name.endswith("_") else None)
            assert event["kernels"] == 1


def test_numbers_are_inputs_as_they_came():
    for number in (2, 2.5, True):
        (event,) = traced(lambda n=number: X * n)
        assert event["inputs"][1] == {"number": number}
        assert type(event["inputs"][1]["number"]) is type(number)


def test_parameters_that_are_no_numbers():
    same = outermost(traced(lambda: fn._C.conv2d(IMAGES, FILTERS, padding="same")))[0]
    assert same["attributes"]["padding"] == "same"
    assert traced(lambda: X.sum(1, keepdim=True))[0]["attributes"] == {"dim": (1,), "keepdim": True}
    assert traced(lambda: fn._C.gelu(X, "tanh"))[-1]["op"] == "gelu_tanh"
    off = traced(lambda: fn._C.dropout(X, 0.5, False))[0]
    assert (off["attributes"]["training"], off["outputs"][0]["shares"]) == (False, 0)


def test_conversions_with_nothing_to_convert_say_nothing():
    assert traced(lambda: (X.to(fn.float32), X.to("cpu"), X.contiguous())) == []


def test_assignments():
    x = normal(5, 7)
    event = outermost(traced(lambda: x.__setitem__((slice(None), 2), VECTOR[:5])))[-1]
    assert (event["op"], shapes(event["inputs"])) == ("index_put", [(5, 7), (5,)])
    assert event["attributes"]["dropped"] == (1,)
    assert event["outputs"][0]["shares"] == 0
    event = outermost(traced(lambda: x.__setitem__(CLASSES[:2], 3.0)))[-1]
    assert (event["op"], shapes(event["inputs"])) == ("index_put", [(5, 7), None, (2,), None])
    assert event["outputs"][0]["shares"] == 0


@needs_cuda
def test_between_devices():
    event = outermost(traced(lambda: X.to("cuda")))[0]
    assert (event["op"], event["outputs"][0]["shares"]) == ("to", None)
    assert event["attributes"] == {"device": fn.device("cuda:0"), "non_blocking": False}
    assert [e["op"] for e in outermost(traced(lambda: fn.ones(3).pin_memory()))] == ["full", "pin_memory"]


# ---- views and memory that is written ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*ANNOUNCED, *INDEXED])
def test_what_shares_memory(name):
    call, *_ = (ANNOUNCED | INDEXED)[name]
    shared = [y["shares"] for y in outermost(traced(call))[-1]["outputs"]]
    if name in VIEWS | {"select", "slice"} or name.endswith("_"):
        assert shared == [0]
    elif name.endswith("_step"):
        assert shared == {"sgd_step": [0, 1, 4, 5], "adam_step": [0, 2, 3]}[name]
    elif name == "batch_norm":
        assert shared == [None, 1, 2]
    else:
        assert set(shared) <= {None}


def test_a_reshape_that_must_copy_is_no_view():
    event, copy = traced(lambda: TRANSPOSED.reshape(-1))
    assert (event["op"], event["outputs"][0]["shares"]) == ("reshape", None)
    assert (copy["op"], copy["depth"]) == ("contiguous", 1)


# ---- the op table -----------------------------------------------------------------------------------------------------


def expected(case: Case) -> list[str]:
    return MADE_OF.get(case.name) or [case.name.split()[0]]


def sound(events: list[Event]) -> None:
    """What holds of any trace."""
    depth = -1
    for event in events:
        assert 0 <= event["depth"] <= depth + 1
        depth = event["depth"]
    for event in events:
        for output in event["outputs"]:
            if output and output["shares"] is not None:
                assert output["storage"] == event["inputs"][output["shares"]]["storage"]


def nodes(y: fn.Tensor) -> set[str]:
    """The names of the recorded ops behind y."""
    found, queue = {}, [y.grad_fn]
    while queue:
        node = queue.pop()
        if isinstance(node, fn._C.Node) and node not in found:
            found[node] = node.name
            queue += node.next_functions
    return set(found.values())


@pytest.mark.parametrize("case", CASES, ids=[c.name.replace(" ", "_") for c in CASES])
def test_case_of_the_op_table(case):
    args = max(case.small, key=lambda args: len(args[0].shape), default=case.inputs[0])
    tensors = [fn.tensor(a) for a in draw(args, case.dtypes[0])]
    with trace() as plain:
        ys = as_tuple(case.call(*tensors))
    sound(plain)
    outer = outermost(plain)
    assert [e["op"] for e in outer] == expected(case)
    assert set(shapes(outer[0]["inputs"])) <= {tuple(t.shape) for t in tensors} | {None}
    if not case.name.startswith(("assigned", "sgd", "adam")):
        assert shapes(outer[-1]["outputs"])[: len(ys)] == [tuple(y.shape) for y in ys]
    assert not any(e["backward"] for e in plain)
    if not case.gradient:
        return

    xs = leaves(args, tensors)
    with trace() as forward:
        ys = as_tuple(case.call(*tensors))
    assert [(e["op"], e["attributes"]) for e in outermost(forward)] == [
        (e["op"], e["attributes"]) for e in outer
    ]
    recorded = {name for y in floating(ys) for name in nodes(y)}
    assert recorded <= {e["op"] for e in forward}
    with trace() as backward:
        dxs = fn.grad(floating(ys), xs, [fn.ones_like(y) for y in floating(ys)], create_graph=True)
    sound(backward)
    assert {e["op"] for e in backward if e["backward"]} == recorded
    assert recorded | {e["op"] for e in backward} >= {name for dx in dxs for name in nodes(dx)}


# ---- backward ---------------------------------------------------------------------------------------------------------


def test_backward_has_gradients_as_inputs_and_outputs():
    x, w = fn.randn(5, 7, requires_grad=True), normal(2, 7)
    y = fn._C.linear(x, w)
    with trace() as events:
        y.backward(fn.ones(5, 2))
    (event,) = [e for e in outermost(events) if e["backward"]]
    assert event["op"] == "linear"
    assert shapes(event["inputs"]) == [(5, 2)]
    assert shapes(event["outputs"]) == [(5, 7), None, None]
    assert [(e["op"], e["depth"], e["backward"]) for e in events if e["op"] == "matmul"] == [
        ("matmul", 1, False)
    ]


class Twice(fn.autograd.Function):
    @staticmethod
    def forward(ctx, x, factor):
        return x * factor

    @staticmethod
    def backward(ctx, dy):
        return dy * 2, None


def test_functions_of_python():
    for x in (normal(3), fn.randn(3, requires_grad=True)):
        events = traced(lambda x=x: Twice.apply(x, 2))
        assert [(e["op"], e["depth"]) for e in events] == [("Twice", 0), ("mul", 1)]
        assert (shapes(events[0]["inputs"]), shapes(events[0]["outputs"])) == ([(3,)], [(3,)])
    y = Twice.apply(x, 2)
    events = traced(lambda: y.backward(fn.ones(3)))
    assert ("Twice", 0, True) in [(e["op"], e["depth"], e["backward"]) for e in events]


# ---- beginning and end ------------------------------------------------------------------------------------------------


def test_an_error_leaves_the_op():
    with trace() as events:
        for wrong in (lambda: X + normal(3), lambda: X.reshape(4), lambda: X.sum(5), lambda: X.expand(2)):
            with pytest.raises((ValueError, IndexError)):
                wrong()
        X + 1
    assert events[-1]["depth"] == 0
    assert fn._C._tracers() == 0


def test_an_error_within_python_leaves_the_op():
    class Fails(fn.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            raise KeyError("no")

    with trace() as events, pytest.raises(KeyError, match="no"):
        Fails.apply(X)
    assert [e["op"] for e in events] == ["Fails"]


def test_a_tracer_may_stop_within_an_op():
    tracer = fn._C._Trace()

    class Stops(fn.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            nonlocal tracer
            tracer.stop()
            del tracer
            return x * 2

    tracer.start()
    Stops.apply(X)
    assert fn._C._tracers() == 0


def test_one_listener_to_a_thread():
    with trace(), pytest.raises(RuntimeError, match="another tracer"):
        fn._C._Trace().start()
    assert fn._C._tracers() == 0
