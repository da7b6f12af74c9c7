// Passes on several threads add to one tensor's .grad one after another.
#pragma once

namespace fastnn {

class TensorImpl;

// Held for the length of one sum. Who has to wait gives the host's lock away; a thread that holds one may
// take it again. A forked child finds all of them free.
class GradLock {
 public:
  explicit GradLock(const TensorImpl* tensor);
  ~GradLock();
  GradLock(const GradLock&) = delete;
  GradLock& operator=(const GradLock&) = delete;

 private:
  struct Slot;
  Slot* slot_;  // null where this thread held it already
};

}  // namespace fastnn
