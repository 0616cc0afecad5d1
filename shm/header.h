// shm/header.h -- what stands in shared memory: a page of header, then the rows; and beside it a page that
// readers may write. docs/shared_memory.md draws both, byte by byte.
//
// The first two cache lines and the descriptor are written before anybody else sees them. Whoever attaches
// copies them once, checks the copy, and never looks at them again: the owner may be hostile.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "shm/result.h"

namespace banyan::shm {

constexpr std::uint64_t kMagic = 0x316d68736e796e62;  // "bnynshm1" in a little-endian file
constexpr std::uint32_t kLayoutVersion = 1;
constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kHeaderBytes = kPageBytes;
constexpr std::size_t kNameMax =
    48;  // what fits in the header with room to spare, and in a file name anywhere
constexpr std::uint32_t kRowBytesMax = 1 << 24;
constexpr std::uint64_t kRowsBytesMax = std::uint64_t(1) << 46;  // no sum or product of sizes can overflow

enum class Kind : std::uint32_t { kArray = 1, kRing = 2, kByteRing = 3, kList = 4 };
std::string_view name_of(Kind kind);

// Which rows the owner may write again once they have been published. Decides what readers may look at in
// place.
enum class Rewrites : std::uint32_t {
  kNever = 0,   // none: a reader looks at all rows where they are
  kNewest = 1,  // the newest row, in place: all others never change
  kAny = 2,     // any, by a push with `start`: readers copy
};

constexpr std::uint32_t kRewritesMask = 3;
constexpr std::uint32_t kHasIndex = 4;  // the first eight bytes of a row are its number
constexpr std::uint32_t kWriterFences =
    8;  // the owner orders its stores itself: membarrier() is not to be had
constexpr std::uint32_t kAllFlags = 15;

struct Header {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t kind;
  std::uint32_t row_bytes;
  std::uint32_t flags;
  std::uint64_t capacity;  // rows; bytes of a byte ring
  std::uint64_t data_offset;
  std::uint64_t generation;   // drawn at creation: tells this segment from another of that name
  std::uint64_t owner_start;  // of the owner's process, in clock ticks after boot
  std::uint64_t owner_space;  // its PID namespace
  std::uint32_t owner_pid;
  std::uint32_t descriptor_bytes;
  char name[56];  // filled up with zeros

  alignas(64) std::atomic<std::uint64_t> rebase;  // odd while `first`, or rows in between, are being changed
  std::atomic<std::uint64_t> first;               // readable rows are [first, last)
  std::atomic<std::uint64_t> rewritten;  // how often rows that had been readable were changed or taken back

  // Alone with what only rings use: a reader that spins looks here, and must not be in the writer's way
  // elsewhere.
  alignas(64) std::atomic<std::uint64_t> last;
  std::atomic<std::uint64_t>
      reserved;  // of a ring: rows below this, less the capacity, are being overwritten

  alignas(64) std::atomic<std::uint64_t> update;  // odd while the newest row is being changed
  std::atomic<std::uint32_t> wake;                // changes with whatever a reader may wait for
  std::atomic<std::uint32_t> ended;               // 1: the owner has said that nothing more will come
  std::atomic<std::uint32_t> writer_waits;        // of a byte ring: 1 while its writer sleeps

  alignas(64) char unused[64];
  char descriptor[kHeaderBytes - 384];
};
static_assert(sizeof(Header) == kHeaderBytes);
static_assert(offsetof(Header, rebase) == 128 && offsetof(Header, last) == 192);
static_assert(offsetof(Header, update) == 256 && offsetof(Header, descriptor) == 384);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free &&
              std::atomic<std::uint32_t>::is_always_lock_free);

// Readers write here; so the owner believes nothing of it that could hurt more than a needless system call,
// or, of the byte ring, than that ring itself.
struct ReaderPage {
  std::uint64_t generation;                      // of the segment it belongs to
  std::atomic<std::uint32_t> asleep;             // 1: some reader sleeps, or is about to
  alignas(64) std::atomic<std::uint64_t> taken;  // of a byte ring: bytes its reader has taken
  std::atomic<std::uint32_t> wake;               // changes with `taken`; its writer sleeps on it
  std::atomic<std::uint32_t> reader_state;  // 0: there has been none, 1: there is one, 2: it wants no more
  char unused[kPageBytes - 128];
};
static_assert(sizeof(ReaderPage) == kPageBytes && offsetof(ReaderPage, taken) == 64);

// What of a header never changes: read once, checked, kept.
struct Shape {
  Kind kind = Kind::kArray;
  std::uint32_t row_bytes = 0;
  std::uint64_t capacity = 0;
  Rewrites rewrites = Rewrites::kNever;
  bool has_index = false;
  bool writer_fences = false;

  std::uint64_t rows_bytes() const { return row_bytes * capacity; }
  std::uint64_t segment_bytes() const {
    return kHeaderBytes + (rows_bytes() + kPageBytes - 1) / kPageBytes * kPageBytes;
  }
  std::uint32_t flags() const {
    return std::uint32_t(rewrites) | (has_index ? kHasIndex : 0) | (writer_fences ? kWriterFences : 0);
  }
  bool operator==(const Shape&) const = default;
};

// kMismatch when it makes no sense: no rows, a size beyond the limits, an index without room for it.
Result<Done> check(const Shape& shape);
Result<Shape> shape_of(std::uint32_t kind, std::uint32_t row_bytes, std::uint32_t flags,
                       std::uint64_t capacity);

// Who made a segment.
struct Owner {
  std::uint32_t pid = 0;
  std::uint64_t start = 0;  // tells it from another process that is given that number later
  std::uint64_t space = 0;
  bool operator==(const Owner&) const = default;
};

// What a header says beside the counters.
struct Identity {
  std::string name;
  Shape shape;
  Owner owner;
  std::uint64_t generation = 0;
  std::string descriptor;  // NumPy's; "|u1" of a byte ring
  bool operator==(const Identity&) const = default;
};

// Letters, digits, '.', '_' and '-', the first a letter or digit, at most kNameMax: nothing that means
// anything in a path.
bool is_name(std::string_view name);

void write_identity(Header& header, const Identity& identity);

// From a copy of the first page, as it was found. Nothing in there is believed.
Result<Identity> read_identity(const Header& header);

}  // namespace banyan::shm
