#include "ops/index/index.h"
#include "backend/index.h"

#include "ops/elementwise/copy.h"
#include "ops/elementwise/elementwise.h"
#include "ops/reduce/reduce.h"
#include "ops/support.h"
#include "ops/view/view.h"

namespace fastnn {
namespace {

// Which elements an index selects: the offset in x of every slice of `inner` dense elements, and the result's
// shape.
struct Selection {
  Tensor offsets;  // int64, contiguous
  int64_t inner = 1;
  Dims shape;
};

// One dimension of the result that steps evenly through x.
Tensor steps(int64_t size, int64_t stride, Device device) {
  return mul(arange(0, static_cast<double>(size), 1, DType::int64, device), stride);
}

// A term of the offsets, its dimensions standing at [at, at + dim) of `rank`.
Tensor placed(const Tensor& term, int at, int rank) {
  Dims shape(rank, 1);
  for (int i = 0; i < term.dim(); ++i) shape[at + i] = term.size(i);
  return reshape(term, shape);
}

// Where a mask holds, the sum of its coordinates times `strides`, in row-major order.
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

// index * stride, negative indices counted from the end.
Tensor index_term(const Tensor& index, int dim, int64_t size, int64_t stride) {
  const IndexRange range = range_of(index);
  if (range.low <= range.high) {
    const int64_t bad = range.low < -size ? range.low : range.high;
    check_index(range.low >= -size && range.high < size, "index ", bad, " is out of range for dimension ",
                dim, " of size ", size);
  }
  const Tensor whole = range.low < 0 ? where(lt(index, int64_t{0}), add(index, size), index) : index;
  return stride == 1 ? whole : mul(whole, stride);
}

struct Advanced {        // what the integer and bool tensors of an index select together
  Tensor offsets;        // broadcast
  int first = 0;         // the first dimension of x they cover
  bool together = true;  // whether those dimensions follow each other
  unsigned covered = 0;  // mask of them
};

Advanced combine(const Tensor& x, const std::vector<Tensor>& indices) {
  Advanced a;
  int dim = 0, last = -1;
  for (const Tensor& given : indices) {
    if (!given.defined()) {
      ++dim;
      continue;
    }
    // An index made on the CPU goes where the tensor is.
    const Tensor index = given.device().type == DeviceType::cpu ? to_device(given, x.device()) : given;
    check_same_device("index", x, index);
    const bool mask = index.dtype() == DType::boolean;
    const int width = mask ? index.dim() : 1;
    check_index(dim + width <= x.dim(), "too many indices for a tensor of shape ", x.shape());
    Tensor term;
    if (mask) {
      Dims strides;
      for (int i = 0; i < width; ++i) {
        check_index(index.size(i) == x.size(dim + i), "a bool index of shape ", index.shape(),
                    " does not fit dimension ", dim + i, " of a tensor of shape ", x.shape());
        strides.push_back(x.strides()[dim + i]);
      }
      term = true_offsets(index, strides, count_true(index));
    } else {
      term = index_term(index, dim, x.size(dim), x.strides()[dim]);
    }
    if (last < 0)
      a.first = dim;
    else if (last != dim)
      a.together = false;
    for (int i = 0; i < width; ++i) a.covered |= 1u << (dim + i);
    a.offsets = a.offsets.defined() ? add(a.offsets, term) : term;
    dim += width;
    last = dim;
  }
  return a;
}

Selection select_elements(const Tensor& x, const std::vector<Tensor>& indices) {
  GradMode off(false);
  const Advanced a = combine(x, indices);
  Selection s;
  // The result's dimensions: those of the arrays where they stand together, else in front; x's others around
  // them.
  const int at = a.together ? a.first : 0;
  Dims sizes, strides;  // of x's other dimensions
  for (int i = 0; i < x.dim(); ++i)
    if (!(a.covered >> i & 1)) sizes.push_back(x.size(i)), strides.push_back(x.strides()[i]);
  for (int i = 0; i < at; ++i) s.shape.push_back(sizes[i]);
  for (const int64_t d : a.offsets.shape()) s.shape.push_back(d);
  for (int i = at; i < sizes.size(); ++i) s.shape.push_back(sizes[i]);
  // Trailing dimensions that are dense in x are moved as one slice.
  int walked = sizes.size();
  while (walked > at && (strides[walked - 1] == s.inner || sizes[walked - 1] == 1))
    s.inner *= sizes[--walked];

  const int rank = a.offsets.dim() + walked;
  Tensor offsets = placed(a.offsets, at, rank);
  for (int i = 0; i < walked; ++i)
    offsets =
        add(offsets, placed(steps(sizes[i], strides[i], x.device()), i < at ? i : i + a.offsets.dim(), rank));
  s.offsets = contiguous(offsets);
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

// The selection of gather: index replaces the coordinate along `dim`, the others are the index's own.
Selection select_along(const char* op, const Dims& shape, int dim, const Tensor& index, Device device) {
  GradMode off(false);
  check_type(index.dtype() == DType::int64 || index.dtype() == DType::int32 || index.dtype() == DType::uint8,
             op, ": index must be integer, got ", index.dtype());
  check(index.device() == device, ErrorKind::runtime, op, ": index is on ", index.device(),
        ", the tensor on ", device, "; move one with .to()");
  check_value(index.dim() == shape.size(), op, ": index of shape ", index.shape(),
              " must have as many dimensions as ", shape);
  const Dims strides = row_major_strides(shape);
  const bool scalar = shape.empty();  // has one element, at position 0 of the dimension it lacks
  Tensor offsets =
      index_term(cast(index, DType::int64), dim, scalar ? 1 : shape[dim], scalar ? 1 : strides[dim]);
  for (int i = 0; i < shape.size(); ++i) {
    if (i == dim) continue;
    check_value(index.size(i) <= shape[i], op, ": index of shape ", index.shape(), " is larger than ", shape,
                " in dimension ", i);
    if (index.size(i) > 1)
      offsets = add(offsets, placed(steps(index.size(i), strides[i], device), i, shape.size()));
  }
  return {contiguous(offsets), 1, index.shape()};
}

}  // namespace

IndexRange range_of(const Tensor& index) {
  GradMode off(false);
  const Tensor dense = contiguous(index);
  Tensor range = empty("index", {2}, DType::int64, index.device());
  launch<&IndexTable::index_range>(
      "index", dense,
      IndexRangeParams{
          .index = dense.data<int64_t>(), .count = dense.numel(), .range = range.data<int64_t>()});
  const Tensor host = to_device(range, Device{});
  return {host.data<int64_t>()[0], host.data<int64_t>()[1]};
}

Tensor index(const Tensor& x, const std::vector<Tensor>& indices) {
  check_defined("index", "input", x);
  OpScope scope("index", x, std::span(indices));
  if (!wants_grad(x)) return scope.returns(take(x, select_elements(x, indices)));
  const Tensor dense = contiguous(x);
  return scope.returns(take_contiguous("index", dense, select_elements(dense, indices)));
}

void index_put_(const Tensor& x, const std::vector<Tensor>& indices, const Tensor& value) {
  check_defined("index_put", "input", x);
  OpScope scope("index_put", x, value, std::span(indices));
  const Selection s = select_elements(x, indices);
  const Tensor src = cast(beside("index_put", fit_value(value, s.shape), x), x.dtype());
  const bool recorded = wants_grad(x, src);
  const Tensor before = before_in_place("index_put", x, recorded);
  {
    GradMode off(false);
    const bool shared = src.impl()->storage.get() == x.impl()->storage.get();
    const Tensor dense = contiguous(expand(shared ? clone(src) : src, s.shape));
    if (dense.numel() > 0) launch<&IndexTable::put>("index_put", x, params(x, dense, s, Access::update));
  }
  x.bump_version();
  scope.writes(x);
  if (!recorded) return;
  // The offsets of gradients, which are contiguous.
  const Selection t =
      x.is_contiguous() ? s : select_elements(zeros(x.shape(), x.dtype(), x.device()), indices);
  record("index_put", x, {before, src}, [t, shape = src.shape()](Backward& g) {
    if (g.needs(0)) g.set(0, blank(g.dy(), t));
    if (g.needs(1)) g.set(1, sum_to(take_again(g.dy(), t), shape));
  });
}

Tensor nonzero(const Tensor& x) {
  check_defined("nonzero", "input", x);
  OpScope scope("nonzero", x);
  GradMode off(false);
  const Tensor mask = cast(detach(x), DType::boolean);
  const int64_t count = count_true(mask);
  Tensor y = empty("nonzero", {count, mask.dim()}, DType::int64, x.device());
  for (int i = 0; i < mask.dim(); ++i) {
    Dims unit(mask.dim(), 0);
    unit[i] = 1;
    copy_into(select(y, 1, i), true_offsets(mask, unit, count));
  }
  return scope.returns(std::move(y));
}

Tensor gather(const Tensor& x, int64_t dim, const Tensor& index) {
  check_defined("gather", "input", x);
  check_defined("gather", "index", index);
  OpScope scope("gather", x, index);
  scope.with("dim", dim);
  const int d = wrap_dim("gather", dim, x.dim());
  const Selection s = select_along("gather", x.shape(), d, index, x.device());
  return scope.returns(take_contiguous("gather", x, s));
}

Tensor scatter_along(const Dims& shape, int64_t dim, const Tensor& index, const Tensor& y) {
  OpScope scope("scatter", y, index);
  scope.with("dim", dim);
  scope.with("shape", shape);
  const Selection s = select_along("scatter", shape, static_cast<int>(dim), index, y.device());
  return scope.returns(add_to_zeros(y, s, shape));
}

}  // namespace fastnn
