// What code compiled with -fsanitize=alignment,bounds,shift,integer-divide-by-zero calls where it goes wrong:
// an address that is not fit for its type, an index beyond a local array, a shift by too much, a division by
// zero. The structures are those of the compilers' interface to their run-time library.
#include "cuda/emulator/runtime.h"

namespace fastnn::emulator {
namespace {

struct Location {
  const char* file;
  uint32_t line, column;
};
struct Type {
  uint16_t kind, info;  // info of an integer: 2 * log2(bits) + signed
  char name[1];
};
struct Mismatch {
  Location at;
  const Type* type;
  unsigned char log_alignment, access;
};
struct Bounds {
  Location at;
  const Type *array, *index;
};
struct Operands {
  Location at;
  const Type *left, *right;
};

// Values of up to 64 bits come in a word, wider ones through a pointer.
long long value_of(const Type* type, uintptr_t word) {
  const unsigned bits = 1u << (type->info >> 1);
  if (bits >= 64) return static_cast<long long>(word);
  const uint64_t kept = word & ((uint64_t{1} << bits) - 1);
  const bool negative = (type->info & 1) && kept >> (bits - 1);
  return static_cast<long long>(negative ? kept | ~uint64_t{0} << bits : kept);
}

}  // namespace
}  // namespace fastnn::emulator

using namespace fastnn::emulator;

extern "C" {
void __ubsan_handle_type_mismatch_v1(Mismatch* data, void* p) {
  if (!in_kernel()) return;
  const auto a = reinterpret_cast<uintptr_t>(p);
  char where[300];
  describe(a, where, sizeof where);
  fault("%s: access to %s at %s, which is not a multiple of %d (%s:%u)", a ? "misaligned" : "null pointer",
        data->type->name, where, 1 << data->log_alignment, file_name(data->at.file), data->at.line);
}
void __ubsan_handle_out_of_bounds(Bounds* data, uintptr_t index) {
  if (!in_kernel()) return;
  fault("out of bounds: index %lld of %s (%s:%u)", value_of(data->index, index), data->array->name,
        file_name(data->at.file), data->at.line);
}
void __ubsan_handle_shift_out_of_bounds(Operands* data, uintptr_t left, uintptr_t right) {
  if (!in_kernel()) return;
  fault("%s %lld is shifted by %lld (%s:%u)", data->left->name, value_of(data->left, left),
        value_of(data->right, right), file_name(data->at.file), data->at.line);
}
void __ubsan_handle_divrem_overflow(Operands* data, uintptr_t, uintptr_t) {
  if (!in_kernel()) return;
  fault("division of %s by zero (%s:%u)", data->left->name, file_name(data->at.file), data->at.line);
}
}
