#include "tests/support/watchdog.h"

#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace banyan::test {
namespace {

constexpr int kEndedByWatchdog = 124;  // as timeout(1) exits
constexpr int kDepthMax = 8;           // of the processes beneath us that are told

std::atomic<const char*> running{""};

void say(const char* text) {
  [[maybe_unused]] const auto written = ::write(STDOUT_FILENO, text, std::strlen(text));
}

// Into `text`, with spaces for the zeros that separate arguments.
void read_text(const char* path, char* text, std::size_t size) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  const ssize_t got = fd >= 0 ? ::read(fd, text, size - 1) : 0;
  if (fd >= 0) ::close(fd);
  const std::size_t count = got > 0 ? std::size_t(got) : 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (text[i] == '\0') text[i] = ' ';
  }
  text[count] = '\0';
}

// And kills them: nobody else would.
void tell_children(long pid, int depth) {
  char path[64], children[1024], line[512];
  std::snprintf(path, sizeof path, "/proc/%ld/task/%ld/children", pid, pid);
  read_text(path, children, sizeof children);
  for (char* at = children; depth < kDepthMax;) {
    char* after = at;
    const long child = std::strtol(at, &after, 10);
    if (after == at) return;
    at = after;
    std::snprintf(path, sizeof path, "/proc/%ld/cmdline", child);
    read_text(path, line, sizeof line);
    char told[640];
    std::snprintf(told, sizeof told, "%*s%ld %s\n", 2 + 2 * depth, "", child, line);
    say(told);
    tell_children(child, depth + 1);
    ::kill(pid_t(child), SIGKILL);
  }
}

// In a signal's handler: nothing that takes memory or a lock.
void bark(int) {
  say("\nout of time in \"");
  say(running);
  say("\", with these processes beneath:\n");
  tell_children(::getpid(), 0);
  ::_exit(kEndedByWatchdog);
}

}  // namespace

void start_watchdog() {
  const char* seconds = std::getenv("BANYAN_TEST_SECONDS");
  if (seconds == nullptr) return;
  struct sigaction action = {};
  action.sa_handler = bark;
  ::sigaction(SIGRTMAX, &action, nullptr);
  sigevent event = {};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGRTMAX;  // tests of timers use SIGALRM themselves
  timer_t timer = {};
  const itimerspec once = {{}, {std::atol(seconds), 0}};
  if (::timer_create(CLOCK_MONOTONIC, &event, &timer) == 0) ::timer_settime(timer, 0, &once, nullptr);
}

void watch_test(const char* name) {
  running = name;
}

}  // namespace banyan::test
