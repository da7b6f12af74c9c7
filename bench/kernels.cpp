// Kernels without Python, tensors or dispatch: each row calls one entry of the kernel table, on operands made
// once. `bench/kernels.py` drives it and times the same computation through Python.
#include <functional>
#include <string>
#include "backend/conv.h"
#include "backend/elementwise.h"
#include "backend/gemm.h"
#include "backend/softmax.h"

#include "backend/backend.h"
#include "cpu/host/thread_pool.h"

namespace {
using namespace fastnn;

// Uniform in [-0.5, 0.5), on memory of the backend's own; lives as long as the process.
float* floats(size_t count) {
  float* x = static_cast<float*>(cpu_backend().allocate(count * sizeof(float), 0));
  uint32_t state = 1;
  for (size_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    x[i] = static_cast<float>(state >> 8) / (1 << 24) - 0.5f;
  }
  return x;
}

template <class P>
std::function<void()> call(const KernelRow<P>& row, const P& params) {
  const auto kernel = row.fn[static_cast<int>(DType::float32)];
  return [=] {
    Context& ctx = cpu_backend().context(0);
    while (kernel(ctx, params) == Status::need_workspace) cpu_backend().reserve(ctx, ctx.scratch_needed);
  };
}
template <auto Row, class P>
std::function<void()> call(const P& params) {
  return call(cpu_backend().kernels->row<Row>(), params);
}

// C = A B, or y = relu(x W^T + bias) where B is transposed.
std::function<void()> product(int64_t m, int64_t n, int64_t k, bool layer) {
  GemmParams p{};
  p.m = m, p.n = n, p.k = k, p.batch = 1;
  p.a = floats(m * k), p.rs_a = k, p.cs_a = 1;
  p.b = floats(k * n), p.rs_b = layer ? 1 : n, p.cs_b = layer ? k : 1;
  p.c = floats(m * n), p.ldc = n;
  if (layer) p.bias = floats(n), p.activation = Activation::relu;
  return call<&GemmTable::gemm>(p);
}

std::function<void()> convolution(int64_t n, int64_t channels, int64_t size) {  // 3 x 3, padded by 1
  ConvParams p{};
  p.shape = {n, channels, size, size, channels, 3, 3, size, size, 1, 1, 1, 1, 1, 1, 1};
  p.x = floats(n * channels * size * size), p.w = floats(channels * channels * 9);
  p.out = floats(n * channels * size * size);
  return call<&ConvTable::conv2d>(p);
}

std::function<void()> row_named(const std::string& name) {
  if (name == "matrix product 64^3") return product(64, 64, 64, false);
  if (name == "matrix product 1024^3") return product(1024, 1024, 1024, false);
  if (name == "linear and relu, 1x800 to 500") return product(1, 500, 800, true);
  if (name == "convolution N32 64->64 3x3 @32") return convolution(32, 64, 32);
  if (name == "softmax 128x10")
    return call<&SoftmaxTable::softmax>(SoftmaxParams{128, 10, 1, floats(1280), floats(1280), nullptr});
  if (name == "add, 4096 elements") {
    ElementwiseParams p{};
    p.inputs = 2;
    for (int i = 0; i < 3; ++i) p.operand[i].pointer = floats(4096);
    p.loop.ndim = 1, p.loop.numel = p.loop.shape[0] = 4096;
    for (int i = 0; i < 3; ++i) p.size[i] = sizeof(float), p.loop.stride[i][0] = 1;
    return call(cpu_backend().kernels->of<ElementwiseTable>().forward[kRowId<rows::Add>], p);
  }
  return {};
}

std::function<void()> row;
}  // namespace

// Makes a row ready; false if there is none of this name.
extern "C" __attribute__((visibility("default"))) bool kernel_prepare(const char* name, int threads) {
  set_num_threads(threads);
  row = row_named(name);
  return static_cast<bool>(row);
}
extern "C" __attribute__((visibility("default"))) void kernel_run(long times) {
  for (long i = 0; i < times; ++i) row();
}
