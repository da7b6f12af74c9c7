"""Optimisers against torch, step by step."""

import fastnn as fn
import numpy as np
import pytest
from fastnn import nn, optim

SETTINGS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.01, "weight_decay": 0.1, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.05}),
    ("Adam", {"lr": 0.01, "maximize": True}),
    ("AdamW", {"lr": 0.02}),
    ("AdamW", {"lr": 0.02, "weight_decay": 0.5, "maximize": True}),
]
SHAPES = [(3, 17), (3,), (1, 2, 3, 5), (), (1000,)]


def parameters(dtype):
    rng = np.random.default_rng(5)
    return [np.asarray(rng.normal(size=shape), dtype) for shape in SHAPES]


def gradients(step, dtype):
    rng = np.random.default_rng(100 + step)
    return [np.asarray(rng.normal(size=shape), dtype) for shape in SHAPES]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "settings"), SETTINGS, ids=lambda v: str(v))
def test_twenty_steps_against_torch(name, settings, dtype):
    torch = pytest.importorskip("torch")
    ours = [fn.tensor(p, requires_grad=True) for p in parameters(dtype)]
    theirs = [torch.tensor(p, requires_grad=True) for p in parameters(dtype)]
    opt, peer = getattr(optim, name)(ours, **settings), getattr(torch.optim, name)(theirs, **settings)
    tolerance = 2e-6 if dtype == np.float32 else 1e-13
    for step in range(20):
        for index, (p, q, g) in enumerate(zip(ours, theirs, gradients(step, dtype), strict=True)):
            missing = index == 1 and step in (0, 7)  # as a parameter that took no part
            p.grad, q.grad = (None, None) if missing else (fn.tensor(g), torch.tensor(g))
        opt.step()
        peer.step()
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), tolerance, tolerance)


def test_training_against_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(50, 4)).astype(np.float32), rng.integers(0, 3, 50)
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    peer = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    peer.load_state_dict({key: torch.tensor(value.numpy()) for key, value in net.state_dict().items()})
    opt = optim.SGD(net.parameters(), lr=0.2, momentum=0.9)
    peer_opt = torch.optim.SGD(peer.parameters(), lr=0.2, momentum=0.9)
    for _ in range(20):
        opt.zero_grad()
        loss = nn.functional.cross_entropy(net(fn.tensor(x)), fn.tensor(y))
        loss.backward()
        opt.step()
        peer_opt.zero_grad()
        peer_loss = torch.nn.functional.cross_entropy(peer(torch.tensor(x)), torch.tensor(y))
        peer_loss.backward()
        peer_opt.step()
        assert loss.item() == pytest.approx(peer_loss.item(), rel=1e-4)


def test_groups():
    a, b, c = (fn.ones(2, requires_grad=True) for _ in range(3))
    opt = optim.SGD([{"params": [a], "lr": 1.0}, {"params": b}], lr=0.5)
    opt.add_param_group({"params": [c], "lr": 0.0})
    for p in (a, b, c):
        p.grad = fn.ones(2)
    opt.step()
    assert [p.tolist() for p in (a, b, c)] == [[0, 0], [0.5, 0.5], [1, 1]]
    opt.param_groups[2]["lr"] = 2.0
    opt.step()
    assert c.tolist() == [-1, -1]


def test_closure():
    w = fn.tensor([2.0], requires_grad=True)
    opt = optim.SGD([w], lr=0.25)

    def closure():
        opt.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    assert opt.step(closure).item() == 4
    assert w.item() == 1


def test_zero_grad():
    w = fn.ones(2, requires_grad=True)
    w.grad = fn.ones(2)
    opt = optim.SGD([w])
    opt.zero_grad(set_to_none=False)
    assert w.grad.tolist() == [0, 0]
    opt.zero_grad()
    assert w.grad is None
    opt.step()
    assert w.tolist() == [1, 1]


@pytest.mark.parametrize(("name", "settings"), [SETTINGS[3], SETTINGS[6], SETTINGS[8]], ids=lambda v: str(v))
def test_stopped_and_resumed_gives_the_same_bits(name, settings, tmp_path):
    def run(stop):
        params = [fn.tensor(p, requires_grad=True) for p in parameters(np.float32)]
        opt = getattr(optim, name)(params, **settings)
        for step in range(10):
            if step == stop:
                state, params = opt.state_dict(), [fn.tensor(p.detach(), requires_grad=True) for p in params]
                opt = getattr(optim, name)(params, lr=123.0)
                fn.save(state, tmp_path / "state.safetensors")
                opt.load_state_dict(fn.load(tmp_path / "state.safetensors"))
            for p, g in zip(params, gradients(step, np.float32), strict=True):
                p.grad = fn.tensor(g)
            opt.step()
        return [p.tolist() for p in params]

    assert run(stop=4) == run(stop=None)


def test_state_dict_is_torchs():
    torch = pytest.importorskip("torch")
    w, v = fn.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    w.grad, v.grad = fn.ones(2), torch.ones(2)
    for name in ("SGD", "Adam"):
        settings = {"momentum": 0.9} if name == "SGD" else {}
        ours, theirs = getattr(optim, name)([w], **settings), getattr(torch.optim, name)([v], **settings)
        ours.step()
        theirs.step()
        a, b = ours.state_dict(), theirs.state_dict()
        assert set(a) == set(b)
        assert set(a["state"][0]) == set(b["state"][0])
        assert set(a["param_groups"][0]) <= set(b["param_groups"][0])


def test_state_from_a_file_of_names_and_tensors():
    w = fn.ones(3, requires_grad=True)
    opt = optim.Adam([w])
    moments = {"exp_avg": fn.full((3,), 0.5), "exp_avg_sq": fn.full((3,), 0.25)}
    state = {
        "state": {"0": {"step": fn.tensor(4.0), **moments}},
        "param_groups": opt.state_dict()["param_groups"],
    }
    opt.load_state_dict(state)
    moments["exp_avg"].fill_(9)
    assert opt.state[w]["step"] == 4
    assert isinstance(opt.state[w]["step"], int)
    assert opt.state[w]["exp_avg"].tolist() == [0.5] * 3


def test_load_refuses_what_does_not_fit_and_changes_nothing():
    def made(*shapes, lr=0.1):
        params = [fn.ones(*shape, requires_grad=True) for shape in shapes]
        opt = optim.SGD(params, lr=lr, momentum=0.9)
        for p in params:
            p.grad = fn.ones(*p.shape)
        opt.step()
        return opt

    opt = made((2, 3), (4,))
    with pytest.raises(ValueError, match=r"groups of \[1\] parameters, this optimizer of \[2\]"):
        opt.load_state_dict(made((2, 3)).state_dict())
    with pytest.raises(ValueError, match=r"momentum_buffer of shape \(5,\).*\(4,\)"):
        opt.load_state_dict(made((2, 3), (5,), lr=0.5).state_dict())
    assert opt.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda w: optim.SGD([w], lr=-1), "SGD: lr=-1"),
        (lambda w: optim.SGD([w], momentum=-0.1), "momentum"),
        (lambda w: optim.SGD([w], weight_decay=-0.1), "weight_decay"),
        (lambda w: optim.SGD([w], lr=float("nan")), "lr=nan"),
        (lambda w: optim.SGD([w], lr=float("inf")), "lr=inf must be finite and at least 0"),
        (lambda w: optim.SGD([w], momentum=0.9, dampening=float("inf")), "dampening=inf"),
        (lambda w: optim.SGD([w], nesterov=True), "nesterov needs momentum"),
        (lambda w: optim.SGD([w], momentum=0.9, dampening=0.1, nesterov=True), "nesterov needs momentum"),
        (lambda w: optim.Adam([w], betas=(1.0, 0.9)), r"betas\[0\]=1\.0"),
        (lambda w: optim.Adam([w], betas=(0.9, -1)), r"betas\[1\]=-1"),
        (lambda w: optim.AdamW([w], eps=-1), "AdamW: eps"),
        (lambda w: optim.SGD([]), "empty"),
        (lambda w: optim.SGD([w, w]), "twice"),
        (lambda w: optim.SGD([{"params": [w]}, {"params": [w]}]), "twice"),
        (lambda w: optim.SGD([w * 2]), "leaf"),
        (lambda w: optim.SGD([{"params": [w], "lr": -1}]), "lr=-1"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make(fn.ones(2, requires_grad=True))


def test_wrong_types():
    with pytest.raises(TypeError, match="iterable"):
        optim.SGD(fn.ones(2, requires_grad=True))
    with pytest.raises(TypeError, match="lr must be a number"):
        optim.SGD([fn.ones(2, requires_grad=True)], lr="0.1")
    with pytest.raises(TypeError, match="not a float"):
        optim.SGD([1.0])
    with pytest.raises(TypeError, match=r"floating numbers, not .*int64"):
        optim.SGD([fn.tensor([1, 2])])


def test_repr():
    opt = optim.SGD([fn.ones(2, requires_grad=True)], lr=0.5)
    assert "group 0: 1 parameters, lr=0.5, momentum=0.0" in repr(opt)


def test_the_state_of_another_kind_is_refused():
    def stepped(kind, **options):
        weight = fn.ones(2, requires_grad=True)
        optimizer = kind([weight], lr=0.1, **options)
        weight.sum().backward()
        optimizer.step()
        return optimizer

    sgd, adam = stepped(optim.SGD, momentum=0.9), stepped(optim.Adam)
    before = str(adam.state_dict()), str(sgd.state_dict())
    with pytest.raises(ValueError, match=r"momentum.*which Adam does not"):
        adam.load_state_dict(sgd.state_dict())
    with pytest.raises(ValueError, match=r"betas.*which SGD does not"):
        sgd.load_state_dict(adam.state_dict())
    # The settings alone fit.
    mixed = {"state": sgd.state_dict()["state"], "param_groups": adam.state_dict()["param_groups"]}
    with pytest.raises(ValueError, match=r"keeps momentum_buffer .*not exp_avg, exp_avg_sq, step as Adam"):
        adam.load_state_dict(mixed)
    mixed = {"state": adam.state_dict()["state"], "param_groups": sgd.state_dict()["param_groups"]}
    with pytest.raises(ValueError, match=r"not momentum_buffer as SGD does"):
        sgd.load_state_dict(mixed)
    assert before == (str(adam.state_dict()), str(sgd.state_dict()))


@pytest.mark.parametrize(("name", "settings"), [("SGD", {}), ("SGD", {"momentum": 0.9}), ("Adam", {})])
def test_a_state_of_torchs_is_taken(name, settings):
    """It has settings more than ours, and None where there is no momentum."""
    torch = pytest.importorskip("torch")
    v, w = torch.ones(2, requires_grad=True), fn.ones(2, requires_grad=True)
    theirs, ours = getattr(torch.optim, name)([v], lr=0.1, **settings), getattr(optim, name)([w])
    for _ in range(2):
        v.grad = torch.ones(2)
        theirs.step()
    state = theirs.state_dict()
    state["state"] = {
        number: {key: None if value is None else fn.tensor(value.numpy()) for key, value in own.items()}
        for number, own in state["state"].items()
    }
    with fn.no_grad():
        w.copy_(fn.tensor(v.detach().numpy()))
    ours.load_state_dict(state)
    v.grad, w.grad = torch.ones(2), fn.ones(2)
    theirs.step()
    ours.step()
    np.testing.assert_allclose(w.tolist(), v.tolist(), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "settings"), [("SGD", {}), ("SGD", {"momentum": 0.9}), ("Adam", {}), ("AdamW", {})]
)
def test_what_is_kept_follows_its_parameter_to_another_dtype(name, settings):
    models = [nn.Linear(3, 2) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    one, other = (getattr(optim, name)(m.parameters(), lr=0.1, **settings) for m in models)

    def step(model, optimizer):
        optimizer.zero_grad()
        (model(fn.ones(4, 3, dtype=model.weight.dtype)) ** 2).sum().backward()
        optimizer.step()

    for model, optimizer in zip(models, (one, other), strict=True):
        step(model, optimizer)
        model.double()
    other.load_state_dict(other.state_dict())  # what brought it along explicitly
    for model, optimizer in zip(models, (one, other), strict=True):
        step(model, optimizer)
    assert models[0].weight.tolist() == models[1].weight.tolist()
    kept = one.state.get(models[0].weight, {})
    assert {value.dtype for value in kept.values() if isinstance(value, fn.Tensor)} <= {fn.float64}
    # A dtype in which nothing is computed is refused, and takes no bits from what is kept.
    before = {key: str(value) for key, value in kept.items() if key != "step"}
    models[0].to(fn.float16)
    models[0].weight.grad = fn.ones(2, 3).to(fn.float16)
    with pytest.raises(TypeError, match="must be float32 or float64, got float16"):
        one.step()
    assert before == {key: str(value) for key, value in kept.items() if key != "step"}
