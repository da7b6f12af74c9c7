// Hooks and the tape as Python sees them.
#pragma once
#include "core/autograd.h"

#include "python/instance.h"

namespace fastnn {

// A hook that was registered.
struct PyHook {
  Ref<Watches> watches;
  uint64_t id;
  void remove();
};

// What a hook of Python's is in C++.
struct PyGradHook {
  Object hook;
  Tensor operator()(const Tensor& grad) const;
};

// A node of the tape, for inspection.
struct PyNode {
  Ref<Node> node;
  Object next_functions() const;  // a tuple
};

template <>
inline constexpr const char* class_name<PyHook> = "HookHandle";
template <>
inline constexpr const char* class_name<PyNode> = "Node";

// What ctx.save_for_backward() keeps: with its version, and without history if the function itself made it.
struct PySaved {
  Saved saved;
  PySaved(const Tensor& t, int64_t output_nr)  // -1: no output
      : saved(output_nr < 0 ? save(t) : save_output(t, static_cast<uint32_t>(output_nr))) {}
  Tensor get(const Object& during) const;
};
template <>
inline constexpr const char* class_name<PySaved> = "_Saved";

}  // namespace fastnn
