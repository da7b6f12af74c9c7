// The CUDA runtime's functions that cuda/backend.cu calls, without a device: they print what was asked for
// and which device was current. main() walks through the backend; tests/test_cuda_runtime.py reads what was
// printed.
#include <cuda_runtime.h>
#include <stdio.h>
#include <stdlib.h>

#include <thread>
#include <utility>

#include "backend/backend.h"

namespace {
thread_local int current = 0;
thread_local cudaError_t last = cudaSuccess;
bool events_are_over = false, events_can_be_had = true;

template <class... Parts>
cudaError_t log(const char* format, Parts... parts) {
  printf("%d: ", current);
  printf(format, parts...);
  puts("");
  return cudaSuccess;
}
int number(cudaStream_t s) { return static_cast<int>(reinterpret_cast<uintptr_t>(s)); }
cudaError_t make(void** p) { return *p = malloc(128), cudaSuccess; }
}  // namespace

extern "C" {
const char* cudaGetErrorName(cudaError_t) { return "name"; }
const char* cudaGetErrorString(cudaError_t) { return "words"; }
cudaError_t cudaGetLastError() { return std::exchange(last, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return last; }
cudaError_t cudaGetDevice(int* device) { return *device = current, cudaSuccess; }
cudaError_t cudaSetDevice(int device) { return current = device, cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* count) { return *count = 3, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int* version) { return *version = 13000, cudaSuccess; }
cudaError_t cudaDriverGetVersion(int* version) { return *version = 13000, cudaSuccess; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) {
  *p = {};
  p->major = 9;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t*, size_t*) { return cudaSuccess; }

cudaError_t cudaMalloc(void** p, size_t) { return make(p); }
cudaError_t cudaMemsetAsync(void*, int, size_t, cudaStream_t s) { return log("zeros on %d", number(s)); }
cudaError_t cudaFree(void* p) { return free(p), p ? log("free") : cudaSuccess; }
cudaError_t cudaHostAlloc(void** p, size_t, unsigned) { return make(p); }
cudaError_t cudaFreeHost(void* p) { return free(p), log("free pinned"); }
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* a, const void*) {
  a->type = cudaMemoryTypeUnregistered;
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void*, const void*, size_t, cudaMemcpyKind, cudaStream_t s) {
  return log("copy on %d", number(s));
}
cudaError_t cudaMemcpyPeerAsync(void*, int to, const void*, int from, size_t, cudaStream_t s) {
  return log("copy %d to %d on %d", from, to, number(s));
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) {
  *s = reinterpret_cast<cudaStream_t>(uintptr_t{100});
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) { return log("wait for %d", number(s)); }
cudaError_t cudaStreamQuery(cudaStream_t s) { return log("ask %d", number(s)), last = cudaErrorNotReady; }
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t, unsigned) {
  return log("%d waits for the event", number(s));
}
cudaError_t cudaDeviceSynchronize() { return log("wait for all"); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) {
  return events_can_be_had ? make(reinterpret_cast<void**>(e)) : last = cudaErrorMemoryAllocation;
}
cudaError_t cudaEventDestroy(cudaEvent_t e) { return free(e), cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t s) { return log("event after %d", number(s)); }
cudaError_t cudaEventSynchronize(cudaEvent_t) { return log("wait for an event"); }
cudaError_t cudaEventQuery(cudaEvent_t) { return events_are_over ? cudaSuccess : last = cudaErrorNotReady; }
cudaError_t cudaEventElapsedTime(float*, cudaEvent_t, cudaEvent_t) { return cudaSuccess; }

const fastnn::Backend* fastnn_cuda_backend(const char** why_not);
}

namespace fastnn::cuda {
const Kernels& kernel_table() {
  static const Kernels table{};
  return table;
}
const std::string& forced_plan_mistake() {
  static const std::string none;
  return none;
}
}  // namespace fastnn::cuda

int main() {
  using namespace fastnn;
  const char* why_not = nullptr;
  const Backend& b = *fastnn_cuda_backend(&why_not);
  const Streams& streams = *b.streams;
  char bytes[8];

  puts("# contexts");
  b.context(0), b.context(1);
  b.context(0);
  puts("# an index out of range");
  BadIndex note{};
  printf("%d", b.take_bad_index(1, &note));
  BadIndex& place = *b.context(1).bad_index;
  place = {.taken = 1, .rule = {"index", 3, 0}, .index = 5};
  printf(" %d", b.take_bad_index(1, &note));  // it is being written
  place.taken = 2;
  printf(" %d %d", b.take_bad_index(0, &note), b.take_bad_index(1, &note));
  printf(" %s %d %d\n", note.rule.op, static_cast<int>(note.index), b.take_bad_index(1, &note));
  puts("# a copy from device 0 to device 1, default streams");
  b.copy(bytes, 1, bytes, 0, sizeof bytes, true);
  puts("# the default stream of device 0 while 1 is current");
  streams.synchronize(0, 0);
  puts("# questions");
  const bool idle = streams.idle(0, 0), done = streams.event_done(nullptr);
  printf("%d %d, error %d\n", idle, done, last);
  puts("# pinned memory");
  void* const pinned = streams.allocate_pinned(8);
  streams.release_pinned(pinned);
  void* const meanwhile = streams.allocate_pinned(8);
  events_are_over = true;
  printf("another: %d, the same: %d\n", meanwhile != pinned, streams.allocate_pinned(4096) == pinned);
  puts("# more pinned memory");
  streams.release_pinned(pinned);
  puts("# pinned memory to the system");
  streams.release_cached_pinned();
  puts("# pinned memory without events");
  events_can_be_had = false;
  streams.release_pinned(meanwhile);
  events_can_be_had = true, events_are_over = false;
  puts("# scratch");
  Context& ctx = b.context(0);
  b.reserve(ctx, 100);
  const char* before = ctx.scratch;
  const unsigned* tickets = ctx.tickets;
  streams.select(0, 3);
  const bool own_tickets = ctx.tickets && ctx.tickets != tickets;
  const bool fresh = ctx.scratch == nullptr && ctx.scratch_bytes == 0;
  streams.select(0, 0);
  printf("%d %d\n", fresh && own_tickets, ctx.scratch == before && ctx.tickets == tickets);
  puts("# a thread ends");
  std::thread([&] { b.reserve(b.context(1), 100); }).join();
}
