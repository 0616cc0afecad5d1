#include "core/spawn.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>

#include "core/assert.h"
#include "core/fd.h"
#include "core/text.h"

// What runs on borrowed memory never returns from its functions in the ordinary way, which the bookkeeping of
// a sanitizer would take amiss; and their interceptors would note signals and descriptors of the child as
// ours. So: no instrumentation there, and bare system calls.
#define NO_SANITIZER __attribute__((no_sanitize("address"), no_sanitize("thread"), no_sanitize("undefined")))

namespace banyan {

namespace {

constexpr std::size_t kStackBytes = 16 * 1024;  // child_main is shallow, and signals are blocked
constexpr std::size_t kStackAlignment = 16;
constexpr int kFirstOtherFd = 3;
constexpr int kSignalMax = 64;
constexpr long kCloseOneByOneMax = 65'536;  // without close_range; all of ours are close-on-exec anyway
constexpr std::string_view kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#ifndef SYS_close_range
#define SYS_close_range 436  // the same on every architecture
#endif

// Zeroes: SIG_DFL, no flags, an empty mask, whatever the order of the kernel's fields.
struct KernelSigaction {
  unsigned long words[8] = {};
};
constexpr std::size_t kKernelSigsetBytes = 8;

bool is_named(const char* variable, std::string_view name) {
  return std::string_view(variable).substr(0, name.size()) == name && variable[name.size()] == '=';
}

std::vector<char*> pointers_to(std::vector<std::string>& strings) {
  std::vector<char*> pointers(strings.size() + 1);
  for (std::size_t i = 0; i < strings.size(); ++i) pointers[i] = strings[i].data();
  return pointers;
}

NO_SANITIZER long close_between(unsigned first, unsigned last) {
  return first > last ? 0 : ::syscall(SYS_close_range, first, last, 0);
}

NO_SANITIZER int power_of_ten_below(int number) {
  int power = 1;
  while (number / power >= 10) power *= 10;
  return power;
}

// All from `first` on but `kept` (-1: none).
NO_SANITIZER void close_others(int first, int kept) {
  if (kept < first) {
    if (close_between(unsigned(first), UINT_MAX) == 0) return;
  } else if (close_between(unsigned(first), unsigned(kept) - 1) == 0) {
    if (close_between(unsigned(kept) + 1, UINT_MAX) == 0) return;
  }
  rlimit limit = {};
  if (::syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, nullptr, &limit) != 0) limit.rlim_cur = 1024;
  const long end = limit.rlim_cur < rlim_t(kCloseOneByOneMax) ? long(limit.rlim_cur) : kCloseOneByOneMax;
  for (long fd = first; fd < end; ++fd)
    if (fd != kept) ::syscall(SYS_close, fd);
}

}  // namespace

void close_from(int first) {
  close_others(first, -1);
}

struct SpawnPlan::Child {
  const SpawnPlan& plan;
  const Stdio& stdio;
  pid_t parent;
  SpawnStep step = SpawnStep::kDescriptors;
  int error = 0;

  NO_SANITIZER void fail(SpawnStep at) {
    error = errno;
    step = at;
    ::syscall(SYS_exit_group, 127);
  }
};

SpawnPlan::SpawnPlan(std::vector<std::string> argv, SpawnOptions options)
    : SpawnPlan(-1, std::move(argv), std::move(options)) {
  const std::string& name = argv_[0];
  if (name.find('/') != std::string::npos) {
    candidates_.push_back(name);
    return;
  }
  if (name.empty()) return;
  std::string_view path = kDefaultPath;
  for (const std::string& variable : environment_)
    if (is_named(variable.c_str(), "PATH")) path = std::string_view(variable).substr(5);
  for (;;) {
    const std::size_t end = path.find(':');
    const std::string_view folder = path.substr(0, end);
    candidates_.push_back(cat(folder.empty() ? std::string_view(".") : folder, '/', name));
    if (end == std::string_view::npos) return;
    path.remove_prefix(end + 1);
  }
}

SpawnPlan::SpawnPlan(int executable, std::vector<std::string> argv, SpawnOptions options)
    : executable_(executable), options_(std::move(options)), argv_(std::move(argv)) {
  ASSERT(!argv_.empty());
  const auto& added = options_.environment;
  for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
    bool replaced = false;
    for (const auto& [name, value] : added) replaced = replaced || is_named(*variable, name);
    if (!replaced) environment_.push_back(std::string(*variable));
  }
  for (std::size_t i = 0; i < added.size(); ++i) {
    bool replaced = false;
    for (std::size_t later = i + 1; later < added.size(); ++later)
      replaced = replaced || added[later].first == added[i].first;
    if (!replaced) environment_.push_back(cat(added[i].first, '=', added[i].second));
  }
  argv_pointers_ = pointers_to(argv_);
  environment_pointers_ = pointers_to(environment_);
  stack_.resize(kStackBytes + kStackAlignment);
}

Spawned SpawnPlan::run(const Stdio& stdio) const {
  // A handler of ours must not run in the child, on our memory: so nothing is delivered until it has none
  // left.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);

  Child child{*this, stdio, ::getpid(), {}, 0};
  std::uint8_t* top = stack_.data() + stack_.size();
  top -= reinterpret_cast<std::uintptr_t>(top) % kStackAlignment;
  const pid_t pid = ::clone(child_main, top, CLONE_VM | CLONE_VFORK | SIGCHLD, &child);
  const int fork_error = pid < 0 ? errno : 0;

  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return {-1, SpawnStep::kFork, fork_error};
  if (child.error == 0) return {pid, SpawnStep::kExecute, 0};
  retry([&] { return ::waitpid(pid, nullptr, 0); });
  return {-1, child.step, child.error};
}

NO_SANITIZER int SpawnPlan::child_main(void* argument) {
  Child& child = *static_cast<Child*>(argument);
  const SpawnPlan& plan = child.plan;
  KernelSigaction by_default;
  for (int signal = 1; signal <= kSignalMax; ++signal)
    ::syscall(SYS_rt_sigaction, signal, &by_default, nullptr, kKernelSigsetBytes);

  if (plan.options_.new_session) ::syscall(SYS_setsid);
  if (plan.options_.die_with_parent) {
    ::syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    // It may have died just before that, and then nobody would tell us.
    if (::syscall(SYS_getppid) != child.parent) ::syscall(SYS_exit_group, 127);
  }

  // Out of the way first: one of the given may have the number another is to get.
  int given[] = {child.stdio.in, child.stdio.out, child.stdio.err};
  for (int& fd : given) {
    const long from = fd >= 0 ? fd : ::syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR, 0);
    fd = from < 0 ? -1 : int(::syscall(SYS_fcntl, from, F_DUPFD, kFirstOtherFd));
    if (fd < 0) child.fail(SpawnStep::kDescriptors);
  }
  int executable = plan.executable_;
  if (executable >= 0) {
    executable = int(::syscall(SYS_fcntl, executable, F_DUPFD_CLOEXEC, kFirstOtherFd));
    if (executable < 0) child.fail(SpawnStep::kDescriptors);
  }
  for (int fd = 0; fd < 3; ++fd)
    if (::syscall(SYS_dup3, given[fd], fd, 0) < 0) child.fail(SpawnStep::kDescriptors);
  close_others(kFirstOtherFd, executable);

  if (!plan.options_.directory.empty() && ::syscall(SYS_chdir, plan.options_.directory.c_str()) != 0)
    child.fail(SpawnStep::kDirectory);

  const unsigned long none[kKernelSigsetBytes / sizeof(unsigned long)] = {};
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, none, nullptr, kKernelSigsetBytes);

  char* const* argv = plan.argv_pointers_.data();
  char* const* environment = plan.environment_pointers_.data();
  if (executable >= 0) {
    ::syscall(SYS_execveat, executable, "", argv, environment, AT_EMPTY_PATH);
    if (errno == ENOSYS) {  // an emulator: by the name that /proc gives it
      char path[] = "/proc/self/fd/2147483647";
      char* digit = path + sizeof "/proc/self/fd/" - 1;
      for (int unit = power_of_ten_below(executable); unit > 0; unit /= 10)
        *digit++ = char('0' + executable / unit % 10);
      *digit = '\0';
      ::syscall(SYS_execve, path, argv, environment);
    }
    child.fail(SpawnStep::kExecute);
  }
  // As execvp: a place where it is not is passed over; one where it may not be executed is remembered.
  int error = ENOENT;
  for (const std::string& candidate : plan.candidates_) {
    ::syscall(SYS_execve, candidate.c_str(), argv, environment);
    if (errno == EACCES) error = EACCES;
    if (errno == EACCES || errno == ENOENT || errno == ENOTDIR) continue;
    error = errno;
    break;
  }
  errno = error;
  child.fail(SpawnStep::kExecute);
  return 127;
}

}  // namespace banyan
