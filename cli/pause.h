// cli/pause.h -- Ctrl-Z and fg: the tree is told to hold before we stop, so that nobody judges us dead.
//
// The progress line is taken away, each child's link gets HOLD as the last frame before the stop, the
// terminal gets its modes back. Both writings have a moment; a child that does not read, or a terminal that
// was stopped by Ctrl-S, keeps nobody. When we are continued everything goes on by itself: heartbeats too.
//
// Thread: the loop's. All that is given outlives it.
#pragma once

#include <functional>

#include "cli/output.h"
#include "cli/terminal.h"
#include "core/router.h"

namespace banyan::cli {

class Pause {
 public:
  Pause(Loop& loop, Router& router, Output& output, Terminal& terminal, std::function<void()> on_continued)
      : loop_(loop),
        router_(router),
        output_(output),
        terminal_(terminal),
        on_continued_(std::move(on_continued)) {}
  Pause(const Pause&) = delete;
  Pause& operator=(const Pause&) = delete;
  ~Pause() { loop_.cancel(timer_); }

  // SIGTSTP. Returns at once; the stop follows.
  void begin();

 private:
  void go_on();
  bool flush(bool hold);

  Loop& loop_;
  Router& router_;
  Output& output_;
  Terminal& terminal_;
  std::function<void()> on_continued_;
  bool is_begun_ = false, line_is_gone_ = false;
  Nanos until_ = 0;
  Loop::TimerId timer_ = 0;
};

}  // namespace banyan::cli
