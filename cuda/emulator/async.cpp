// cp.async: data moves at some time between issue and the wait that covers it, usually as late as it can.
// Until that wait the destination belongs to nobody, the issuing thread included; at it, its bytes count as
// written by that thread, so that others need a barrier.
#include <vector>

#include "cuda/emulator/ptx.h"
#include "cuda/emulator/runtime.h"

namespace fastnn::emulator {
namespace {

struct Copy {
  uintptr_t to;
  const void* from;
  unsigned bytes, group;
  bool valid, done;
};
std::vector<Copy> issued[kMaxThreads];  // in order of issue

void move_data(Copy& c) {
  if (c.done) return;
  c.done = true;
  void* to = reinterpret_cast<void*>(c.to);
  if (c.valid)
    memcpy(to, c.from, c.bytes);
  else
    memset(to, 0, c.bytes);
}

void finish(Copy& c) {
  move_data(c);
  const Region& g = machine.shared;
  for (size_t i = c.to - g.begin; i < c.to - g.begin + c.bytes; ++i) {
    g.written[i] = running.stamp;
    g.read[i] = 0;
  }
}

bool now_and_then() { return draw() % 8 == 0; }

}  // namespace

void copy_async(void* shared, const void* global, unsigned bytes, bool valid, Site site) {
  const auto to = reinterpret_cast<uintptr_t>(shared), from = reinterpret_cast<uintptr_t>(global);
  const auto code = reinterpret_cast<uintptr_t>(__builtin_return_address(0));
  const char* where = file_name(site.file);
  Machine& m = machine;
  if (!m.shared.contains(to))
    fault("copy_async at %s:%d: the destination is not in shared memory", where, site.line);
  if (to % bytes) fault("misaligned: copy_async at %s:%d: destination, %u bytes", where, site.line, bytes);
  if (valid && from % bytes)
    fault("misaligned: copy_async at %s:%d: source, %u bytes", where, site.line, bytes);
  if (valid && m.shared.contains(from))
    fault("copy_async at %s:%d: the source is in shared memory", where, site.line);
  if (valid) check_access(from, bytes, Access::read, code);
  check_access(to, bytes, Access::write, code);
  for (unsigned i = 0; i < bytes; ++i) m.shared.written[to - m.shared.begin + i] = kPending;
  Fiber& self = *m.current;
  issued[self.thread].push_back({to, global, bytes, self.groups, valid, false});
  if (now_and_then()) move_data(issued[self.thread].back());
}

void commit_copies() { ++machine.current->groups; }

void wait_copies(unsigned groups) {
  Fiber& self = *machine.current;
  std::vector<Copy>& copies = issued[self.thread];
  const unsigned kept_from = self.groups > groups ? self.groups - groups : 0;
  size_t n = 0;
  while (n < copies.size() && copies[n].group < kept_from) finish(copies[n++]);
  copies.erase(copies.begin(), copies.begin() + static_cast<ptrdiff_t>(n));
}

void finish_copies(Fiber& self) {
  std::vector<Copy>& copies = issued[self.thread];
  for (Copy& c : copies) finish(c);
  copies.clear();
}

void forget_copies() {
  for (auto& copies : issued) copies.clear();
}

void maybe_copy_some(Fiber& self) {
  std::vector<Copy>& copies = issued[self.thread];
  if (copies.empty() || !now_and_then()) return;
  for (Copy& c : copies) move_data(c);
}

}  // namespace fastnn::emulator
