#include "ops/view/device.h"

#include <cstring>

#include "ops/elementwise/copy.h"
#include "ops/support.h"

namespace fastnn {

Tensor to_device(const Tensor& x, Device device, bool non_blocking) {
  if (x.device() == device) return x;
  const Device home = x.device();
  const Backend& to = backend_of(device);  // refuses a device that cannot be used
  const Backend& from = backend_of(home);
  OpScope scope("to", x);
  scope.with("device", device);
  scope.with("non_blocking", non_blocking);
  const Tensor src = contiguous(x);
  Tensor y = empty("to", x.shape(), x.dtype(), device);
  const size_t bytes = static_cast<size_t>(x.numel()) * size_of(x.dtype());
  const bool up = device.type != DeviceType::cpu, down = home.type != DeviceType::cpu;
  if (bytes > 0) {
    const Backend& mover = up ? to : from;
    Unlocked scope(down && !up);
    // Only pinned memory may still be read after the return: the caller knows of no other (a copy made here,
    // say).
    const bool wait = !(non_blocking && src.impl()->storage->pinned);
    const Status status =
        mover.copy(y.data(), up ? device.index : kHost, src.data(), down ? home.index : kHost, bytes, wait);
    if (status != Status::ok) fail_launch("to", status, up ? device : home);
    if (down) raise_bad_index(mover, home);
  }
  if (wants_grad(x)) record("to", y, {x}, [home](Backward& g) { g.set(0, to_device(g.dy(), home)); });
  return scope.returns(std::move(y));
}

Tensor beside(const char* op, const Tensor& x, const Tensor& like) {
  if (x.device() == like.device()) return x;
  check(x.dim() == 0 && x.device().type == DeviceType::cpu, ErrorKind::runtime, op,
        ": the operands are on different devices, ", x.device(), " and ", like.device(),
        "; move one with .to()");
  if (wants_grad(x)) return to_device(x, like.device());
  // A fill carries the number in its parameters: nothing is copied.
  Tensor y = full({}, x, x.dtype(), like.device());
  y.impl()->weak = x.impl()->weak;
  return y;
}

Tensor pin_memory(const Tensor& x) {
  check_defined("pin_memory", "input", x);
  check(x.device().type == DeviceType::cpu, ErrorKind::runtime,
        "pin_memory: only CPU tensors can be pinned, got one on ", x.device());
  if (x.impl()->storage->pinned) return x;
  OpScope scope("pin_memory", x);
  const Backend& cuda = backend_of({DeviceType::cuda, 0});
  const Tensor src = contiguous(detach(x));
  const size_t bytes = static_cast<size_t>(x.numel()) * size_of(x.dtype());
  void* memory = cuda.streams->allocate_pinned(std::max<size_t>(bytes, 1));
  check(memory, ErrorKind::memory, "pin_memory: ", bytes,
        " bytes of pinned memory could not be had: ", cuda.error());
  if (bytes > 0) memcpy(memory, src.data(), bytes);
  Tensor y = from_memory(memory, x.shape(), row_major_strides(x.shape()), x.dtype(), {},
                         cuda.streams->release_pinned, memory);
  y.impl()->storage->pinned = true;
  if (wants_grad(x)) record("pin_memory", y, {x}, [](Backward& g) { g.set(0, g.dy()); });
  return scope.returns(std::move(y));
}

}  // namespace fastnn
