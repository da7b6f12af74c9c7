// Indices and class labels are checked once, by the kernel that reads them. It passes over one that is out of
// range, which reads and writes nothing, and leaves a note of the first; launch_kernel or, where the device
// runs behind, the next call that waits for it raises the error.
#pragma once
#include <stdint.h>

namespace fastnn {

struct IndexRule {
  static constexpr int64_t kLabels = -1;

  const char* op;            // that was called; lives as long as the process
  int64_t size;              // indices are in [-size, size), labels in [0, size)
  int64_t dim;               // of the tensor that is indexed; kLabels: these are class labels
  int64_t ignore_index = 0;  // a label that needs no class
};

struct BadIndex {
  unsigned taken;  // 0: there is none; 1: it is being written; 2: it is there
  IndexRule rule;
  int64_t index;
};

// Of a host's threads the first one leaves its note.
inline void note_bad_index(BadIndex& note, const IndexRule& rule, int64_t index) {
  unsigned none = 0;
  if (!__atomic_compare_exchange_n(&note.taken, &none, 1u, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return;
  note.rule = rule;
  note.index = index;
  __atomic_store_n(&note.taken, 2u, __ATOMIC_RELEASE);
}

}  // namespace fastnn
