#include "ops/random/random.h"
#include "backend/random.h"

#include <pthread.h>
#include <cmath>
#include <limits>
#include <mutex>

#include "ops/elementwise/copy.h"
#include "ops/elementwise/elementwise.h"
#include "ops/support.h"

namespace fastnn {
namespace {

struct Generator {
  std::mutex mutex;
  GeneratorState state{0, 0};  // a program that sets no seed repeats too
};
Generator& generator() {
  static Generator& g = *new Generator;
  return g;
}
// A thread that is not there in a forked child must not hold the lock there.
[[maybe_unused]] const int fork_handlers = pthread_atfork(
    [] { generator().mutex.lock(); }, [] { generator().mutex.unlock(); }, [] { generator().mutex.unlock(); });

GeneratorState next_draw() {
  Generator& g = generator();
  const std::lock_guard lock(g.mutex);
  const GeneratorState now = g.state;
  ++g.state.draws;
  return now;
}

Tensor dropout_again(const Tensor& x, double p, GeneratorState draw);

// The mask is a function of the draw, so backward repeats it instead of keeping it; dropout is its own
// adjoint.
Tensor dropout_with(const Tensor& x, double p, GeneratorState draw) {
  Tensor y = empty("dropout", x.shape(), x.dtype(), x.device());
  {
    GradMode off(false);
    const Tensor dense = contiguous(x);
    launch<&RandomTable::dropout>("dropout", x,
                                  DropoutParams{.y = y.data(),
                                                .x = dense.data(),
                                                .numel = x.numel(),
                                                .seed = draw.seed,
                                                .op = draw.draws,
                                                .p = p});
  }
  if (wants_grad(x))
    record("dropout", y, {x}, [p, draw](Backward& g) { g.set(0, dropout_again(g.dy(), p, draw)); });
  return y;
}
void announce(OpScope& scope, double p, bool training) {
  scope.with("p", p);
  scope.with("training", training);
}
Tensor dropout_again(const Tensor& x, double p, GeneratorState draw) {
  OpScope scope("dropout", x);
  announce(scope, p, true);
  return scope.returns(dropout_with(x, p, draw));
}

RandomParams params(const Tensor& y) {
  const GeneratorState draw = next_draw();
  RandomParams p{};
  p.y = y.data(), p.numel = y.numel(), p.seed = draw.seed, p.op = draw.draws;
  return p;
}

// Draws into x, through a dense tensor where x is strided: element i is the i-th of its row-major order.
template <auto Row>
Tensor redraw(const char* op, const Tensor& x, double a, double b, bool fresh) {
  const bool recorded = wants_grad(x);
  before_in_place(op, x, recorded);
  const Tensor dense = x.is_contiguous() ? x : empty(op, x.shape(), x.dtype(), x.device());
  RandomParams p = params(dense);
  p.a = a, p.b = b, p.fresh = fresh || !x.is_contiguous();
  launch<Row>(op, x, p);
  if (!x.is_contiguous()) copy_into(x, dense);
  x.bump_version();
  if (recorded) forget_history(x);
  return x;
}

}  // namespace

void manual_seed(uint64_t seed) { set_generator_state({seed, 0}); }
GeneratorState generator_state() {
  Generator& g = generator();
  const std::lock_guard lock(g.mutex);
  return g.state;
}
void set_generator_state(const GeneratorState& state) {
  Generator& g = generator();
  const std::lock_guard lock(g.mutex);
  g.state = state;
}

Tensor dropout(const Tensor& x, double p, bool training) {
  check_defined("dropout", "input", x);
  check_floating("dropout", "input", x);
  check_value(p >= 0 && p <= 1, "dropout: p must be between 0 and 1, got ", p);
  OpScope scope("dropout", x);
  announce(scope, p, training);
  return scope.returns(training && p > 0 ? dropout_with(x, p, next_draw()) : x);
}

static double largest(DType dtype) {
  return dtype == DType::float32 ? double{std::numeric_limits<float>::max()}
                                 : std::numeric_limits<double>::max();
}

Tensor uniform_(const Tensor& x, double low, double high, bool fresh) {
  check_defined("uniform_", "input", x);
  check_floating("uniform_", "input", x);
  const double most = largest(x.dtype());
  check_value(std::abs(low) <= most && std::abs(high) <= most && low <= high, "uniform_: [", low, ", ", high,
              ") is not a finite interval of ", x.dtype());
  OpScope scope("uniform_", x);
  scope.with("low", low);
  scope.with("high", high);
  if (high / 2 - low / 2 <= most / 2)
    return scope.returns(redraw<&RandomTable::uniform>("uniform_", x, low, high, fresh));
  // Kernels multiply by high - low, which overflows here.
  redraw<&RandomTable::uniform>("uniform_", x, low / 2, high / 2, fresh);
  GradMode off(false);
  binary_(elementwise_ops()[kRowId<rows::Mul>], x, 2.0, nullptr);
  return scope.returns(x);
}

Tensor normal_(const Tensor& x, double mean, double deviation, bool fresh) {
  check_defined("normal_", "input", x);
  check_floating("normal_", "input", x);
  check_value(deviation >= 0, "normal_: std must not be negative, got ", deviation);
  const double most = largest(x.dtype());
  check_value(std::abs(mean) <= most && deviation <= most, "normal_: mean ", mean, " and std ", deviation,
              " are no finite numbers of ", x.dtype());
  OpScope scope("normal_", x);
  scope.with("mean", mean);
  scope.with("std", deviation);
  return scope.returns(redraw<&RandomTable::normal>("normal_", x, mean, deviation, fresh));
}

Tensor randint(int64_t low, int64_t high, const Dims& shape, DType dtype, Device device) {
  check_value(low < high, "randint: low must be less than high, got ", low, " and ", high);
  check_type(dtype == DType::int64 || dtype == DType::int32 || dtype == DType::uint8,
             "randint: dtype must be int64, int32 or uint8, got ", dtype);
  const int64_t least = dtype == DType::int64 ? INT64_MIN : dtype == DType::int32 ? INT32_MIN : 0;
  const int64_t most = dtype == DType::int64 ? INT64_MAX : dtype == DType::int32 ? INT32_MAX : UINT8_MAX;
  check_value(low >= least && high - 1 <= most, "randint: [", low, ", ", high, ") does not fit ", dtype);
  OpScope scope("randint");
  scope.with("low", low);
  scope.with("high", high);
  scope.with("shape", shape);
  scope.with("dtype", dtype);
  scope.with("device", device);
  Tensor y = empty("randint", shape, dtype, device);
  RandomParams p = params(y);
  p.low = low, p.high = high, p.fresh = true;
  launch<&RandomTable::random_integers>("randint", y, p);
  return scope.returns(std::move(y));
}

}  // namespace fastnn
