#include "core/guard_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "core/fd.h"
#include "core/process_tree.h"
#include "core/reaper.h"

namespace banyan {

namespace {

constexpr int kControl = 3;
constexpr int kFirstCommandFd = 4;
constexpr int kFirstFreeFd = 16;         // above all numbers given out here
constexpr Nanos kKillMax = 5 * kSecond;  // then what we cannot end stays: something is stuck in the kernel
constexpr Nanos kBlindKillMax = kSecond / 2;  // the same without /proc: what left the group cannot be found
constexpr int kSweepMs = 2;                   // between two rounds of SIGKILL

Nanos now() {
  timespec time;
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return Nanos(time.tv_sec) * kSecond + time.tv_nsec;
}

class GuardProcess {
 public:
  void start(const SpawnPlan& plan, Stdio stdio, int control);
  [[noreturn]] void run();

 private:
  enum class Phase { kRunning, kTerminating, kKilling };

  [[noreturn]] void leave(GuardReport report);
  void obey();
  void terminate();
  void begin_to_kill();
  void sweep();
  void reap();
  int wait_ms() const;

  Phase phase_ = Phase::kRunning;
  pid_t command_ = -1;
  int status_ = kStatusUnknown;
  bool command_ended_ = false;
  bool all_ended_ = false;
  bool gave_up_ = false;
  bool context_gone_ = false;
  int children_ended_fd_ = -1;
  Nanos phase_ends_ = 0;
};

void GuardProcess::start(const SpawnPlan& plan, Stdio stdio, int control) {
  ::setsid();
  ::prctl(PR_SET_NAME, "banyan-guard");
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  // Nobody talks us out of it: a machine that shuts down signals the command too, and then we end with it.
  sigset_t all;
  sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  ::signal(SIGCHLD, SIG_DFL);  // ignored, it would lose us the status

  // Nothing of the context stays open here, its standard descriptors least of all: they may be its link.
  int given[] = {control, stdio.in, stdio.out, stdio.err};
  for (int& fd : given)
    if (fd >= 0) fd = ::fcntl(fd, F_DUPFD_CLOEXEC, kFirstFreeFd);
  for (int i = 0; i < 4; ++i) {
    ::close(kControl + i);
    if (given[i] >= 0) ::dup3(given[i], kControl + i, O_CLOEXEC);
  }
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < 3; ++fd)
    if (null != fd) ::dup2(null, fd);
  close_from(kFirstCommandFd + 3);

  sigset_t ended;
  sigemptyset(&ended);
  sigaddset(&ended, SIGCHLD);
  children_ended_fd_ = ::signalfd(-1, &ended, SFD_CLOEXEC | SFD_NONBLOCK);

  const auto numbered = [](int fd, int number) { return fd < 0 ? -1 : number; };
  const Spawned spawned =
      plan.run({numbered(stdio.in, kFirstCommandFd), numbered(stdio.out, kFirstCommandFd + 1),
                numbered(stdio.err, kFirstCommandFd + 2)});
  for (int fd = kFirstCommandFd; fd < kFirstCommandFd + 3; ++fd) ::close(fd);
  if (spawned.pid < 0) leave({GuardReport::Kind::kNotStarted, int(spawned.step), spawned.error});
  command_ = spawned.pid;
  const GuardReport started{GuardReport::Kind::kStarted, command_, 0};
  retry([&] { return ::send(kControl, &started, sizeof started, MSG_NOSIGNAL); });
}

void GuardProcess::leave(GuardReport report) {
  retry([&] { return ::send(kControl, &report, sizeof report, MSG_NOSIGNAL); });
  ::_exit(0);
}

void GuardProcess::run() {
  for (;;) {
    reap();
    const bool finished = phase_ == Phase::kRunning ? command_ended_ : all_ended_ || gave_up_;
    if (finished) leave({GuardReport::Kind::kEnded, status_, phase_ != Phase::kRunning});

    pollfd fds[] = {{context_gone_ ? -1 : kControl, POLLIN, 0},
                    {phase_ == Phase::kKilling ? -1 : children_ended_fd_, POLLIN, 0}};
    ::poll(fds, 2, wait_ms());
    if (fds[1].revents != 0) {
      signalfd_siginfo drained[8];
      [[maybe_unused]] auto bytes = ::read(children_ended_fd_, drained, sizeof drained);
    }
    if (fds[0].revents != 0) obey();
    if (phase_ == Phase::kTerminating && now() >= phase_ends_) begin_to_kill();
    if (phase_ == Phase::kKilling) sweep();
  }
}

int GuardProcess::wait_ms() const {
  if (phase_ == Phase::kRunning) return -1;
  if (phase_ == Phase::kKilling) return kSweepMs;
  return int((std::max<Nanos>(phase_ends_ - now(), 0) + kMillisecond - 1) / kMillisecond);
}

void GuardProcess::obey() {
  char order = 0;
  const auto bytes = ::recv(kControl, &order, 1, MSG_DONTWAIT);
  if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (bytes <= 0) {
    context_gone_ = true;
    order = kGuardTerminate;
  }
  if (order == kGuardKill && phase_ != Phase::kKilling) begin_to_kill();
  if (order == kGuardTerminate && phase_ == Phase::kRunning) terminate();
}

void GuardProcess::terminate() {
  phase_ = Phase::kTerminating;
  phase_ends_ = now() + kGrace;
  // The group in one go, those outside it one by one: twice SIGTERM means "at once" to some programs.
  ::kill(-command_, SIGTERM);
  ::kill(-command_, SIGCONT);
  signal_descendants(::getpid(), SIGTERM, command_);
}

void GuardProcess::begin_to_kill() {
  phase_ = Phase::kKilling;
  phase_ends_ = 0;
}

// Over and over, because between two looks at /proc they may fork. Each round costs those it saw their life,
// so what multiplies slower than we look comes to an end.
void GuardProcess::sweep() {
  if (!command_ended_) ::kill(-command_, SIGKILL);
  const Sweep swept = signal_descendants(::getpid(), SIGKILL, 0);
  if (phase_ends_ == 0) phase_ends_ = now() + (swept.has_proc ? kKillMax : kBlindKillMax);
  const bool only_refused = swept.has_proc && swept.signalled == 0 && swept.refused > 0;
  if (only_refused || now() >= phase_ends_) gave_up_ = true;
}

void GuardProcess::reap() {
  int status = 0;
  pid_t pid;
  while ((pid = ::waitpid(-1, &status, WNOHANG)) > 0) {
    if (pid != command_) continue;
    command_ended_ = true;
    status_ = status;
  }
  all_ended_ = pid < 0 && errno == ECHILD;
}

}  // namespace

void run_guard(const SpawnPlan& plan, Stdio stdio, int control) {
  GuardProcess guard;
  guard.start(plan, stdio, control);
  guard.run();
}

}  // namespace banyan
