// Maps over any nest of loops, and the functions of a Scalar, for tests/test_cuda_maps.py.
#include <memory>
#include <string>
#include <vector>

#include "cuda/common/loops.cuh"
#include "tests/cpp/on_device.h"

namespace fastnn::cuda {
namespace {

template <class A, class B>
concept Mixes = requires(A a, B b) { a * b; } || requires(A a, B b) { a + b; } ||
                requires(A a, B b) { a < b; } || requires(A a, B b) { max(a, b); };
template <class W, class X>
concept MadeOf = requires(X x) { W(x); };
static_assert(Mixes<Scalar<float>, Scalar<float>>);
static_assert(!Mixes<Scalar<float>, double> && !Mixes<double, Scalar<float>> && !Mixes<int, Scalar<float>>);
static_assert(!Mixes<Scalar<float>, Scalar<double>> && !Mixes<Scalar<int32_t>, Scalar<int64_t>>);
static_assert(MadeOf<Scalar<float>, float> && !MadeOf<Scalar<float>, double> &&
              !MadeOf<Scalar<double>, float> && !MadeOf<Scalar<int64_t>, int>);

// ---- maps: functions of one to five operands, and of mixed types ----

struct Sevens {
  __device__ auto operator()() const { return Scalar<float>::constant(7); }
};
struct Negative {
  template <class W>
  __device__ W operator()(W x) const {
    return -x;
  }
};
struct Difference {
  template <class W>
  __device__ W operator()(W a, W b) const {
    return a - b;
  }
};
struct Less {
  template <class W>
  __device__ bool operator()(W a, W b) const {
    return a < b;
  }
};
struct Choice {
  template <class W>
  __device__ W operator()(bool condition, W a, W b) const {
    return select(condition, a, b);
  }
};
struct ScaledSum {  // with a parameter of its own
  double scale;
  template <class W>
  __device__ W operator()(W a, W b, W c) const {
    return a + b * c * W::constant(scale);
  }
};
struct Mixture {
  template <class W>
  __device__ W operator()(W a, W b, W c, W d) const {
    return (a * b) ^ (c - d);
  }
};

constexpr int kMostOperands = 5;
struct Nest {
  int ndim;
  const int64_t* shape;
  const int64_t* stride;  // operands x dimensions
  void* at[kMostOperands];
  unsigned immediate;
  uint64_t number;
};

template <class Out, class... In, class F>
Status run(Context& ctx, const Nest& nest, const F& f) {
  constexpr int N = 1 + sizeof...(In);
  Loop<N> loop{};
  Operands<N> operands{};
  loop.ndim = nest.ndim, loop.numel = 1;
  for (int d = 0; d < nest.ndim; ++d) loop.numel *= loop.shape[d] = nest.shape[d];
  for (int k = 0; k < N; ++k) {
    operands.at[k] = nest.at[k];
    for (int d = 0; d < nest.ndim; ++d) loop.stride[k][d] = nest.stride[k * nest.ndim + d];
  }
  operands.immediate = nest.immediate, operands.number = nest.number;
  return map<Out, In...>(ctx, loop, operands, f);
}

Status run(const std::string& name, Context& ctx, const Nest& nest) {
  if (name == "sevens float32") return run<float>(ctx, nest, Sevens());
  if (name == "negative float32") return run<float, float>(ctx, nest, Negative());
  if (name == "negative uint8") return run<uint8_t, uint8_t>(ctx, nest, Negative());
  if (name == "difference float32") return run<float, float, float>(ctx, nest, Difference());
  if (name == "difference float64") return run<double, double, double>(ctx, nest, Difference());
  if (name == "less float64") return run<bool, double, double>(ctx, nest, Less());
  if (name == "choice float32") return run<float, bool, float, float>(ctx, nest, Choice());
  if (name == "choice uint8") return run<uint8_t, bool, uint8_t, uint8_t>(ctx, nest, Choice());
  if (name == "scaled sum float64") return run<double, double, double, double>(ctx, nest, ScaledSum{0.5});
  if (name == "mixture int32") return run<int32_t, int32_t, int32_t, int32_t, int32_t>(ctx, nest, Mixture());
  return Status::cancelled;
}

// ---- functions ----

constexpr const char* kNames = "+ - * / negative < <= > >= == != max min abs round rsqrt sigmoid fma select"
#define NAME(name) " " #name
    FASTNN_MATH1(NAME) FASTNN_MATH2(NAME)
#undef NAME
    ;

template <class T>
__device__ void all_of(const T& x, const T& y, double* out) {
  using W = Scalar<T>;
  const W a(x), b(y);
  const auto put = [&](auto value) {
    if constexpr (std::is_same_v<decltype(value), bool>)
      *out++ = value;
    else
      *out++ = static_cast<double>(value.v);
  };
  put(a + b), put(a - b), put(a * b), put(a / b), put(-a);
  put(a < b), put(a <= b), put(a > b), put(a >= b), put(a == b), put(a != b);
  put(max(a, b)), put(min(a, b)), put(abs(a)), put(round(a)), put(rsqrt(a)), put(sigmoid(a));
  put(fma(a, b, a)), put(select(x < y, a, b));
#define PUT1(name) put(name(a));
#define PUT2(name) put(name(a, b));
  FASTNN_MATH1(PUT1)
  FASTNN_MATH2(PUT2)
#undef PUT1
#undef PUT2
}
template <class T>
__global__ void evaluate(const double* x, const double* y, int n, double* out, int functions) {
  const int i = threadIdx.x;
  if (i < n) all_of(static_cast<T>(x[i]), static_cast<T>(y[i]), out + i * functions);
}

}  // namespace
}  // namespace fastnn::cuda

using namespace fastnn;
using namespace fastnn::cuda;

// Operand k lies in buffer `of[k]`, from byte offset[k] on, or is `number` if that is negative. Returns the
// bytes of workspace that were asked for, or -1 where something failed.
EXPORT int64_t emulator_map(const char* name, int operands, int ndim, const int64_t* shape,
                            const int64_t* stride, int buffers, void* const* buffer, const int64_t* bytes,
                            const int* of, const int64_t* offset, uint64_t number) {
  std::vector<std::unique_ptr<OnDevice>> on_device;
  for (int b = 0; b < buffers; ++b)
    on_device.push_back(std::make_unique<OnDevice>(buffer[b], static_cast<size_t>(bytes[b])));
  Nest nest{ndim, shape, stride, {}, 0, number};
  for (int k = 0; k < operands; ++k) {
    if (of[k] < 0)
      nest.immediate |= 1u << k;
    else
      nest.at[k] = on_device[static_cast<size_t>(of[k])]->as<char>() + offset[k];
  }
  Context ctx;
  ctx.multiprocessors = 1;
  Status status = run(name, ctx, nest);
  if (status == Status::need_workspace) {
    ctx.scratch_bytes = ctx.scratch_needed;
    ctx.scratch = static_cast<char*>(emulator::allocate(0, ctx.scratch_bytes));
    status = run(name, ctx, nest);
    emulator::release(0, ctx.scratch);
  }
  return status == Status::ok ? static_cast<int64_t>(ctx.scratch_bytes) : -1;
}

EXPORT const char* emulator_scalar_names() { return kNames; }
// out (n x functions), in the order of the names.
EXPORT bool emulator_scalar(bool in_double, double* x, double* y, int n, double* out, int functions) {
  const size_t count = static_cast<size_t>(n);
  const OnDevice on_x(x, count * 8), on_y(y, count * 8);
  const OnDevice on_out(out, count * static_cast<size_t>(functions) * 8);
  const auto go = [&]<class T>() {
    return launch<evaluate<T>>(Context{}, 1, static_cast<unsigned>(n), 0, on_x.as<double>(),
                               on_y.as<double>(), n, on_out.as<double>(), functions) == Status::ok;
  };
  return in_double ? go.template operator()<double>() : go.template operator()<float>();
}
