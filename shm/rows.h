// shm/rows.h -- the protocol of rows between one writer and any number of readers: counters, bytes, nothing
// else.
//
// Neither class knows where the memory comes from, so tests and fuzzers give them some of their own. A
// RowWriter is used by one thread at a time. A RowReader may be used by any number of threads; nothing in it
// ever blocks but wait() and wait_change(), though it may try for a second to catch a moment in which the
// writer is still. Row numbers are absolute: in an array row N stands in slot N, in a ring in slot N modulo
// the capacity. Which memory order, and why that is enough: docs/shared_memory.md.
#pragma once

#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>

#include "shm/futex.h"
#include "shm/header.h"
#include "shm/words.h"

namespace banyan::shm {

// Readable rows are [first, last), as they were at one moment.
struct Bounds {
  std::uint64_t first = 0, last = 0;
  std::uint64_t rewritten = 0;  // changes when rows that were readable have been changed or taken back

  std::uint64_t size() const { return last - first; }
  bool operator==(const Bounds&) const = default;
};

class RowReader {
 public:
  struct Memory {
    const Header* header = nullptr;
    ReaderPage* page = nullptr;
    const std::byte* rows = nullptr;
    Shape shape;
    std::function<bool()> owner_lives;  // asked when something takes long
  };
  explicit RowReader(Memory memory) : memory_(std::move(memory)) {}

  const Shape& shape() const { return memory_.shape; }

  // kCorrupt when the writer wrote counters that cannot be; kOwnerDied when it died while it changed them;
  // kBusy when it has been changing them for a second.
  Result<Bounds> bounds() const;

  // One load: row numbers below are, or were, readable. For loops that spin; bounds() is what has been
  // checked.
  std::uint64_t last() const { return memory_.header->last.load(std::memory_order_acquire); }
  bool has_ended() const { return memory_.header->ended.load(std::memory_order_acquire) != 0; }

  // Rows [from, to), each as it was at one moment, and all of one state of an array whose rows may change.
  // REQUIRES: out has room for them. kOutOfRange when they are not all readable, kLost when a ring has
  // overwritten some.
  Result<Bounds> copy(std::uint64_t from, std::uint64_t to, std::byte* out) const;

  // The newest rows, at most `most`; returns which.
  Result<Bounds> copy_last(std::uint64_t most, std::byte* out) const;

  struct Batch {
    std::uint64_t first = 0, count = 0;  // which rows were copied
    std::uint64_t lost = 0;              // rows before these, that nobody can read any more
    std::uint64_t rewritten = 0;         // as in Bounds
  };
  // What there is from row `from` on, at most `most` rows. Never an error because rows were overwritten: it
  // says how many. The same when `from` lies below the array's first row.
  Result<Batch> copy_from(std::uint64_t from, std::uint64_t most, std::byte* out) const;

  // Where rows [first, last) of these bounds stand, without the newest one if that may change. kNotAllowed
  // where any may.
  Result<std::span<const std::byte>> settled(const Bounds& bounds) const;

  // Waits until row `number` has been readable. kEnded, kOwnerDied, kTimeout or kCancelled when that will not
  // be, or has not been in time.
  Result<Bounds> wait(std::uint64_t number, Deadline deadline, const std::stop_token& stop = {}) const;

  // Waits until anything has changed since changes() returned `seen`, the newest row included.
  std::uint32_t changes() const { return memory_.header->wake.load(std::memory_order_acquire); }
  Result<Done> wait_change(std::uint32_t seen, Deadline deadline, const std::stop_token& stop = {}) const;

 private:
  class Patience;

  template <class IsTrue>
  Result<Done> wait_until(IsTrue is_true, Deadline deadline, const std::stop_token& stop) const;
  const Header& header() const { return *memory_.header; }
  const std::byte* slot(std::uint64_t number) const;
  bool is_ring() const { return memory_.shape.kind == Kind::kRing; }
  Result<Bounds> checked(Bounds bounds) const;
  Result<Done> copy_newest(std::uint64_t number, std::byte* out) const;
  Result<Done> copy_settled(const Bounds& bounds, std::uint64_t from, std::uint64_t to, std::byte* out) const;
  Result<std::uint64_t> copy_ring(const Bounds& bounds, std::uint64_t from, std::uint64_t to,
                                  std::byte* out) const;
  template <class Choose>
  Result<Bounds> copy_chosen(Choose choose, std::byte* out) const;

  Memory memory_;
};

// How a writer tells readers that something has changed. One at a time.
class Bell {
 public:
  Bell(Header& header, ReaderPage& page, bool writer_fences)
      : header_(&header),
        page_(&page),
        wake_(header.wake.load(std::memory_order_relaxed)),
        fences_(writer_fences) {}

  // After what has changed was stored. No system call, unless a reader sleeps.
  void ring() {
    header_->wake.store(++wake_, std::memory_order_release);
    // Between this store and this load a barrier is needed: the reader's, or ours (futex.h).
    if (fences_) [[unlikely]]
      std::atomic_thread_fence(std::memory_order_seq_cst);
    else
      std::atomic_signal_fence(std::memory_order_seq_cst);
    if (page_->asleep.load(std::memory_order_relaxed) != 0) [[unlikely]]
      rouse();
  }
  void rouse();

 private:
  Header* header_;
  ReaderPage* page_;
  std::uint32_t wake_;  // as in the header, without a look there
  bool fences_;
};

struct PrependOptions {
  std::optional<std::uint64_t> start = std::nullopt;  // the row before which they go; without: the first
  bool silently = false;  // written, but not yet readable: set_bounds() makes them so
};

class RowWriter {
 public:
  struct Memory {
    Header* header = nullptr;
    ReaderPage* page = nullptr;
    std::byte* rows = nullptr;
    Shape shape;
  };
  // Begins at what the header says; of a new segment first = last = the start that was asked for.
  explicit RowWriter(const Memory& memory);

  const Shape& shape() const { return memory_.shape; }
  Bounds bounds() const { return {first_, last_, rewritten_}; }  // in a ring `first` is where it once began

  // All of these take everything or nothing, and return the end of what was written. With `start`, rows from
  // there on are written anew, and the array ends behind them.
  Result<std::uint64_t> append(const std::byte* rows, std::uint64_t count,
                               std::optional<std::uint64_t> start = {});
  Result<std::uint64_t> prepend(const std::byte* rows, std::uint64_t count,
                                const PrependOptions& options = {});

  // One row, the size known: no call and no system call, unless a reader sleeps.
  template <std::size_t kBytes, bool kIndex>
  Result<std::uint64_t> append_one(const std::byte* row) {
    if (last_ < fresh_end_) [[likely]] {
      std::byte* slot = memory_.rows + last_ * kBytes;
      if constexpr (kIndex) {
        std::memcpy(slot, &last_, sizeof last_);
        std::memcpy(slot + 8, row + 8, kBytes - 8);
      } else {
        std::memcpy(slot, row, kBytes);
      }
      publish(last_ + 1);
      return last_;
    }
    return append(row, 1);
  }

  // Writes the newest row anew, in its place.
  Result<Done> update_newest(const std::byte* row);
  Result<Done> read_newest(std::byte* row) const;

  // Any range of rows that have been written, in one step for readers.
  Result<Done> set_bounds(std::uint64_t first, std::uint64_t last);

  void end();

 private:
  void publish(std::uint64_t last) {
    last_ = last;
    memory_.header->last.store(last, std::memory_order_release);
    bell_.ring();
  }
  void begin_rebase();
  void end_rebase(std::uint64_t first, std::uint64_t last, bool rewrote);
  void write(std::uint64_t at, const std::byte* rows, std::uint64_t count);
  void note_published();
  Result<std::uint64_t> append_to_ring(const std::byte* rows, std::uint64_t count,
                                       std::optional<std::uint64_t> start);
  Result<std::uint64_t> fail(ErrorKind kind, std::string text) const;
  bool is_ring() const { return memory_.shape.kind == Kind::kRing; }

  Memory memory_;
  Bell bell_;
  std::uint64_t first_ = 0, last_ = 0;
  std::uint64_t fresh_end_ = 0;  // rows from last_ to here were never readable, so nobody looks at them; or 0
  std::uint64_t rebase_ = 0, update_ = 0, rewritten_ = 0;
  std::uint64_t written_from_ = 0, written_to_ = 0;  // rows that hold something, readable or not
  std::uint64_t published_from_ = ~std::uint64_t(0), published_to_ = 0;  // rows that have ever been readable
};

}  // namespace banyan::shm
