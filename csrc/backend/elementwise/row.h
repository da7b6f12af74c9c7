// An elementwise op as a row: one struct from which every backend's kernels, the op with its gradients, the
// binding, the documentation and the tests are made.
//
//   struct Softplus {
//     static constexpr Row row{.name = "softplus", ...};
//     struct Parameters { double beta = 1, threshold = 20; };       // or: using Parameters = None
//     template <class W> static W forward(W x, const Parameters& p);
//     template <class W> static W grad(W dy, W x, W y, const Parameters& p);
//   };
//
// A formula is a template over a wrapper W: Vec<T> in the CPU's kernels, Scalar<T> in CUDA's, Value in the
// differentiable gradient, which records what it computes, and Probe, which finds out what a formula reads.
// They have + - * / and comparisons, select(mask, a, b), max(a, b) (a > b ? a : b), and every op of one
// operand by its name. Numbers come in by W::constant(0.5): a bare 0.5 would compute in double on a device.
// `grad` is handed dy rather than returning a factor, so that a formula can select and 0 * infinity does not
// arise. Of several operands each has its own: grad_a(dy, a, b, y, p), grad_b.
#pragma once
#include "backend/dtype.h"

namespace fastnn {

// Which dtype the operands meet in: the one that PyTorch's promotion gives, or that if it is floating and
// else float32.
enum class Promotion : uint8_t { common, floating };
enum class Result : uint8_t { same, boolean };

struct RowParameter {
  const char* name;
  double value;  // where the caller gives none
};
constexpr int kMaxParameters = 4;

struct Row {
  const char* name;
  const char* doc;
  DTypeSet dtypes;
  Promotion promotion = Promotion::common;
  Result result = Result::same;
  double cost = 0;    // nanoseconds of arithmetic per vector on one core; 0: moving the bytes is all
  double ulp = 0;     // largest error in float32, in units in the last place; 0: exact
  double ulp64 = 0;   // the same in float64, where it is larger
  bool fused = true;  // whether a gradient of several operations gets a kernel of its own
  bool bound = true;  // as a function of the module and a method of Tensor
  RowParameter parameters[kMaxParameters] = {};  // of Parameters' members, all double, in order
};

struct None {};

// What a formula reads, and of how many operations it consists.
struct Probe {
  unsigned uses = 0;
  int operations = 0;

  static constexpr Probe constant(double) { return {}; }
};
template <class... P>
constexpr Probe probe(P... p) {
  return {(p.uses | ...), (p.operations + ... + 1)};
}
#define FASTNN_PROBE(op) \
  constexpr Probe operator op(Probe a, Probe b) { return probe(a, b); }
FASTNN_PROBE(+)
FASTNN_PROBE(-)
FASTNN_PROBE(*)
FASTNN_PROBE(/)
FASTNN_PROBE(&)
FASTNN_PROBE(|)
FASTNN_PROBE(^)
FASTNN_PROBE(<)
FASTNN_PROBE(<=)
FASTNN_PROBE(>)
FASTNN_PROBE(>=)
FASTNN_PROBE(==)
FASTNN_PROBE(!=)
#undef FASTNN_PROBE
constexpr Probe operator-(Probe a) { return probe(a); }
constexpr Probe select(Probe mask, Probe a, Probe b) { return probe(mask, a, b); }
constexpr Probe max(Probe a, Probe b) { return probe(a, b); }
constexpr Probe min(Probe a, Probe b) { return probe(a, b); }

// ---- the formulas by number

template <class R>
concept Unary = requires(Probe x, typename R::Parameters p) { R::forward(x, p); };
template <class R>
concept Binary = requires(Probe x, typename R::Parameters p) { R::forward(x, x, p); };
template <class R>
constexpr int kArity = Unary<R> ? 1 : 2;

template <class R>
constexpr bool kDifferentiable = requires(Probe x, typename R::Parameters p) { R::grad(x, x, x, p); } ||
                                 requires(Probe x, typename R::Parameters p) { R::grad_a(x, x, x, x, p); };

// The gradient of operand k. `of` holds dy, the operands and the output.
template <class R, int k, class W>
constexpr W gradient(const W (&of)[kArity<R> + 2], const typename R::Parameters& p) {
  if constexpr (kArity<R> == 1)
    return R::grad(of[0], of[1], of[2], p);
  else if constexpr (k == 0)
    return R::grad_a(of[0], of[1], of[2], of[3], p);
  else
    return R::grad_b(of[0], of[1], of[2], of[3], p);
}

template <class R>
constexpr int kOperations = [] {
  if constexpr (Unary<R>)
    return R::forward(Probe{}, typename R::Parameters{}).operations;
  else
    return R::forward(Probe{}, Probe{}, typename R::Parameters{}).operations;
}();

// Bit i: the gradient of operand k reads of[i].
template <class R, int k>
constexpr Probe probe_gradient() {
  Probe of[kArity<R> + 2];
  for (int i = 0; i < kArity<R> + 2; ++i) of[i].uses = 1u << i;
  return gradient<R, k, Probe>(of, {});
}

constexpr int count_bits(unsigned mask) { return mask == 0 ? 0 : (mask & 1) + count_bits(mask >> 1); }

}  // namespace fastnn
