// tests/end_to_end/person.h -- the real program on a terminal of its own, and a person who is asked and
// types.
#pragma once

#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "tests/end_to_end/program.h"

namespace banyan::test {

class OnTerminal {
 public:
  // Standard input, output and error are the terminal, and it is the controlling one. A NAME=VALUE in
  // `environment` is added to ours. `starter`: as for Program.
  explicit OnTerminal(const Words& arguments, const Words& environment = {}, const Words& starter = {}) {
    int terminal = -1, theirs = -1;
    REQUIRE(::openpty(&terminal, &theirs, nullptr, nullptr, nullptr) == 0);
    ::fcntl(terminal, F_SETFD, FD_CLOEXEC);
    std::vector<char*> argv;
    for (const std::string& word : starter) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(const_cast<char*>(BANYAN_PROGRAM));
    for (const std::string& word : arguments) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      ::setsid();
      ::ioctl(theirs, TIOCSCTTY, 0);
      for (int fd : {0, 1, 2}) ::dup2(theirs, fd);
      if (theirs > 2) ::close(theirs);
      // As many bytes of core as the machine allows.
      rlimit core = {};
      ::getrlimit(RLIMIT_CORE, &core);
      core.rlim_cur = core.rlim_max;
      ::setrlimit(RLIMIT_CORE, &core);
      for (int signal : {SIGPIPE, SIGINT, SIGTSTP}) ::signal(signal, SIG_DFL);
      ::setenv("BANYAN_CACHE", "/dev/null/none", 1);
      for (const char* name :
           {"NO_COLOR", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "DISPLAY", "WAYLAND_DISPLAY"})
        ::unsetenv(name);
      for (const std::string& entry : environment) ::putenv(const_cast<char*>(entry.c_str()));
      ::execvp(argv[0], argv.data());
      ::_exit(99);
    }
    terminal_ = Fd(terminal);
    theirs_ = Fd(theirs);  // so that the terminal lives on when they have all gone, and its modes can be seen
    ::fcntl(theirs, F_SETFD, FD_CLOEXEC);
  }
  OnTerminal(const OnTerminal&) = delete;
  OnTerminal& operator=(const OnTerminal&) = delete;
  ~OnTerminal() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGCONT);
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  pid_t pid() const { return pid_; }
  // All that was shown so far, and what of it has not been waited for.
  const std::string& shown() const { return shown_; }

  // Reads until this is shown, after what was waited for before. False: it ended, or time is up.
  bool wait_for(std::string_view text) { return wait_for(text, std::chrono::milliseconds(left())); }
  bool wait_for(std::string_view text, std::chrono::milliseconds time) {
    const auto until = std::chrono::steady_clock::now() + time;
    for (;;) {
      if (const std::size_t at = shown_.find(text, seen_); at != shown_.npos) {
        seen_ = at + text.size();
        return true;
      }
      if (ended_ || std::chrono::steady_clock::now() > until) return false;
      read();
    }
  }
  void type(std::string_view text) {
    REQUIRE(::write(terminal_.get(), text.data(), text.size()) == ssize_t(text.size()));
  }
  termios modes() const {
    termios modes{};
    REQUIRE(::tcgetattr(theirs_.get(), &modes) == 0);
    return modes;
  }
  bool echoes() const { return (modes().c_lflag & ECHO) != 0; }

  // Until it has stopped itself.
  bool wait_for_stop() {
    int status = 0;
    while (left() > 0) {
      if (::waitpid(pid_, &status, WNOHANG | WUNTRACED) == pid_) return WIFSTOPPED(status);
      read();
    }
    return false;
  }

  bool has_dumped_core() const { return dumped_core_; }
  // Waits for its end. The exit code; 1000 + N when a signal ended it.
  int finish() {
    while (!ended_ && left() > 0) read();
    REQUIRE(ended_);
    return code_;
  }

 private:
  int left() const {
    return int(std::chrono::duration_cast<std::chrono::milliseconds>(began_ + kProgramDeadline -
                                                                     std::chrono::steady_clock::now())
                   .count());
  }
  void take() {
    pollfd wait = {terminal_.get(), POLLIN, 0};
    char bytes[4096];
    while (::poll(&wait, 1, 0) == 1) {
      const ssize_t got = ::read(terminal_.get(), bytes, sizeof bytes);
      if (got <= 0) return;
      shown_.append(bytes, std::size_t(got));
    }
  }
  void read() {
    pollfd wait = {terminal_.get(), POLLIN, 0};
    ::poll(&wait, 1, 20);
    take();
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) != pid_) return;
    pid_ = -1;
    ended_ = true;
    dumped_core_ = WIFSIGNALED(status) && WCOREDUMP(status);
    code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
    take();
  }

  pid_t pid_ = -1;
  Fd terminal_, theirs_;
  std::string shown_;
  std::size_t seen_ = 0;
  bool ended_ = false, dumped_core_ = false;
  int code_ = -1;
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

}  // namespace banyan::test
