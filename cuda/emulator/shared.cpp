// A block's shared memory: the pieces that its threads have taken, apart by red zones.
#include "cuda/emulator/runtime.h"

namespace fastnn::emulator {

bool map_shared(Region& g) {
  constexpr size_t kBytes = size_t{512} << 10;  // the largest block's with red zones
  return g.begin || g.map(reserve(kBytes), kBytes);
}

void* take_shared(unsigned* offset, size_t bytes, size_t exact) {
  Machine& m = machine;
  constexpr size_t kRedZone = 256;
  const unsigned from = *offset;
  *offset += static_cast<unsigned>(bytes);
  if (!exact) return reinterpret_cast<void*>(m.shared.begin);
  for (int i = 0; i < m.taken_pieces; ++i) {
    const Piece& p = m.pieces[i];
    if (p.offset != from) continue;
    if (p.bytes != bytes || p.exact != exact)
      fault("it takes %zu bytes of shared memory at offset %u, where another thread took %zu", exact, from,
            p.exact);
    return reinterpret_cast<void*>(p.at);
  }
  const Piece* last = m.taken_pieces ? &m.pieces[m.taken_pieces - 1] : nullptr;
  if (from != (last ? last->offset + last->bytes : 0))
    fault("it takes shared memory at offset %u, which is not where another thread's piece begins", from);
  if (from + bytes > m.shared_bytes)
    fault("it takes shared memory up to byte %zu, but the launch gave it %zu", from + bytes, m.shared_bytes);
  if (m.taken_pieces == kMaxPieces) fault("it takes more than %d pieces of shared memory", kMaxPieces);
  const uintptr_t at = (last ? last->at + last->bytes : m.shared.begin) + kRedZone;
  Piece& p = m.pieces[m.taken_pieces];
  const bool known =
      m.taken_pieces < m.known_pieces && p.offset == from && p.bytes == bytes && p.exact == exact;
  if (!known) {  // an earlier block took nothing like it
    if (m.pieces_end > at) m.shared.mark(at, m.pieces_end - at, kPoison);
    p = {from, bytes, exact, at};
    m.shared.mark(at, exact, kUnwritten);
    m.pieces_end = at + bytes;
    m.known_pieces = m.taken_pieces + 1;
  }
  ++m.taken_pieces;
  return reinterpret_cast<void*>(at);
}

}  // namespace fastnn::emulator
