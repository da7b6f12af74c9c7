#include "core/tensor.h"

#include <string.h>

#include "core/autograd.h"
#include "core/operand.h"

namespace fastnn {

TensorImpl::~TensorImpl() {
  if (retains_grad && grad_fn && grad_fn->watches) grad_fn->watches->forget(this);
}

bool Tensor::is_contiguous() const {
  int64_t expected = 1;
  if (numel() == 0) return true;
  for (int i = dim() - 1; i >= 0; --i) {
    if (size(i) == 1) continue;
    if (impl_->strides[i] != expected) return false;
    expected *= size(i);
  }
  return true;
}

// The dimensions that are not of size 1, sorted so that before(a, b) holds for neighbours. Few and nearly
// sorted.
template <class Before>
static int sort_dims(const Dims& shape, int (&order)[kMaxDims], Before before) {
  int n = 0;
  for (int i = 0; i < shape.size(); ++i)
    if (shape[i] != 1) order[n++] = i;
  for (int i = 1; i < n; ++i)
    for (int j = i; j > 0 && before(order[j], order[j - 1]); --j) std::swap(order[j], order[j - 1]);
  return n;
}

bool Tensor::is_dense() const {
  if (is_contiguous()) return true;
  int order[kMaxDims];
  const int n = sort_dims(shape(), order, [&](int a, int b) { return strides()[a] < strides()[b]; });
  int64_t expected = 1;
  for (int i = 0; i < n; ++i) {
    if (strides()[order[i]] != expected) return false;
    expected *= size(order[i]);
  }
  return true;
}

static Tensor make(Ref<Storage> storage, const Dims& shape, const Dims& strides, int64_t offset,
                   int64_t numel, DType dtype) {
  Ref<TensorImpl> impl(new TensorImpl);
  impl->storage = std::move(storage);
  impl->offset = offset;
  impl->numel = numel;
  impl->shape = shape;
  impl->strides = strides;
  impl->dtype = dtype;
  return Tensor(std::move(impl));
}

static Tensor allocate(const Dims& shape, const Dims& strides, int64_t numel, DType dtype, Device device) {
  Ref<Storage> storage(new Storage(static_cast<size_t>(numel) * size_of(dtype), device));
  return make(std::move(storage), shape, strides, 0, numel, dtype);
}

Tensor empty(const char* op, const Dims& shape, DType dtype, Device device) {
  return allocate(shape, row_major_strides(shape), checked_numel(op, shape), dtype, device);
}

Tensor empty_strided(const char* op, const Dims& shape, const Dims& strides, DType dtype, Device device) {
  return allocate(shape, strides, checked_numel(op, shape), dtype, device);
}

Tensor empty_like(const Tensor& x, DType dtype) {
  const bool dense = x.is_dense();
  return allocate(x.shape(), dense ? x.strides() : row_major_strides(x.shape()), x.numel(), dtype,
                  x.device());
}

Tensor empty_like(const Tensor& x) { return empty_like(x, x.dtype()); }

Tensor from_memory(void* data, const Dims& shape, const Dims& strides, DType dtype, Device device,
                   void (*deleter)(void*), void* owner) {
  const int64_t numel = checked_numel("from_memory", shape);
  Ref<Storage> storage(
      new Storage(data, static_cast<size_t>(numel) * size_of(dtype), device, deleter, owner));
  return make(std::move(storage), shape, strides, 0, numel, dtype);
}

Tensor alias(const Tensor& x, const Dims& shape, const Dims& strides, int64_t offset) {
  int64_t numel = 1;
  for (int64_t d : shape) numel *= d;
  Tensor y = make(x.impl()->storage, shape, strides, offset, numel, x.dtype());
  const bool inherits = x.impl()->is_view || x.impl()->history == TensorImpl::kDetached;
  y.impl()->history =
      inherits ? x.impl()->history : x.impl()->storage->history.load(std::memory_order_relaxed);
  return y;
}

template <class T>
static Tensor weak_scalar(T value) {
  Tensor t = allocate({}, {}, 1, dtype_of<T>, {});
  *t.data<T>() = value;
  t.impl()->weak = true;
  return t;
}
Tensor scalar(double value) {
  Tensor t = allocate({}, {}, 1, DType::float64, {});
  *t.data<double>() = value;
  t.impl()->weak = true;
  return t;
}
Tensor scalar(int64_t value) { return weak_scalar(value); }
Tensor scalar(bool value) { return weak_scalar(value); }

// ---- promotion
static int category(DType t) { return t == DType::boolean ? 0 : is_floating(t) ? 2 : 1; }

DType promote(DType a, DType b) {
  if (a == b) return a;
  if (category(a) != category(b)) return category(a) > category(b) ? a : b;
  if (category(a) == 2) {
    if (a == DType::float64 || b == DType::float64) return DType::float64;
    return DType::float32;  // float16 with bfloat16 meets in float32
  }
  if (a == DType::int64 || b == DType::int64) return DType::int64;
  return DType::int32;  // int32 with uint8
}

DType result_type(Spoken a, Spoken b) {
  const bool a_first = a.rank >= b.rank;
  const DType high = a_first ? a.dtype : b.dtype, low = a_first ? b.dtype : a.dtype;
  if (a.rank == b.rank || category(low) > category(high)) return promote(high, low);
  return high;
}
DType result_type(const Tensor& a, const Tensor& b) {
  if (a.dtype() == b.dtype() && !a.impl()->weak && !b.impl()->weak) return a.dtype();
  return result_type(Operand(a).spoken(), Operand(b).spoken());
}

Tensor scalar(Number n) {
  return n.kind == Number::real      ? scalar(n.value)
         : n.kind == Number::integer ? scalar(n.whole)
                                     : scalar(n.whole != 0);
}
Number number_of(const Tensor& t) {
  switch (t.dtype()) {
    case DType::boolean:
      return *t.data<bool>();
    case DType::int64:
      return *t.data<int64_t>();
    default:
      return *t.data<double>();
  }
}

uint64_t Number::bits(DType dtype) const {
  uint64_t word = 0;
  auto put = [&](auto value) { memcpy(&word, &value, sizeof value); };
  switch (dtype) {
    case DType::float32:
      put(kind == real ? static_cast<float>(value) : static_cast<float>(whole));
      break;
    case DType::float64:
      put(as_double());
      break;
    case DType::int64:
      put(as_integer());
      break;
    case DType::int32:
      put(static_cast<int32_t>(as_integer()));
      break;
    case DType::uint8:
      put(static_cast<uint8_t>(as_integer()));
      break;
    default:
      put(static_cast<uint8_t>(kind == real ? value != 0 : whole != 0));
      break;
  }
  return word;
}

// ---- loops
Dims broadcast_strides(const Tensor& x, const Dims& shape) {
  if (x.shape() == shape) return x.strides();
  Dims strides(shape.size(), 0);
  const int lead = shape.size() - x.dim();
  for (int i = 0; i < x.dim(); ++i) strides[lead + i] = x.size(i) == 1 ? 0 : x.strides()[i];
  return strides;
}

void fill_loop(int operands, const Dims& shape, const Dims* strides, int* ndim, int64_t* numel,
               int64_t* extent, int64_t (*stride)[kMaxDims]) {
  *numel = 1;
  for (int64_t d : shape) *numel *= d;
  // Largest stride outermost, by the first operand that tells two dimensions apart.
  auto outer = [&](int a, int b) {
    for (int k = 0; k < operands; ++k) {
      const int64_t sa = std::abs(strides[k][a]), sb = std::abs(strides[k][b]);
      if (sa == 0 || sb == 0) continue;
      if (sa != sb) return sa > sb;
    }
    return a < b;
  };
  int order[kMaxDims];
  const int n = sort_dims(shape, order, outer);

  *ndim = 0;
  for (int i = 0; i < n; ++i) {
    const int d = order[i];
    const int last = *ndim - 1;
    bool merge = last >= 0;
    for (int k = 0; merge && k < operands; ++k) merge = stride[k][last] == strides[k][d] * shape[d];
    const int at = merge ? last : (*ndim)++;
    extent[at] = merge ? extent[last] * shape[d] : shape[d];
    for (int k = 0; k < operands; ++k) stride[k][at] = strides[k][d];
  }
  if (*ndim == 0) {
    *ndim = 1;
    extent[0] = 1;
    for (int k = 0; k < operands; ++k) stride[k][0] = 0;
  }
}

template <int N>
Loop<N> make_loop(const Dims& shape, const Dims (&strides)[N]) {
  Loop<N> loop;
  fill_loop(N, shape, strides, &loop.ndim, &loop.numel, loop.shape, loop.stride);
  return loop;
}
template Loop<1> make_loop<1>(const Dims&, const Dims (&)[1]);
template Loop<2> make_loop<2>(const Dims&, const Dims (&)[2]);

}  // namespace fastnn
