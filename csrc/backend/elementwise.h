// Element by element: ops that are rows (elementwise/*.h), choice, copies, casts and fills.
#pragma once
#include "backend/elementwise/activation.h"
#include "backend/elementwise/arithmetic.h"
#include "backend/elementwise/comparison.h"
#include "backend/elementwise/power.h"
#include "backend/kernel.h"

namespace fastnn {

// ---- rows

// At most eight rows to a group: it is a unit of csrc/cpu/elementwise and of cuda/elementwise.
#define FASTNN_GROUPS(G)    \
  G(arithmetic, ARITHMETIC) \
  G(comparison, COMPARISON) \
  G(logic, LOGIC)           \
  G(power, POWER)           \
  G(activation, ACTIVATION)
#define FASTNN_ROWS(UNARY, BINARY) \
  FASTNN_ARITHMETIC(UNARY, BINARY) \
  FASTNN_COMPARISON(UNARY, BINARY) \
  FASTNN_LOGIC(UNARY, BINARY)      \
  FASTNN_POWER(UNARY, BINARY)      \
  FASTNN_ACTIVATION(UNARY, BINARY)

#define FASTNN_COUNT(Name, function) +1
#define FASTNN_OF_GROUP(group, ROWS)                              \
  static_assert(0 FASTNN_##ROWS(FASTNN_COUNT, FASTNN_COUNT) <= 8, \
                "a group of more than eight rows compiles for too long: begin another");
FASTNN_GROUPS(FASTNN_OF_GROUP)
#undef FASTNN_OF_GROUP
#define FASTNN_OF_GROUP(group, ROWS) FASTNN_##ROWS(FASTNN_COUNT, FASTNN_COUNT)
constexpr int kRowsOfGroups = 0 FASTNN_GROUPS(FASTNN_OF_GROUP);
#undef FASTNN_OF_GROUP

// A row's number: its place in the table of kernels and in the list of ops.
enum class RowId : int {
#define FASTNN_ID(Name, function) Name,
  FASTNN_ROWS(FASTNN_ID, FASTNN_ID)
#undef FASTNN_ID
};
constexpr int kRows = 0 FASTNN_ROWS(FASTNN_COUNT, FASTNN_COUNT);
#undef FASTNN_COUNT
static_assert(kRows == kRowsOfGroups, "FASTNN_GROUPS and FASTNN_ROWS name different groups");
template <class R>
constexpr int kRowId = -1;
#define FASTNN_ID(Name, function) \
  template <>                     \
  inline constexpr int kRowId<rows::Name> = static_cast<int>(RowId::Name);
FASTNN_ROWS(FASTNN_ID, FASTNN_ID)
#undef FASTNN_ID

// The functions of formulas on a Probe.
#define FASTNN_PROBE_UNARY(Name, function) \
  constexpr Probe function(Probe x) { return probe(x); }
#define FASTNN_PROBE_BINARY(Name, function) \
  constexpr Probe function(Probe a, Probe b) { return probe(a, b); }
FASTNN_ROWS(FASTNN_PROBE_UNARY, FASTNN_PROBE_BINARY)

// Whether the gradient of operand k has a kernel of its own: one of a single operation is that op's kernel,
// which runs as fast. Its inputs are those of {dy, operands, output} that the formula reads, in this order.
template <class R, int k>
constexpr bool kFused = [] {
  if constexpr (kDifferentiable<R>) return R::row.fused && probe_gradient<R, k>().operations > 1;
  return false;
}();

// ---- parameters

constexpr int kMaxInputs = 4;  // dy, two operands, the output

// operand[0] is the output, `inputs` others follow. Where a bit of `numbers` is set, that input is a number
// instead: the bits of one element of the row's dtype stand in place of the pointer, and its strides are 0.
struct ElementwiseParams {
  int inputs;
  unsigned numbers;
  union {
    void* pointer;
    uint64_t bits;
  } operand[1 + kMaxInputs];
  int size[1 + kMaxInputs];  // bytes of an element
  Loop<1 + kMaxInputs> loop;
  double parameters[kMaxParameters];  // of the row, if it has any
  double cost;                        // nanoseconds per vector, as the row says
  int operations;                     // of the formula, each function counting as one

  bool cancellable() const {  // in place, the output is an input too
    for (int k = 1; k <= inputs; ++k)
      if (!(numbers >> k & 1) && operand[k].pointer == operand[0].pointer) return false;
    return true;
  }
  double flops() const { return static_cast<double>(loop.numel * operations); }
  double nanoseconds() const { return static_cast<double>(loop.numel) * (0.5 + cost / 16); }
  template <class F>
  void touches(int64_t, F&& f) const {
    for (int k = 0; k <= inputs; ++k)
      if (!(numbers >> k & 1))
        f(strided(loop, k, operand[k].pointer, size[k], k == 0 ? Access::write : Access::read));
  }
};

using ElementwiseKernel = Status (*)(Context&, const ElementwiseParams&);

struct CastParams {  // y (dtype `to`) = x (the row's dtype); also the strided copy, with to == from
  void* y;
  const void* x;
  DType to;
  Loop<2> loop;
  bool fresh = false;  // y is a new tensor

  bool cancellable() const { return fresh; }

  double flops() const { return 0; }
  double nanoseconds() const { return 0.5 * static_cast<double>(loop.numel); }
  template <class F>
  void touches(int64_t size, F&& f) const {
    f(strided(loop, 0, y, static_cast<int64_t>(size_of(to)), Access::write));
    f(strided(loop, 1, x, size, Access::read));
  }
};
struct FillParams {  // y = value; integers and bools are passed in `integer`
  void* y;
  double value;
  int64_t integer;
  Loop<1> loop;
  bool fresh = false;  // y is a new tensor

  bool cancellable() const { return fresh; }

  double flops() const { return 0; }
  double nanoseconds() const { return 0.5 * static_cast<double>(loop.numel); }
  template <class F>
  void touches(int64_t size, F&& f) const {
    f(strided(loop, 0, y, size, Access::write));
  }
};
struct ArangeParams {  // y[i] = start + i * step; integers are passed in `first` and `stride`
  void* y;
  int64_t numel;
  double start, step;
  int64_t first, stride;

  static constexpr bool kCancellable = true;

  double flops() const { return static_cast<double>(numel); }
  double nanoseconds() const { return static_cast<double>(numel); }
  template <class F>
  void touches(int64_t size, F&& f) const {
    f(write_of(y, numel * size));
  }
};

// where: out = condition ? a : b, the condition being the first input, of bools.
#define FASTNN_COPY(K)                                     \
  K(where, ElementwiseParams, NUMERIC | BOOLS, CPU | CUDA) \
  K(cast, CastParams, ALL, CPU | CUDA)                     \
  K(fill, FillParams, ALL, CPU | CUDA)                     \
  K(arange, ArangeParams, NUMERIC, CPU | CUDA)

struct ElementwiseTable {
  static constexpr Family family = Family::elementwise;
  KernelRow<ElementwiseParams> forward[kRows];
  KernelRow<ElementwiseParams> gradient[kRows][2];  // of each operand; null where not fused
  FASTNN_COPY(FASTNN_MEMBER)
};

}  // namespace fastnn
