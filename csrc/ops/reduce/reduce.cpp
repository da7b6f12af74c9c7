#include "ops/reduce/reduce.h"
#include "backend/reduce.h"

#include <limits>
#include <utility>

#include "ops/elementwise/copy.h"
#include "ops/elementwise/elementwise.h"
#include "ops/index/index.h"
#include "ops/support.h"
#include "ops/view/view.h"

namespace fastnn {
namespace {

// x's dimensions in two groups, each in order, and the shapes of the result without and with the reduced
// ones.
struct Split {
  Dims kept, kept_strides, reduced, reduced_strides, with_ones;
  unsigned mask = 0;  // of the reduced dimensions
  int64_t count = 1;  // elements behind each output
};

Split split(const char* op, const Tensor& x, const OptionalDims& dims) {
  Split s;
  if (!dims || dims->empty()) {
    s.mask = ~0u;
  } else {
    for (const int64_t dim : *dims) {
      const unsigned bit = 1u << wrap_dim(op, dim, x.dim());
      check_value(!(s.mask & bit), op, ": dimension ", dim, " is named twice");
      s.mask |= bit;
    }
  }
  for (int i = 0; i < x.dim(); ++i) {
    const bool reduced = s.mask >> i & 1;
    (reduced ? s.reduced : s.kept).push_back(x.size(i));
    (reduced ? s.reduced_strides : s.kept_strides).push_back(x.strides()[i]);
    s.with_ones.push_back(reduced ? 1 : x.size(i));
    if (reduced) s.count *= x.size(i);
  }
  return s;
}

// Dimensions in their order, merged where every operand steps evenly: the order of reduction is the logical
// one, so that a view and its copy give the same bits.
template <int N>
Loop<N> nest_in_order(const Dims& shape, const Dims (&strides)[N]) {
  Loop<N> loop;
  loop.ndim = 0;
  loop.numel = 1;
  for (int i = 0; i < shape.size(); ++i) {
    loop.numel *= shape[i];
    if (shape[i] == 1) continue;
    const int last = loop.ndim - 1;
    bool merge = last >= 0;
    for (int k = 0; merge && k < N; ++k) merge = loop.stride[k][last] == strides[k][i] * shape[i];
    const int at = merge ? last : loop.ndim++;
    loop.shape[at] = merge ? loop.shape[last] * shape[i] : shape[i];
    for (int k = 0; k < N; ++k) loop.stride[k][at] = strides[k][i];
  }
  if (loop.ndim == 0) {
    loop.ndim = 1;
    loop.shape[0] = 1;
    for (int k = 0; k < N; ++k) loop.stride[k][0] = 1;
  }
  return loop;
}

// Of everything at once the value does not say in which order it was met: the dimensions of a view go by
// their steps, as memory does. Those that repeat elements stay outside.
void order_by_steps(Split& s) {
  const auto before = [&](int i, int j) {
    const int64_t a = s.reduced_strides[i], b = s.reduced_strides[j];
    return b != 0 && (a == 0 || a > b);
  };
  for (int i = 1; i < s.reduced.size(); ++i)
    for (int j = i; j > 0 && before(j, j - 1); --j) {
      std::swap(s.reduced[j], s.reduced[j - 1]);
      std::swap(s.reduced_strides[j], s.reduced_strides[j - 1]);
    }
}

// A view whose last dimension is short and has a step of its own is walked a few elements at a time on the
// CPU. A copy comes first where it makes long rows of them: of what is kept together with the dimension
// before, or of what is reduced.
Tensor in_long_rows(const char* op, const Tensor& x, const OptionalDims& dims, Split& s) {
  constexpr int64_t kShort = 8, kLeast = 256;
  const int last = x.dim() - 1;
  if (x.device().type != DeviceType::cpu || last < 1 || x.numel() < kLeast || x.size(last) > kShort ||
      x.size(last) == 1)
    return x;
  const bool reduced = s.mask >> last & 1, before = s.mask >> (last - 1) & 1;
  const Dims& step = x.strides();
  const bool dense = step[last] == 1 && step[last - 1] == x.size(last);
  if (dense || (reduced ? step[last] == 1 : before)) return x;
  const Tensor copy = contiguous(detach(x));
  s = split(op, copy, dims);
  return copy;
}

ReduceParams params(const Tensor& x, const Split& s, const Tensor& y, int64_t* index, double scale = 1) {
  return {.y = y.defined() ? y.data() : nullptr,
          .index = index,
          .x = x.data(),
          .kept = nest_in_order<2>(s.kept, {row_major_strides(s.kept), s.kept_strides}),
          .reduced = nest_in_order<1>(s.reduced, {s.reduced_strides}),
          .scale = scale,
          .out_size = y.defined() ? static_cast<int64_t>(size_of(y.dtype())) : 0};
}

Tensor shaped(const Tensor& y, const Split& s, bool keepdim) { return keepdim ? reshape(y, s.with_ones) : y; }

// dy of a reduction seen through x's shape.
Tensor spread(const Tensor& dy, const Dims& with_ones, const Dims& shape) {
  return expand(reshape(dy, with_ones), shape);
}

void announce(OpScope& scope, const OptionalDims& dims, bool keepdim) {
  scope.with("dim", dims);
  scope.with("keepdim", keepdim);
}

Tensor scaled_sum(const char* op, const Tensor& x, const OptionalDims& dims, bool keepdim, bool is_mean) {
  OpScope scope(op, x);
  announce(scope, dims, keepdim);
  Split s = split(op, x, dims);
  const Tensor in = in_long_rows(op, x, dims, s);
  const double scale = is_mean ? 1 / static_cast<double>(s.count) : 1;
  Tensor y = empty(op, keepdim ? s.with_ones : s.kept, is_floating(x.dtype()) ? x.dtype() : DType::int64,
                   x.device());
  if (x.numel() > 0)
    launch<&ReduceTable::sum>(op, in, params(in, s, y, nullptr, scale));
  else if (y.numel() > 0)  // a sum of nothing is 0, a mean of nothing NaN
    fill_(y, scalar(is_mean ? std::numeric_limits<double>::quiet_NaN() : 0.0));
  if (wants_grad(x))
    record(op, y, {x}, [with_ones = s.with_ones, shape = x.shape(), scale](Backward& g) {
      g.set(0, spread(scale == 1 ? g.dy() : mul(g.dy(), scale), with_ones, shape));
    });
  return scope.returns(std::move(y));
}

void check_not_empty(const char* op, const Tensor& x, const Split& s) {
  check_value(s.count > 0 || x.numel() > 0, op, ": a dimension of size 0 of shape ", x.shape(),
              " has no largest or smallest element");
}

template <auto Row>
Tensor position(const char* op, const Tensor& x, const OptionalDims& dims, bool keepdim) {
  check_defined(op, "input", x);
  OpScope scope(op, x);
  announce(scope, dims, keepdim);
  Split s = split(op, x, dims);
  check_not_empty(op, x, s);
  Tensor y = empty(op, keepdim ? s.with_ones : s.kept, DType::int64, x.device());
  if (s.count == 1) {
    fill_(y, scalar(0.0));
  } else if (y.numel() > 0) {
    const Tensor in = in_long_rows(op, x, dims, s);
    launch<Row>(op, in, params(in, s, {}, y.data<int64_t>()));
  }
  return scope.returns(std::move(y));
}

// Of what has been announced.
template <auto Row>
Tensor best(const char* op, const Tensor& x, const OptionalDims& dims, bool keepdim) {
  Split s = split(op, x, dims);
  const Tensor in = s.kept.empty() ? x : in_long_rows(op, x, dims, s);
  if (s.kept.empty()) order_by_steps(s);
  check_not_empty(op, x, s);
  Tensor y = empty(op, keepdim ? s.with_ones : s.kept, x.dtype(), x.device());
  if (y.numel() > 0) launch<Row>(op, in, params(in, s, y, nullptr));
  return y;
}

template <auto Row>
Tensor best_of_all(const char* op, const Tensor& x) {
  check_defined(op, "input", x);
  OpScope scope(op, x);
  announce(scope, {}, false);
  Tensor y = best<Row>(op, x, {}, false);
  if (wants_grad(x))
    record(op, y, {x}, [x = save(x), y = save_output(y)](Backward& g) {
      const Tensor winners = cast(eq(g.get(x), detach(g.get(y))), g.dy().dtype());
      g.set(0, mul(winners, div(g.dy(), sum(winners))));
    });
  return scope.returns(std::move(y));
}

template <auto Row>
std::pair<Tensor, Tensor> best_along(const char* op, const Tensor& x, const Dims& dims, bool keepdim) {
  check_defined(op, "input", x);
  OpScope scope(op, x);
  announce(scope, dims, keepdim);
  Split s = split(op, x, dims);
  const Tensor in = in_long_rows(op, x, dims, s);
  check_not_empty(op, x, s);
  Tensor y = empty(op, s.kept, x.dtype(), x.device()), place = empty(op, s.kept, DType::int64, x.device());
  if (y.numel() > 0) launch<Row>(op, in, params(in, s, y, place.data<int64_t>()));
  if (wants_grad(x))
    record(op, y, {x}, [place, s, shape = x.shape()](Backward& g) {
      // Into the tensor with the reduced dimensions last and merged, and back to their places.
      Dims merged = s.kept, apart = s.kept, back(shape.size(), 0);
      merged.push_back(s.count);
      for (const int64_t d : s.reduced) apart.push_back(d);
      int kept = 0, reduced = s.kept.size();
      for (int i = 0; i < shape.size(); ++i) back[i] = s.mask >> i & 1 ? reduced++ : kept++;
      const Tensor dx = scatter_along(merged, s.kept.size(), unsqueeze(place, -1), unsqueeze(g.dy(), -1));
      g.set(0, permute(reshape(dx, apart), back));
    });
  return scope.returns(std::pair(shaped(y, s, keepdim), shaped(place, s, keepdim)));
}

template <auto Row>
Tensor truth(const char* op, const Tensor& x, const OptionalDims& dims, bool keepdim, bool of_nothing) {
  check_defined(op, "input", x);
  OpScope scope(op, x);
  announce(scope, dims, keepdim);
  const Tensor flags = cast(detach(x), DType::boolean);
  if (x.numel() > 0) return scope.returns(best<Row>(op, flags, dims, keepdim));
  const Split s = split(op, x, dims);
  return scope.returns(full(keepdim ? s.with_ones : s.kept, scalar(of_nothing), DType::boolean, x.device()));
}

}  // namespace

Tensor sum(const Tensor& x, const OptionalDims& dims, bool keepdim) {
  check_defined("sum", "input", x);
  return scaled_sum("sum", x, dims, keepdim, false);
}
Tensor mean(const Tensor& x, const OptionalDims& dims, bool keepdim) {
  check_defined("mean", "input", x);
  check_floating("mean", "input", x);
  return scaled_sum("mean", x, dims, keepdim, true);
}

Tensor max(const Tensor& x) { return best_of_all<&ReduceTable::max>("max", x); }
Tensor min(const Tensor& x) { return best_of_all<&ReduceTable::min>("min", x); }
std::pair<Tensor, Tensor> max(const Tensor& x, const Dims& dims, bool keepdim) {
  return best_along<&ReduceTable::max>("max", x, dims, keepdim);
}
std::pair<Tensor, Tensor> min(const Tensor& x, const Dims& dims, bool keepdim) {
  return best_along<&ReduceTable::min>("min", x, dims, keepdim);
}
Tensor argmax(const Tensor& x, const OptionalDims& dims, bool keepdim) {
  return position<&ReduceTable::argmax>("argmax", x, dims, keepdim);
}
Tensor argmin(const Tensor& x, const OptionalDims& dims, bool keepdim) {
  return position<&ReduceTable::argmin>("argmin", x, dims, keepdim);
}
Tensor all(const Tensor& x, const OptionalDims& dims, bool keepdim) {
  return truth<&ReduceTable::min>("all", x, dims, keepdim, true);
}
Tensor any(const Tensor& x, const OptionalDims& dims, bool keepdim) {
  return truth<&ReduceTable::max>("any", x, dims, keepdim, false);
}

Tensor sum_to(const Tensor& dy, const Dims& shape) {
  if (dy.shape() == shape) return dy;
  const int lead = dy.dim() - shape.size();
  Dims dims;
  for (int i = 0; i < dy.dim(); ++i)
    if (i < lead || (shape[i - lead] == 1 && dy.size(i) != 1)) dims.push_back(i);
  return dims.empty() ? reshape(dy, shape) : reshape(sum(dy, dims, true), shape);
}

}  // namespace fastnn
