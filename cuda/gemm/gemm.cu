// Matrix product C (m x n) = act(A (m x k) B (k x n) + bias), `batch` times.
//
// tile_product.cuh has the kernel, tile_plan.cuh the choice of tile, tile_load.cuh how operands reach shared
// memory; gemv.cuh has products with a vector.
#include "backend/gemm.h"
#include "cuda/gemm/gemv.cuh"
#include "cuda/gemm/tile_plan.cuh"

namespace fastnn::cuda {

template <class T>
Output<T> gemm_output(const GemmParams& p) {
  Output<T> out{};
  out.base = static_cast<T*>(p.c);
  out.row_stride = p.ldc;
  out.batch_stride = p.batch_c;
  out.column_stride = 1;
  out.vector = vector_aligned(p.c) && (p.n | p.ldc | p.batch_c) % kVector<T> == 0;
  out.bias = static_cast<const T*>(p.bias);
  out.bias_column = 1;
  out.relu = p.activation == Activation::relu;
  return out;
}

// C as a vector: its columns are the outputs.
template <class T>
Status gemm_vector(Context& ctx, const GemmParams& p) {
  const bool row = p.m == 1;
  Gemv<T> g{};
  const T *a = static_cast<const T*>(p.a), *b = static_cast<const T*>(p.b);
  g.k = p.k, g.outputs = row ? p.n : p.m;
  g.x = row ? b : a, g.v = row ? a : b;
  g.x_batch = row ? p.batch_b : p.batch_a, g.v_batch = row ? p.batch_a : p.batch_b;
  g.out_stride = row ? p.cs_b : p.rs_a, g.depth_stride = row ? p.rs_b : p.cs_a;
  g.v_stride = row ? p.cs_a : p.rs_b;
  Output<T> out = gemm_output<T>(p);
  if (!row) {  // one bias for all, outputs ldc apart
    out.bias_column = 0;
    out.column_stride = p.ldc;
  }
  return run_gemv(ctx, g, out, p.batch);
}

template <class T>
struct GemmAlgorithm {
  const char* name;
  bool (*applicable)(const Context& ctx, const GemmParams& p);
  Status (*run)(Context& ctx, const GemmParams& p);
};

template <class T>
Status gemm_tiles(Context& ctx, const GemmParams& p) {
  Product<T, Matrix<T>> product{Matrix<T>(p.a, p.m, p.rs_a, p.cs_a, p.batch_a),
                                Matrix<T>(p.b, p.n, p.cs_b, p.rs_b, p.batch_b),
                                gemm_output<T>(p),
                                p.m,
                                p.n,
                                p.k,
                                p.batch};
  return with_tiles<T, Matrix<T>>(ctx, [&]<class List> {
    const ProductPlan plan = plan_product<List>(ctx, product);
    T* scratch = plan.scratch > 0 ? workspace<T>(ctx, plan.scratch) : nullptr;
    if (plan.scratch > 0 && !scratch) return Status::need_workspace;
    return run_product<List>(ctx, product, plan, scratch);
  });
}

// The first that applies is run.
template <class T>
constexpr GemmAlgorithm<T> kGemm[] = {
    {"vector", [](const Context&, const GemmParams& p) { return (p.m == 1 || p.n == 1) && p.k >= kWarpSize; },
     gemm_vector<T>},
    {"tiles", [](const Context&, const GemmParams&) { return true; }, gemm_tiles<T>},
};

constexpr int64_t kMostBlocks = int64_t{1} << 30;  // of a launch; no element of C takes more than one

template <class T>
Status gemm(Context& ctx, const GemmParams& p) {
  if (p.m == 0 || p.n == 0 || p.batch == 0) return Status::ok;
  if (const int64_t most = ceil_div(kMostBlocks, p.m * p.n); p.batch > most) {
    GemmParams first = p, rest = p;
    first.batch = most, rest.batch = p.batch - most;
    rest.a = static_cast<const T*>(p.a) + most * p.batch_a;
    rest.b = static_cast<const T*>(p.b) + most * p.batch_b;
    rest.c = static_cast<T*>(p.c) + most * p.batch_c;
    const Status s = gemm<T>(ctx, first);
    return s != Status::ok ? s : gemm<T>(ctx, rest);
  }
  const GemmAlgorithm<T>* algorithm = kGemm<T>;
  while (!algorithm->applicable(ctx, p)) ++algorithm;
  return algorithm->run(ctx, p);
}

FASTNN_EXPORT(GemmTable, gemm, FASTNN_GEMM)

}  // namespace fastnn::cuda
