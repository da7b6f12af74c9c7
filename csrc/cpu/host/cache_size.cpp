#include "cpu/host/cache_size.h"

#include <stdlib.h>
#include <unistd.h>

#include "backend/context.h"

namespace fastnn {
namespace {

// "512K", "2M", or bytes.
int64_t parse_size(const char* text) {
  char* end;
  const int64_t size = strtoll(text, &end, 10);
  return size << (*end == 'K' ? 10 : *end == 'M' ? 20 : 0);
}

int64_t read_l2() {
  if (const char* wanted = getenv("FASTNN_L2"))
    if (const int64_t bytes = parse_size(wanted); bytes > 0) return bytes;
#if defined(_SC_LEVEL2_CACHE_SIZE)
  if (const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE); bytes > 0) return bytes;
#endif
  return Context().l2;
}

}  // namespace

int64_t l2_bytes() {
  static const int64_t bytes = read_l2();
  return bytes;
}

}  // namespace fastnn
