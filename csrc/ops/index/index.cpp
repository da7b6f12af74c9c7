#include "ops/index/index.h"

#include <algorithm>
#include <numeric>
#include <span>

#include "backend/index.h"
#include "ops/elementwise/copy.h"
#include "ops/elementwise/elementwise.h"
#include "ops/reduce/reduce.h"
#include "ops/support.h"
#include "ops/view/view.h"

namespace fastnn {
namespace {

// Which elements an index selects: the offset in x of every slice of `inner` dense elements, and the result's
// shape. The offsets are memory of this selection alone: a node may keep them, for nobody can change them.
struct Selection {
  Tensor offsets;  // int64, contiguous
  int64_t inner = 1;
  int64_t lowest = 0, unit = 1, places = 1;  // as IndexParams has them
  Dims shape;
  bool distinct = true;  // no element twice

  // What offsets there can be, in memory of these sizes and strides but for the dimensions of a slice.
  void bound(const Dims& sizes, const Dims& strides) {
    int64_t highest = 0;
    lowest = 0, unit = inner;
    for (int i = 0; i < sizes.size(); ++i) {
      if (sizes[i] <= 1) continue;
      unit = std::gcd(unit, strides[i]);
      (strides[i] < 0 ? lowest : highest) += strides[i] * (sizes[i] - 1);
    }
    places = unit > 0 ? (highest - lowest) / unit + 1 : 1;
  }
};

// What an index tensor adds to the offsets: its elements, checked by the rule, times `step`; without a rule
// they are offsets.
struct Term {
  Tensor index;  // int64
  int64_t step = 1;
  IndexRule rule{};
};

// Offsets over `shape`: steps[d] from one to the next along a dimension, and the terms, whose dimensions end
// before dimension `end`.
Tensor locate(const Dims& shape, const Dims& steps, std::span<const Term> terms, int end, Device device,
              int64_t start = 0) {
  Tensor offsets = empty("index", shape, DType::int64, device);
  LocateParams p;
  p.offset = offsets.data<int64_t>();
  p.start = start;
  p.numel = offsets.numel();
  p.ndim = std::max(shape.size(), 1);
  p.terms = static_cast<int>(terms.size());
  p.shape[0] = 1, p.step[0] = 0;  // of no dimensions
  for (int d = 0; d < shape.size(); ++d) p.shape[d] = shape[d], p.step[d] = steps[d];
  for (size_t k = 0; k < terms.size(); ++k) {
    const Tensor& index = terms[k].index;
    LocateParams::Term& t = p.term[k];
    t = {index.data<int64_t>(), {}, terms[k].step, terms[k].rule};
    for (int i = 0; i < index.dim(); ++i)
      t.stride[end - index.dim() + i] = index.size(i) == 1 ? 0 : index.strides()[i];
  }
  if (p.numel > 0) {
    launch<&IndexTable::locate>("index", DType::int64, device, p);
  } else {  // nothing is selected; what an index says is checked all the same
    for (const Term& term : terms)
      if (const Dims& own = term.index.shape(); term.index.numel() > 0)
        locate(own, Dims(own.size(), 0), std::span(&term, 1), own.size(), device);
  }
  return offsets;
}

// Where a mask holds, the sum of its coordinates times `strides`, in row-major order. The mask is the
// caller's alone, for it is read twice.
Tensor true_offsets(const Tensor& mask, const Dims& strides, int64_t count) {
  Tensor y = empty("nonzero", {count}, DType::int64, mask.device());
  Loop<2> loop;
  loop.ndim = mask.dim();
  loop.numel = mask.numel();
  for (int i = 0; i < mask.dim(); ++i) {
    loop.shape[i] = mask.size(i);
    loop.stride[0][i] = strides[i];
    loop.stride[1][i] = mask.strides()[i];
  }
  if (mask.dim() == 0) loop.ndim = 1, loop.shape[0] = 1, loop.stride[0][0] = loop.stride[1][0] = 0;
  launch<&IndexTable::nonzero>(
      "nonzero", mask,
      NonzeroParams{.y = y.data<int64_t>(), .x = mask.data<bool>(), .loop = loop, .count = count});
  return y;
}
int64_t count_true(const Tensor& mask) { return *to_device(sum(mask), Device{}).data<int64_t>(); }
// Memory of its own that holds 0 and 1: what others share may hold any byte, and change between two readings.
Tensor own_mask(const Tensor& given) { return cast(bytes_of(given), DType::boolean); }
Tensor true_offsets(const Tensor& given, const Dims& strides) {
  const Tensor mask = own_mask(given);
  return true_offsets(mask, strides, count_true(mask));
}

struct Memory {  // of the tensor that is indexed
  Dims shape, strides;
  Device device;
  int64_t start = 0;  // offsets count from here
};
// Of a view in terms of the tensor it shows.
Memory memory_of(const Tensor& view, const Tensor& x) {
  return {view.shape(), view.strides(), view.device(), view.impl()->offset - x.impl()->offset};
}
Memory memory_of(const Tensor& x) { return memory_of(x, x); }

struct Advanced {  // what the integer and bool tensors of an index select together
  Term term[kMaxDims];
  int terms = 0;
  Dims shape;            // which the terms broadcast to
  int first = 0;         // the first dimension of x they cover
  bool together = true;  // whether those dimensions follow each other
  unsigned covered = 0;  // mask of them

  std::span<const Term> all() const { return {term, static_cast<size_t>(terms)}; }
};

Advanced combine(const char* op, const Memory& x, const std::vector<Tensor>& indices) {
  Advanced a;
  int dim = 0, last = -1;
  for (const Tensor& given : indices) {
    if (!given.defined()) {
      ++dim;
      continue;
    }
    // An index made on the CPU goes where the tensor is.
    const Tensor index = given.device().type == DeviceType::cpu ? to_device(given, x.device) : given;
    check(index.device() == x.device, ErrorKind::runtime, "index: the operands are on different devices, ",
          x.device, " and ", index.device(), "; move one with .to()");
    const bool mask = index.dtype() == DType::boolean;
    const int width = mask ? index.dim() : 1;
    check_index(dim + width <= x.shape.size() && a.terms < kMaxDims,
                "too many indices for a tensor of shape ", x.shape);
    if (mask) {
      Dims strides;
      for (int i = 0; i < width; ++i) {
        check_index(index.size(i) == x.shape[dim + i], "a bool index of shape ", index.shape(),
                    " does not fit dimension ", dim + i, " of a tensor of shape ", x.shape);
        strides.push_back(x.strides[dim + i]);
      }
      a.term[a.terms] = {true_offsets(index, strides)};
    } else {
      a.term[a.terms] = {index, x.strides[dim], {op, x.shape[dim], dim}};
    }
    if (last < 0)
      a.first = dim;
    else if (last != dim)
      a.together = false;
    for (int i = 0; i < width; ++i) a.covered |= 1u << (dim + i);
    const Dims& shape = a.term[a.terms++].index.shape();
    a.shape = a.terms == 1 ? shape : broadcast_shapes("index", a.shape, shape);
    dim += width;
    last = dim;
  }
  return a;
}

Selection select_elements(const char* op, const Memory& x, const std::vector<Tensor>& indices) {
  GradMode off(false);
  const Advanced a = combine(op, x, indices);
  Selection s;
  // The result's dimensions: those of the arrays where they stand together, else in front; x's others around
  // them.
  const int at = a.together ? a.first : 0, end = at + a.shape.size();
  Dims sizes, strides;  // of x's other dimensions
  for (int i = 0; i < x.shape.size(); ++i)
    if (!(a.covered >> i & 1)) sizes.push_back(x.shape[i]), strides.push_back(x.strides[i]);
  for (int i = 0; i < at; ++i) s.shape.push_back(sizes[i]);
  for (const int64_t d : a.shape) s.shape.push_back(d);
  for (int i = at; i < sizes.size(); ++i) s.shape.push_back(sizes[i]);
  // Trailing dimensions that are dense in x are moved as one slice.
  int walked = sizes.size();
  while (walked > at && (strides[walked - 1] == s.inner || sizes[walked - 1] == 1))
    s.inner *= sizes[--walked];

  Dims shape, steps, reached, reached_by;
  for (int i = 0; i < a.shape.size() + walked; ++i) {
    const int other = i < at ? i : i - a.shape.size();  // of x's other dimensions
    const bool of_arrays = i >= at && i < end;
    shape.push_back(of_arrays ? a.shape[i - at] : sizes[other]);
    steps.push_back(of_arrays ? 0 : strides[other]);
  }
  for (int i = 0; i < x.shape.size(); ++i)
    if (a.covered >> i & 1) reached.push_back(x.shape[i]), reached_by.push_back(x.strides[i]);
  for (int i = 0; i < walked; ++i) reached.push_back(sizes[i]), reached_by.push_back(strides[i]);
  s.bound(reached, reached_by);
  s.lowest += x.start;
  s.offsets = locate(shape, steps, a.all(), end, x.device, x.start);
  // A mask names nothing twice.
  for (const Term& t : a.all()) s.distinct &= !t.rule.op || s.offsets.numel() <= 1;
  return s;
}
// Moves between `indexed`, whose memory the offsets were made for, and `slices`, which are dense.
IndexParams params(const Tensor& indexed, const Tensor& slices, const Selection& s, Access access) {
  const bool reads = access == Access::read;
  const Loop<1> elements = make_loop<1>(indexed.shape(), {indexed.strides()});
  const auto size = static_cast<int64_t>(size_of(indexed.dtype()));
  return {.y = reads ? slices.data() : indexed.data(),
          .x = reads ? indexed.data() : slices.data(),
          .offset = s.offsets.data<int64_t>(),
          .count = s.offsets.numel(),
          .inner = s.inner,
          .lowest = s.lowest,
          .unit = s.unit,
          .places = s.places,
          .indexed = strided(elements, 0, indexed.data(), size, access)};
}

Tensor scatter(const Tensor& y, const Selection& s, const Dims& shape);

// The selected elements of x, whose memory the offsets were made for.
Tensor take(const Tensor& x, const Selection& s) {
  Tensor y = empty("index", s.shape, x.dtype(), x.device());
  if (y.numel() > 0) launch<&IndexTable::gather>("index", x, params(x, y, s, Access::read));
  return y;
}
// ... of a contiguous x, differentiable.
Tensor take_contiguous(const char* op, const Tensor& x, const Selection& s) {
  const Tensor dense = contiguous(x);
  Tensor y = take(dense, s);
  if (wants_grad(dense))
    record(op, y, {dense}, [s, shape = dense.shape()](Backward& g) { g.set(0, scatter(g.dy(), s, shape)); });
  return y;
}
// The same where the selection is not made anew.
Tensor take_again(const Tensor& x, const Selection& s) {
  OpScope scope("index", x, s.offsets);
  return scope.returns(take_contiguous("index", x, s));
}
// Zeros of `shape`, y added at the selected places; differentiable.
Tensor add_to_zeros(const Tensor& y, const Selection& s, const Dims& shape) {
  Tensor x = zeros(shape, y.dtype(), y.device());
  const Tensor dense = contiguous(y);
  if (dense.numel() > 0) launch<&IndexTable::scatter_add>("scatter", y, params(x, dense, s, Access::update));
  if (wants_grad(dense)) record("scatter", x, {dense}, [s](Backward& g) { g.set(0, take_again(g.dy(), s)); });
  return x;
}
Tensor scatter(const Tensor& y, const Selection& s, const Dims& shape) {
  OpScope scope("scatter", y, s.offsets);
  scope.with("shape", shape);
  return scope.returns(add_to_zeros(y, s, shape));
}
// x with 0 at the selected places; its own adjoint.
Tensor blank(const Tensor& x, const Selection& s) {
  OpScope scope("blank", x, s.offsets);
  Tensor y = clone(contiguous(detach(x)));
  const Tensor nothing = zeros(s.shape, x.dtype(), x.device());
  if (nothing.numel() > 0) launch<&IndexTable::put>("blank", y, params(y, nothing, s, Access::write));
  if (wants_grad(x)) record("blank", y, {x}, [s](Backward& g) { g.set(0, blank(g.dy(), s)); });
  return scope.returns(std::move(y));
}

// Of each slice that was written into contiguous memory of `numel` elements, whether it is what stands there
// now: where an index names a place twice the last one is. Broadcasts against the selection's shape.
Tensor written_last(const Selection& s, int64_t numel) {
  GradMode off(false);
  Selection places = s;
  places.inner = 1;
  places.shape = s.offsets.shape();
  const Device device = s.offsets.device();
  const int64_t count = s.offsets.numel();
  const Tensor position = arange(0, static_cast<double>(count), 1, DType::int64, device),
               last = empty("index_put", {numel}, DType::int64, device);
  if (count > 0) launch<&IndexTable::put>("index_put", last, params(last, position, places, Access::write));
  Dims shape = s.offsets.shape();
  while (shape.size() < s.shape.size()) shape.push_back(1);
  return reshape(eq(reshape(take(last, places), {count}), position), shape);
}

// The selection of gather: index replaces the coordinate along `dim`, the others are the index's own.
Selection select_along(const char* op, const Dims& shape, int dim, const Tensor& index, Device device,
                       IndexRule rule) {
  GradMode off(false);
  check_type(index.dtype() == DType::int64 || index.dtype() == DType::int32 || index.dtype() == DType::uint8,
             op, ": index must be integer, got ", index.dtype());
  check(index.device() == device, ErrorKind::runtime, op, ": index is on ", index.device(),
        ", the tensor on ", device, "; move one with .to()");
  check_value(index.dim() == shape.size(), op, ": index of shape ", index.shape(),
              " must have as many dimensions as ", shape);
  const Dims strides = row_major_strides(shape);
  Dims steps = strides;
  for (int i = 0; i < shape.size(); ++i) {
    if (i == dim) steps[i] = 0;
    check_value(i == dim || index.size(i) <= shape[i], op, ": index of shape ", index.shape(),
                " is larger than ", shape, " in dimension ", i);
  }
  // A scalar has one element, at position 0 of the dimension it lacks.
  if (!rule.op) rule = {op, shape.empty() ? 1 : shape[dim], dim};
  const Term term{cast(index, DType::int64), shape.empty() ? 1 : strides[dim], rule};
  Selection s;
  s.shape = index.shape();
  s.bound(shape, strides);
  s.offsets = locate(index.shape(), steps, std::span(&term, 1), index.dim(), device);
  return s;
}

// Rows that do not lie along memory are moved element by element, each with an offset of its own. A copy of x
// is quicker on the CPU where about as many are taken as there are.
bool pays_a_copy(const Tensor& x, const std::vector<Tensor>& indices) {
  const int last = x.dim() - 1, given = static_cast<int>(indices.size());
  if (x.device().type != DeviceType::cpu || last < 0 || x.size(last) < 2 || x.strides()[last] == 1)
    return false;
  for (int i = 0; i < std::min(given, x.dim()); ++i)
    if (indices[i].defined() &&
        (i == last || indices[i].dtype() == DType::boolean || 2 * indices[i].numel() < x.size(i)))
      return false;
  return true;
}

}  // namespace

Tensor index(const Tensor& x, const std::vector<Tensor>& indices) {
  check_defined("index", "input", x);
  OpScope scope("index", x, std::span(indices));
  if (!wants_grad(x) && !pays_a_copy(x, indices))
    return scope.returns(take(x, select_elements("index", memory_of(x), indices)));
  const Tensor dense = contiguous(x);
  return scope.returns(take_contiguous("index", dense, select_elements("index", memory_of(dense), indices)));
}

void index_put_(const Tensor& x, const View& view, const std::vector<Tensor>& indices, const Tensor& value) {
  check_defined("index_put", "input", x);
  const auto seen_of = [&](const Tensor& t) {
    GradMode off(false);
    return view ? view(t) : t;
  };
  const Tensor seen = seen_of(x);
  OpScope scope("index_put", seen, value, std::span(indices));
  // Gradients, which are contiguous, have offsets of their own then: from the same indices, whatever becomes
  // of the given ones.
  const bool apart = grad_enabled() && !x.is_contiguous();
  std::vector<Tensor> own = indices;
  if (apart)
    for (Tensor& t : own)
      if (t.defined()) t = clone(t);
  const Selection s = select_elements("index_put", memory_of(seen, x), own);
  const Tensor src = cast(beside("index_put", fit_value(value, s.shape), x), x.dtype());
  const bool recorded = wants_grad(x, src);
  const Tensor before = before_in_place("index_put", x, recorded);
  {
    GradMode off(false);
    const Tensor dense = contiguous(expand(may_overlap(src, x) ? clone(src) : src, s.shape));
    if (dense.numel() > 0) launch<&IndexTable::put>("index_put", x, params(x, dense, s, Access::update));
  }
  x.bump_version();
  scope.writes(seen);
  if (!recorded) return;
  Selection t = s;
  if (apart) {
    const Tensor dense = empty("index_put", x.shape(), x.dtype(), x.device());
    t = select_elements("index_put", memory_of(seen_of(dense), dense), own);
  }
  record("index_put", x, {before, src}, [t, shape = src.shape()](Backward& g) {
    if (g.needs(0)) g.set(0, blank(g.dy(), t));
    if (!g.needs(1)) return;
    const Tensor dy = take_again(g.dy(), t);
    // Slices of no elements have places, but nothing stands there.
    g.set(1, sum_to(t.distinct || dy.numel() == 0 ? dy : where(written_last(t, g.dy().numel()), dy, 0.0),
                    shape));
  });
}

Tensor nonzero(const Tensor& x) {
  check_defined("nonzero", "input", x);
  OpScope scope("nonzero", x);
  GradMode off(false);
  const Tensor mask = x.dtype() == DType::boolean ? own_mask(x) : cast(detach(x), DType::boolean);
  const int64_t count = count_true(mask);
  Tensor y = empty("nonzero", {count, mask.dim()}, DType::int64, x.device());
  for (int i = 0; i < mask.dim(); ++i) {
    Dims unit(mask.dim(), 0);
    unit[i] = 1;
    copy_into(select(y, 1, i), true_offsets(mask, unit, count));
  }
  return scope.returns(std::move(y));
}

Tensor gather(const Tensor& x, int64_t dim, const Tensor& index, const IndexRule& rule) {
  check_defined("gather", "input", x);
  check_defined("gather", "index", index);
  OpScope scope("gather", x, index);
  scope.with("dim", dim);
  const int d = wrap_dim("gather", dim, x.dim());
  const Selection s = select_along("gather", x.shape(), d, index, x.device(), rule);
  return scope.returns(take_contiguous("gather", x, s));
}

Tensor gather(const Tensor& x, int64_t dim, const Tensor& index) { return gather(x, dim, index, {}); }

Tensor scatter_along(const Dims& shape, int64_t dim, const Tensor& index, const Tensor& y) {
  OpScope scope("scatter", y, index);
  scope.with("dim", dim);
  scope.with("shape", shape);
  const Selection s = select_along("scatter", shape, static_cast<int>(dim), index, y.device(), {});
  return scope.returns(add_to_zeros(y, s, shape));
}

}  // namespace fastnn
