#include "ops/view/view.h"

#include "core/promotion.h"
#include "ops/elementwise/copy.h"
#include "ops/elementwise/elementwise.h"
#include "ops/support.h"

namespace fastnn {
namespace {

// A view of x, recorded with f as its backward.
template <class F>
Tensor view_of(const char* op, const Tensor& x, const Dims& shape, const Dims& strides, int64_t offset,
               F&& f) {
  Tensor y = alias(x, shape, strides, offset);
  y.impl()->is_view = true;
  if (wants_grad(x)) record(op, y, {x}, std::forward<F>(f));
  return y;
}

// The strides under which `shape` shows x's elements in order without a copy, if there are any.
bool view_strides(const Tensor& x, const Dims& shape, Dims* strides) {
  if (x.numel() == 0 || x.is_contiguous()) {
    *strides = row_major_strides(shape);
    return true;
  }
  // Walk both shapes from the right in chunks of equal size; a chunk of x must be evenly strided.
  *strides = Dims(shape.size(), 0);
  int v = shape.size() - 1;
  int64_t chunk = 1, base = 1;
  bool fresh = true;
  for (int i = x.dim() - 1; i >= 0; --i) {
    if (x.size(i) == 1) continue;
    if (fresh) base = x.strides()[i], chunk = 1, fresh = false;
    if (x.strides()[i] != base * chunk) return false;
    chunk *= x.size(i);
    int next = i - 1;
    while (next >= 0 && x.size(next) == 1) --next;
    if (next >= 0 && x.strides()[next] == base * chunk) continue;  // the chunk goes on
    int64_t covered = 1;
    while (v >= 0 && (covered < chunk || shape[v] == 1)) {
      (*strides)[v] = base * covered;
      covered *= shape[v--];
    }
    if (covered != chunk) return false;
    fresh = true;
  }
  for (; v >= 0; --v) (*strides)[v] = 1;  // only 1s are left
  return true;
}

Dims infer_shape(const Tensor& x, Dims shape) {
  int unknown = -1;
  int64_t known = 1;
  for (int i = 0; i < shape.size(); ++i) {
    if (shape[i] == -1) {
      check_value(unknown < 0, "reshape: only one dimension can be -1, got ", shape);
      unknown = i;
    } else {
      check_value(shape[i] >= 0 && checked_mul(known, shape[i], &known), "reshape: invalid shape ", shape);
    }
  }
  if (unknown >= 0) {
    check_value(known != 0 && x.numel() % known == 0, "reshape: a tensor of shape ", x.shape(),
                " cannot become ", shape);
    shape[unknown] = x.numel() / known;
    known *= shape[unknown];
  }
  check_value(known == x.numel(), "reshape: a tensor of shape ", x.shape(), " (", x.numel(),
              " elements) cannot become ", shape);
  if (known == 0) checked_numel("reshape", shape);
  return shape;
}

}  // namespace

Tensor reshape(const Tensor& x, const Dims& wanted) {
  const Dims shape = infer_shape(x, wanted);
  OpScope scope("reshape", x);
  scope.with("shape", wanted);
  Dims strides;
  const auto view = [&](const Tensor& x) {
    return view_of("reshape", x, shape, strides, x.impl()->offset,
                   [from = x.shape()](Backward& g) { g.set(0, reshape(g.dy(), from)); });
  };
  if (view_strides(x, shape, &strides)) return scope.returns(view(x));
  strides = row_major_strides(shape);
  return scope.returns(view(contiguous(x)));
}

Tensor permute(const Tensor& x, const Dims& dims) {
  check_value(dims.size() == x.dim(), "permute: ", dims, " must name each of the ", x.dim(),
              " dimensions once");
  OpScope scope("permute", x);
  scope.with("dims", dims);
  Dims shape = dims, strides = dims, inverse = dims;
  unsigned seen = 0;
  for (int i = 0; i < dims.size(); ++i) {
    const int d = wrap_dim("permute", dims[i], x.dim());
    check_value(!(seen & 1u << d), "permute: ", dims, " names a dimension twice");
    seen |= 1u << d;
    shape[i] = x.size(d), strides[i] = x.strides()[d], inverse[d] = i;
  }
  return scope.returns(view_of("permute", x, shape, strides, x.impl()->offset,
                               [inverse](Backward& g) { g.set(0, permute(g.dy(), inverse)); }));
}

Tensor transpose(const Tensor& x, int64_t dim0, int64_t dim1) {
  const int a = wrap_dim("transpose", dim0, x.dim()), b = wrap_dim("transpose", dim1, x.dim());
  OpScope scope("transpose", x);
  scope.with("dim0", dim0);
  scope.with("dim1", dim1);
  Dims shape = x.shape(), strides = x.strides();
  if (x.dim() > 0) {
    std::swap(shape[a], shape[b]);
    std::swap(strides[a], strides[b]);
  }
  return scope.returns(view_of("transpose", x, shape, strides, x.impl()->offset,
                               [a, b](Backward& g) { g.set(0, transpose(g.dy(), a, b)); }));
}

Tensor expand(const Tensor& x, const Dims& wanted) {
  OpScope scope("expand", x);
  scope.with("shape", wanted);
  Dims shape = wanted;
  const int lead = shape.size() - x.dim();
  check_value(lead >= 0, "expand: a tensor of shape ", x.shape(), " cannot be expanded to fewer dimensions, ",
              wanted);
  Dims strides(shape.size(), 0);
  for (int i = 0; i < shape.size(); ++i) {
    const int64_t have = i < lead ? 1 : x.size(i - lead);
    if (shape[i] == -1 && i >= lead) shape[i] = have;
    check_value(shape[i] >= 0 && (shape[i] == have || have == 1), "expand: a tensor of shape ", x.shape(),
                " cannot be expanded to ", wanted);
    if (i >= lead && have != 1) strides[i] = x.strides()[i - lead];
  }
  checked_numel("expand", shape);
  return scope.returns(view_of("expand", x, shape, strides, x.impl()->offset,
                               [from = x.shape()](Backward& g) { g.set(0, sum_to(g.dy(), from)); }));
}

Tensor squeeze(const Tensor& x, std::optional<int64_t> dim) {
  OpScope scope("squeeze", x);
  scope.with("dim", dim);
  const int only = dim ? wrap_dim("squeeze", *dim, x.dim()) : -1;
  Dims shape, strides;
  for (int i = 0; i < x.dim(); ++i) {
    if (x.size(i) == 1 && (only < 0 || only == i)) continue;
    shape.push_back(x.size(i));
    strides.push_back(x.strides()[i]);
  }
  return scope.returns(view_of("squeeze", x, shape, strides, x.impl()->offset,
                               [from = x.shape()](Backward& g) { g.set(0, reshape(g.dy(), from)); }));
}

Tensor unsqueeze(const Tensor& x, int64_t dim) {
  OpScope scope("unsqueeze", x);
  scope.with("dim", dim);
  const int at = wrap_dim("unsqueeze", dim, x.dim() + 1);
  Dims shape = x.shape(), strides = x.strides();
  shape.insert(at, 1);
  strides.insert(at, 1);
  return scope.returns(view_of("unsqueeze", x, shape, strides, x.impl()->offset,
                               [from = x.shape()](Backward& g) { g.set(0, reshape(g.dy(), from)); }));
}

Tensor flatten(const Tensor& x, int64_t start_dim, int64_t end_dim) {
  OpScope scope("flatten", x);
  scope.with("start_dim", start_dim);
  scope.with("end_dim", end_dim);
  const int first = wrap_dim("flatten", start_dim, x.dim()), last = wrap_dim("flatten", end_dim, x.dim());
  check_value(first <= last, "flatten: start_dim ", start_dim, " comes after end_dim ", end_dim);
  Dims shape;
  for (int i = 0; i < first; ++i) shape.push_back(x.size(i));
  int64_t merged = 1;
  for (int i = first; i <= last && i < x.dim(); ++i) merged *= x.size(i);
  shape.push_back(merged);
  for (int i = last + 1; i < x.dim(); ++i) shape.push_back(x.size(i));
  return scope.returns(reshape(x, shape));
}

// ---- basic indexing

namespace {

void announce(OpScope& scope, const Slices& slices) {
  if (!scope.heard()) return;
  Dims start, step, length, dropped;
  for (int i = 0; i < slices.n; ++i) {
    start.push_back(slices.dim[i].start);
    step.push_back(slices.dim[i].step);
    length.push_back(slices.dim[i].length);
    if (slices.dim[i].drop) dropped.push_back(i);
  }
  scope.with("start", start);
  scope.with("step", step);
  scope.with("length", length);
  scope.with("dropped", dropped);
}

Tensor sliced(const Tensor& x, const Slices& slices) {
  Dims shape, strides;
  int64_t offset = x.impl()->offset;
  for (int i = 0; i < slices.n; ++i) {
    const Slice& s = slices.dim[i];
    if (s.length > 0) offset += s.start * x.strides()[i];
    if (s.drop) continue;
    shape.push_back(s.length);
    // With no second element a step means nothing, and may be any.
    strides.push_back((s.length > 1 ? s.step : 1) * x.strides()[i]);
  }
  return alias(x, shape, strides, offset);
}

// The adjoint of slice: dy where the slice was, 0 elsewhere.
Tensor unslice(const Tensor& dy, const Dims& shape, const Slices& slices) {
  OpScope scope("unslice", dy);
  scope.with("shape", shape);
  announce(scope, slices);
  Tensor dx = zeros(shape, dy.dtype(), dy.device());
  copy_into(sliced(dx, slices), dy);
  if (wants_grad(dy)) record("unslice", dx, {dy}, [slices](Backward& g) { g.set(0, slice(g.dy(), slices)); });
  return scope.returns(std::move(dx));
}

// x with 0 where the slice is; its own adjoint.
Tensor blank(const Tensor& x, const Slices& slices) {
  OpScope scope("blank", x);
  announce(scope, slices);
  Tensor y = contiguous(clone(detach(x)));
  copy_into(sliced(y, slices), cast(scalar(0.0), x.dtype()));
  if (wants_grad(x)) record("blank", y, {x}, [slices](Backward& g) { g.set(0, blank(g.dy(), slices)); });
  return scope.returns(std::move(y));
}

}  // namespace

Tensor slice(const Tensor& x, const Slices& slices) {
  OpScope scope("slice", x);
  announce(scope, slices);
  Tensor y = sliced(x, slices);
  y.impl()->is_view = true;
  if (wants_grad(x))
    record("slice", y, {x},
           [shape = x.shape(), slices](Backward& g) { g.set(0, unslice(g.dy(), shape, slices)); });
  return scope.returns(std::move(y));
}

Tensor fit_value(const Tensor& value, const Dims& place) {
  Tensor v = value;
  while (v.dim() > place.size() && v.size(0) == 1) v = squeeze(v, 0);
  check_value(broadcast_shapes("index_put", place, v.shape()) == place, "a value of shape ", value.shape(),
              " cannot be assigned to an index of shape ", place);
  return v;
}

void slice_put_(const Tensor& x, const Slices& slices, const Tensor& given) {
  OpScope scope("index_put", x, given);
  announce(scope, slices);
  const Tensor place = sliced(x, slices), value = beside("index_put", fit_value(given, place.shape()), x);
  const bool shared = may_overlap(value, x);
  const Tensor src = cast(shared ? clone(value) : value, x.dtype());
  const bool recorded = wants_grad(x, src);
  const Tensor before = before_in_place("index_put", x, recorded);
  copy_into(place, src);
  x.bump_version();
  if (recorded)
    record("index_put", x, {before, src}, [slices, shape = src.shape()](Backward& g) {
      if (g.needs(0)) g.set(0, blank(g.dy(), slices));
      if (g.needs(1)) g.set(1, sum_to(slice(g.dy(), slices), shape));
    });
  scope.writes(x);
}

static Slices whole(const Tensor& x) {
  Slices slices;
  slices.n = x.dim();
  for (int i = 0; i < x.dim(); ++i) slices.dim[i] = {0, 1, x.size(i), false};
  return slices;
}

Tensor select(const Tensor& x, int64_t dim, int64_t index) {
  OpScope scope("select", x);
  scope.with("dim", dim);
  scope.with("index", index);
  check_index(x.dim() > 0, "select: a 0-d tensor cannot be indexed");
  const int d = wrap_dim("select", dim, x.dim());
  const int64_t size = x.size(d);
  check_index(index >= -size && index < size, "index ", index, " is out of range for dimension ", d,
              " of size ", size);
  Slices slices = whole(x);
  slices.dim[d] = {index < 0 ? index + size : index, 1, 1, true};
  return scope.returns(slice(x, slices));
}

Tensor narrow(const Tensor& x, int64_t dim, int64_t start, int64_t length) {
  OpScope scope("narrow", x);
  scope.with("dim", dim);
  scope.with("start", start);
  scope.with("length", length);
  const int d = wrap_dim("narrow", dim, x.dim());
  check_index(start >= 0 && length >= 0 && start <= x.size(d) && length <= x.size(d) - start,
              "narrow: ", length, " elements from ", start, " do not fit dimension ", d, " of size ",
              x.size(d));
  Slices slices = whole(x);
  slices.dim[d] = {start, 1, length, false};
  return scope.returns(slice(x, slices));
}

Tensor cat(const std::vector<Tensor>& tensors, int64_t dim) {
  check_value(!tensors.empty(), "cat: no tensors were given");
  OpScope scope("cat", std::span(tensors));
  scope.with("dim", dim);
  const Tensor& first = tensors[0];
  check_value(first.dim() > 0, "cat: a 0-d tensor cannot be joined; use stack");
  const int d = wrap_dim("cat", dim, first.dim());
  Dims shape = first.shape();
  DType dtype = first.dtype();
  shape[d] = 0;
  for (const Tensor& t : tensors) {
    Dims expected = t.shape();
    if (t.dim() == first.dim()) expected[d] = 0;
    Dims same = first.shape();
    same[d] = 0;
    check_value(expected == same, "cat: shapes ", first.shape(), " and ", t.shape(),
                " differ outside dimension ", d);
    check_same_device("cat", first, t);
    shape[d] += t.size(d);
    dtype = promote(dtype, t.dtype());
  }
  Tensor y = empty("cat", shape, dtype, first.device());
  std::vector<Tensor> parts;
  bool recorded = false;
  int64_t at = 0;
  for (const Tensor& t : tensors) {
    const Tensor part = cast(t, dtype);
    Slices where = whole(y);
    where.dim[d] = {at, 1, t.size(d), false};
    copy_into(sliced(y, where), part);
    at += t.size(d);
    recorded |= wants_grad(part);
    parts.push_back(part);
  }
  if (recorded) {
    std::vector<int64_t> sizes;
    for (const Tensor& t : parts) sizes.push_back(t.size(d));
    record_many("cat", std::span(&y, 1), parts, [sizes = std::move(sizes), d](Backward& g) {
      int64_t at = 0;
      for (size_t i = 0; i < sizes.size(); at += sizes[i++])
        if (g.needs(i)) g.set(i, narrow(g.dy(), d, at, sizes[i]));
    });
  }
  return scope.returns(std::move(y));
}

}  // namespace fastnn
