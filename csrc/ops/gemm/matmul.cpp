#include "ops/gemm/matmul.h"
#include "backend/gemm.h"

#include "ops/elementwise/copy.h"
#include "ops/elementwise/elementwise.h"
#include "ops/gemm/activation.h"
#include "ops/reduce/reduce.h"
#include "ops/support.h"
#include "ops/view/view.h"

namespace fastnn {
namespace {

// The last two dimensions of an operand as a matrix that the kernel reads in place.
Tensor as_matrices(const Tensor& x) { return as_layout(x, kRowMajor | kTransposed | kLeadingStride); }

// y (m x n, dense) = act(a b + bias) for the matrices in the last two dimensions of a and b, without the
// batch.
GemmParams product(const Tensor& y, const Tensor& a, const Tensor& b) {
  const int i = a.dim() - 2, j = b.dim() - 2;
  GemmParams p{};
  p.m = a.size(i), p.k = a.size(i + 1), p.n = b.size(j + 1);
  p.a = a.data(), p.rs_a = a.strides()[i], p.cs_a = a.strides()[i + 1];
  p.b = b.data(), p.rs_b = b.strides()[j], p.cs_b = b.strides()[j + 1];
  p.c = y.data(), p.ldc = y.size(y.dim() - 1);
  p.activation = Activation::none;
  p.batch = 1;
  return p;
}

// The dimensions before the last two, merged wherever both operands step evenly through them.
struct Batch {
  int n = 0;
  int64_t size[kMaxDims], a[kMaxDims], b[kMaxDims];
};
Batch merge_batch(const Dims& shape, const Dims& a, const Dims& b) {
  Batch batch;
  for (int i = 0; i < shape.size() - 2; ++i) {
    if (shape[i] == 1) continue;
    const int last = batch.n - 1;
    if (last >= 0 && batch.a[last] == a[i] * shape[i] && batch.b[last] == b[i] * shape[i]) {
      batch.size[last] *= shape[i], batch.a[last] = a[i], batch.b[last] = b[i];
    } else {
      batch.size[batch.n] = shape[i], batch.a[batch.n] = a[i], batch.b[batch.n++] = b[i];
    }
  }
  return batch;
}

// The innermost dimension of the batch is the kernel's; the others are walked here.
void launch_batch(const Tensor& y, const Batch& batch, int dim, GemmParams p) {
  if (dim >= batch.n - 1) {
    if (batch.n > 0)
      p.batch = batch.size[dim], p.batch_a = batch.a[dim], p.batch_b = batch.b[dim], p.batch_c = p.m * p.n;
    launch<&GemmTable::gemm>("matmul", y, p);
    return;
  }
  const int64_t bytes = static_cast<int64_t>(size_of(y.dtype()));
  int64_t step = p.m * p.n;
  for (int i = dim + 1; i < batch.n; ++i) step *= batch.size[i];
  for (int64_t i = 0; i < batch.size[dim]; ++i) {
    launch_batch(y, batch, dim + 1, p);
    p.a = static_cast<const char*>(p.a) + batch.a[dim] * bytes;
    p.b = static_cast<const char*>(p.b) + batch.b[dim] * bytes;
    p.c = static_cast<char*>(p.c) + step * bytes;
  }
}

Dims matmul_shape(const Tensor& a, const Tensor& b) {
  const int64_t k = a.size(a.dim() - 1), rows = b.size(b.dim() - 2);
  check_value(k == rows, "matmul: shapes ", a.shape(), " and ", b.shape(),
              " do not match: the rows of the first have ", k, " elements, the columns of the second ", rows);
  if (a.dim() == 2 && b.dim() == 2) return {a.size(0), b.size(1)};
  Dims shape(std::max(a.dim(), b.dim()) - 2, 1);
  for (int i = 0; i < shape.size(); ++i) {
    const int at = shape.size() - 1 - i;  // batches are aligned at the right
    const int64_t da = i < a.dim() - 2 ? a.size(a.dim() - 3 - i) : 1,
                  db = i < b.dim() - 2 ? b.size(b.dim() - 3 - i) : 1;
    check_value(da == db || da == 1 || db == 1, "matmul: shapes ", a.shape(), " and ", b.shape(),
                " do not match: the dimensions before the last two must be equal or 1");
    shape[at] = da == 1 ? db : da;
  }
  shape.push_back(a.size(a.dim() - 2));
  shape.push_back(b.size(b.dim() - 1));
  return shape;
}

// The strides of x's batch dimensions, seen through the result's.
Dims batch_strides(const Tensor& x, const Dims& shape) {
  Dims strides(shape.size() - 2, 0);
  const int lead = shape.size() - x.dim();
  for (int i = 0; i < x.dim() - 2; ++i) strides[lead + i] = x.size(i) == 1 ? 0 : x.strides()[i];
  return strides;
}

Tensor flipped(const Tensor& x) { return transpose(x, -1, -2); }

// x (..., n) as rows x n.
Tensor as_rows(const Tensor& x) {
  if (x.dim() == 2) return x;
  int64_t rows = 1;
  for (int i = 0; i < x.dim() - 1; ++i) rows *= x.size(i);
  return reshape(x, {rows, x.size(x.dim() - 1)});
}

// Operands of at least two dimensions.
Tensor matmul_matrices(const Tensor& a, const Tensor& b) {
  const Dims shape = matmul_shape(a, b);
  Tensor y = empty("matmul", shape, a.dtype(), a.device());
  const Tensor left = as_matrices(a), right = as_matrices(b);
  if (shape.size() == 2)
    launch<&GemmTable::gemm>("matmul", y, product(y, left, right));
  else if (y.numel() > 0)
    launch_batch(y, merge_batch(shape, batch_strides(left, shape), batch_strides(right, shape)), 0,
                 product(y, left, right));
  if (wants_grad(a, b))
    record("matmul", y, {a, b},
           [a = save_if(b.requires_grad(), a), b = save_if(a.requires_grad(), b), sa = a.shape(),
            sb = b.shape()](Backward& g) {
             if (g.needs(0)) g.set(0, sum_to(matmul(g.dy(), flipped(g.get(b))), sa));
             if (g.needs(1)) g.set(1, sum_to(matmul(flipped(g.get(a)), g.dy()), sb));
           });
  return y;
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) {
  check_defined("matmul", "the first operand", a);
  check_defined("matmul", "the second operand", b);
  check_floating("matmul", "the first operand", a);
  check_same_dtype("matmul", "the first operand", a, "the second", b);
  check_same_device("matmul", a, b);
  check_value(a.dim() > 0 && b.dim() > 0, "matmul: operands need at least one dimension, got shapes ",
              a.shape(), " and ", b.shape(), "; use * to scale by a number");
  OpScope scope("matmul", a, b);
  if (a.dim() > 2 && b.dim() == 2) {  // one matrix for all: the rows of all are one product
    const Dims shape = matmul_shape(a, b);
    return scope.returns(reshape(matmul_matrices(as_rows(a), b), shape));
  }
  if (a.dim() >= 2 && b.dim() >= 2) return scope.returns(matmul_matrices(a, b));
  // A vector is one row on the left, one column on the right, and its dimension leaves the result.
  const Tensor y = matmul_matrices(a.dim() == 1 ? unsqueeze(a, 0) : a, b.dim() == 1 ? unsqueeze(b, 1) : b);
  Dims shape = y.shape();
  if (b.dim() == 1) shape.erase(shape.size() - 1);
  if (a.dim() == 1) shape.erase(shape.size() - (b.dim() == 1 ? 1 : 2));
  return scope.returns(reshape(y, shape));
}

[[noreturn, gnu::cold]] static void refuse_features(const Tensor& x, const Tensor& w) {
  const bool flat = x.dim() > 2 && x.size(0) > 0 && x.numel() / x.size(0) == w.size(1);
  fail(ErrorKind::value, "linear: input of shape ", x.shape(), " does not match a weight of shape ",
       w.shape(), ": its last dimension must be ", w.size(1),
       flat ? "; flatten its samples first: x.flatten(1)" : "");
}

static void check_linear(const Tensor& x, const Tensor& w, const Tensor& bias) {
  check_defined("linear", "input", x);
  check_defined("linear", "weight", w);
  check_floating("linear", "input", x);
  check_same_dtype("linear", "input", x, "weight", w);
  check_same_device("linear", x, w);
  check_value(w.dim() == 2, "linear: weight must have shape (out_features, in_features), got ", w.shape());
  if (x.dim() == 0 || x.shape().back() != w.size(1)) refuse_features(x, w);
  if (!bias.defined()) return;
  check_same_dtype("linear", "input", x, "bias", bias);
  check_same_device("linear", x, bias);
  check_value(bias.dim() == 1 && bias.size(0) == w.size(0), "linear: bias of shape ", bias.shape(),
              " does not match a weight of shape ", w.shape(), ": it must be (", w.size(0), ",)");
}

// y (..., out) = act(x (..., in) w^T + bias), with the bias and the activation in the product's last pass.
// dz = dy where y > 0 (relu) or dy;  dx = dz w;  dw = dz^T x;  dbias = sum of dz's rows.
Tensor linear(const Tensor& x, const Tensor& w, const Tensor& bias, Activation activation) {
  check_linear(x, w, bias);
  OpScope scope("linear", x, w, bias);
  scope.with("activation", name_of(activation));
  Dims shape = x.shape();
  shape[shape.size() - 1] = w.size(0);
  Tensor y = empty("linear", shape, x.dtype(), x.device());
  {
    GradMode off(false);
    const Tensor rows = as_matrices(as_rows(x)), columns = as_matrices(w);
    const Tensor b = bias.defined() ? contiguous(bias) : bias;
    GemmParams p = product(y, rows, columns);
    std::swap(p.rs_b, p.cs_b), p.n = w.size(0);  // w^T
    p.bias = b.defined() ? b.data() : nullptr;
    p.activation = activation;
    launch<&GemmTable::gemm>("linear", y, p);
  }
  if (!wants_grad(x, w, bias)) return scope.returns(std::move(y));
  const bool relu = activation == Activation::relu;
  record("linear", y, {x, w, bias},
         [x = save_if(w.requires_grad(), x), w = save_if(x.requires_grad(), w),
          y = relu ? save_output(y) : Saved{}, relu](Backward& g) {
           Tensor dz = g.dy();
           if (relu) dz = relu_gradient(dz, g.get(y));
           if (g.needs(0)) {
             const Tensor w_ = g.get(w);
             Dims shape = dz.shape();
             shape[shape.size() - 1] = w_.size(1);
             const Tensor dx = matmul(as_rows(dz), w_);
             g.set(0, dz.dim() == 2 ? dx : reshape(dx, shape));
           }
           if (g.needs(1)) g.set(1, matmul(flipped(as_rows(dz)), as_rows(g.get(x))));
           if (g.needs(2)) g.set(2, sum(as_rows(dz), Dims{0}));
         });
  return scope.returns(std::move(y));
}

}  // namespace fastnn
