// cli/progress.h -- the one line that says how far a run is: "12/100 · 3 connect · 2 running · 4.2s".
//
// Progress asks for the numbers ten times a second and gives the line to whoever draws it (Output); it is off
// while we are not in the terminal's foreground. Thread: the loop's. All that is given outlives it.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <string>

#include "core/loop.h"
#include "core/result.h"

namespace banyan::cli {

struct ProgressCounts {
  std::size_t total = 0, over = 0;
  std::array<std::size_t, kPhaseCount> reaching = {};  // not up yet, by phase
  std::size_t running = 0, failed = 0;                 // failed: in whichever way
};

constexpr std::size_t kEchoColumns = 2;  // of the "^C" that a terminal writes behind whatever stands there

// One line of less than `columns` columns, so that no terminal begins another, not with "^C" behind it
// either; empty where nothing fits. Without `utf8` it is ASCII.
std::string progress_text(const ProgressCounts& counts, Nanos elapsed, bool utf8, std::size_t columns);

// Columns that a terminal shows for text without control characters, roughly: one for each character.
std::size_t columns_of(std::string_view text);
// Of the terminal at `fd`; 80 where it does not say.
std::size_t terminal_columns(int fd);
// What the environment says of characters beyond ASCII.
bool locale_is_utf8();

class Progress {
 public:
  using Count = std::function<ProgressCounts()>;
  using Draw = std::function<void(std::string line)>;  // empty: nothing is shown
  // Shows its first line after `wait`.
  Progress(Loop& loop, int terminal, Nanos wait, Count count, Draw draw);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { loop_.cancel(timer_); }

  // Now, if it is shown already: the terminal's size has changed.
  void redraw();

 private:
  void arm(Nanos wait);

  Loop& loop_;
  const int terminal_;
  const bool utf8_;
  const Nanos began_;
  Count count_;
  Draw draw_;
  bool is_shown_ = false;
  Loop::TimerId timer_ = 0;
};

}  // namespace banyan::cli
