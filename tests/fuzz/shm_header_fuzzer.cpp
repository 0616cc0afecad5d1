// Goal: whatever stands in shared memory, a reader that attaches stays inside it and comes back.
// Method: the bytes are a header and some rows. If the header is believed, a reader that maps exactly as much
// as it says asks everything there is to ask, while the counters are what the bytes say.

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "shm/rows.h"

using namespace banyan::shm;

namespace {

constexpr std::uint64_t kBytesMax = 1 << 20;  // of rows: more would only be slower

void require(bool is_true) {
  if (!is_true) std::abort();
}

struct Freed {
  void operator()(void* memory) const { std::free(memory); }
};

void ask_everything(const RowReader& reader) {
  const Shape& shape = reader.shape();
  std::vector<std::byte> out(shape.rows_bytes());
  Result<Bounds> bounds = reader.bounds();
  if (bounds) {
    require(bounds->first <= bounds->last && bounds->size() <= shape.capacity);
    Result<std::span<const std::byte>> settled = reader.settled(*bounds);
    std::uint64_t sum = 0;
    if (settled)
      for (const std::byte byte : *settled) sum += std::uint64_t(byte);
    require(sum <= shape.rows_bytes() * 255);
    (void)reader.copy(bounds->first, bounds->last, out.data());
  }
  (void)reader.copy_last(shape.capacity, out.data());
  (void)reader.copy_last(~std::uint64_t(0), out.data());
  (void)reader.copy(0, 1, out.data());
  Result<RowReader::Batch> batch = reader.copy_from(0, shape.capacity, out.data());
  if (batch) require(batch->count <= shape.capacity);
  batch = reader.copy_from(~std::uint64_t(0), shape.capacity, out.data());
  if (batch) require(batch->count <= shape.capacity);
  (void)reader.wait(~std::uint64_t(0) - 1, Clock::now());
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's choice
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto header = std::make_unique<Header>();
  std::memcpy(static_cast<void*>(header.get()), data, std::min(size, sizeof *header));
  Result<Identity> identity = read_identity(*header);
  if (!identity) return 0;
  require(is_name(identity->name));
  const Shape& shape = identity->shape;
  if (shape.rows_bytes() > kBytesMax || shape.kind == Kind::kByteRing || shape.kind == Kind::kList) return 0;

  // Not a byte more than the rows: AddressSanitizer watches the end.
  const std::unique_ptr<void, Freed> memory(std::aligned_alloc(64, (shape.rows_bytes() + 63) / 64 * 64));
  std::memset(memory.get(), 0xa5, shape.rows_bytes());
  auto page = std::make_unique<ReaderPage>();
  // A writer that is gone: nobody waits for it.
  ask_everything(RowReader(
      {header.get(), page.get(), static_cast<const std::byte*>(memory.get()), shape, [] { return false; }}));
  return 0;
}
