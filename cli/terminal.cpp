#include "cli/terminal.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <utility>

namespace banyan::cli {

Terminal::Terminal() : fd_(::open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC)) {}

bool Terminal::is_ours() const {
  return fd_ && ::tcgetpgrp(fd_.get()) == ::getpgrp();
}

std::optional<termios> Terminal::modes() const {
  termios modes = {};
  if (!fd_ || ::tcgetattr(fd_.get(), &modes) != 0) return std::nullopt;
  return modes;
}

bool Terminal::change(const termios& wanted) {
  const std::optional<termios> now = modes();
  if (!now || !is_ours()) return false;
  if (!before_) before_ = now;
  changed_ = wanted;
  return ::tcsetattr(fd_.get(), TCSANOW, &wanted) == 0;
}

void Terminal::restore() {
  if (before_ && is_ours()) ::tcsetattr(fd_.get(), TCSANOW, &*before_);
  before_.reset();
  changed_.reset();
}

void Terminal::stop_here() {
  const std::optional<termios> changed = changed_;
  restore();
  struct sigaction stop = {}, handled = {};
  stop.sa_handler = SIG_DFL;
  ::sigaction(SIGTSTP, &stop, &handled);
  ::raise(SIGTSTP);
  ::sigaction(SIGTSTP, &handled, nullptr);
  if (changed) change(*changed);
}

}  // namespace banyan::cli
