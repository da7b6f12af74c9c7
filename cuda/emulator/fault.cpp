// What a fault says.
#include <dlfcn.h>
#include <stdarg.h>

#include <string>

#include "cuda/emulator/runtime.h"

namespace fastnn::emulator {
namespace {

thread_local std::string last;

[[noreturn]] void end_launch(const Fiber& f, const char* format, va_list args) {
  Machine& m = machine;
  char what[1400], text[2000];
  vsnprintf(what, sizeof what, format, args);
  snprintf(text, sizeof text, "kernel %s, block (%u, %u, %u), thread (%u, %u, %u): %s", m.kernel,
           m.block_index.x, m.block_index.y, m.block_index.z, f.index.x, f.index.y, f.index.z, what);
  record(text);
  m.failed = true;
  void* nowhere;
  fastnn_emulator_switch(&nowhere, m.host_sp);
  __builtin_unreachable();
}

// "3..17" for threads first to last.
void append_threads(std::string& out, unsigned first, unsigned last_one) {
  char text[96];
  describe_thread(first, text, sizeof text);
  out += text;
  if (first == last_one) return;
  describe_thread(last_one, text, sizeof text);
  out += " to ";
  out += text;
}

std::string waits_for(const Fiber& f) {
  if (f.state == State::done) return "exited";
  char text[200];
  snprintf(text, sizeof text, f.state == State::ready ? "spinning" : "waiting at %s at %s:%d", f.arrival.name,
           file_name(f.arrival.site.file), f.arrival.site.line);
  std::string s = text;
  if (f.state == State::at_collective) {
    snprintf(text, sizeof text, " with mask 0x%08x", f.arrival.mask);
    s += text;
  }
  return s;
}

}  // namespace

void record(const char* text) { last = text; }

void fault(const char* format, ...) {
  va_list args;
  va_start(args, format);
  end_launch(*machine.current, format, args);
}
void fault_in(const Fiber& f, const char* format, ...) {
  va_list args;
  va_start(args, format);
  end_launch(f, format, args);
}

void fault_stuck() {
  const Machine& m = machine;
  std::string who;
  for (unsigned t = 0; t < m.threads && who.size() < 900;) {
    const std::string what = waits_for(m.fibers[t]);
    unsigned end = t + 1;
    while (end < m.threads && waits_for(m.fibers[end]) == what) ++end;
    who += who.empty() ? "" : "; ";
    append_threads(who, t, end - 1);
    who += ": " + what;
    t = end;
  }
  static char text[1200];  // the strings above are not destroyed when the launch ends
  snprintf(text, sizeof text, "%s", who.c_str());
  std::string().swap(who);
  const Fiber* waiting = m.current;
  for (unsigned t = 0; t < m.threads; ++t)
    if (m.fibers[t].state != State::done) waiting = &m.fibers[t];
  fault_in(*waiting, "deadlock, nobody can go on: threads %s", text);
}

const char* file_name(const char* path) {
  const char* slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

void describe_thread(unsigned thread, char* text, size_t size) {
  const uint3 i = machine.fibers[thread].index;
  if (machine.block.y == 1 && machine.block.z == 1)
    snprintf(text, size, "%u", i.x);
  else
    snprintf(text, size, "(%u, %u, %u)", i.x, i.y, i.z);
}

uintptr_t code_base() { return reinterpret_cast<uintptr_t>(&fastnn_emulator_switch); }

void describe_code(uintptr_t code, char* text, size_t size) {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(code), &info) && info.dli_fname)
    snprintf(text, size, " (%s+0x%zx)", file_name(info.dli_fname),
             size_t(code - reinterpret_cast<uintptr_t>(info.dli_fbase) - 1));
  else
    snprintf(text, size, " (code at 0x%zx)", size_t(code));
}

void describe(uintptr_t a, char* text, size_t size) {
  const Machine& m = machine;
  if (m.shared.contains(a)) {
    const Piece* nearest = nullptr;
    long distance = 0;
    for (int i = 0; i < m.taken_pieces; ++i) {
      const Piece& p = m.pieces[i];
      const long d = a < p.at ? long(p.at - a) : a < p.at + p.exact ? 0 : long(a - p.at - p.exact) + 1;
      if (!nearest || d < distance) nearest = &p, distance = d;
    }
    if (nearest)
      snprintf(text, size, "shared piece %d of %zu bytes %s %zu", int(nearest - m.pieces), nearest->exact,
               a < nearest->at ? "-" : "+", size_t(a < nearest->at ? nearest->at - a : a - nearest->at));
    else
      snprintf(text, size, "shared memory of no piece");
    return;
  }
  const int index = device_containing(a);
  if (index >= 0) {
    const int n = snprintf(text, size, "device %d, ", index);
    describe_device(*device(index), a, text + n, size - static_cast<size_t>(n));
    return;
  }
  Dl_info info;
  if (in_stacks(a))
    snprintf(text, size, "the stack of a thread");
  else if (dladdr(reinterpret_cast<void*>(a), &info) && info.dli_sname)
    snprintf(text, size, "%s of the host (0x%zx)", info.dli_sname, size_t(a));
  else
    snprintf(text, size, "0x%zx", size_t(a));
}

}  // namespace fastnn::emulator

extern "C" __attribute__((visibility("default"))) const char* fastnn_emulator_fault() {
  using namespace fastnn::emulator;
  static thread_local std::string told;
  told.swap(last);
  last.clear();
  return told.c_str();
}
