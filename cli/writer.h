// cli/writer.h -- blocking writes to descriptors we inherited, off the loop's thread.
//
// Our standard output belongs to others as well (the shell, the next program's pipe), so it is never made
// non-blocking: a thread of its own does the waiting. What is queued holds the Charge of the bytes it came
// from until it is written, so a slow reader slows the command at the far end, and the queue is as long as
// the windows allow. Output of targets waits as the bytes that came; the writing thread formats them, a piece
// at a time, when their turn has come, so however much longer the text is, only pieces of it are in memory.
//
// A status line may stand below all that is written, on a terminal: it is taken away before anything else is
// written and comes back when nothing waits, ten times a second at most. It is never waited for.
//
// Thread: all of it the loop's; the writing thread sees bytes, formats and descriptors only. The loop
// outlives it.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "cli/format.h"
#include "core/inbox.h"
#include "core/loop.h"

namespace banyan::cli {

class Writer {
 public:
  // `on_failed` once for a descriptor that cannot be written any more (EPIPE, ENOSPC); what is queued for it,
  // then and later, is thrown away.
  using OnFailed = std::function<void(int fd, int error)>;
  Writer(Loop& loop, OnFailed on_failed);
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  // Throws away what is not written. A thread that waits for its reader is left behind, and then the process
  // must end by itself.
  ~Writer();

  // In order, whole: nothing comes between the bytes of one call.
  void write(int fd, std::string bytes, Charge charge = {});
  // Output of a target, through `format` (null: as it is), which belongs to the writing thread from its first
  // use on.
  void write_output(int fd, std::shared_ptr<StreamFormat> format, std::string bytes, Charge charge);
  void finish_output(int fd, std::shared_ptr<StreamFormat> format);
  // Whatever text the source has when its turn has come. It belongs to the writing thread from then on.
  void write_source(int fd, std::shared_ptr<TextSource> source);
  // One line without its end, narrower than the terminal at `fd`; empty: none. The later one counts.
  void set_status(int fd, std::string line);
  // Takes it away for good, from this thread, if the terminal takes that at once: we leave.
  void drop_status();
  // Waits a bounded moment for what is queued to leave: as long as somebody reads, and no longer than `most`.
  void wait_written(Nanos most);
  // Runs `then` when all that was queued up to now has been written or thrown away, and no status line shows
  // that was taken away before.
  void when_written(std::function<void()> then);
  // Throws away the output of targets that is queued and not being written. Everything else stays, and from
  // here on leaves in small bites, so that written() shows a slow reader from one who stands still.
  void discard();
  // Bytes that have left so far.
  std::uint64_t written() const;
  // Calls of write() whose bytes have not left yet.
  std::size_t queued() const { return entries_.size(); }
  // Nothing is queued or being written.
  bool is_idle() const { return entries_.empty(); }

 private:
  struct Item;
  struct Shared;
  struct Entry {
    Charge charge;
    std::function<void()> then;
  };
  void add(Item item, Entry entry);
  void on_progress();

  Loop& loop_;
  OnFailed on_failed_;
  std::deque<Entry> entries_;  // one for each item the thread has not reported yet
  std::shared_ptr<Shared> shared_;
};

}  // namespace banyan::cli
