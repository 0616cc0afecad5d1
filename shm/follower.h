// shm/follower.h -- reads an array or a ring row after row, as rows come, and says what it has missed.
//
//   Follower<Trade> trades(array);
//   std::vector<Trade> rows(256);
//   while (auto batch = trades.wait(rows)) use(std::span(rows).first(batch->count), batch->lost);
//
// Holds the array. One thread at a time.
#pragma once

#include <span>
#include <stop_token>
#include <utility>

#include "shm/array.h"

namespace banyan::shm {

template <Record Row>
class Follower {
 public:
  struct Batch {
    std::uint64_t first = 0;  // the number of the first row of `count`
    std::size_t count = 0;
    std::uint64_t lost =
        0;  // rows before these, overwritten before we came, or taken away from the beginning
    bool rewritten = false;  // of an array made with Rewrites::kAny: rows read before may be different now
  };

  // From row `next` on; without it from the next one that comes.
  explicit Follower(Array<Row> array) : Follower(array, array.reader().last()) {}
  Follower(Array<Row> array, std::uint64_t next) : array_(std::move(array)), next_(next) {
    if (Result<Bounds> bounds = array_.bounds()) rewritten_ = bounds->rewritten;
  }

  std::uint64_t next() const { return next_; }

  // What there is, at most as much as `out` holds; perhaps nothing.
  Result<Batch> read(std::span<Row> out) {
    Result<RowReader::Batch> found =
        array_.reader().copy_from(next_, out.size(), reinterpret_cast<std::byte*>(out.data()));
    if (!found) return found.error();
    const bool rewritten = found->rewritten != rewritten_;
    rewritten_ = found->rewritten;
    next_ = found->first + found->count;
    return Batch{found->first, std::size_t(found->count), found->lost, rewritten};
  }

  // Waits for something to read. kEnded once all has been read and no more will come; kTimeout and so on as
  // Array::wait.
  Result<Batch> wait(std::span<Row> out, Deadline deadline = kForever, const std::stop_token& stop = {}) {
    for (;;) {
      const std::uint32_t seen = array_.reader().changes();
      Result<Batch> batch = read(out);
      if (!batch || batch->count > 0 || batch->lost > 0 || batch->rewritten) return batch;
      if (Result<Done> changed = array_.reader().wait_change(seen, deadline, stop); !changed)
        return changed.error();
    }
  }

 private:
  Array<Row> array_;
  std::uint64_t next_;
  std::uint64_t rewritten_ = 0;
};

}  // namespace banyan::shm
