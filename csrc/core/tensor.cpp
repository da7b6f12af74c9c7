#include "core/tensor.h"

#include "core/autograd.h"

namespace fastnn {

TensorImpl::~TensorImpl() {
  if (retains_grad && grad_fn && grad_fn->watches) grad_fn->watches->forget(this);
  // A chain of gradients of gradients of any length, from the front: each is freed when it has let go of the
  // next, so that nothing recurses.
  Ref<TensorImpl> next = std::move(grad);
  while (next && next->unique()) next = std::move(next->grad);
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
  const int64_t numel = checked_numel(op, shape);  // before strides are multiplied
  return allocate(shape, row_major_strides(shape), numel, dtype, device);
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
  // A view of no elements has no first one, and its memory, which may be none, no place for it.
  Tensor y = make(x.impl()->storage, shape, strides, numel == 0 ? 0 : offset, numel, x.dtype());
  const bool inherits = x.impl()->is_view || x.impl()->history == TensorImpl::kDetached;
  y.impl()->history =
      inherits ? x.impl()->history : x.impl()->storage->history.load(std::memory_order_relaxed);
  return y;
}

Tensor bytes_of(const Tensor& x) {
  Tensor y = detach(x);
  y.impl()->dtype = DType::uint8;
  return y;
}

bool may_overlap(const Tensor& a, const Tensor& b) {
  const Storage &x = *a.impl()->storage, &y = *b.impl()->storage;
  if (&x == &y) return true;
  if (!x.borrowed() && !y.borrowed()) return false;
  if (x.device != y.device || a.numel() == 0 || b.numel() == 0) return false;
  struct Span {
    uintptr_t first, last;
    explicit Span(const Tensor& t)
        : first(reinterpret_cast<uintptr_t>(t.data())), last(first + size_of(t.dtype()) - 1) {
      for (int i = 0; i < t.dim(); ++i) {
        const int64_t reach = (t.size(i) - 1) * t.strides()[i] * static_cast<int64_t>(size_of(t.dtype()));
        (reach < 0 ? first : last) += static_cast<uintptr_t>(reach);
      }
    }
  };
  const Span s(a), t(b);
  return s.first <= t.last && t.first <= s.last;
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

}  // namespace fastnn
