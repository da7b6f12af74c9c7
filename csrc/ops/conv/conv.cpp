// Convolution and its gradients, N C H W throughout; symbols as in ConvShape.
//
//   y  = forward(x, w)        y[n,k,p,q]  = sum of x[n,c,h,w] w[k,c,r,s] over c, r, s, where
//                                           h = p stride_h + r dilation_h - pad_h, and w likewise
//   dx = grad_input(dy, w)    dx[n,c,h,w] = sum of dy w over the k, p, q, r, s that meet there
//   dw = grad_weight(x, dy)   dw[k,c,r,s] = sum of dy x over n, p, q
//
// All three are linear in each operand, and the derivative of each is made of the other two. So each is
// recorded with the other two as its backward, and gradients of any order need nothing more.
#include "ops/conv/conv.h"
#include "backend/conv.h"

#include "ops/elementwise/copy.h"
#include "ops/elementwise/elementwise.h"
#include "ops/gemm/activation.h"
#include "ops/reduce/reduce.h"
#include "ops/support.h"
#include "ops/view/view.h"

namespace fastnn {
namespace {

// ---- validation

struct Axis {  // one dimension of the window
  const char* name;
  int64_t size, kernel, stride, padding, dilation;
};

// Number of places of the window along one axis.
int64_t output_size(const Axis& a, bool same) {
  check_value(a.kernel > 0, "conv2d: weight has a kernel ", a.name, " of ", a.kernel,
              "; it must be at least 1");
  int64_t reach, extent;  // pixels from the first tap to the last; the image's size with its padding
  const bool fits = checked_mul(a.kernel - 1, a.dilation, &reach) && checked_mul(a.padding, 2, &extent) &&
                    checked_add(extent, a.size, &extent);
  check_value(fits, "conv2d: dilation ", a.dilation, " or padding ", a.padding,
              " is too large: the kernel's or the image's ", a.name, " overflows 64 bits");
  if (same) return a.size;
  check_value(reach < extent, "conv2d: the kernel's ", a.name, " of ", a.kernel, " taps with dilation ",
              a.dilation, " covers ", static_cast<uint64_t>(reach) + 1, " pixels, more than the input's ",
              extent, " (", a.size, " and padding ", a.padding, " on both sides)");
  return (extent - 1 - reach) / a.stride + 1;
}

// Which of the two is meant to be otherwise: the weight is made once, the input anew each time.
[[noreturn, gnu::cold]] void refuse_channels(const Tensor& x, const Tensor& w, int64_t groups) {
  const int64_t takes = w.size(1) * groups;
  const char* hint = "";
  if (x.shape().back() == takes && x.dim() == 4)
    hint = "; images with their channels last must be turned: x.permute(0, 3, 1, 2)";
  else if (x.shape().back() == takes)
    hint = "; an image with its channels last must be turned: x.permute(2, 0, 1)";
  else if (takes == 1 && x.dim() == 3)
    hint = "; a batch of images without channels needs one: x.unsqueeze(1)";
  fail(ErrorKind::value, "conv2d: input of shape ", x.shape(), " has ", x.size(x.dim() - 3),
       " channels, but a weight of shape ", w.shape(), " with groups = ", groups, " takes ", takes, hint);
}

void check_operands(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o) {
  check_defined("conv2d", "input", x);
  check_defined("conv2d", "weight", w);
  check_floating("conv2d", "input", x);
  check_same_dtype("conv2d", "input", x, "weight", w);
  check_same_device("conv2d", x, w);
  check_value(x.dim() == 4 || x.dim() == 3, "conv2d: input must have shape (N, C, H, W) or (C, H, W), got ",
              x.shape());
  check_value(w.dim() == 4, "conv2d: weight must have shape (out_channels, in_channels / groups, R, S), got ",
              w.shape());
  check_value(o.stride.h > 0 && o.stride.w > 0, "conv2d: stride must be at least 1, got ", o.stride);
  check_value(o.dilation.h > 0 && o.dilation.w > 0, "conv2d: dilation must be at least 1, got ", o.dilation);
  check_value(o.padding.h >= 0 && o.padding.w >= 0, "conv2d: padding must not be negative, got ", o.padding);
  check_value(o.groups > 0, "conv2d: groups must be at least 1, got ", o.groups);
  check_value(!o.same || (o.stride.h == 1 && o.stride.w == 1), "conv2d: padding 'same' needs stride 1, got ",
              o.stride);
  const int64_t channels = x.size(x.dim() - 3);
  check_value(channels % o.groups == 0, "conv2d: input of shape ", x.shape(), " has ", channels,
              " channels, not a multiple of groups = ", o.groups);
  if (w.size(1) != channels / o.groups) refuse_channels(x, w, o.groups);
  check_value(w.size(0) % o.groups == 0, "conv2d: weight of shape ", w.shape(), " has ", w.size(0),
              " filters, not a multiple of groups = ", o.groups);
  if (!bias.defined()) return;
  check_same_dtype("conv2d", "input", x, "bias", bias);
  check_same_device("conv2d", x, bias);
  check_value(bias.dim() == 1 && bias.size(0) == w.size(0), "conv2d: bias of shape ", bias.shape(),
              " does not match a weight of shape ", w.shape(), ": it must be (", w.size(0), ",)");
}

// Kernels may copy an image with its padding: what that takes must not overflow.
void check_padded(const ConvShape& s) {
  constexpr int64_t kMostElements = int64_t{1} << 44;
  int64_t rows, cols, elements;
  const bool fits = checked_mul(2, s.pad_h, &rows) && checked_add(rows, s.h, &rows) &&
                    checked_mul(2, s.pad_w, &cols) && checked_add(cols, s.w, &cols) &&
                    checked_mul(rows, cols, &elements) && checked_mul(elements, s.c, &elements);
  check_value(fits && elements <= kMostElements, "conv2d: images of ", s.c, " x ", s.h, " x ", s.w,
              " with padding (", s.pad_h, ", ", s.pad_w, ") have too many elements");
}

ConvShape conv_shape(const Tensor& x, const Tensor& w, const ConvOptions& o) {
  const Axis rows{"height", x.size(2), w.size(2), o.stride.h, o.padding.h, o.dilation.h};
  const Axis cols{"width", x.size(3), w.size(3), o.stride.w, o.padding.w, o.dilation.w};
  ConvShape s{x.size(0),
              x.size(1),
              x.size(2),
              x.size(3),
              w.size(0),
              w.size(2),
              w.size(3),
              output_size(rows, o.same),
              output_size(cols, o.same),
              o.stride.h,
              o.stride.w,
              o.padding.h,
              o.padding.w,
              o.dilation.h,
              o.dilation.w,
              o.groups};
  if (o.same) s.pad_h = (s.r - 1) * s.dilation_h / 2, s.pad_w = (s.s - 1) * s.dilation_w / 2;
  check_padded(s);
  // Where there is one output or one tap, any stride or dilation means the same.
  if (s.p <= 1) s.stride_h = 1;
  if (s.q <= 1) s.stride_w = 1;
  if (s.r == 1) s.dilation_h = 1;
  if (s.s == 1) s.dilation_w = 1;
  return s;
}

// ---- the three products, without a history

void announce(OpScope& scope, const ConvShape& s) {
  scope.with("stride", Pair{s.stride_h, s.stride_w});
  scope.with("padding", Pair{s.pad_h, s.pad_w});
  scope.with("dilation", Pair{s.dilation_h, s.dilation_w});
  scope.with("groups", s.groups);
}

Tensor dense(const Tensor& x) {
  GradMode off(false);
  return contiguous(x);
}

// A product with an operand of no elements has only sums of nothing, which no kernel is asked for.
bool sums_nothing(const Tensor& a, const Tensor& b) { return a.numel() == 0 || b.numel() == 0; }

Tensor bias_alone(const Dims& shape, const Tensor& like, const Tensor& bias, Activation activation) {
  GradMode off(false);
  if (!bias.defined()) return zeros(shape, like.dtype(), like.device());
  const Tensor y = contiguous(expand(reshape(bias, {bias.size(0), 1, 1}), shape));
  return activation == Activation::relu ? relu(y) : y;
}

Tensor run_forward(const ConvShape& s, const Tensor& x, const Tensor& w, const Tensor& bias,
                   Activation activation) {
  if (sums_nothing(x, w)) return bias_alone({s.n, s.k, s.p, s.q}, x, bias, activation);
  const Tensor x_ = dense(x), w_ = dense(w), b_ = bias.defined() ? dense(bias) : bias;
  Tensor y = empty("conv2d", {s.n, s.k, s.p, s.q}, x.dtype(), x.device());
  launch<&ConvTable::conv2d>("conv2d", y,
                             ConvParams{.pass = ConvPass::forward,
                                        .shape = s,
                                        .x = x_.data(),
                                        .w = w_.data(),
                                        .dy = nullptr,
                                        .out = y.data(),
                                        .bias = b_.defined() ? b_.data() : nullptr,
                                        .activation = activation});
  return y;
}

Tensor run_grad_input(const ConvShape& s, const Tensor& dy, const Tensor& w) {
  const Dims shape{s.n, s.c, s.h, s.w};
  if (sums_nothing(dy, w)) return zeros(shape, dy.dtype(), dy.device());
  const Tensor dy_ = dense(dy), w_ = dense(w);
  Tensor dx = empty("conv2d", shape, dy.dtype(), dy.device());
  launch<&ConvTable::conv2d_grad_input>("conv2d", dx,
                                        ConvParams{.pass = ConvPass::grad_input,
                                                   .shape = s,
                                                   .x = nullptr,
                                                   .w = w_.data(),
                                                   .dy = dy_.data(),
                                                   .out = dx.data(),
                                                   .bias = nullptr,
                                                   .activation = Activation::none});
  return dx;
}

Tensor run_grad_weight(const ConvShape& s, const Tensor& x, const Tensor& dy) {
  const Dims shape{s.k, s.c / s.groups, s.r, s.s};
  if (sums_nothing(x, dy)) return zeros(shape, x.dtype(), x.device());
  const Tensor x_ = dense(x), dy_ = dense(dy);
  Tensor dw = empty("conv2d", shape, x.dtype(), x.device());
  launch<&ConvTable::conv2d_grad_weight>("conv2d", dw,
                                         ConvParams{.pass = ConvPass::grad_weight,
                                                    .shape = s,
                                                    .x = x_.data(),
                                                    .w = nullptr,
                                                    .dy = dy_.data(),
                                                    .out = dw.data(),
                                                    .bias = nullptr,
                                                    .activation = Activation::none});
  return dw;
}

// ---- as ops, each of whose gradients are the other two

Tensor grad_input(const ConvShape& s, const Tensor& dy, const Tensor& w);
Tensor grad_weight(const ConvShape& s, const Tensor& x, const Tensor& dy);

Tensor forward(const ConvShape& s, const Tensor& x, const Tensor& w) {
  OpScope scope("conv2d", x, w);
  announce(scope, s);
  Tensor y = run_forward(s, x, w, {}, Activation::none);
  if (wants_grad(x, w))
    record("conv2d", y, {x, w},
           [s, x = save_if(w.requires_grad(), x), w = save_if(x.requires_grad(), w)](Backward& g) {
             if (g.needs(0)) g.set(0, grad_input(s, g.dy(), g.get(w)));
             if (g.needs(1)) g.set(1, grad_weight(s, g.get(x), g.dy()));
           });
  return scope.returns(std::move(y));
}

Tensor grad_input(const ConvShape& s, const Tensor& dy, const Tensor& w) {
  OpScope scope("conv2d_grad_input", dy, w);
  announce(scope, s);
  Tensor dx = run_grad_input(s, dy, w);
  if (wants_grad(dy, w))
    record("conv2d_grad_input", dx, {dy, w},
           [s, dy = save_if(w.requires_grad(), dy), w = save_if(dy.requires_grad(), w)](Backward& g) {
             if (g.needs(0)) g.set(0, forward(s, g.dy(), g.get(w)));
             if (g.needs(1)) g.set(1, grad_weight(s, g.dy(), g.get(dy)));
           });
  return scope.returns(std::move(dx));
}

Tensor grad_weight(const ConvShape& s, const Tensor& x, const Tensor& dy) {
  OpScope scope("conv2d_grad_weight", x, dy);
  announce(scope, s);
  Tensor dw = run_grad_weight(s, x, dy);
  if (wants_grad(x, dy))
    record("conv2d_grad_weight", dw, {x, dy},
           [s, x = save_if(dy.requires_grad(), x), dy = save_if(x.requires_grad(), dy)](Backward& g) {
             if (g.needs(0)) g.set(0, grad_input(s, g.get(dy), g.dy()));
             if (g.needs(1)) g.set(1, forward(s, g.get(x), g.dy()));
           });
  return scope.returns(std::move(dw));
}

// Of images (N, C, H, W) and what else has been checked.
Tensor conv2d_of_batch(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& options,
                       Activation activation) {
  const ConvShape s = conv_shape(x, w, options);
  Tensor y = run_forward(s, x, w, bias, activation);
  if (!wants_grad(x, w, bias)) return y;
  const bool relu = activation == Activation::relu;
  record("conv2d", y, {x, w, bias},
         [s, x = save_if(w.requires_grad(), x), w = save_if(x.requires_grad(), w),
          y = relu ? save_output(y) : Saved{}, relu](Backward& g) {
           const Tensor dz = contiguous(relu ? relu_gradient(g.dy(), g.get(y)) : g.dy());
           if (g.needs(0)) g.set(0, grad_input(s, dz, g.get(w)));
           if (g.needs(1)) g.set(1, grad_weight(s, g.get(x), dz));
           if (g.needs(2)) g.set(2, sum(dz, Dims{0, 2, 3}));
         });
  return y;
}

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& options,
              Activation activation) {
  check_operands(x, w, bias, options);
  OpScope scope("conv2d", x, w, bias);
  scope.with("stride", options.stride);
  if (options.same)
    scope.with("padding", "same");
  else
    scope.with("padding", options.padding);
  scope.with("dilation", options.dilation);
  scope.with("groups", options.groups);
  scope.with("activation", name_of(activation));
  if (x.dim() == 4) return scope.returns(conv2d_of_batch(x, w, bias, options, activation));
  return scope.returns(squeeze(conv2d_of_batch(unsqueeze(x, 0), w, bias, options, activation), 0));
}

}  // namespace fastnn
