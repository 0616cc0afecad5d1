#include "core/reaper.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "core/process_tree.h"

namespace banyan {

namespace {
constexpr Nanos kLookDelayMax = 50 * kMillisecond;  // what a missing pidfd may cost in latency
}

ChildProcess::ChildProcess(Loop& loop, pid_t pid, bool leads_group, Function<void(int)> on_end)
    : loop_(loop), pid_(pid), leads_group_(leads_group), on_end_(std::move(on_end)), pidfd_(open_pidfd(pid)) {
  if (pidfd_) {
    watch_ = loop_.watch(pidfd_.get(), {.read = true}, [this](Ready) { look(); });
  } else {
    look_timer_ = loop_.after(look_delay_, [this] { look(); });
  }
}

ChildProcess::~ChildProcess() {
  loop_.unwatch(watch_);
  loop_.cancel(look_timer_);
  loop_.cancel(kill_timer_);
  if (!ended_ && !is_let_go_) {
    signal(SIGKILL);
    retry([&] { return ::waitpid(pid_, nullptr, 0); });
  }
  if (pidfd_) loop_.close(pidfd_.release());
}

void ChildProcess::look() {
  end_group_of_the_dead();
  int status = kStatusUnknown;
  if (retry([&] { return ::waitpid(pid_, &status, WNOHANG); }) == 0) {
    if (!pidfd_) {
      look_delay_ = std::min(look_delay_ * 2, kLookDelayMax);
      look_timer_ = loop_.after(look_delay_, [this] { look(); });
    }
    return;
  }
  ended_ = true;
  loop_.unwatch(std::exchange(watch_, 0));
  loop_.cancel(std::exchange(kill_timer_, 0));
  const auto on_end = std::move(on_end_);
  on_end(status);
}

// Before it is reaped: until then its number, and so its group's, is nobody else's.
void ChildProcess::end_group_of_the_dead() const {
  if (!leads_group_) return;
  siginfo_t info{};
  if (::waitid(P_PID, id_t(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0)
    ::kill(-pid_, SIGKILL);
}

void ChildProcess::signal(int number) {
  if (ended_ || is_let_go_) return;
  if (leads_group_) {
    ::kill(-pid_, number);
    return;
  }
  // By number it is as safe, as long as we have not reaped it; but others in a program might have.
  if (pidfd_ && send_by_pidfd(pidfd_.get(), number) == 0) return;
  if (!pidfd_ || errno == ENOSYS) ::kill(pid_, number);
}

void ChildProcess::end() {
  if (ended_ || kill_timer_ != 0) return;
  signal(SIGTERM);
  signal(SIGCONT);
  kill_timer_ = loop_.after(kGrace, [this] { signal(SIGKILL); });
}

}  // namespace banyan
