// Matrix product C (m x n) = act(A (m x k) B (k x n) + bias): plan.h says how it is cut, micro_kernel.cpp has
// the tile in registers, pack.cpp the panels, vector.cpp products with a vector.
//
// A task owns a part of C. For each KC of k and NC of its columns it takes MC rows at a time: their A is
// packed into its worker's scratch where that pays, to stay in L2 while panels of B, packed on their first
// use, pass through L1. Several threads pack A together first and share out the columns, so that little is
// packed twice.
#include "backend/gemm.h"
#include "cpu/gemm/outer.h"
#include "cpu/gemm/pack.h"
#include "cpu/gemm/plan.h"
#include "cpu/gemm/vector.h"
#include "cpu/simd/cache.h"

namespace fastnn::FASTNN_ISA {

template <class T>
constexpr double kFmaNanoseconds = 0.01 * (64 / kVectorBytes) * sizeof(T) / 4;

// Rows [i0, i1) of the columns that t has of B and C, from A at a.
template <class T>
void compute_rows(const Product<T>& g, const Plan<T>& plan, const T* a, int64_t i0, int64_t i1, int n,
                  Tile<T> t, const Epilogue<T>* finish) {
  Epilogue<T> epilogue;
  if (finish) epilogue = *finish, t.epilogue = &epilogue;
  T* const c = t.c;
  for (int64_t i = i0; i < i1; i += plan.mr) {
    t.a = plan.pack_a ? a + (i - i0) * t.k : a + (i - i0) * g.rs_a;
    t.c = c + (i - i0) * t.ldc;
    const int m = static_cast<int>(min_of(plan.mr, i1 - i));
    if (g.row_bias) epilogue.row_bias = g.row_bias + i;
    for (int r = 0; r < m; ++r)
      for (int at = 0; at < n; at += 64 / sizeof(T)) __builtin_prefetch(t.c + r * t.ldc + at, 1);
    plan.transposed_b ? micro_kernel_transposed(t, m, n) : micro_kernel(t, m, n);
  }
}

// All of A, block of k after block, tile of rows after tile: a region of its own.
template <class T>
Status pack_shared(Context& ctx, const Product<T>& g, const Plan<T>& plan, T* shared) {
  constexpr int64_t kTiles = 16;  // of a task
  const int64_t parts = ceil_div(plan.tiles_m, kTiles), rows = kTiles * plan.mr;
  return parallel_for(
      ctx, parts * ceil_div(g.k, plan.kc), static_cast<double>(g.m * g.k), [&](int64_t task, int) {
        const int64_t p = task / parts * plan.kc, i = task % parts * rows, k = min_of(plan.kc, g.k - p);
        pack_panels(shared + p * plan.tiles_m * plan.mr + i * k, plan.mr, g.a + i * g.rs_a + p * g.cs_a,
                    g.rs_a, g.cs_a, min_of(rows, g.m - i), k);
      });
}

// A task. `work` is this worker's: a block of A, then one of B.
template <class T>
void compute_task(const Context& ctx, const Product<T>& g, const Plan<T>& plan, const T* shared_a, T* work,
                  T* parts, int64_t task) {
  const Block<T> block = block_of(g, plan, parts, task);
  T* const packed_b = work + plan.a_elements;
  Tile<T> t;
  t.rs_a = plan.pack_a ? 1 : g.rs_a;
  t.cs_a = plan.pack_a ? plan.mr : g.cs_a;
  t.packed_b = plan.pack_b;
  t.ldb = plan.pack_b ? plan.nr : plan.transposed_b ? g.cs_b : g.rs_b;
  t.ldc = block.ldc;
  int64_t p = block.p0;
  do {  // once for k = 0
    t.k = min_of(plan.kc, block.p1 - p);
    t.accumulate = p > block.p0;
    const bool last = p + t.k == block.p1 && plan.splits == 1;
    for (int64_t jc = block.j0; jc < block.j1; jc += plan.nc) {
      const int64_t jc1 = min_of(jc + plan.nc, block.j1);
      for (int64_t ic = block.i0; ic < block.i1 && !ctx.cancelled(); ic += plan.mc) {
        const int64_t ic1 = min_of(ic + plan.mc, block.i1);
        const T* a = g.a + ic * g.rs_a + p * g.cs_a;
        if (plan.share_a) {
          a = shared_a + p * plan.tiles_m * plan.mr + ic * t.k;
        } else if (plan.pack_a) {
          if (ic > block.i0 || ic1 < block.i1 || jc == block.j0)
            pack_panels(work, plan.mr, a, g.rs_a, g.cs_a, ic1 - ic, t.k);
          a = work;
        }
        for (int64_t j = jc; j < jc1 && !ctx.cancelled(); j += plan.nr) {
          t.b = plan.pack_b ? packed_b + (j - jc) * t.k : g.b + p * g.rs_b + j * g.cs_b;
          if (plan.pack_b && ic == block.i0 && (j - jc) % plan.packed_together == 0)
            pack_panels(packed_b + (j - jc) * t.k, plan.nr, g.b + p * g.rs_b + j * g.cs_b, g.cs_b, g.rs_b,
                        min_of(plan.packed_together, jc1 - j), t.k);
          t.c = block.c + ic * t.ldc + j;
          const Epilogue<T> epilogue{
              .column_bias = g.column_bias ? g.column_bias + j : nullptr, .relu = g.relu, .stream = g.stream};
          compute_rows(g, plan, a, ic, ic1, static_cast<int>(min_of(plan.nr, jc1 - j)), t,
                       last ? &epilogue : nullptr);
        }
      }
    }
    p += t.k;
  } while (p < block.p1 && !ctx.cancelled());
  if (g.stream) stream_end();
}

// Row i of C from its parts, in order.
template <class T>
void combine_row(const Product<T>& g, const Plan<T>& plan, const T* parts, int64_t i) {
  using V = Vec<T>;
  for (int64_t j = 0; j < g.n; j += V::N) {
    const int lanes = static_cast<int>(min_of(V::N, g.n - j));
    V sum(T(0));
    for (int64_t s = 0; s < plan.splits; ++s) sum = sum + V::load_n(parts + (s * g.m + i) * g.n + j, lanes);
    if (g.column_bias) sum = sum + V::load_n(g.column_bias + j, lanes);
    if (g.row_bias) sum = sum + V(g.row_bias[i]);
    if (g.relu) sum = max(V(T(0)), sum);
    sum.store_n(g.c + i * g.ldc + j, lanes);
  }
}

template <class T>
Status run_blocked(Context& ctx, const Product<T>& g) {
  const Plan<T> plan = make_plan(g, ctx.l2, ctx.threads);
  const int64_t share = plan.worker_elements(), part_elements = plan.splits > 1 ? plan.splits * g.m * g.n : 0;
  const int64_t workers = plan.tasks() > 1 ? ctx.threads : 1,
                shared_elements = round_up(plan.shared_elements(g.k), 64 / sizeof(T));
  T* shared = nullptr;
  if (shared_elements + workers * share + part_elements > 0) {
    shared = workspace<T>(ctx, static_cast<size_t>(shared_elements + workers * share + part_elements));
    if (!shared) return Status::need_workspace;
  }
  T *const work = shared + shared_elements, *const parts = work + workers * share;
  if (plan.share_a)
    if (const Status s = pack_shared(ctx, g, plan, shared); s != Status::ok) return s;
  const Status s =
      parallel_for(ctx, plan.tasks(), g.fmas() * kFmaNanoseconds<T>, [&](int64_t task, int worker) {
        compute_task(ctx, g, plan, shared, work + worker * share, parts, task);
      });
  if (s != Status::ok || plan.splits == 1) return s;
  return parallel_for(ctx, ceil_div(g.m, 16), 0.1 * part_elements, [&](int64_t task, int) {
    for (int64_t i = task * 16; i < min_of(g.m, task * 16 + 16); ++i) combine_row(g, plan, parts, i);
  });
}

// One row of C: tasks share its elements. Rows are cut by the page: the hardware prefetches within pages.
template <class T>
Status run_vector(Context& ctx, const Product<T>& g, Path path) {
  const int64_t unit = path == Path::dots ? Vec<T>::N : 4096 / sizeof(T);
  const int64_t units = ceil_div(g.n, unit), elements = g.n * g.k;
  const int64_t tasks = elements < 65536 ? 1 : min_of(units, elements / 32768);
  const double nanoseconds =
      static_cast<double>(elements) * sizeof(T) / 16;  // memory's, not the multiply-adds'
  return parallel_for(ctx, tasks, nanoseconds, [&](int64_t task, int) {
    vector_part(g, path, part(units, tasks, task) * unit, min_of(g.n, part(units, tasks, task + 1) * unit));
  });
}

// B with its rows along memory, in `work` where they do not lie so.
template <class T>
Product<T> with_rows(const Product<T>& g, T* work) {
  if (g.cs_b == 1) return g;
  Product<T> copied = g;
  pack_panels(work, static_cast<int>(g.n), g.b, g.cs_b, g.rs_b, g.n, g.k);
  copied.b = work, copied.rs_b = g.n, copied.cs_b = 1;
  return copied;
}
template <class T>
int64_t rows_elements(const Product<T>& g) {
  return g.cs_b == 1 ? 0 : g.k * g.n;
}

template <class T>
Status run_outer(Context& ctx, const Product<T>& g) {
  T* const work = workspace<T>(ctx, static_cast<size_t>(rows_elements(g)));
  if (rows_elements(g) > 0 && !work) return Status::need_workspace;
  const Product<T> rows = with_rows(g, work);
  constexpr int64_t kTaskElements = 32768;
  const int64_t tasks = max_of(1, min_of(g.m, g.m * g.n / kTaskElements));
  const double nanoseconds = static_cast<double>(g.m * g.n) * sizeof(T) / 16;  // memory's
  return parallel_for(ctx, tasks, nanoseconds, [&](int64_t task, int) {
    outer_part(rows, part(g.m, tasks, task), part(g.m, tasks, task + 1));
  });
}

template <class T>
Status run_product(Context& ctx, const Product<T>& g) {
  const Path path = choose_path(g);
  if (path == Path::blocked) return run_blocked(ctx, g);
  if (path == Path::outer) return run_outer(ctx, g);
  return run_vector(ctx, g, path);
}

// Many small products: each by one thread, several to a task.
template <class T>
Status run_batch(Context& ctx, const Product<T>& g, int64_t batch) {
  const Path path = choose_path(g);
  Plan<T> plan = make_plan(g, ctx.l2, 1);
  plan.splits = 1;
  const int64_t share = path == Path::blocked ? plan.worker_elements()
                        : path == Path::outer ? round_up(rows_elements(g), 64 / sizeof(T))
                                              : 0;
  T* work = nullptr;
  if (share > 0) {
    work = workspace<T>(ctx, static_cast<size_t>(share * ctx.threads));
    if (!work) return Status::need_workspace;
  }
  const double fmas = (g.fmas() + 1024) * static_cast<double>(batch);
  const int64_t tasks = min_of(batch, static_cast<int64_t>(fmas / Blocking<T>::kTaskFmas) + 1);
  return parallel_for(ctx, tasks, fmas * kFmaNanoseconds<T>, [&](int64_t task, int worker) {
    for (int64_t i = part(batch, tasks, task); i < part(batch, tasks, task + 1); ++i) {
      const Product<T> one = g.nth(i);
      if (path == Path::outer)
        outer_part(with_rows(one, work + worker * share), 0, one.m);
      else if (path != Path::blocked)
        vector_part(one, path, 0, one.n);
      else
        for (int64_t t = 0; t < plan.tasks(); ++t)
          compute_task<T>(ctx, one, plan, nullptr, work + worker * share, work, t);
    }
  });
}

template <class T>
Status multiply(Context& ctx, const Product<T>& product, int64_t batch) {
  const Product<T> g = product.n == 1 && product.m > 1 && product.ldc == 1 ? transposed(product) : product;
  if (batch == 1) return run_product(ctx, g);
  if (g.fmas() < 4 * Blocking<T>::kTaskFmas) return run_batch(ctx, g, batch);
  for (int64_t i = 0; i < batch; ++i)
    if (const Status s = run_product(ctx, g.nth(i)); s != Status::ok) return s;
  return Status::ok;
}
template Status multiply(Context& ctx, const Product<float>& product, int64_t batch);
template Status multiply(Context& ctx, const Product<double>& product, int64_t batch);

template <class T>
Status gemm(Context& ctx, const GemmParams& p) {
  if (p.m == 0 || p.n == 0 || p.batch == 0) return Status::ok;
  const Product<T> g{
      .m = p.m,
      .n = p.n,
      .k = p.k,
      .a = static_cast<const T*>(p.a),
      .rs_a = p.rs_a,
      .cs_a = p.cs_a,
      .b = static_cast<const T*>(p.b),
      .rs_b = p.rs_b,
      .cs_b = p.cs_b,
      .c = static_cast<T*>(p.c),
      .ldc = p.ldc,
      .column_bias = static_cast<const T*>(p.bias),
      .row_bias = nullptr,
      .relu = p.activation == Activation::relu,
      .batch_a = p.batch_a,
      .batch_b = p.batch_b,
      .batch_c = p.batch_c,
  };
  return multiply(ctx, g, p.batch);
}

FASTNN_EXPORT(GemmTable, gemm, FASTNN_GEMM)

}  // namespace fastnn::FASTNN_ISA
