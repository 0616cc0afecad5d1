// Goal: a signal reaches the processes that were meant, and never one that has their number now.
// Method: real children of this process; a number that passed on is one whose time of start is another.

#include "core/process_tree.h"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cerrno>

#include "tests/support/not_tested.h"

using namespace banyan;

namespace {

// A child that waits for a signal, in a session of its own; ended and reaped at the latest with this.
class Sleeper {
 public:
  Sleeper() {
    int ready[2];
    REQUIRE(::pipe(ready) == 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::setsid();
      ::signal(SIGTERM, SIG_DFL);  // the test program has a handler
      ::close(ready[0]);
      ::close(ready[1]);  // says that the session is made
      for (;;) ::pause();
    }
    ::close(ready[1]);
    char none;
    CHECK(::read(ready[0], &none, 1) == 0);
    ::close(ready[0]);
  }
  ~Sleeper() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    reap();
  }
  pid_t pid() const { return pid_; }
  bool has_ended() {
    siginfo_t info = {};
    return ::waitid(P_PID, id_t(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid_;
  }
  // The signal that ended it.
  int reap() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  }

 private:
  pid_t pid_ = 0;
};

}  // namespace

TEST_CASE("what /proc says of a process: its parent, its group, its session, and when it started") {
  Sleeper first, second;
  Process one, two;
  REQUIRE(read_process(first.pid(), one));
  REQUIRE(read_process(second.pid(), two));
  CHECK(one.pid == first.pid());
  CHECK(one.parent == ::getpid());
  CHECK(one.group == first.pid());
  CHECK(one.session == first.pid());
  CHECK(one.started > 0);
  CHECK(two.started >= one.started);
  Process again;
  REQUIRE(read_process(first.pid(), again));
  CHECK(again.started == one.started);
}

TEST_CASE("a signal for a process that has ended does not reach who has its number now") {
  Sleeper sleeper;
  Process process;
  REQUIRE(read_process(sleeper.pid(), process));
  Process earlier = process;
  earlier.started -= 1;

  CHECK(signal_process(earlier, SIGKILL) == ESRCH);
  CHECK_FALSE(sleeper.has_ended());

  CHECK(signal_process(process, SIGTERM) == 0);
  CHECK(sleeper.reap() == SIGTERM);
  CHECK(signal_process(process, SIGKILL) == ESRCH);
}

TEST_CASE("a stopped process acts on what it is sent") {
  Sleeper sleeper;
  Process process;
  REQUIRE(read_process(sleeper.pid(), process));
  ::kill(sleeper.pid(), SIGSTOP);
  CHECK(signal_process(process, SIGTERM) == 0);
  CHECK(sleeper.reap() == SIGTERM);
}

TEST_CASE("a session's members are signalled, and nobody else") {
  Sleeper member, stranger;
  const Sweep swept = signal_session(member.pid(), SIGKILL);
  CHECK(swept.has_proc);
  CHECK(swept.signalled == 1);
  CHECK(swept.refused == 0);
  CHECK(member.reap() == SIGKILL);
  CHECK_FALSE(stranger.has_ended());
}

TEST_CASE("a /proc of another process namespace is none: its numbers are others' here") {
  const pid_t maker = ::fork();
  if (maker == 0) {
    if (::unshare(CLONE_NEWPID) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0) ::_exit(2);
    const pid_t inside = ::fork();
    // No signal: nobody is to be hit if it is not so.
    if (inside == 0) ::_exit(signal_descendants(::getpid(), 0, 0).has_proc ? 1 : 0);
    int status = 0;
    ::_exit(::waitpid(inside, &status, 0) == inside && WIFEXITED(status) ? WEXITSTATUS(status) : 3);
  }
  int status = 0;
  REQUIRE(::waitpid(maker, &status, 0) == maker);
  if (WEXITSTATUS(status) == 2)
    return test::not_tested("namespaces", "no process namespace can be made here");
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(signal_descendants(::getpid(), 0, 0).has_proc);
}
