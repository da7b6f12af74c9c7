"""The nets of `nets.py` for ONNX Runtime: the same layers and weights as an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPSET = 17


def _layer(op: str, *names: str) -> Callable[..., tuple[str, dict[str, Any]]]:
    """Stands for a layer class of `nn`: notes its arguments."""
    return lambda *values, **options: (op, {**dict(zip(names, values, strict=False)), **options})


LAYERS = SimpleNamespace(
    Sequential=lambda *layers: layers,
    Conv2d=_layer("Conv", "c", "k", "kernel"),
    Linear=_layer("Gemm", "inputs", "outputs"),
    ReLU=_layer("Relu"),
    MaxPool2d=_layer("MaxPool", "kernel"),
    Flatten=_layer("Flatten"),
)


def _attributes(op: str, options: dict[str, Any]) -> dict[str, Any]:
    if op == "Conv":
        return {"kernel_shape": [options["kernel"]] * 2, "pads": [options.get("padding", 0)] * 4}
    if op == "MaxPool":
        return {"kernel_shape": [options["kernel"]] * 2, "strides": [options["kernel"]] * 2}
    return {"transB": 1} if op == "Gemm" else {}


def serialized(
    build: Callable[[Any], Any], weights: list[NDArray[np.float32]], shape: tuple[int, ...], classes: int
) -> bytes:
    """An ONNX model of the net that `build` makes; `weights` are its parameters in order."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, initializers, value = [], [], "x"
    left = iter(weights)
    for number, (op, options) in enumerate(build(LAYERS)):
        inputs = [value]
        if op in ("Conv", "Gemm"):
            for kind in ("weight", "bias"):
                inputs.append(f"{number}.{kind}")
                initializers.append(numpy_helper.from_array(np.asarray(next(left)), inputs[-1]))
        value = f"y{number}"
        nodes.append(helper.make_node(op, inputs, [value], **_attributes(op, options)))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["n", classes])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    data: bytes = model.SerializeToString()
    return data


def session(xp: Any, model: bytes, threads: int) -> Callable[[NDArray[np.float32]], Any]:
    """A function of a batch, run by ONNX Runtime `xp` with all its optimisations."""
    options = xp.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    run = xp.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run
    return lambda x: run(None, {"x": x})[0]
