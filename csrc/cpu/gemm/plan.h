// How a product is computed. What decides the order in which an element of C is summed (where k is cut,
// whether the product is one of two vectors) depends on m, n and k alone; which operands are packed and how C
// is cut into tasks and blocks depends on strides, the cache and the number of threads too. So any number of
// threads, any cache and any layout of the operands give the same bits.
#pragma once
#include "cpu/gemm/pack.h"
#include "cpu/gemm/product.h"
#include "cpu/gemm/tile.h"

namespace fastnn::FASTNN_ISA {

enum class Path {
  blocked,  // tiles, see compute_task
  stream,   // one row of C, from a large B with rows along memory
  lanes,    // one row of C, from a B that fits a cache, with rows along memory
  dots,     // the same, for any other B; two vectors
  outer,    // a short k
};

// Of B: 4 MB of floats. Up to 1 MB at least L2 feeds the lanes' array too; beyond, 4096^2 takes half as long
// again.
constexpr int64_t kLaneElements = 1 << 20;
// A short k: of a row of C the elements of A stay in registers. From more of them on tiles are faster, which
// read B less often; measured.
constexpr int64_t kOuterDepth = kVectorBytes == 64 ? 4 : 6;
template <class T>
Path choose_path(const Product<T>& g) {
  if (g.m > 1)
    return g.k > 0 && g.k <= kOuterDepth && g.n >= 4 * Vec<T>::N && g.n <= kMostPanel ? Path::outer
                                                                                      : Path::blocked;
  if (g.n == 1) return Path::dots;
  if (g.k * g.n > kLaneElements) return g.cs_b == 1 ? Path::stream : Path::blocked;
  return g.cs_b == 1 ? Path::lanes : Path::dots;
}

constexpr int64_t part(int64_t total, int64_t parts, int64_t i) { return total * i / parts; }

// The blocked path: C in tiles of mr x nr, tiles in tasks_m x tasks_n tasks, k in `splits` parts. A task
// takes kc of k at a time, then nc of its columns, then mc of its rows.
template <class T>
struct Plan {
  int mr, nr;
  int64_t tiles_m, tiles_n, tasks_m, tasks_n;
  int64_t mc, nc;           // of a block: its rows of A, its columns of B
  int64_t packed_together;  // columns of B
  int64_t kc, splits;       // depth of a block; parts of k that are computed apart and added in order
  bool pack_a, pack_b;
  bool share_a;                    // all of A is packed before the tasks begin, for all of them
  bool transposed_b;               // read by tiles that transpose it in registers
  int64_t a_elements, b_elements;  // of a block, packed by one worker at a time

  int64_t tasks() const { return tasks_m * tasks_n * splits; }
  int64_t worker_elements() const { return a_elements + b_elements; }
  int64_t shared_elements(int64_t k) const { return share_a ? tiles_m * mr * k : 0; }
};

// Parts of k that are computed apart, each into a C of its own, and added in order: only where C is small
// beside A and B. (Cutting the rows of C instead would read all of B once per task.)
template <class T>
int64_t splits_of(const Product<T>& g) {
  using B = Blocking<T>;
  const double most = g.fmas() / B::kTaskFmas;
  if (g.m == 1 || most < 2 || static_cast<double>(g.k) * (g.m + g.n) <= 64.0 * g.m * g.n) return 1;
  const int64_t wanted = most < B::kTasks ? static_cast<int64_t>(most) : B::kTasks;
  return max_of(1,
                min_of(g.k / B::kSplitDepth, wanted / (ceil_div(g.m, B::kSplitRows) * ceil_div(g.n, B::NR))));
}

// Cuts C into about `wanted` tasks: as many as there can be, and of those cuts the one that packs least
// twice. Every cut of the rows packs B again, every cut of the columns A.
template <class T>
void cut_tasks(const Product<T>& g, int64_t wanted, Plan<T>& plan) {
  constexpr int64_t kLeast = Blocking<T>::kPackedTaskRows;
  const bool packs_a = plan.pack_a && !plan.share_a;
  const int64_t most_m = plan.pack_b ? ceil_div(g.m, kLeast) : plan.tiles_m,
                most_n = packs_a ? ceil_div(g.n, kLeast) : plan.tiles_n;
  int64_t best_tasks = 0, best_cost = 0;
  for (int64_t n = 1; n <= min_of(wanted, most_n); ++n) {
    const int64_t m = min_of(ceil_div(wanted, n), most_m), tasks = min_of(m * n, wanted);
    const int64_t cost = (packs_a ? g.m * n : 0) + (plan.pack_b ? g.n * m : 0);
    if (tasks < best_tasks || (tasks == best_tasks && cost > best_cost)) continue;
    best_tasks = tasks, best_cost = cost;
    plan.tasks_m = m, plan.tasks_n = n;
  }
}

template <class T>
Plan<T> make_plan(const Product<T>& g, int64_t l2, int threads) {
  using B = Blocking<T>;
  Plan<T> plan;
  plan.transposed_b = g.rs_b == 1 && g.cs_b != 1 && g.m <= kTransposedRows;
  const int nv = plan.transposed_b ? 1 : even_part(ceil_div(g.n, Vec<T>::N), kMaxVectors);
  plan.nr = nv * Vec<T>::N;
  plan.mr = tile_rows<T>(g.m, plan.transposed_b ? kTransposedRows : max_rows(nv));
  plan.tiles_m = ceil_div(g.m, plan.mr);
  plan.tiles_n = ceil_div(g.n, plan.nr);
  plan.kc =
      g.m == 1 ? max_of(g.k, 1) : even_part(g.k, B::KC);  // one row: as stream_rows, which does not cut k

  const int64_t a = g.m * g.k, b = g.k * g.n, half_l2 = min_of(l2 / 2, B::kBlockOfA) / sizeof(T);
  plan.pack_b = !plan.transposed_b && (g.cs_b != 1 || (plan.tiles_n > 1 && b > B::kUnpackedElements &&
                                                       g.m >= B::kPackedRows && g.fmas() >= B::kPackedFmas));
  plan.pack_a = !plan.transposed_b && (g.cs_a == 1 ? g.n >= B::kPackedColumns && a > 2 * half_l2
                                                   : g.n >= B::kPackedColumnsOfFarLines && a >= B::kFarLines);

  plan.splits = splits_of(g);
  plan.share_a = plan.pack_a && threads > 1 && plan.splits == 1 && a <= B::kSharedElements;
  plan.tasks_m = plan.tasks_n = 1;
  const double most = g.fmas() / B::kTaskFmas;
  if (threads > 1 && most >= 2) {
    const int64_t tasks = max_of(B::kTasks, threads * B::kTasksPerThread);
    cut_tasks(g, ceil_div(most < tasks ? static_cast<int64_t>(most) : tasks, plan.splits), plan);
  }

  // Half of L2 is for the block of A. Where one block has all rows, a panel of B is needed no more when they
  // are through, and the next takes its place in the cache.
  const int64_t rows = ceil_div(plan.tiles_m, plan.tasks_m) * plan.mr,
                columns = ceil_div(plan.tiles_n, plan.tasks_n) * plan.nr;
  plan.mc = min_of(rows, max_of(half_l2 / plan.kc / plan.mr, 1) * plan.mr);
  plan.packed_together = g.cs_b == 1 ? panels_together<T>(plan.nr) * plan.nr : plan.nr;
  const int64_t most_columns =
      B::kBlockOfB / static_cast<int64_t>(sizeof(T)) / plan.kc / plan.packed_together;
  plan.nc = plan.mc >= rows && plan.pack_b ? plan.packed_together
                                           : min_of(columns, max_of(most_columns, 1) * plan.packed_together);
  plan.a_elements = plan.pack_a && !plan.share_a ? round_up(plan.mc * plan.kc, 64 / sizeof(T)) : 0;
  plan.b_elements = plan.pack_b ? plan.nc * plan.kc : 0;
  return plan;
}

// Where a task works: rows [i0, i1), columns [j0, j1) and part [p0, p1) of k, into C or into a part's own C.
template <class T>
struct Block {
  int64_t i0, i1, j0, j1, p0, p1;
  T* c;
  int64_t ldc;
};
template <class T>
Block<T> block_of(const Product<T>& g, const Plan<T>& plan, T* parts, int64_t task) {
  const int64_t m = task % plan.tasks_m, rest = task / plan.tasks_m, n = rest % plan.tasks_n,
                split = rest / plan.tasks_n;
  Block<T> block;
  block.i0 = part(plan.tiles_m, plan.tasks_m, m) * plan.mr;
  block.i1 = min_of(g.m, part(plan.tiles_m, plan.tasks_m, m + 1) * plan.mr);
  block.j0 = part(plan.tiles_n, plan.tasks_n, n) * plan.nr;
  block.j1 = min_of(g.n, part(plan.tiles_n, plan.tasks_n, n + 1) * plan.nr);
  block.p0 = part(g.k, plan.splits, split);
  block.p1 = part(g.k, plan.splits, split + 1);
  block.c = plan.splits > 1 ? parts + split * g.m * g.n : g.c;
  block.ldc = plan.splits > 1 ? g.n : g.ldc;
  return block;
}

}  // namespace fastnn::FASTNN_ISA
