// tests/end_to_end/terminal.h -- the real program on a terminal that controls it, with a shell above it.
//
// What is typed reaches the program as the kernel makes it: 0x03 as SIGINT, 0x1a as SIGTSTP, of its process
// group. The "shell" is a process of ours, leader of the terminal's session: it waits for its job to stop or
// end, takes the terminal back then, and gives it away again for fg. A Screen tells what a person sees.
#pragma once

#include <termios.h>

#include "tests/end_to_end/program.h"

namespace banyan::test {

// Lines as they stand after all that was written: understands carriage return, newline, and colours.
class Screen {
 public:
  explicit Screen(std::string_view text) {
    std::size_t column = 0;
    rows_.emplace_back();
    while (!text.empty()) {
      if (text[0] == '\r' || text[0] == '\n') {
        if (text[0] == '\n') rows_.emplace_back();
        column = text[0] == '\r' ? 0 : column;
        text.remove_prefix(1);
        continue;
      }
      if (text.starts_with("\x1b[")) {
        const std::size_t end = text.find('m');
        if (end != text.npos && end < 6) {
          text.remove_prefix(end + 1);
          continue;
        }
      }
      std::size_t bytes = 1;
      while (bytes < text.size() && (static_cast<unsigned char>(text[bytes]) & 0xc0) == 0x80) ++bytes;
      std::vector<std::string>& row = rows_.back();
      if (row.size() <= column) row.resize(column + 1, " ");
      row[column++] = text.substr(0, bytes);
      text.remove_prefix(bytes);
    }
  }

  // Without what is blank at the end of each and of all.
  Words lines() const {
    Words lines;
    for (const std::vector<std::string>& row : rows_) {
      std::string line;
      for (const std::string& cell : row) line += cell;
      line.erase(line.find_last_not_of(' ') + 1);
      lines.push_back(line);
    }
    while (!lines.empty() && lines.back().empty()) lines.pop_back();
    return lines;
  }

 private:
  std::vector<std::vector<std::string>> rows_;
};

class Terminal {
 public:
  struct Look {
    unsigned short columns = 120;
    Words environment = {};
    std::string locale = "C.UTF-8";
  };

  explicit Terminal(const Words& arguments) : Terminal(arguments, Look()) {}
  Terminal(const Words& arguments, const Look& look) : began_(std::chrono::steady_clock::now()) {
    winsize size = {50, look.columns, 0, 0};
    int master = -1, slave = -1, news[2], orders[2];
    REQUIRE(::openpty(&master, &slave, nullptr, nullptr, &size) == 0);
    REQUIRE(::pipe2(news, O_CLOEXEC) == 0);
    REQUIRE(::pipe2(orders, O_CLOEXEC) == 0);
    for (int fd : {master, slave}) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    shell_ = ::fork();
    REQUIRE(shell_ >= 0);
    if (shell_ == 0) {
      ::close(master);
      ::close(news[0]);
      ::close(orders[1]);
      ::setenv("LC_ALL", look.locale.c_str(), 1);
      ::setenv("BANYAN_CACHE", "/dev/null/none", 1);
      ::unsetenv("NO_COLOR");
      for (const std::string& entry : look.environment) ::putenv(const_cast<char*>(entry.c_str()));
      be_shell(arguments, slave, news[1], orders[0]);
    }
    for (int fd : {slave, news[1], orders[0]}) ::close(fd);
    master_ = Fd(master);
    news_ = Fd(news[0]);
    orders_ = Fd(orders[1]);
    REQUIRE(next_news() == 'P');
    REQUIRE(::read(news_.get(), &pid_, sizeof pid_) == sizeof pid_);
  }

  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  ~Terminal() {
    if (shell_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::kill(shell_, SIGKILL);
    ::waitpid(shell_, nullptr, 0);
  }

  pid_t pid() const { return pid_; }
  void type(std::string_view keys) {
    REQUIRE(::write(master_.get(), keys.data(), keys.size()) == ssize_t(keys.size()));
  }
  void resize(unsigned short columns) {
    const winsize size = {50, columns, 0, 0};
    REQUIRE(::ioctl(master_.get(), TIOCSWINSZ, &size) == 0);
  }
  bool echoes() const {
    termios modes = {};
    REQUIRE(::tcgetattr(master_.get(), &modes) == 0);
    return (modes.c_lflag & ECHO) != 0;
  }
  const std::string& shown() const { return shown_; }
  Words screen() const { return Screen(shown_).lines(); }

  // Reads until `text` has been shown after what had been shown when this was called before.
  bool wait_for(std::string_view text) {
    while (shown_.find(text, seen_) == std::string::npos) {
      if (!read_some(left())) return false;
    }
    seen_ = shown_.find(text, seen_) + text.size();
    return true;
  }
  // The shell has the terminal back, and the program is stopped.
  bool wait_stopped() { return next_news() == 'S' && drain(); }
  void foreground() { REQUIRE(::write(orders_.get(), "f", 1) == 1); }
  // It goes on, and the shell keeps the terminal until foreground().
  void background() { REQUIRE(::write(orders_.get(), "b", 1) == 1); }
  // Shows for so long whatever comes.
  void watch(std::chrono::milliseconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {
      const auto rest =
          std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
      if (!read_some(int(rest.count())) && !master_) return;
    }
  }

  // Waits for the program's end. `out` is all that was shown.
  Finished finish() {
    Finished finished;
    REQUIRE(next_news() == 'E');
    int status = 0;
    REQUIRE(::read(news_.get(), &status, sizeof status) == sizeof status);
    finished.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
    ::waitpid(shell_, nullptr, 0);
    shell_ = -1;
    while (read_some(left())) {
    }
    finished.code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
    finished.out = shown_;
    return finished;
  }

 private:
  [[noreturn]] static void be_shell(const Words& arguments, int slave, int news, int orders) {
    ::setsid();
    ::ioctl(slave, TIOCSCTTY, 0);
    ::signal(SIGTTOU, SIG_IGN);
    ::signal(SIGHUP, SIG_IGN);
    std::vector<char*> argv = {const_cast<char*>(BANYAN_PROGRAM)};
    for (const std::string& word : arguments) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    const pid_t job = ::fork();
    if (job == 0) {
      ::setpgid(0, 0);
      ::tcsetpgrp(slave, ::getpid());
      ::signal(SIGTTOU, SIG_DFL);
      ::signal(SIGHUP, SIG_DFL);
      ::signal(SIGPIPE, SIG_DFL);
      for (int fd : {0, 1, 2}) ::dup2(slave, fd);
      ::execv(BANYAN_PROGRAM, argv.data());
      ::_exit(99);
    }
    ::setpgid(job, job);
    ::tcsetpgrp(slave, job);
    auto tell = [news](char what, int value) {
      char bytes[1 + sizeof value] = {what};
      std::memcpy(bytes + 1, &value, sizeof value);
      if (::write(news, bytes, what == 'S' ? 1 : sizeof bytes) <= 0) ::_exit(98);
    };
    tell('P', job);
    for (int status = 0; ::waitpid(job, &status, WUNTRACED) == job;) {
      ::tcsetpgrp(slave, ::getpgrp());
      if (!WIFSTOPPED(status)) {
        tell('E', status);
        break;
      }
      tell('S', 0);
      char order = 0;
      while (::read(orders, &order, 1) == 1 && order == 'b') ::kill(-job, SIGCONT);
      if (order != 'f') break;
      ::tcsetpgrp(slave, job);
      ::kill(-job, SIGCONT);
    }
    ::_exit(0);
  }

  int left() const {
    return int(std::chrono::duration_cast<std::chrono::milliseconds>(began_ + kProgramDeadline -
                                                                     std::chrono::steady_clock::now())
                   .count());
  }

  // False when nothing came in time, or nothing will.
  bool read_some(int milliseconds) {
    pollfd wait = {master_.get(), POLLIN, 0};
    if (!master_ || milliseconds < 0 || ::poll(&wait, 1, milliseconds) <= 0) return false;
    char bytes[64 * 1024];
    const ssize_t got = retry([&] { return ::read(master_.get(), bytes, sizeof bytes); });
    if (got <= 0) {
      master_.reset();
      return false;
    }
    shown_.append(bytes, std::size_t(got));
    return true;
  }
  bool drain() {
    while (read_some(0)) {
    }
    return true;
  }
  // What the shell has to say next; 0 when time is up. The terminal is read meanwhile.
  char next_news() {
    while (left() > 0) {
      pollfd wait[] = {{news_.get(), POLLIN, 0}, {master_.get(), POLLIN, 0}};
      if (::poll(wait, 2, left()) <= 0) return 0;
      if (wait[1].revents != 0) read_some(0);
      char what = 0;
      if (wait[0].revents != 0) return ::read(news_.get(), &what, 1) == 1 ? what : char(0);
    }
    return 0;
  }

  pid_t shell_ = -1;
  int pid_ = -1;
  Fd master_, news_, orders_;
  std::string shown_;
  std::size_t seen_ = 0;
  std::chrono::steady_clock::time_point began_;
};

}  // namespace banyan::test
