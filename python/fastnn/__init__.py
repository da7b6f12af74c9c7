"""fastnn: deep learning for small and medium nets, every kernel written by hand.

>>> import fastnn as fn
>>> x = fn.tensor([1.0, 2.0, 3.0], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad
tensor([2., 4., 6.])
"""

# A module's __all__ says what of it is public here; the ops announce themselves, in csrc/python/ops.
from fastnn import _C, _methods, _precision, _profile, _tensor, autograd, cuda
from fastnn._C import *
from fastnn._info import __version__, info
from fastnn._precision import *
from fastnn._profile import *
from fastnn._tensor import *
from fastnn.autograd import enable_grad, no_grad, set_grad_enabled
from fastnn.io import *
from fastnn.random import *
from fastnn.registry import register_model

from . import data, io, models, nn, optim, random, train
from .train import Trainer

__all__ = [
    "Trainer",
    "__version__",
    "autograd",
    "cuda",
    "data",
    "enable_grad",
    "info",
    "models",
    "nn",
    "no_grad",
    "optim",
    "register_model",
    "set_grad_enabled",
    "train",
]
__all__ += _C.__all__
__all__ += _methods.__all__
__all__ += _precision.__all__
__all__ += _profile.__all__
__all__ += _tensor.__all__
__all__ += io.__all__
__all__ += random.__all__
