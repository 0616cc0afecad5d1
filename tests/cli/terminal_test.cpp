// Goal: a terminal whose modes we changed has them back when we leave; modes that others changed are theirs.
// Method: a process that is leader of a terminal of its own, and ends with the number of what went wrong.
#include "cli/terminal.h"

#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "core/fd.h"

using namespace banyan;
using namespace banyan::cli;

namespace {

// Its exit code; 99 where there is no terminal to be had.
template <class Body>
int on_a_terminal(const Body& body) {
  int master = -1, slave = -1;
  REQUIRE(::openpty(&master, &slave, nullptr, nullptr, nullptr) == 0);
  const Fd master_end(master), slave_end(slave);
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    ::signal(SIGHUP, SIG_IGN);
    if (::setsid() < 0 || ::ioctl(slave, TIOCSCTTY, 0) != 0) ::_exit(99);
    ::_exit(body());
  }
  int status = 0;
  retry([&] { return ::waitpid(pid, &status, 0); });
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}

bool echoes(const Terminal& terminal) {
  return (terminal.modes()->c_lflag & ECHO) != 0;
}

termios without_echo(const Terminal& terminal) {
  termios modes = *terminal.modes();
  modes.c_lflag &= ~tcflag_t(ECHO);
  return modes;
}

}  // namespace

TEST_CASE("modes we changed are as before once they are restored, and after a stop they are changed again") {
  CHECK(on_a_terminal([] {
          Terminal terminal;
          if (!terminal.modes() || !echoes(terminal)) return 1;
          if (!terminal.change(without_echo(terminal)) || echoes(terminal)) return 2;
          terminal.stop_here();  // which stops nobody in an orphaned process group
          if (echoes(terminal)) return 3;
          terminal.restore();
          return echoes(terminal) ? 0 : 4;
        }) == 0);
}

TEST_CASE("modes that somebody else changed are left alone") {
  CHECK(on_a_terminal([] {
          Terminal terminal;
          const termios pager = without_echo(terminal);
          const Fd other(::open("/dev/tty", O_RDWR | O_NOCTTY));
          ::tcsetattr(other.get(), TCSANOW, &pager);
          terminal.restore();
          terminal.stop_here();
          return echoes(terminal) ? 1 : 0;
        }) == 0);
}
