// What a row of the registry is made of. A family is a header of this folder: its kernels' parameter structs,
// then its rows K(name, parameters, dtypes, devices), then its table. csrc/cpu/<family> and cuda/<family>
// define `template <class T> Status name(Context&, const Parameters&)` for T running over the row's dtypes,
// and end in FASTNN_EXPORT; a row that no file defines, or a family that a backend lacks, fails the build.
//
// A parameter struct is plain: filled and validated by the op, read by every backend. Pointers are to the
// first element, strides and leading dimensions count elements. Three members tell what the kernel will do:
//
//   double nanoseconds() const                    estimated time on one core
//   double flops() const                          arithmetic operations, as the field counts them
//   void touches(int64_t size, auto&& f) const    f(Touch) for each operand; `size` is the row's dtype's
//
// and kCancellable, or bool cancellable() const, where it may be stopped half way: where all that it writes
// is new.
#pragma once
#include "backend/context.h"
#include "backend/dtype.h"
#include "backend/loop.h"

namespace fastnn {

// The memory of one operand: `extent` bytes from `data`, of which the kernel moves `moved`.
enum class Access : uint8_t { read, write, update };
struct Touch {
  const void* data;  // null: an operand that is not there
  int64_t extent;
  int64_t moved;
  Access access;
};
inline Touch dense(const void* data, int64_t bytes, Access access) { return {data, bytes, bytes, access}; }
inline Touch read_of(const void* data, int64_t bytes) { return dense(data, bytes, Access::read); }
inline Touch write_of(const void* data, int64_t bytes) { return dense(data, bytes, Access::write); }
inline Touch update_of(const void* data, int64_t bytes) { return dense(data, bytes, Access::update); }

// Operand k of a nest, whose first element is at `data`.
template <int N>
Touch strided(const Loop<N>& loop, int k, const void* data, int64_t size, Access access) {
  int64_t low = 0, high = 1, elements = 1;
  if (loop.numel == 0) return {data, 0, 0, access};
  for (int d = 0; d < loop.ndim; ++d) {
    const int64_t reach = loop.stride[k][d] * (loop.shape[d] - 1);
    (reach < 0 ? low : high) += reach;
    if (loop.stride[k][d] != 0) elements *= loop.shape[d];
  }
  return {static_cast<const char*>(data) + low * size, (high - low) * size, elements * size, access};
}

template <class P>
struct KernelRow {
  using Params = P;
  using Fn = Status (*)(Context&, const P&);
  Fn fn[kDTypes];  // by dtype; null where the row does not list it
};

// Fills one row: pick.template operator()<T>() names the kernel's instance for T.
template <DTypeSet set, class P, class Pick>
constexpr void fill_row(KernelRow<P>& row, Pick pick) {
  auto one = [&]<class T>() {
    if constexpr (contains(set, dtype_of<T>))
      row.fn[static_cast<int>(dtype_of<T>)] = pick.template operator()<T>();
  };
  one.template operator()<float>();
  one.template operator()<double>();
  one.template operator()<bfloat16>();
  one.template operator()<float16>();
  one.template operator()<int64_t>();
  one.template operator()<int32_t>();
  one.template operator()<uint8_t>();
  one.template operator()<bool>();
}

#define FASTNN_FAMILIES(F) \
  F(elementwise) F(reduce) F(gemm) F(conv) F(pool) F(softmax) F(norm) F(random) F(index) F(optim)

enum class Family : int {
#define FASTNN_NAME(family) family,
  FASTNN_FAMILIES(FASTNN_NAME)
#undef FASTNN_NAME
};
#define FASTNN_COUNT(family) +1
constexpr int kFamilies = 0 FASTNN_FAMILIES(FASTNN_COUNT);
#undef FASTNN_COUNT

// A backend's tables, one per family; only who asks for a family's kernels needs to know its rows.
struct Kernels {
  const void* table[kFamilies];

  template <class Table>
  const Table& of() const {
    return *static_cast<const Table*>(table[static_cast<int>(Table::family)]);
  }
  template <auto Row>  // &GemmTable::gemm
  const auto& row() const {
    return row_of(Row);
  }

 private:
  template <class Table, class Row>
  const Row& row_of(Row Table::* row) const {
    return of<Table>().*row;
  }
};

// The table of a family, expanded from its rows.
#define FASTNN_MEMBER(name, params, dtypes, devices) KernelRow<params> name;
#define FASTNN_TABLE(Table, id, ROWS)            \
  struct Table {                                 \
    static constexpr Family family = Family::id; \
    ROWS(FASTNN_MEMBER)                          \
  };

// Closes a family's kernel file: instantiates the kernels for the dtypes of their rows. Stands in the
// namespace of the kernels; FASTNN_DEVICE is the bit of the backend being built.
#define FASTNN_FILL(name, params, dtypes, devices) \
  if constexpr (((devices) & FASTNN_DEVICE) != 0)  \
    fill_row<(dtypes)>(table.name, []<class T>() -> KernelRow<params>::Fn { return &name<T>; });
#define FASTNN_EXPORT(Table, id, ROWS) \
  const void* id##_kernels() {         \
    static const Table kernels = [] {  \
      Table table{};                   \
      ROWS(FASTNN_FILL)                \
      return table;                    \
    }();                               \
    return &kernels;                   \
  }

// The same for a family whose rows stand in several files: each enters its part, one makes the table.
#define FASTNN_EXPORT_PART(Table, part, ROWS) \
  void enter_##part(Table& table) { ROWS(FASTNN_FILL) }

// Stands in one file of the kernels' namespace, which thereby asks for every family.
#define FASTNN_DECLARE_FAMILY(id) const void* id##_kernels();
#define FASTNN_ENTER_FAMILY(id) kernels.table[static_cast<int>(Family::id)] = id##_kernels();

}  // namespace fastnn
