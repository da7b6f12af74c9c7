// Matrix product C (m x n) = act(A (m x k) B (k x n) + bias): see gemm_tile.h for the tile in registers,
// gemm_pack.h for the panels, gemm_dot.h for products with a vector or a few rows.
//
// A product is planned from its shape alone, never from the number of threads: which operands are packed, how
// C is cut into tasks, where k is cut. So results are the same bits on any number of threads. One region of
// tasks packs the panels of A and B, the next multiplies: each task owns a block of C and walks k in blocks
// of KC, columns in tiles of NR, rows in tiles of MR, so that a KC x NR piece of B stays in L1 and its rows
// of A in L2.
#include "../backend/kernel_table.h"
#include "gemm_dot.h"

namespace fastnn::FASTNN_ISA {

template <class T>
constexpr double kFmaNanoseconds = 0.01 * (64 / kVectorBytes) * sizeof(T) / 4;

// A product as the tile sees it: typed, one of the batch.
template <class T>
struct Product {
  int64_t m, n, k;
  const T* a;
  int64_t rs_a, cs_a;
  const T* b;
  int64_t rs_b, cs_b;
  T* c;
  int64_t ldc;
  int64_t cs_c,
      bias_step;    // 1 and 1; ldc and 0 where a column of C is computed as a row (vector and dot only)
  bool accumulate;  // C += A B
  const Epilogue<T>* epilogue;  // null: more of k follows
};

template <class T>
struct Plan {
  int mr, nr;
  int64_t tiles_m, tiles_n;  // tiles of C
  int64_t tasks_m, tasks_n;  // blocks of whole tiles
  int64_t kc, splits;        // depth of a block; parts of k that are computed apart and added in order
  bool pack_a, pack_b;
  size_t a_elements, b_elements, c_elements;

  size_t elements() const { return a_elements + b_elements + c_elements; }
  int64_t tasks() const { return tasks_m * tasks_n * splits; }
};

template <class T>
Plan<T> make_plan(const Product<T>& g) {
  using B = Blocking<T>;
  Plan<T> plan;
  const int64_t vectors = divide_up(g.n, Vec<T>::N);
  const int nv = even_rows(vectors, kMaxVectors);
  plan.nr = nv * Vec<T>::N;
  plan.mr = even_rows(g.m, max_rows(nv));
  plan.tiles_m = divide_up(g.m, plan.mr);
  plan.tiles_n = divide_up(g.n, plan.nr);
  plan.pack_b = g.cs_b != 1 || (g.m > B::kUnpackedRows && g.k * g.n > B::kUnpackedElements);
  plan.pack_a = g.n > B::kUnpackedColumns && g.m * g.k > B::kUnpackedElements;
  plan.splits = 1;
  plan.kc = even_rows(g.k, B::KC);
  plan.tasks_m = divide_up(plan.tiles_m * plan.mr, B::MC);
  plan.tasks_n = divide_up(plan.tiles_n * plan.nr, B::NC);
  // More, smaller tasks while there are few: at least kTaskFmas multiply-adds each.
  const double most = static_cast<double>(g.m) * g.n * g.k / B::kTaskFmas;
  while (plan.tasks() < B::kFewTasks && 2 * plan.tasks() <= most) {
    if (plan.tiles_m / plan.tasks_m >= plan.tiles_n / plan.tasks_n && plan.tasks_m < plan.tiles_m)
      plan.tasks_m = min_of(plan.tiles_m, 2 * plan.tasks_m);
    else if (plan.tasks_n < plan.tiles_n)
      plan.tasks_n = min_of(plan.tiles_n, 2 * plan.tasks_n);
    else
      break;
  }
  // C too small to be cut and k long: cut k.
  if (plan.tasks() < B::kFewTasks / 2 && g.k >= 2 * B::kSplitDepth && most >= 2)
    plan.splits =
        min_of(min_of(g.k / B::kSplitDepth, static_cast<int64_t>(most)), B::kFewTasks / plan.tasks());
  plan.a_elements = plan.pack_a ? static_cast<size_t>(plan.tiles_m * plan.mr * g.k) : 0;
  plan.b_elements = plan.pack_b ? static_cast<size_t>(plan.tiles_n * plan.nr * g.k) : 0;
  plan.c_elements = plan.splits > 1 ? static_cast<size_t>(plan.splits * g.m * g.n) : 0;
  // Panels start on 64 bytes.
  const size_t line = 64 / sizeof(T);
  plan.a_elements = (plan.a_elements + line - 1) / line * line;
  return plan;
}

constexpr int64_t part(int64_t total, int64_t parts, int64_t i) { return total * i / parts; }

// Panel `task` of A, or of B after those of A.
template <class T>
void pack_task(const Product<T>& g, const Plan<T>& plan, T* work, int64_t task) {
  const int64_t panels_a = plan.pack_a ? plan.tiles_m : 0;
  if (task < panels_a) {
    const int64_t i = task * plan.mr;
    pack_panel(work + i * g.k, plan.mr, g.a + i * g.rs_a, g.rs_a, g.cs_a,
               static_cast<int>(min_of(plan.mr, g.m - i)), g.k);
  } else {
    const int64_t j = (task - panels_a) * plan.nr;
    pack_panel(work + plan.a_elements + j * g.k, plan.nr, g.b + j * g.cs_b, g.cs_b, g.rs_b,
               static_cast<int>(min_of(plan.nr, g.n - j)), g.k);
  }
}

// One block of C over one part of k.
template <class T>
void compute_task(const Product<T>& g, const Plan<T>& plan, T* work, int64_t task) {
  const int64_t split = task / (plan.tasks_m * plan.tasks_n);
  const int64_t block_m = task % plan.tasks_m, block_n = task / plan.tasks_m % plan.tasks_n;
  const int64_t i0 = part(plan.tiles_m, plan.tasks_m, block_m) * plan.mr;
  const int64_t i1 = min_of(g.m, part(plan.tiles_m, plan.tasks_m, block_m + 1) * plan.mr);
  const int64_t j0 = part(plan.tiles_n, plan.tasks_n, block_n) * plan.nr;
  const int64_t j1 = min_of(g.n, part(plan.tiles_n, plan.tasks_n, block_n + 1) * plan.nr);
  const int64_t first = part(g.k, plan.splits, split), last = part(g.k, plan.splits, split + 1);
  const T *packed_a = work, *packed_b = work + plan.a_elements;

  Tile<T> t;
  t.rs_a = plan.pack_a ? 1 : g.rs_a;
  t.cs_a = plan.pack_a ? plan.mr : g.cs_a;
  t.packed_b = plan.pack_b;
  t.ldb = plan.pack_b ? plan.nr : g.rs_b;
  T* c = g.c;
  t.ldc = g.ldc;
  if (plan.splits > 1) {
    c = work + plan.a_elements + plan.b_elements + split * g.m * g.n;
    t.ldc = g.n;
  }
  int64_t p = first;
  do {  // once for k = 0
    t.k = min_of(plan.kc, last - p);
    t.accumulate = p > first || (g.accumulate && plan.splits == 1);
    const Epilogue<T>* epilogue = p + t.k == last && plan.splits == 1 ? g.epilogue : nullptr;
    for (int64_t j = j0; j < j1; j += plan.nr) {
      Epilogue<T> shifted;
      if (epilogue) {
        shifted = *epilogue;
        if (shifted.column_bias) shifted.column_bias += j;
      }
      t.epilogue = epilogue ? &shifted : nullptr;
      t.b = plan.pack_b ? packed_b + j * g.k + p * plan.nr : g.b + p * g.rs_b + j;
      const int n = static_cast<int>(min_of(plan.nr, g.n - j));
      for (int64_t i = i0; i < i1; i += plan.mr) {
        t.a = plan.pack_a ? packed_a + i * g.k + p * plan.mr : g.a + i * g.rs_a + p * g.cs_a;
        t.c = c + i * t.ldc + j;
        micro_kernel(t, static_cast<int>(min_of(plan.mr, i1 - i)), n);
      }
    }
    p += t.k;
  } while (p < last);
}

// Row i of C from its parts, in order.
template <class T>
void combine_row(const Product<T>& g, const Plan<T>& plan, const T* parts, int64_t i) {
  using V = Vec<T>;
  for (int64_t j = 0; j < g.n; j += V::N) {
    const int lanes = static_cast<int>(min_of(V::N, g.n - j));
    V sum = g.accumulate ? V::load_n(g.c + i * g.ldc + j, lanes) : V(T(0));
    for (int64_t s = 0; s < plan.splits; ++s) sum = sum + V::load_n(parts + (s * g.m + i) * g.n + j, lanes);
    if (g.epilogue && g.epilogue->column_bias) sum = sum + V::load_n(g.epilogue->column_bias + j, lanes);
    if (g.epilogue && g.epilogue->relu) sum = max(V(T(0)), sum);
    sum.store_n(g.c + i * g.ldc + j, lanes);
  }
}

template <class T>
int64_t panels(const Plan<T>& plan) {
  return (plan.pack_a ? plan.tiles_m : 0) + (plan.pack_b ? plan.tiles_n : 0);
}

// One product by all threads.
template <class T>
Status multiply(Context& ctx, const Product<T>& g, const Plan<T>& plan, T* work) {
  if (const int64_t count = panels(plan)) {
    const int64_t tasks = min_of(count, divide_up(static_cast<int64_t>(plan.elements()), 1 << 15));
    const Status s = parallel_for(ctx, tasks, plan.elements() * 0.2, [&](int64_t task, int) {
      for (int64_t i = part(count, tasks, task); i < part(count, tasks, task + 1); ++i)
        pack_task(g, plan, work, i);
    });
    if (s != Status::ok) return s;
  }
  const double nanoseconds = kFmaNanoseconds<T> * g.m * g.n * g.k;
  const Status s = parallel_for(ctx, plan.tasks(), nanoseconds,
                                [&](int64_t task, int) { compute_task(g, plan, work, task); });
  if (s != Status::ok || plan.splits == 1) return s;
  const T* parts = work + plan.a_elements + plan.b_elements;
  return parallel_for(ctx, divide_up(g.m, 16), 0.1 * plan.c_elements, [&](int64_t task, int) {
    for (int64_t i = task * 16; i < min_of(g.m, task * 16 + 16); ++i) combine_row(g, plan, parts, i);
  });
}

// One product by the calling thread.
template <class T>
void multiply_serial(const Product<T>& g, const Plan<T>& plan, T* work) {
  const int64_t count = panels(plan);
  for (int64_t i = 0; i < count; ++i) pack_task(g, plan, work, i);
  for (int64_t task = 0; task < plan.tasks(); ++task) compute_task(g, plan, work, task);
  if (plan.splits > 1)
    for (int64_t i = 0; i < g.m; ++i) combine_row(g, plan, work + plan.a_elements + plan.b_elements, i);
}

// Sums of dot products into C with the epilogue, rows x columns.
template <class T>
FASTNN_INLINE void store_sums(const Product<T>& g, const T* sums, int64_t i0, int64_t j0, int rows,
                              int columns) {
  const T* bias = g.epilogue->column_bias;
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < columns; ++j) {
      T x = sums[i * columns + j];
      if (bias) x += bias[(j0 + j) * g.bias_step];
      if (g.epilogue->relu) x = x < T(0) ? T(0) : x;
      g.c[(i0 + i) * g.ldc + (j0 + j) * g.cs_c] = x;
    }
}

// Both operands run along k: no packing. Tasks share the columns of C.
template <class T>
void dot_columns(const Product<T>& g, int64_t j0, int64_t j1) {
  const int rows = even_rows(g.m, kDotRows), columns = g.m == 1 ? kDotVectorRows : kDotColumns;
  T sums[kDotRows * kDotColumns > kDotVectorRows ? kDotRows * kDotColumns : kDotVectorRows];
  for (int64_t j = j0; j < j1; j += columns) {
    const int here = static_cast<int>(min_of(columns, j1 - j));
    for (int64_t i = 0; i < g.m; i += rows) {
      const int height = static_cast<int>(min_of(rows, g.m - i));
      dot_function<T>(height, here)(g.k, g.a + i * g.rs_a, g.rs_a, g.b + j * g.cs_b, g.cs_b, sums);
      store_sums(g, sums, i, j, height, here);
    }
  }
}

// One row of C: B's rows are streamed once, at memory speed.
template <class T>
void vector_columns(const Product<T>& g, int64_t j0, int64_t j1) {
  constexpr int64_t kChunk = 4096 / sizeof(T);
  alignas(64) T y[kChunk];
  for (int64_t j = j0; j < j1; j += kChunk) {
    const int64_t n = min_of(kChunk, j1 - j);
    for (int64_t i = 0; i < n; ++i) y[i] = T(0);
    add_rows(g.k, n, g.a, g.cs_a, g.b + j, g.rs_b, y);
    store_sums(g, y, 0, j, 1, static_cast<int>(n));
  }
}

enum class Path { blocked, dot, vector };

template <class T>
Path choose_path(const Product<T>& g) {
  using B = Blocking<T>;
  if (g.m == 1 && g.cs_b == 1 && g.n >= 4 * Vec<T>::N) return Path::vector;
  if (g.cs_a == 1 && g.rs_b == 1 && g.cs_b != 1 && g.m <= B::kDotMaxRows && g.k >= 2 * Vec<T>::N)
    return Path::dot;
  return Path::blocked;
}

template <class T>
Status run_columns(Context& ctx, const Product<T>& g, Path path) {
  const double fmas = static_cast<double>(g.m) * g.n * g.k;
  const int64_t unit =
      path == Path::vector ? 1024 / sizeof(T) : kDotVectorRows;  // columns that stay together
  const int64_t units = divide_up(g.n, unit);
  const int64_t tasks = fmas < 65536 ? 1 : min_of(units, static_cast<int64_t>(fmas / 32768));
  // A vector product moves an element of B for every multiply-add.
  const double nanoseconds = g.m == 1 ? fmas * sizeof(T) / 16 : fmas * kFmaNanoseconds<T>;
  return parallel_for(ctx, tasks, nanoseconds, [&](int64_t task, int) {
    const int64_t j0 = part(units, tasks, task) * unit, j1 = min_of(g.n, part(units, tasks, task + 1) * unit);
    path == Path::vector ? vector_columns(g, j0, j1) : dot_columns(g, j0, j1);
  });
}

// Calls f(block) for the whole product, or for blocks of it where its panels would take too much scratch.
template <class T, class F>
Status for_blocks(const Product<T>& g, F&& f) {
  constexpr int64_t kSide = 8192, kDepth = 4096 / sizeof(T);
  if (g.m * g.k + g.k * g.n <= 2 * kSide * kDepth) return f(g);
  for (int64_t j = 0; j < g.n; j += kSide)
    for (int64_t i = 0; i < g.m; i += kSide)
      for (int64_t p = 0; p < g.k; p += kDepth) {
        Product<T> block = g;
        block.m = min_of(kSide, g.m - i), block.n = min_of(kSide, g.n - j), block.k = min_of(kDepth, g.k - p);
        block.a = g.a + i * g.rs_a + p * g.cs_a;
        block.b = g.b + p * g.rs_b + j * g.cs_b;
        block.c = g.c + i * g.ldc + j;
        block.accumulate = p > 0;
        Epilogue<T> shifted = *g.epilogue;
        if (shifted.column_bias) shifted.column_bias += j;
        block.epilogue = p + block.k == g.k ? &shifted : nullptr;
        if (const Status s = f(block); s != Status::ok) return s;
      }
  return Status::ok;
}

template <class T>
Status run_blocked(Context& ctx, const Product<T>& g) {
  size_t need = 0;
  for_blocks(g, [&](const Product<T>& block) {
    const size_t elements = make_plan(block).elements();
    if (elements > need) need = elements;
    return Status::ok;
  });
  T* work = need ? workspace<T>(ctx, need) : nullptr;
  if (need && !work) return Status::need_workspace;
  return for_blocks(g, [&](const Product<T>& block) { return multiply(ctx, block, make_plan(block), work); });
}

// A column of C is computed as a row of its transpose where that avoids tiles of one column.
template <class T>
Product<T> transposed(const Product<T>& g) {
  Product<T> t = g;
  t.m = 1, t.n = g.m;
  t.a = g.b, t.rs_a = g.cs_b, t.cs_a = g.rs_b;
  t.b = g.a, t.rs_b = g.cs_a, t.cs_b = g.rs_a;
  t.cs_c = g.ldc, t.bias_step = 0;
  return t;
}

template <class T>
Status run_product(Context& ctx, const Product<T>& g, Path path) {
  return path == Path::blocked ? run_blocked(ctx, g) : run_columns(ctx, g, path);
}

// Many small products: each by one thread, several to a task.
template <class T>
Status run_batch(Context& ctx, const GemmParams& p, const Product<T>& g, Path path) {
  const Plan<T> plan = make_plan(g);
  const size_t share = path == Path::blocked ? (plan.elements() * sizeof(T) + 63) / 64 * 64 / sizeof(T) : 0;
  T* work = nullptr;
  if (share) {
    work = workspace<T>(ctx, share * static_cast<size_t>(ctx.threads));
    if (!work) return Status::need_workspace;
  }
  const double fmas = static_cast<double>(g.m) * g.n * g.k + 1024;
  const int64_t tasks = min_of(p.batch, static_cast<int64_t>(fmas * p.batch / Blocking<T>::kTaskFmas) + 1);
  return parallel_for(ctx, tasks, fmas * p.batch * kFmaNanoseconds<T>, [&](int64_t task, int worker) {
    Product<T> one = g;
    for (int64_t i = part(p.batch, tasks, task); i < part(p.batch, tasks, task + 1); ++i) {
      one.a = g.a + i * (path != Path::blocked && one.bias_step == 0 ? p.batch_b : p.batch_a);
      one.b = g.b + i * (path != Path::blocked && one.bias_step == 0 ? p.batch_a : p.batch_b);
      one.c = g.c + i * p.batch_c;
      if (path == Path::blocked)
        multiply_serial(one, plan, work + worker * share);
      else
        path == Path::vector ? vector_columns(one, 0, one.n) : dot_columns(one, 0, one.n);
    }
  });
}

template <class T>
Status gemm(Context& ctx, const GemmParams& p) {
  if (p.m == 0 || p.n == 0 || p.batch == 0) return Status::ok;
  const Epilogue<T> epilogue{static_cast<const T*>(p.bias), nullptr, p.activation == Activation::relu};
  Product<T> g{p.m,
               p.n,
               p.k,
               static_cast<const T*>(p.a),
               p.rs_a,
               p.cs_a,
               static_cast<const T*>(p.b),
               p.rs_b,
               p.cs_b,
               static_cast<T*>(p.c),
               p.ldc,
               1,
               1,
               false,
               &epilogue};
  int64_t batch = p.batch;
  // A shared B and rows that follow on from one product to the next: one tall product.
  if (batch > 1 && p.batch_b == 0 && p.batch_a == p.m * p.rs_a && p.batch_c == p.m * p.ldc) {
    g.m *= batch;
    batch = 1;
  }
  Path path = choose_path(g);
  if (g.n == 1 && g.m > 1) {
    const Product<T> row = transposed(g);
    if (const Path other = choose_path(row); other != Path::blocked) g = row, path = other;
  }
  if (batch == 1) return run_product(ctx, g, path);
  const double fmas = static_cast<double>(p.m) * p.n * p.k;
  if (fmas < 4 * Blocking<T>::kTaskFmas) return run_batch(ctx, p, g, path);
  const bool swapped = g.bias_step == 0;
  for (int64_t i = 0; i < batch; ++i) {
    Product<T> one = g;
    one.a = g.a + i * (swapped ? p.batch_b : p.batch_a);
    one.b = g.b + i * (swapped ? p.batch_a : p.batch_b);
    one.c = g.c + i * p.batch_c;
    if (const Status s = run_product(ctx, one, path); s != Status::ok) return s;
  }
  return Status::ok;
}

FASTNN_EXPORT(GEMM)

}  // namespace fastnn::FASTNN_ISA
