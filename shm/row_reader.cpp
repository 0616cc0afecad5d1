#include <algorithm>
#include <string>
#include <thread>

#include "shm/rows.h"

namespace banyan::shm {
namespace {

constexpr std::chrono::seconds kPatience{1};  // for a writer that is in the middle of something
constexpr int kQuickTries = 64;               // as long as that takes on another processor
// When a writer cannot be made to pass a barrier it may miss that we sleep; so not for long.
constexpr std::chrono::milliseconds kUnsureSleep{2};

Error lost(std::uint64_t rows) {
  return {ErrorKind::kLost, std::to_string(rows) + " of these rows have been overwritten"};
}

Error not_readable(std::uint64_t from, std::uint64_t to, const Bounds& bounds) {
  return {ErrorKind::kOutOfRange, "rows " + std::to_string(from) + " to " + std::to_string(to) + " of " +
                                      std::to_string(bounds.first) + " to " + std::to_string(bounds.last)};
}

}  // namespace

// Tries again while the writer is in the middle of something: at once, then politely, then asks whether it
// lives.
class RowReader::Patience {
 public:
  explicit Patience(const RowReader& reader) : reader_(reader) {}
  Result<Done> again() {
    if (++tries_ < kQuickTries) return Done{};
    std::this_thread::yield();
    if (tries_ % kQuickTries != 0) return Done{};
    const Deadline now = Clock::now();
    if (!since_) since_ = now;
    if (reader_.memory_.owner_lives && !reader_.memory_.owner_lives())
      return Error{ErrorKind::kOwnerDied, "the owner died while it changed rows"};
    if (now - *since_ > kPatience)
      return Error{ErrorKind::kBusy,
                   "the owner has been changing rows all the time, or has stopped while it did"};
    return Done{};
  }

 private:
  const RowReader& reader_;
  int tries_ = 0;
  std::optional<Deadline> since_;
};

const std::byte* RowReader::slot(std::uint64_t number) const {
  return memory_.rows + number % memory_.shape.capacity * memory_.shape.row_bytes;
}

Result<Bounds> RowReader::checked(Bounds bounds) const {
  const std::uint64_t capacity = memory_.shape.capacity;
  if (bounds.first > bounds.last || bounds.size() > capacity || (!is_ring() && bounds.last > capacity))
    return Error{ErrorKind::kCorrupt, "the owner wrote counters that cannot be"};
  return bounds;
}

Result<Bounds> RowReader::bounds() const {
  for (Patience patience(*this);;) {
    const std::uint64_t version = header().rebase.load(std::memory_order_acquire);
    if (version % 2 == 0) {
      Bounds found;
      found.first = header().first.load(std::memory_order_relaxed);
      found.rewritten = header().rewritten.load(std::memory_order_relaxed);
      found.last = header().last.load(std::memory_order_acquire);
      if (is_ring()) {
        const std::uint64_t reserved = header().reserved.load(std::memory_order_acquire);
        if (reserved > memory_.shape.capacity)
          found.first = std::max(found.first, reserved - memory_.shape.capacity);
      }
      std::atomic_thread_fence(std::memory_order_acquire);
      const bool still = header().rebase.load(std::memory_order_relaxed) == version;
      // Of a ring the writer may have gone once around between our loads.
      if (still && (!is_ring() || found.first <= found.last)) return checked(found);
    }
    if (Result<Done> again = patience.again(); !again) return again.error();
  }
}

Result<Done> RowReader::copy_newest(std::uint64_t number, std::byte* out) const {
  const std::size_t size = memory_.shape.row_bytes;
  for (Patience patience(*this);;) {
    const std::uint64_t version = header().update.load(std::memory_order_acquire);
    if (version % 2 == 0) {
      load_shared(out, slot(number), size, size);
      std::atomic_thread_fence(std::memory_order_acquire);
      if (header().update.load(std::memory_order_relaxed) == version) return Done{};
    }
    if (Result<Done> again = patience.again(); !again) return again.error();
  }
}

// Rows that cannot change, but for the newest.
Result<Done> RowReader::copy_settled(const Bounds& bounds, std::uint64_t from, std::uint64_t to,
                                     std::byte* out) const {
  if (from == to) return Done{};
  const std::size_t size = memory_.shape.row_bytes;
  const bool newest_changes = memory_.shape.rewrites != Rewrites::kNever && to == bounds.last;
  const std::uint64_t settled = newest_changes ? to - 1 : to;
  std::memcpy(out, slot(from), (settled - from) * size);
  if (newest_changes) return copy_newest(settled, out + (settled - from) * size);
  return Done{};
}

// Rows of a ring, and how many of the first ones were overwritten meanwhile.
Result<std::uint64_t> RowReader::copy_ring(const Bounds& bounds, std::uint64_t from, std::uint64_t to,
                                           std::byte* out) const {
  const std::size_t size = memory_.shape.row_bytes;
  for (std::uint64_t number = from; number < to; ++number, out += size) {
    if (number + 1 == bounds.last && memory_.shape.rewrites == Rewrites::kNewest) {
      if (Result<Done> copied = copy_newest(number, out); !copied) return copied.error();
    } else {
      load_shared(out, slot(number), size, size);
    }
  }
  std::atomic_thread_fence(std::memory_order_acquire);
  const std::uint64_t reserved = header().reserved.load(std::memory_order_relaxed);
  const std::uint64_t intact = reserved > memory_.shape.capacity ? reserved - memory_.shape.capacity : 0;
  return std::min(std::max(intact, from), to) - from;
}

// `choose` says, of the bounds found, which rows; or nothing, when they are not readable.
template <class Choose>
Result<Bounds> RowReader::copy_chosen(Choose choose, std::byte* out) const {
  if (memory_.shape.rewrites != Rewrites::kAny) {
    Result<Bounds> found = bounds();
    if (!found) return found;
    Result<Bounds> chosen = choose(*found);
    if (!chosen) return chosen;
    if (is_ring()) {
      Result<std::uint64_t> gone = copy_ring(*found, chosen->first, chosen->last, out);
      if (!gone) return gone.error();
      if (*gone > 0) return lost(*gone);
      return chosen;
    }
    if (Result<Done> copied = copy_settled(*found, chosen->first, chosen->last, out); !copied)
      return copied.error();
    return chosen;
  }

  const std::size_t size = memory_.shape.row_bytes;
  for (Patience patience(*this);;) {
    const std::uint64_t version = header().rebase.load(std::memory_order_acquire);
    Result<Bounds> found = bounds();
    if (!found) return found;
    Result<Bounds> chosen = choose(*found);
    if (!chosen) return chosen;
    if (version % 2 == 0) {
      if (chosen->size() > 0) {
        const bool with_newest = chosen->last == found->last;
        const std::uint64_t others = chosen->size() - (with_newest ? 1 : 0);
        load_shared(out, slot(chosen->first), others * size, size);
        if (with_newest)
          if (Result<Done> copied = copy_newest(chosen->last - 1, out + others * size); !copied)
            return copied.error();
      }
      std::atomic_thread_fence(std::memory_order_acquire);
      if (header().rebase.load(std::memory_order_relaxed) == version) return chosen;
    }
    if (Result<Done> again = patience.again(); !again) return again.error();
  }
}

Result<Bounds> RowReader::copy(std::uint64_t from, std::uint64_t to, std::byte* out) const {
  return copy_chosen(
      [&](const Bounds& found) -> Result<Bounds> {
        if (is_ring() && from < found.first && from <= to && to <= found.last)
          return lost(std::min(found.first, to) - from);
        if (from > to || from < found.first || to > found.last) return not_readable(from, to, found);
        return Bounds{from, to, found.rewritten};
      },
      out);
}

Result<Bounds> RowReader::copy_last(std::uint64_t most, std::byte* out) const {
  for (;;) {
    Result<Bounds> copied = copy_chosen(
        [&](const Bounds& found) -> Result<Bounds> {
          return Bounds{found.last - std::min(most, found.size()), found.last, found.rewritten};
        },
        out);
    // A ring may turn faster than we copy all of it; half as many are found.
    if (copied || copied.error().kind != ErrorKind::kLost || most <= 1) return copied;
    most = std::min(most, memory_.shape.capacity) / 2;
  }
}

Result<RowReader::Batch> RowReader::copy_from(std::uint64_t from, std::uint64_t most, std::byte* out) const {
  if (!is_ring()) {
    Result<Bounds> copied = copy_chosen(
        [&](const Bounds& found) -> Result<Bounds> {
          const std::uint64_t begin = std::min(std::max(from, found.first), found.last);
          return Bounds{begin, begin + std::min(most, found.last - begin), found.rewritten};
        },
        out);
    if (!copied) return copied.error();
    return Batch{copied->first, copied->size(), copied->first > from ? copied->first - from : 0,
                 copied->rewritten};
  }
  const std::size_t size = memory_.shape.row_bytes;
  Result<Bounds> found = bounds();
  if (!found) return found.error();
  const std::uint64_t begin = std::min(std::max(from, found->first), found->last);
  const std::uint64_t end = begin + std::min(most, found->last - begin);
  Result<std::uint64_t> gone = copy_ring(*found, begin, end, out);
  if (!gone) return gone.error();
  std::memmove(out, out + *gone * size, (end - begin - *gone) * size);
  const std::uint64_t first = begin + *gone;
  return Batch{first, end - first, first > from ? first - from : 0, 0};
}

Result<std::span<const std::byte>> RowReader::settled(const Bounds& bounds) const {
  if (is_ring() || memory_.shape.rewrites == Rewrites::kAny)
    return Error{ErrorKind::kNotAllowed, "rows here may change under whoever looks at them: copy them"};
  if (Result<Bounds> sane = checked(bounds); !sane) return sane.error();
  const bool newest_changes = memory_.shape.rewrites == Rewrites::kNewest && bounds.size() > 0;
  const std::uint64_t count = bounds.size() - (newest_changes ? 1 : 0);
  if (count == 0) return std::span<const std::byte>();
  return std::span<const std::byte>(slot(bounds.first), count * memory_.shape.row_bytes);
}

template <class IsTrue>
Result<Done> RowReader::wait_until(IsTrue is_true, Deadline deadline, const std::stop_token& token) const {
  const Stop stop(token);
  std::atomic<std::uint32_t>& asleep = memory_.page->asleep;
  Deadline look = Clock::now() + kLookAgain;
  for (;;) {
    // In this order: rows that came before the end are found.
    const bool ended = has_ended();
    Result<bool> found = is_true();
    if (!found) return found.error();
    if (*found) return Done{};
    if (ended) return Error{ErrorKind::kEnded, "the owner has ended it"};
    if (stop.requested()) return Error{ErrorKind::kCancelled, "the wait was cancelled"};
    const Deadline now = Clock::now();
    if (now >= deadline) return Error{ErrorKind::kTimeout, "nothing came in time"};

    asleep.store(1, std::memory_order_seq_cst);
    const bool sure = fence_others() || memory_.shape.writer_fences;
    const std::uint32_t seen = changes();
    if (asleep.load(std::memory_order_seq_cst) == 0 || has_ended()) continue;  // woken before we slept
    found = is_true();
    if (!found) return found.error();
    if (*found) return Done{};
    sleep_on(header().wake, seen, std::min(deadline, now + (sure ? kLookAgain : kUnsureSleep)), stop);
    if (Clock::now() < look) continue;
    look = Clock::now() + kLookAgain;
    if (memory_.owner_lives && !memory_.owner_lives() && !has_ended()) {
      found = is_true();  // what it did last
      if (found && *found) return Done{};
      return Error{ErrorKind::kOwnerDied, "the owner died"};
    }
  }
}

Result<Bounds> RowReader::wait(std::uint64_t number, Deadline deadline, const std::stop_token& stop) const {
  Bounds found;
  Result<Done> waited = wait_until(
      [&]() -> Result<bool> {
        Result<Bounds> now = bounds();
        if (!now) return now.error();
        found = *now;
        return found.last > number;
      },
      deadline, stop);
  if (!waited) return waited.error();
  return found;
}

Result<Done> RowReader::wait_change(std::uint32_t seen, Deadline deadline,
                                    const std::stop_token& stop) const {
  return wait_until([&]() -> Result<bool> { return changes() != seen; }, deadline, stop);
}

}  // namespace banyan::shm
