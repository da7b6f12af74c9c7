// The table of kernels that a backend offers, expanded from the registry's rows.
#pragma once
#include "backend/context.h"
#include "backend/kernels.def"
#include "backend/params.h"

namespace fastnn {

template <class P>
struct KernelRow {
  using Params = P;
  using Fn = Status (*)(Context&, const P&);
  Fn fn[kDTypes];  // by dtype; null where the row does not list it
};

struct KernelTable {
#define FASTNN_MEMBER(name, params, dtypes, devices) KernelRow<params> name;
#define FASTNN_MEMBERS(family) FASTNN_##family(FASTNN_MEMBER)
  FASTNN_FAMILIES(FASTNN_MEMBERS)
#undef FASTNN_MEMBERS
#undef FASTNN_MEMBER
};

// Fills one row: pick.template operator()<T>() names the kernel's instance for T.
template <DTypeSet set, class P, class Pick>
void fill_row(KernelRow<P>& row, Pick pick) {
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

// Closes a kernel file: instantiates the family's kernels for the dtypes of their rows and enters them in a
// table. Stands in the namespace of the kernels; FASTNN_DEVICE is the bit of the backend being built.
#define FASTNN_FILL(name, params, dtypes, devices) \
  if constexpr (((devices) & FASTNN_DEVICE) != 0)  \
    fill_row<(dtypes)>(table.name, []<class T>() -> KernelRow<params>::Fn { return &name<T>; });
#define FASTNN_EXPORT(family) \
  void export_##family(KernelTable& table) { FASTNN_##family(FASTNN_FILL) }

}  // namespace fastnn
