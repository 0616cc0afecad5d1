// cli/terminal.h -- our controlling terminal's modes: as they were before we changed them, whenever we stop
// or leave.
//
// Who asks a question turns off the echo; a shell that gets the terminal back without it is a riddle to most.
// Thread: the loop's.
#pragma once

#include <termios.h>

#include <optional>

#include "core/fd.h"

namespace banyan::cli {

class Terminal {
 public:
  Terminal();
  // From here on we are who has changed the modes. False where there is no terminal, or it is not ours now.
  bool change(const termios& modes);
  std::optional<termios> modes() const;
  // As they were before change(). Without one nothing is touched: a pager beside us has modes of its own.
  void restore();
  // Stops this process as Ctrl-Z does, with the modes restored, and returns when it is continued, with those
  // changed again. It does not stop where nobody could continue it (an orphaned process group).
  void stop_here();

 private:
  bool is_ours() const;  // while we are in the foreground
  Fd fd_;                // empty: there is none
  std::optional<termios> before_, changed_;
};

}  // namespace banyan::cli
