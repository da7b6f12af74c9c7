#include "cpu/host/caches.h"

#include <stdlib.h>
#include <unistd.h>

namespace fastnn {
namespace {

int64_t from_system(int name, int64_t otherwise) {
  const long bytes = sysconf(name);
  return bytes > 0 ? bytes : otherwise;
}

// "32K", "16M", or bytes; moves `text` behind the number and a comma. 0 where there is none.
int64_t next_size(const char*& text) {
  char* end;
  int64_t size = strtoll(text, &end, 10);
  if (*end == 'K' || *end == 'k') size <<= 10, ++end;
  if (*end == 'M' || *end == 'm') size <<= 20, ++end;
  text = *end == ',' ? end + 1 : end;
  return size;
}

Caches read_caches() {
  Caches c;
#if defined(_SC_LEVEL1_DCACHE_SIZE)
  c.l1 = from_system(_SC_LEVEL1_DCACHE_SIZE, c.l1);
  c.l2 = from_system(_SC_LEVEL2_CACHE_SIZE, c.l2);
  c.l3 = from_system(_SC_LEVEL3_CACHE_SIZE, c.l3);
#endif
  if (const char* wanted = getenv("FASTNN_CACHES")) {
    for (int64_t* size : {&c.l1, &c.l2, &c.l3})
      if (const int64_t bytes = next_size(wanted); bytes > 0) *size = bytes;
  }
  return c;
}

}  // namespace

const Caches& caches() {
  static const Caches read = read_caches();
  return read;
}

}  // namespace fastnn
