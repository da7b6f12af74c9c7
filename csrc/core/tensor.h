// Tensor: a typed, strided view of a storage, with what the tape needs. A Tensor is a reference; copies
// share.
#pragma once
#include <atomic>

#include "core/memory.h"
#include "core/ref.h"
#include "core/shape.h"

namespace fastnn {

class Node;
class Watches;

// The memory of one or more tensors. `version` counts in-place writes, so that the tape notices stale saved
// tensors; `history` those that were recorded, so that it notices views taken before.
class Storage : public Pooled {
 public:
  Storage(size_t bytes, Device device) : Storage(tensor_alloc(bytes, device), bytes, device) {}
  Storage(void* data, size_t bytes, Device device, void (*deleter)(void*),
          void* owner)  // memory of somebody else's
      : data(data), bytes(bytes), device(device), deleter_(deleter), owner_(owner) {}
  ~Storage() {
    if (deleter_)
      end_in_turn(owner_, deleter_);  // it may own another storage, and that one a third
    else
      tensor_free({data, stream_}, bytes, device, other_streams_.load(std::memory_order_relaxed));
  }
  void retain() { refs_.fetch_add(1, std::memory_order_relaxed); }
  void release() {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }
  bool unique() const { return refs_.load(std::memory_order_acquire) == 1; }
  bool borrowed() const { return deleter_ != nullptr; }
  // Work on another stream than the one it was made on uses this memory: it is not reused before that is
  // done.
  void used_on(int stream) {
    if (stream != stream_) other_streams_.fetch_or(1u << stream, std::memory_order_relaxed);
  }

  void* const data;
  const size_t bytes;
  const Device device;
  std::atomic<uint32_t> version{0}, history{0};
  bool read_only = false;  // memory lent by a read-only NumPy array
  bool pinned = false;     // host memory that CUDA devices read by themselves

 private:
  Storage(Block block, size_t bytes, Device device)
      : data(block.data), bytes(bytes), device(device), stream_(block.stream) {}

  std::atomic<uint32_t> refs_{1};
  std::atomic<uint32_t> other_streams_{0};
  const uint8_t stream_ = 0;
  void (*deleter_)(void*) = nullptr;
  void* owner_ = nullptr;
};

class TensorImpl : public Pooled {
 public:
  static constexpr uint32_t kDetached = UINT32_MAX;
  Ref<Storage> storage;
  int64_t offset = 0;  // of the first element, in elements
  int64_t numel = 0;
  Dims shape, strides;
  DType dtype = DType::float32;
  bool requires_grad = false;  // set by the user on a leaf
  bool weak = false;           // stands for a Python number: promotes to the other operand's dtype
  bool is_view = false;        // made by a view op: shows (part of) another tensor
  uint32_t output_nr = 0;      // which output of grad_fn
  uint32_t history = 0;        // of the storage when this view was taken; kDetached: it never had any
  Ref<Node> grad_fn;
  Ref<TensorImpl> grad;
  Ref<Watches> watches;       // of a leaf; those of other tensors belong to grad_fn
  bool retains_grad = false;  // keeps its gradient in `grad` though it is not a leaf
  void* py_object = nullptr;  // the Python object that shows this tensor, while there is one; not owned

  ~TensorImpl();
  void retain() { refs_.fetch_add(1, std::memory_order_relaxed); }
  void release() {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }
  bool unique() const { return refs_.load(std::memory_order_acquire) == 1; }

 private:
  std::atomic<uint32_t> refs_{1};
};

class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(Ref<TensorImpl> impl) : impl_(std::move(impl)) {}

  bool defined() const { return static_cast<bool>(impl_); }
  TensorImpl* impl() const { return impl_.get(); }
  const Ref<TensorImpl>& ref() const { return impl_; }

  const Dims& shape() const { return impl_->shape; }
  const Dims& strides() const { return impl_->strides; }
  int dim() const { return impl_->shape.size(); }
  int64_t size(int i) const { return impl_->shape[i]; }
  int64_t numel() const { return impl_->numel; }
  DType dtype() const { return impl_->dtype; }
  Device device() const { return impl_->storage->device; }
  void* data() const {
    return static_cast<char*>(impl_->storage->data) +
           impl_->offset * static_cast<int64_t>(size_of(impl_->dtype));
  }
  template <class T>
  T* data() const {
    return static_cast<T*>(data());
  }

  bool is_contiguous() const;  // row-major without gaps
  bool is_dense() const;       // a permutation of row-major: every element of a block once
  bool requires_grad() const { return impl_->requires_grad || impl_->grad_fn; }
  bool is_leaf() const { return !impl_->grad_fn; }
  bool is_stale_view() const {  // of a tensor that a recorded write gave another history
    return impl_->is_view && impl_->history != TensorImpl::kDetached &&
           impl_->history != impl_->storage->history.load(std::memory_order_relaxed);
  }
  bool sole_owner() const {
    return impl_->unique() && impl_->storage->unique() && !impl_->storage->borrowed();
  }
  void bump_version() const { impl_->storage->version.fetch_add(1, std::memory_order_relaxed); }

 private:
  Ref<TensorImpl> impl_;
};

// New memory, not initialised.
Tensor empty(const char* op, const Dims& shape, DType dtype, Device device = {});
Tensor empty_strided(const char* op, const Dims& shape, const Dims& strides, DType dtype, Device device);
// Of x's shape and, where x is dense, x's order of dimensions in memory.
Tensor empty_like(const Tensor& x);
Tensor empty_like(const Tensor& x, DType dtype);
Tensor from_memory(void* data, const Dims& shape, const Dims& strides, DType dtype, Device device,
                   void (*deleter)(void*), void* owner);
// Whether a write to one could change the other. Memory of somebody else's has a storage per import: there
// addresses tell.
bool may_overlap(const Tensor& a, const Tensor& b);
// Another view of x's storage; no history.
Tensor alias(const Tensor& x, const Dims& shape, const Dims& strides, int64_t offset);
Tensor bytes_of(const Tensor& x);  // the memory of a bool tensor as uint8
inline Tensor detach(const Tensor& x) { return alias(x, x.shape(), x.strides(), x.impl()->offset); }

// A Python number as a 0-d tensor that gives way in promotion, for ops that take tensors only.
Tensor scalar(double value);
Tensor scalar(int64_t value);
Tensor scalar(bool value);

// The loop nest of operands already broadcast to one shape; strides[0] is the output's. Dimensions are put in
// the output's memory order and merged wherever every operand allows.
template <int N>
Loop<N> make_loop(const Dims& shape, const Dims (&strides)[N]);
void fill_loop(int operands, const Dims& shape, const Dims* strides, int* ndim, int64_t* numel,
               int64_t* extent, int64_t (*stride)[kMaxDims]);
// The strides of x seen through `shape`, which x's shape broadcasts to: 0 where it repeats.
Dims broadcast_strides(const Tensor& x, const Dims& shape);

}  // namespace fastnn
