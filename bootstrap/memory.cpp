// bootstrap/memory.cpp -- the memory of an image: operator new and delete in a tenth of what malloc would
// take.
//
// Small blocks come in four sizes a doubling, are cut from large pieces of the system's memory, and when
// given back are kept for their size. Large ones are the system's and go back to it at once; only one is
// kept, so that a stream of full frames does not ask for new pages with each. Before every block stands its
// size.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include "core/assert.h"
#include "core/mutex.h"

namespace {

constexpr std::size_t kHeadBytes = sizeof(std::size_t);
constexpr std::size_t kAlignment = 2 * kHeadBytes;
constexpr std::size_t kSmallMax = 32 << 10;     // of blocks that are never given back to the system
constexpr std::size_t kPieceBytes = 256 << 10;  // only pages that were touched count
constexpr std::size_t kSpareMax = 128 << 10;    // a full frame, and the link's staging of two
constexpr std::size_t kPage = 4096;

struct FreeBlock {
  FreeBlock* next;
};

banyan::Mutex mutex;  // guards the rest
FreeBlock* free_blocks[48];
std::byte* piece;  // what is left of it
std::size_t piece_left;
std::byte* spare;
std::size_t spare_bytes;

std::size_t& size_of(void* block) {
  return static_cast<std::size_t*>(block)[-1];
}

struct SizeClass {
  std::size_t bytes, index;
};

// The smallest of the sizes we make that holds so many.
SizeClass class_of(std::size_t bytes) {
  const int width = std::max(7, int(std::bit_width(bytes - 1)));
  const int shift = width - 3;
  const std::size_t steps = ((bytes - 1) >> shift) + 1;
  return {steps << shift, std::size_t(width - 6) * 4 + steps - 4};
}

std::byte* map(std::size_t bytes) {
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT(at != MAP_FAILED);
  // What passes through may be a secret: in no core file. Bare, it is a third of madvise()'s bytes.
  ::syscall(SYS_madvise, at, bytes, MADV_DONTDUMP);
  return static_cast<std::byte*>(at);
}

void* large(std::size_t bytes) {
  bytes = (bytes + kHeadBytes + kPage - 1) / kPage * kPage;
  std::byte* at;
  if (spare != nullptr && spare_bytes >= bytes) {
    at = std::exchange(spare, nullptr);
    bytes = spare_bytes;
  } else {
    at = map(bytes);
  }
  void* block = at + kAlignment;
  size_of(block) = bytes;
  return block;
}

void* small(std::size_t wanted) {
  const auto [bytes, index] = class_of(wanted);
  FreeBlock*& list = free_blocks[index];
  if (list != nullptr) return std::exchange(list, list->next);
  if (piece_left < bytes + kHeadBytes) {
    piece = map(kPieceBytes);
    piece_left = kPieceBytes;
  }
  void* block = piece + kAlignment;
  piece += bytes;
  piece_left -= bytes;
  size_of(block) = bytes;
  return block;
}

}  // namespace

[[gnu::noinline]] void* operator new(std::size_t bytes) {
  banyan::MutexLock lock(mutex);
  bytes += kHeadBytes;
  ASSERT(bytes >= kHeadBytes);
  return bytes <= kSmallMax ? small(bytes) : large(bytes);
}

[[gnu::noinline]] void operator delete(void* block) noexcept {
  if (block == nullptr) return;
  banyan::MutexLock lock(mutex);
  std::size_t bytes = size_of(block);
  if (bytes <= kSmallMax) {
    FreeBlock*& list = free_blocks[class_of(bytes).index];
    list = new (block) FreeBlock{list};
    return;
  }
  std::byte* at = static_cast<std::byte*>(block) - kAlignment;
  if (spare == nullptr && bytes <= kSpareMax) {
    spare = at;
    spare_bytes = bytes;
  } else {
    ::munmap(at, bytes);
  }
}

void* operator new[](std::size_t bytes) {
  return operator new(bytes);
}
void operator delete[](void* block) noexcept {
  operator delete(block);
}
void operator delete(void* block, std::size_t) noexcept {
  operator delete(block);
}
void operator delete[](void* block, std::size_t) noexcept {
  operator delete(block);
}
