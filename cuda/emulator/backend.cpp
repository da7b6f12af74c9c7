// The emulated devices as a backend. Work is done when it is asked for, so streams and events only keep up
// appearances.
#include "backend/backend.h"

#include <stdlib.h>

#include <chrono>
#include <mutex>
#include <string>
#include <vector>

#include "cuda/emulator/runtime.h"

namespace fastnn::cuda {
const Kernels& kernel_table();
const std::string& forced_plan_mistake();  // cuda/common/forced_plan.h
}  // namespace fastnn::cuda

namespace fastnn::emulator {
namespace {

constexpr int kMultiprocessors = 4;

const char* error() {
  thread_local std::string text = "no reason was given";
  if (const char* fault = fastnn_emulator_fault(); *fault) text = fault;
  return text.c_str();
}

Status checked(bool good) { return good ? Status::ok : Status::device_error; }

// Scratch lasts for one launch and has the size that was asked for, so that its bounds are checked too.
void drop_scratch(Context& ctx) {
  if (ctx.scratch) release(ctx.device, ctx.scratch);
  ctx.scratch = nullptr;
  ctx.scratch_bytes = 0;
}

void* handle(int device, int stream) {
  constexpr uintptr_t kDefault = 1;  // as CUDA's legacy stream
  if (stream == 0) return reinterpret_cast<void*>(kDefault);
  return reinterpret_cast<void*>(uintptr_t{0x1000} * static_cast<unsigned>(device + 1) +
                                 16u * static_cast<unsigned>(stream));
}

const std::atomic<bool> never{false};

// What kernels of a device count and note in, besides their operands: tickets, then a note.
constexpr size_t kTicketBytes = kTickets * sizeof(unsigned);
char* counters(int device) {
  static std::mutex mutex;
  static char* made[kMaxDevices];
  const std::lock_guard lock(mutex);
  if (!made[device]) {
    const std::vector<char> zeros(kTicketBytes + sizeof(BadIndex));
    made[device] = static_cast<char*>(allocate(device, zeros.size()));
    copy(made[device], device, zeros.data(), kHost, zeros.size());
  }
  return made[device];
}

bool take_bad_index(int device, BadIndex* note) {
  char* const place = counters(device) + kTicketBytes;
  copy(note, kHost, place, device, sizeof *note);
  if (note->taken == 0) return false;
  const BadIndex none{};
  copy(place, device, &none, kHost, sizeof none);
  return true;
}

Context& context(int device) {
  thread_local Context contexts[kMaxDevices];
  Context& ctx = contexts[device];
  ctx.device = device;
  ctx.capability = capability();
  ctx.multiprocessors = kMultiprocessors;
  ctx.stream = handle(device, ctx.stream_number);
  if (!ctx.cancel) ctx.cancel = &never;
  ctx.tickets = reinterpret_cast<unsigned*>(counters(device));
  ctx.bad_index = reinterpret_cast<BadIndex*>(counters(device) + kTicketBytes);
  drop_scratch(ctx);
  return ctx;
}

thread_local std::vector<Operand> operands;  // of the kernel about to be called

void tell_operands(const Context& ctx) {
  std::vector<Operand> all = operands;
  const auto counts = reinterpret_cast<uintptr_t>(ctx.tickets);
  all.push_back({counts, counts + kTicketBytes + sizeof(BadIndex), true, true});
  if (ctx.scratch) {
    const auto at = reinterpret_cast<uintptr_t>(ctx.scratch);
    all.push_back({at, at + ctx.scratch_bytes, true, true});
  }
  expect(all.data(), static_cast<int>(all.size()));
}
void expect_operands(Context& ctx, const Touch* touches, int count) {
  operands.clear();
  for (int i = 0; i < count; ++i) {
    const auto at = reinterpret_cast<uintptr_t>(touches[i].data);
    const fastnn::Access access = touches[i].access;
    operands.push_back({at, at + static_cast<size_t>(touches[i].extent), access != fastnn::Access::write,
                        access != fastnn::Access::read});
  }
  if (count > 0)
    tell_operands(ctx);
  else
    expect(nullptr, 0);
}

bool reserve_scratch(Context& ctx, size_t bytes) {
  drop_scratch(ctx);
  ctx.scratch = static_cast<char*>(allocate(ctx.device, bytes));
  ctx.scratch_bytes = ctx.scratch ? bytes : 0;
  if (!operands.empty()) tell_operands(ctx);
  return ctx.scratch != nullptr;
}

Status properties(int device, DeviceProperties* out) {
  snprintf(out->name, sizeof out->name, "emulated CUDA device");
  out->capability = capability();
  out->multiprocessors = kMultiprocessors;
  out->memory = memory_bytes();
  out->free_memory = free_memory_bytes(device);
  return Status::ok;
}

using Clock = std::chrono::steady_clock;
struct Event {
  Clock::time_point at;
};

Status record(void* event, int, int) {
  static_cast<Event*>(event)->at = Clock::now();
  return Status::ok;
}
Status elapsed(void* start, void* end, float* milliseconds) {
  const auto between = static_cast<Event*>(end)->at - static_cast<Event*>(start)->at;
  *milliseconds = std::chrono::duration<float, std::milli>(between).count();
  return Status::ok;
}

constexpr Streams stream_functions{
    .select = [](int device, int stream) { context(device).stream_number = stream; },
    .handle = handle,
    .order = [](int, void*, void*) { return Status::ok; },
    .synchronize = [](int, int) { return Status::ok; },
    .idle = [](int, int) { return true; },
    .create_event = [](int, bool) -> void* { return new Event; },
    .destroy_event = [](void* event) { delete static_cast<Event*>(event); },
    .record = record,
    .wait = [](void*, int, int) { return Status::ok; },
    .synchronize_event = [](void*) { return Status::ok; },
    .event_done = [](void*) { return true; },
    .elapsed = elapsed,
    .owner =
        [](const void* memory, int) {
          const int device = device_containing(reinterpret_cast<uintptr_t>(memory));
          return device < 0 ? kHost : device;
        },
    .allocate_pinned = [](size_t bytes) { return malloc(bytes); },
    .release_pinned = [](void* memory) { free(memory); },
    .release_cached_pinned = [] {},
    .properties = properties};

}  // namespace
}  // namespace fastnn::emulator

extern "C" __attribute__((visibility("default"))) const fastnn::Backend* fastnn_cuda_backend(
    const char** why_not) {
  using namespace fastnn;
  if (!cuda::forced_plan_mistake().empty()) {
    *why_not = cuda::forced_plan_mistake().c_str();
    return nullptr;
  }
  if (emulator::device_count() == 0) {
    *why_not = "FASTNN_EMULATOR_DEVICES asks for no device";
    return nullptr;
  }
  static const Backend backend{
      .abi = FASTNN_ABI,
      .name = "cuda",
      .kernels = &cuda::kernel_table(),
      .exact_memory = true,
      .device_count = emulator::device_count,
      .allocate = [](size_t bytes, int device) { return emulator::allocate(device, bytes); },
      .release = [](void* memory, size_t, int device) { emulator::release(device, memory); },
      .copy = [](void* dst, int to, const void* src, int from, size_t bytes,
                 bool) { return emulator::checked(emulator::copy(dst, to, src, from, bytes)); },
      .synchronize = [](int) { return Status::ok; },
      .context = emulator::context,
      .reserve = emulator::reserve_scratch,
      .error = emulator::error,
      .take_bad_index = emulator::take_bad_index,
      .expect = emulator::expect_operands,
      .streams = &emulator::stream_functions};
  return &backend;
}
