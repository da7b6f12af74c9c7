// One line per op: a function of the module and, where it reads better, a method of Tensor. Nothing but
// conversion happens here; the ops themselves are in csrc/ops.
#include <pybind11/stl.h>

#include "ops/conv/conv.h"
#include "ops/elementwise/copy.h"
#include "ops/elementwise/elementwise.h"
#include "ops/gemm/matmul.h"
#include "ops/index/index.h"
#include "ops/norm/norm.h"
#include "ops/optim/optim.h"
#include "ops/pool/pool.h"
#include "ops/random/random.h"
#include "ops/reduce/reduce.h"
#include "ops/softmax/softmax.h"
#include "ops/view/view.h"
#include "python/tensor.h"

namespace fastnn {
namespace {

// A function of the module and a method of Tensor alike.
template <class F, class... Extra>
void both(py::module_& m, const char* name, F f, const char* doc, const Extra&... extra) {
  m.def(name, f, doc, extra...);
  def_method(name, f, doc);
}
template <class F, class... Extra>
void method(const char* name, F f, const char* doc, const Extra&... extra) {
  def_method(name, f, doc, extra...);
}

Activation activation_of(const char* op, const std::string& name) {
  check_value(name == "none" || name == "relu", op, ": activation must be 'none' or 'relu', got '", name,
              "'");
  return name == "relu" ? Activation::relu : Activation::none;
}

Pair pair_of(const char* op, const char* argument, const Dims& values) {  // 2 or (2, 2)
  check_value(values.size() == 1 || values.size() == 2, op, ": ", argument,
              " must be one or two integers, got ", values);
  return {values[0], values.back()};
}

Tensor conv2d_binding(const Tensor& x, const Tensor& w, const std::optional<Tensor>& bias, const Dims& stride,
                      const std::variant<Dims, std::string>& padding, const Dims& dilation, int64_t groups,
                      const std::string& activation) {
  ConvOptions o{pair_of("conv2d", "stride", stride), {0, 0}, pair_of("conv2d", "dilation", dilation), groups};
  if (const auto* name = std::get_if<std::string>(&padding)) {
    check_value(*name == "same" || *name == "valid",
                "conv2d: padding must be integers, 'same' or 'valid', got '", *name, "'");
    o.same = *name == "same";
  } else {
    o.padding = pair_of("conv2d", "padding", std::get<Dims>(padding));
  }
  return conv2d(x, w, bias.value_or(Tensor()), o, activation_of("conv2d", activation));
}

Reduction reduction_of(const char* op, const std::string& name) {
  check_value(name == "none" || name == "mean" || name == "sum", op,
              ": reduction must be 'none', 'mean' or 'sum', got '", name, "'");
  return name == "none" ? Reduction::none : name == "mean" ? Reduction::mean : Reduction::sum;
}

PoolOptions pool_options(const char* op, const Dims& kernel, const std::optional<Dims>& stride,
                         const Dims& padding) {
  PoolOptions o;
  o.kernel = pair_of(op, "kernel_size", kernel);
  o.stride = stride ? pair_of(op, "stride", *stride) : o.kernel;
  o.padding = pair_of(op, "padding", padding);
  return o;
}

// max(x) is a tensor, max(x, dim) a pair of values and positions, as in PyTorch.
template <Tensor (*of_all)(const Tensor&),
          std::pair<Tensor, Tensor> (*along)(const Tensor&, const Dims&, bool)>
py::object extremum(const Tensor& x, const OptionalDims& dims, bool keepdim) {
  if (!dims) return py::cast(of_all(x));
  return py::cast(along(x, *dims, keepdim));
}

// A row: a function, a method, and an in-place method where the dtype stays.
void define_row(py::module_& m, const ElementwiseOp& op) {
  const Row& row = *op.row;
  if (!row.bound) return;
  const std::string in_place = std::string(row.name) + "_";
  if (op.arity == 1) {
    both(m, row.name, [&op](const Tensor& x) { return unary(op, x, nullptr); }, row.doc);
    if (row.result == Result::same)
      method(in_place.c_str(), [&op](const Tensor& x) { return unary_(op, x, nullptr); }, row.doc);
  } else {
    const bool is_power = op.id == kRowId<rows::Pow>;
    both(
        m, row.name,
        [&op, is_power](const Tensor& a, const Tensor& b) {
          return is_power ? power(a, b) : binary(op, a, b, nullptr);
        },
        row.doc);
    if (row.result == Result::same)
      method(
          in_place.c_str(),
          [&op](const Tensor& x, const Tensor& other) { return binary_(op, x, other, nullptr); }, row.doc);
  }
}

}  // namespace

void define_ops(py::module_& m) {
  using py::arg;
  const auto none = py::none();

  // ---- elementwise
  for (const ElementwiseOp& op : elementwise_ops()) define_row(m, op);
  method("zero_", [](const Tensor& x) { return fill_(x, scalar(0.0)); }, "Writes 0 everywhere.");
  m.def(
      "where",
      [](const Tensor& condition, const Tensor& a, const Tensor& b) { return where(condition, a, b); },
      arg("condition"), arg("a"), arg("b"), "a where condition holds, else b.");

  m.def(
      "gelu",
      [](const Tensor& x, const std::string& approximate) {
        check_value(approximate == "none" || approximate == "tanh",
                    "gelu: approximate must be 'none' or 'tanh', got '", approximate, "'");
        return gelu(x, approximate == "tanh");
      },
      arg("x"), arg("approximate") = "none",
      "x P(X <= x) of a standard normal variable X; approximate 'none' or 'tanh'.");

  // ---- normalisation
  m.def(
      "layer_norm",
      [](const Tensor& x, const Dims& shape, const std::optional<Tensor>& weight,
         const std::optional<Tensor>& bias, double eps) {
        return layer_norm(x, shape, weight.value_or(Tensor()), bias.value_or(Tensor()), eps);
      },
      arg("x"), arg("normalized_shape"), arg("weight") = none, arg("bias") = none, arg("eps") = 1e-5,
      "(x - mean) / sqrt(variance + eps) weight + bias, over the last dimensions, of shape "
      "normalized_shape.");
  m.def(
      "batch_norm",
      [](const Tensor& x, const std::optional<Tensor>& running_mean, const std::optional<Tensor>& running_var,
         const std::optional<Tensor>& weight, const std::optional<Tensor>& bias, bool training,
         double momentum, double eps, const std::string& activation) {
        return batch_norm(x, weight.value_or(Tensor()), bias.value_or(Tensor()),
                          {running_mean.value_or(Tensor()), running_var.value_or(Tensor()), training,
                           momentum, eps, activation_of("batch_norm", activation)});
      },
      arg("x"), arg("running_mean") = none, arg("running_var") = none, arg("weight") = none,
      arg("bias") = none, arg("training") = false, arg("momentum") = 0.1, arg("eps") = 1e-5,
      arg("activation") = "none",
      "(x - mean) / sqrt(variance + eps) weight + bias, per channel of x (N, C, ...); activation 'none' or "
      "'relu'.");

  // ---- matrix products
  both(m, "matmul", matmul, "Matrix product; batches broadcast, vectors as in NumPy.");
  m.def(
      "linear",
      [](const Tensor& x, const Tensor& w, const std::optional<Tensor>& bias, const std::string& activation) {
        return linear(x, w, bias.value_or(Tensor()), activation_of("linear", activation));
      },
      arg("x"), arg("w"), arg("bias") = none, arg("activation") = "none",
      "act(x w^T + bias): x (..., in), w (out, in), bias (out) or None; activation 'none' or 'relu'.");

  // ---- convolution
  m.def("conv2d", conv2d_binding, arg("input"), arg("weight"), arg("bias") = none, arg("stride") = 1,
        arg("padding") = 0, arg("dilation") = 1, arg("groups") = 1, arg("activation") = "none",
        "Two-dimensional convolution: input (N, C, H, W), weight (K, C / groups, R, S), bias (K,); padding "
        "also 'same' or 'valid'.");

  // ---- reductions
  auto reduction = [&](const char* name, auto f, const char* doc) {
    m.def(name, f, arg("x"), arg("dim") = none, arg("keepdim") = false, doc);
    method(name, f, doc, arg("dim") = none, arg("keepdim") = false);
  };
  reduction("sum", sum, "Sum over all dimensions or those named; of integers and bools as int64.");
  reduction("mean", mean, "Mean over all dimensions or those named.");
  reduction("max", extremum<max, max>,
            "The largest element; with dim, a pair of values and their first positions. NaN wins.");
  reduction("min", extremum<min, min>,
            "The smallest element; with dim, a pair of values and their first positions. NaN wins.");
  reduction("argmax", argmax, "Position of the first largest element, in row-major order of the dimensions.");
  reduction("argmin", argmin,
            "Position of the first smallest element, in row-major order of the dimensions.");
  reduction("all", all, "Whether every element differs from 0.");
  reduction("any", any, "Whether some element differs from 0.");

  // ---- softmax and losses
  auto along = [&](const char* name, auto f, const char* doc) {
    m.def(name, f, arg("x"), arg("dim"), doc);
    method(name, f, doc, arg("dim"));
  };
  along("softmax", softmax, "exp(x) / sum(exp(x)) along dim.");
  along("log_softmax", log_softmax, "log(softmax(x)) along dim.");
  m.def(
      "cross_entropy",
      [](const Tensor& x, const Tensor& target, int64_t ignore_index, const std::string& reduction,
         double label_smoothing, const std::optional<Tensor>& weight) {
        return cross_entropy(x, target, weight.value_or(Tensor()),
                             {reduction_of("cross_entropy", reduction), ignore_index, label_smoothing});
      },
      arg("x"), arg("target"), arg("ignore_index") = -100, arg("reduction") = "mean",
      arg("label_smoothing") = 0.0, arg("weight") = none,
      "-log softmax(x)[target] of logits (N, C, ...) and classes (N, ...), or distributions (N, C, ...).");
  m.def(
      "nll_loss",
      [](const Tensor& x, const Tensor& target, int64_t ignore_index, const std::string& reduction,
         const std::optional<Tensor>& weight) {
        return nll_loss(x, target, weight.value_or(Tensor()), ignore_index,
                        reduction_of("nll_loss", reduction));
      },
      arg("x"), arg("target"), arg("ignore_index") = -100, arg("reduction") = "mean", arg("weight") = none,
      "-x[target] of log-probabilities (N, C, ...) and classes (N, ...).");
  m.def(
      "mse_loss",
      [](const Tensor& x, const Tensor& target, const std::string& reduction) {
        return mse_loss(x, target, reduction_of("mse_loss", reduction));
      },
      arg("x"), arg("target"), arg("reduction") = "mean", "(x - target)^2.");

  // ---- pooling
  m.def(
      "max_pool2d",
      [](const Tensor& x, const Dims& kernel, const std::optional<Dims>& stride, const Dims& padding,
         const Dims& dilation, bool ceil_mode) {
        PoolOptions o = pool_options("max_pool2d", kernel, stride, padding);
        o.dilation = pair_of("max_pool2d", "dilation", dilation);
        o.ceil_mode = ceil_mode;
        return max_pool2d(x, o);
      },
      arg("x"), arg("kernel_size"), arg("stride") = none, arg("padding") = 0, arg("dilation") = 1,
      arg("ceil_mode") = false,
      "The largest element of each window of images (N, C, H, W); padding never wins, NaN does.");
  m.def(
      "avg_pool2d",
      [](const Tensor& x, const Dims& kernel, const std::optional<Dims>& stride, const Dims& padding,
         bool count_include_pad, bool ceil_mode) {
        PoolOptions o = pool_options("avg_pool2d", kernel, stride, padding);
        o.count_include_pad = count_include_pad;
        o.ceil_mode = ceil_mode;
        return avg_pool2d(x, o);
      },
      arg("x"), arg("kernel_size"), arg("stride") = none, arg("padding") = 0, arg("count_include_pad") = true,
      arg("ceil_mode") = false, "The mean of each window of images (N, C, H, W).");

  // ---- random numbers
  m.def("dropout", dropout, arg("x"), arg("p") = 0.5, arg("training") = true,
        "x / (1 - p) or, with probability p, 0; x itself when not training.");
  method("uniform_", uniform_, "Uniform numbers in [low, high) everywhere.", arg("low") = 0.0,
         arg("high") = 1.0);
  method("normal_", normal_, "Normal numbers everywhere.", arg("mean") = 0.0, arg("std") = 1.0);
  m.def("_randint", randint);
  m.def("_manual_seed", manual_seed);
  m.def("_rng_state", [] {
    const GeneratorState s = generator_state();
    return std::pair(s.seed, s.draws);
  });
  m.def("_set_rng_state", [](uint64_t seed, uint64_t draws) { set_generator_state({seed, draws}); });

  // ---- optimisers
  m.def("sgd_step", [](const Tensors& params, const Tensors& grads, const Tensors& buffers, double lr,
                       double momentum, double dampening, double weight_decay, bool nesterov, bool maximize,
                       bool first_step) {
    sgd_step(params, grads, buffers, {lr, momentum, dampening, weight_decay, nesterov, maximize, first_step});
  });
  m.def("adam_step", [](const Tensors& params, const Tensors& grads, const Tensors& exp_avg,
                        const Tensors& exp_avg_sq, double lr, double beta1, double beta2, double eps,
                        double weight_decay, bool decoupled, bool maximize, int64_t step) {
    adam_step(params, grads, exp_avg, exp_avg_sq,
              {lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step});
  });

  // ---- indexing
  both(m, "nonzero", nonzero, "Coordinates of the elements that are not 0: shape (n, dimensions).");
  m.def("gather", gather, arg("x"), arg("dim"), arg("index"),
        "x at index along dim, the other coordinates being the index's own.");
  method("gather", gather, "x at index along dim, the other coordinates being the index's own.", arg("dim"),
         arg("index"));

  // ---- copies
  method("contiguous", contiguous, "This tensor in row-major memory.");
  both(m, "clone", clone, "A copy with memory of its own.");
  method("copy_", copy_, "Writes the elements of another tensor into this one.");
  method("fill_", fill_, "Writes one value everywhere.");
  m.def("_cast", cast, arg("x"), arg("dtype"));
  m.def("_to_device", to_device, arg("x"), arg("device"), arg("non_blocking") = false);
  m.def("result_type", py::overload_cast<const Tensor&, const Tensor&>(result_type), arg("a"), arg("b"),
        "The dtype in which two operands, tensors or numbers, meet.");
  m.def("_numel", [](const Tensor& x) { return x.numel(); });
  method(
      "is_contiguous", [](const Tensor& x) { return x.is_contiguous(); },
      "Whether the memory is row-major without gaps.");
  method(
      "stride", [](const Tensor& x) { return x.strides(); },
      "Distance in elements to the next along each dimension.");
  method(
      "data_ptr", [](const Tensor& x) { return reinterpret_cast<uintptr_t>(x.data()); },
      "Address of the first element.");
  method(
      "storage_offset", [](const Tensor& x) { return x.impl()->offset; },
      "Position of the first element in its storage.");
  m.def("_zeros", [](const Dims& shape, DType dtype, Device device) { return zeros(shape, dtype, device); });
  m.def("_empty",
        [](const Dims& shape, DType dtype, Device device) { return empty("empty", shape, dtype, device); });
  m.def("_full", [](const Dims& shape, const Tensor& v, DType dtype, Device device) {
    return full(shape, v, dtype, device);
  });
  m.def("_arange", arange);
  m.def("zeros_like", zeros_like, arg("x"), "Zeros in the shape, dtype and layout of x.");
  m.def("ones_like", ones_like, arg("x"), "Ones in the shape, dtype and layout of x.");
  m.def(
      "empty_like", [](const Tensor& x) { return empty_like(x); }, arg("x"),
      "Uninitialised memory in the shape of x.");
}

}  // namespace fastnn
