#include <algorithm>
#include <string>

#include "shm/rows.h"

namespace banyan::shm {

namespace {
constexpr std::uint64_t kRingRowMax = std::uint64_t(1) << 62;  // row numbers that no sum overflows
}

void Bell::rouse() {
  // In this order: a reader that set the flag before we clear it sees the next change, or is woken by what
  // follows; one that sees the change first finds the flag cleared, and sets it again.
  page_->asleep.store(0, std::memory_order_seq_cst);
  header_->wake.store(++wake_, std::memory_order_seq_cst);
  wake_all(header_->wake);
}

RowWriter::RowWriter(const Memory& memory)
    : memory_(memory), bell_(*memory.header, *memory.page, memory.shape.writer_fences) {
  const Header& header = *memory_.header;
  first_ = header.first.load(std::memory_order_relaxed);
  last_ = header.last.load(std::memory_order_relaxed);
  written_from_ = first_;
  written_to_ = last_;
  note_published();
}

Result<std::uint64_t> RowWriter::fail(ErrorKind kind, std::string text) const {
  return Error{kind, std::move(text)};
}

void RowWriter::begin_rebase() {
  memory_.header->rebase.store(++rebase_, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
}

void RowWriter::end_rebase(std::uint64_t first, std::uint64_t last, bool rewrote) {
  if (rewrote) ++rewritten_;
  first_ = first;
  last_ = last;
  memory_.header->rewritten.store(rewritten_, std::memory_order_relaxed);
  memory_.header->first.store(first, std::memory_order_relaxed);
  memory_.header->last.store(last, std::memory_order_release);
  memory_.header->rebase.store(++rebase_, std::memory_order_release);
  note_published();
  bell_.ring();
}

// Called before anything looks at what was published, and after each change that append_one() did not make.
void RowWriter::note_published() {
  if (first_ != last_) {
    published_from_ = std::min(published_from_, first_);
    published_to_ = std::max(published_to_, last_);
  }
  written_to_ = std::max(written_to_, last_);
  const bool fresh =
      !is_ring() && last_ >= published_to_ && memory_.header->ended.load(std::memory_order_relaxed) == 0;
  fresh_end_ = fresh ? memory_.shape.capacity : 0;
}

// Rows that readers may look at meanwhile are written word by word; others in one piece.
void RowWriter::write(std::uint64_t at, const std::byte* rows, std::uint64_t count) {
  const std::size_t size = memory_.shape.row_bytes;
  const bool seen = is_ring() || (at < published_to_ && at + count > published_from_);
  if (!seen && !memory_.shape.has_index) {
    std::memcpy(memory_.rows + at * size, rows, count * size);
    return;
  }
  const std::size_t skipped = memory_.shape.has_index ? 8 : 0;
  for (std::uint64_t number = at; number < at + count; ++number, rows += size) {
    std::byte* slot = memory_.rows + number % memory_.shape.capacity * size;
    if (seen) {
      if (skipped != 0) store_shared(slot, reinterpret_cast<const std::byte*>(&number), 8, 8);
      store_shared(slot + skipped, rows + skipped, size - skipped, size);
    } else {
      std::memcpy(slot, &number, 8);
      std::memcpy(slot + 8, rows + 8, size - 8);
    }
  }
}

Result<std::uint64_t> RowWriter::append_to_ring(const std::byte* rows, std::uint64_t count,
                                                std::optional<std::uint64_t> start) {
  if (start && *start != last_)
    return fail(ErrorKind::kNotAllowed, "a ring goes on where it is, so it takes no start");
  if (count > memory_.shape.capacity)
    return fail(ErrorKind::kFull, "a ring of " + std::to_string(memory_.shape.capacity) + " rows takes no " +
                                      std::to_string(count) + " at once");
  if (last_ > kRingRowMax - count) return fail(ErrorKind::kFull, "no row numbers left");
  memory_.header->reserved.store(last_ + count, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  write(last_, rows, count);
  publish(last_ + count);
  return last_;
}

Result<std::uint64_t> RowWriter::append(const std::byte* rows, std::uint64_t count,
                                        std::optional<std::uint64_t> start) {
  note_published();
  if (memory_.header->ended.load(std::memory_order_relaxed) != 0)
    return fail(ErrorKind::kEnded, "a push after the end");
  if (is_ring()) return append_to_ring(rows, count, start);

  const std::uint64_t capacity = memory_.shape.capacity;
  const std::uint64_t at = start.value_or(last_);
  const bool empty = first_ == last_;
  const bool rewrites = at < last_;
  if (at > capacity || (!empty && (at < first_ || at > last_)))
    return fail(ErrorKind::kOutOfRange, "row " + std::to_string(at) + " is not between the first row, " +
                                            std::to_string(first_) + ", and the end, " +
                                            std::to_string(last_));
  if (rewrites && !empty && memory_.shape.rewrites != Rewrites::kAny)
    return fail(ErrorKind::kNotAllowed,
                "this array was not created with Rewrites::kAny, so rows stay as they are");
  if (count > capacity - at)
    return fail(ErrorKind::kFull,
                std::to_string(count) + " rows do not fit: " + std::to_string(capacity - at) + " of " +
                    std::to_string(capacity) + " are free behind row " + std::to_string(at));
  if (at == last_) {
    write(at, rows, count);
    written_to_ = std::max(written_to_, at + count);
    publish(at + count);
    note_published();
    return last_;
  }
  // Into the past of a row that some reader may be looking at; or, of an empty array, anywhere.
  begin_rebase();
  write(at, rows, count);
  if (empty) {
    written_from_ = at;
    written_to_ = at + count;
  }
  end_rebase(empty ? at : first_, at + count, !empty);
  return last_;
}

Result<std::uint64_t> RowWriter::prepend(const std::byte* rows, std::uint64_t count,
                                         const PrependOptions& options) {
  note_published();
  if (memory_.header->ended.load(std::memory_order_relaxed) != 0)
    return fail(ErrorKind::kEnded, "a push after the end");
  if (is_ring()) return fail(ErrorKind::kNotAllowed, "a ring has nothing before its rows");
  const std::uint64_t before = options.start.value_or(first_);
  const bool empty = first_ == last_;
  if (before > memory_.shape.capacity || (!empty && before > last_))
    return fail(ErrorKind::kOutOfRange, "row " + std::to_string(before) + " is behind the end");
  if (count > before)
    return fail(ErrorKind::kFull, std::to_string(count) + " rows do not fit before row " +
                                      std::to_string(before) + ": " + std::to_string(count - before) +
                                      " too many");
  const std::uint64_t at = before - count;
  const bool elsewhere = empty && before != first_;
  if (!elsewhere && before < written_from_)
    return fail(ErrorKind::kOutOfRange, "rows from " + std::to_string(before) + " to " +
                                            std::to_string(written_from_) + " would be without contents");
  const bool rewrites = !empty && before > first_;
  if (rewrites && (options.silently || memory_.shape.rewrites != Rewrites::kAny))
    return fail(ErrorKind::kNotAllowed,
                "this array was not created with Rewrites::kAny, so rows stay as they are");

  if (rewrites) begin_rebase();
  write(at, rows, count);
  if (elsewhere) {
    written_from_ = at;
    written_to_ = before;
  } else {
    written_from_ = std::min(written_from_, at);
  }
  if (options.silently) return before;
  if (!rewrites) begin_rebase();
  end_rebase(at, elsewhere ? before : last_, rewrites);
  return before;
}

Result<Done> RowWriter::update_newest(const std::byte* row) {
  note_published();
  if (memory_.shape.rewrites == Rewrites::kNever)
    return Error{ErrorKind::kNotAllowed,
                 "this array was created with Rewrites::kNever, so its newest row stays as it is"};
  if (first_ == last_) return Error{ErrorKind::kOutOfRange, "there is no newest row"};
  if (memory_.header->ended.load(std::memory_order_relaxed) != 0)
    return Error{ErrorKind::kEnded, "an update after the end"};
  const std::size_t size = memory_.shape.row_bytes;
  const std::size_t skipped = memory_.shape.has_index ? 8 : 0;
  std::byte* slot = memory_.rows + (last_ - 1) % memory_.shape.capacity * size;
  memory_.header->update.store(++update_, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  store_shared(slot + skipped, row + skipped, size - skipped, size);
  memory_.header->update.store(++update_, std::memory_order_release);
  bell_.ring();
  return Done{};
}

Result<Done> RowWriter::read_newest(std::byte* row) const {
  if (first_ == last_) return Error{ErrorKind::kOutOfRange, "there is no newest row"};
  const std::size_t size = memory_.shape.row_bytes;
  load_shared(row, memory_.rows + (last_ - 1) % memory_.shape.capacity * size, size, size);
  return Done{};
}

Result<Done> RowWriter::set_bounds(std::uint64_t first, std::uint64_t last) {
  note_published();
  if (is_ring()) return Error{ErrorKind::kNotAllowed, "the bounds of a ring follow from its rows"};
  if (first > last || first < written_from_ || last > written_to_)
    return Error{ErrorKind::kOutOfRange, "only rows from " + std::to_string(written_from_) + " to " +
                                             std::to_string(written_to_) + " have contents"};
  // What is taken back could be written again, in its old place.
  const bool takes_back = first_ != last_ && (first > first_ || last < last_);
  if (takes_back && memory_.shape.rewrites != Rewrites::kAny)
    return Error{ErrorKind::kNotAllowed,
                 "this array was not created with Rewrites::kAny, so no row is taken back"};
  begin_rebase();
  end_rebase(first, last, takes_back);
  return Done{};
}

void RowWriter::end() {
  fresh_end_ = 0;
  memory_.header->ended.store(1, std::memory_order_release);
  bell_.ring();
}

}  // namespace banyan::shm
