// tests/end_to_end/program.h -- the real program as a child: its words, its exit, its signals, its memory.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/fd.h"
#include "core/text.h"
#include "tests/support/processes.h"

namespace banyan::test {

using Words = std::vector<std::string>;

// Beyond any honest wait, also under a sanitizer on a busy machine.
constexpr std::chrono::seconds kProgramDeadline{90};

struct Finished {
  int code = -1;  // 1000 + N when a signal ended the program itself
  std::string out, err;
  double seconds = 0;
};

class Program {
 public:
  enum class Shape {
    kPipes,     // three pipes
    kTerminal,  // standard output and error are one terminal, standard input is /dev/null
  };

  // A NAME=VALUE in `environment` is added to ours. `starter`, if any, is run in the program's place, with
  // the program and its arguments as its last ones, and becomes it.
  explicit Program(const Words& arguments, Shape shape = Shape::kPipes, const Words& environment = {},
                   const Words& starter = {}) {
    int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2] = {-1, -1};
    if (shape == Shape::kPipes) {
      REQUIRE(::pipe2(in, O_CLOEXEC) == 0);
      REQUIRE(::pipe2(out, O_CLOEXEC) == 0);
      REQUIRE(::pipe2(err, O_CLOEXEC) == 0);
    } else {
      REQUIRE(::openpty(&out[0], &out[1], nullptr, nullptr, nullptr) == 0);
      ::fcntl(out[0], F_SETFD, FD_CLOEXEC);
      in[0] = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
      err[1] = ::dup(out[1]);
    }
    std::vector<char*> argv;
    for (const std::string& word : starter) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(const_cast<char*>(BANYAN_PROGRAM));
    for (const std::string& word : arguments) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    began_ = std::chrono::steady_clock::now();
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      ::setsid();  // the terminal of whoever runs the tests is not to be asked
      ::dup2(in[0], 0);
      ::dup2(out[1], 1);
      ::dup2(err[1], 2);
      for (int fd : {out[1], err[1]}) {
        if (fd > 2) ::close(fd);
      }
      ::signal(SIGPIPE, SIG_DFL);
      ::setenv("BANYAN_CACHE", "/dev/null/none", 1);  // of a run on this machine nothing is remembered
      ::unsetenv("NO_COLOR");
      for (const std::string& entry : environment) ::putenv(const_cast<char*>(entry.c_str()));
      ::execvp(argv[0], argv.data());
      ::_exit(99);
    }
    for (int fd : {in[0], out[1], err[1]}) ::close(fd);
    in_ = Fd(in[1]);
    out_ = Fd(out[0]);
    err_ = Fd(err[0]);
  }

  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  pid_t pid() const { return pid_; }
  void signal(int number) { ::kill(pid_, number); }
  void close_input() { in_.reset(); }
  void close_output() { out_.reset(); }

  // Reads until `text` has been seen on standard output, or on standard error.
  bool wait_for(std::string_view text) {
    return pump("", [&] {
      return out_text_.find(text) != std::string::npos || err_text_.find(text) != std::string::npos;
    });
  }

  // Reads until done(standard output, standard error), both as far as they were read.
  template <class Done>
  bool wait_until(const Done& done) {
    return pump("", [&] { return done(out_text_, err_text_); }) && done(out_text_, err_text_);
  }
  const std::string& out() const { return out_text_; }
  const std::string& err() const { return err_text_; }

  // Takes what there is to read, and does not wait.
  void look() {
    pollfd wait[] = {{out_.get(), POLLIN, 0}, {err_.get(), POLLIN, 0}};
    while (::poll(wait, 2, 0) > 0) {
      if (wait[0].revents != 0) take(out_, out_text_);
      if (wait[1].revents != 0) take(err_, err_text_);
      wait[0].fd = out_.get();
      wait[1].fd = err_.get();
    }
  }

  // So far, as was read.
  bool has_said(std::string_view text) const { return out_text_.find(text) != std::string::npos; }

  // Reads until standard output has given so many bytes in all. Standard input stays open.
  bool read_output(std::size_t bytes) {
    Fd in = std::move(in_);
    const bool in_time = pump("", [&] { return out_text_.size() >= bytes; });
    in_ = std::move(in);
    return in_time && out_text_.size() >= bytes;
  }
  // The same, and lets standard error fill up.
  bool read_only_output(std::size_t bytes) {
    Fd err = std::move(err_);
    const bool all = read_output(bytes);
    err_ = std::move(err);
    return all;
  }
  // Reads nothing, until so many bytes of standard output wait to be read.
  bool wait_for_unread(int bytes) {
    int waiting = 0;
    while (::ioctl(out_.get(), FIONREAD, &waiting) == 0 && waiting < bytes && left() > 0)
      ::poll(nullptr, 0, 2);
    return waiting >= bytes;
  }
  // Reads standard error only, until `text` has been seen there.
  bool wait_for_error(std::string_view text) {
    Fd in = std::move(in_), out = std::move(out_);
    const bool in_time = pump("", [&] { return err_text_.find(text) != std::string::npos; });
    in_ = std::move(in);
    out_ = std::move(out);
    return in_time;
  }
  // Reads nothing, until the program has ended.
  bool wait_for_exit_unread() {
    siginfo_t info = {};
    while (::waitid(P_PID, id_t(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0 &&
           left() > 0) {
      ::poll(nullptr, 0, 2);
    }
    return info.si_pid == pid_;
  }
  // A few bytes of standard input, which stays open.
  void write(std::string_view input) {
    REQUIRE(::write(in_.get(), input.data(), input.size()) == ssize_t(input.size()));
  }

  // Feeds `input` and its end, takes all there is to read, and waits for the exit.
  Finished finish(std::string_view input = {}) {
    const bool all_read = pump(input, [] { return false; });
    INFO("standard error so far: " << err_text_);
    REQUIRE(all_read);
    int status = 0;
    while (true) {
      const pid_t ended = ::waitpid(pid_, &status, WNOHANG);
      if (ended == pid_) break;
      REQUIRE(left() > 0);
      ::poll(nullptr, 0, 2);
    }
    pid_ = -1;
    Finished finished;
    finished.code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
    finished.out = std::move(out_text_);
    finished.err = std::move(err_text_);
    finished.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
    return finished;
  }

 private:
  int left() const {
    return int(std::chrono::duration_cast<std::chrono::milliseconds>(began_ + kProgramDeadline -
                                                                     std::chrono::steady_clock::now())
                   .count());
  }

  // True when `done`, or when both outputs have ended; false when time is up.
  template <class Done>
  bool pump(std::string_view input, const Done& done) {
    if (in_) ::fcntl(in_.get(), F_SETFL, O_NONBLOCK);
    while (!done()) {
      if (!out_ && !err_) return true;
      if (in_ && input.empty()) in_.reset();
      pollfd wait[] = {{out_.get(), POLLIN, 0}, {err_.get(), POLLIN, 0}, {in_.get(), POLLOUT, 0}};
      if (left() <= 0 || ::poll(wait, 3, left()) == 0) return false;
      if (wait[0].revents != 0) take(out_, out_text_);
      if (wait[1].revents != 0) take(err_, err_text_);
      if (wait[2].revents != 0) {
        const ssize_t written = ::write(in_.get(), input.data(), input.size());
        if (written > 0) input.remove_prefix(std::size_t(written));
        if (written < 0 && errno != EAGAIN) input = {};
      }
    }
    return true;
  }

  static void take(Fd& from, std::string& into) {
    char bytes[64 * 1024];
    const ssize_t got = retry([&] { return ::read(from.get(), bytes, sizeof bytes); });
    if (got <= 0) return from.reset();  // EIO: the other side of a terminal was closed
    into.append(bytes, std::size_t(got));
  }

  pid_t pid_ = -1;
  Fd in_, out_, err_;
  std::string out_text_, err_text_;
  std::chrono::steady_clock::time_point began_;
};

// SIGPIPE must not end the tests when a program does not read.
inline Finished run_program(const Words& arguments, std::string_view input = {},
                            const Words& environment = {}) {
  ::signal(SIGPIPE, SIG_IGN);
  Program program(arguments, Program::Shape::kPipes, environment);
  return program.finish(input);
}

// A NAME=VALUE that all descendants of one program carry, to find them by.
inline std::string fresh_mark() {
  static int serial = 0;
  return cat("BANYAN_TEST_MARK=", std::int64_t(::getpid()), "-", ++serial, ".");
}

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

inline bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

inline std::size_t count_of(const std::string& text, std::string_view part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// The same ones each time.
inline std::string random_bytes(std::size_t count) {
  std::string bytes(count, '\0');
  std::uint32_t state = 12345;
  for (char& byte : bytes) {
    state = state * 1664525 + 1013904223;
    byte = char(state >> 24);
  }
  return bytes;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kMemoryIsOurs = false;  // a sanitizer's own memory hides ours
#else
constexpr bool kMemoryIsOurs = true;
#endif

// Waits until no process carries the mark any more.
inline bool all_gone(const std::string& mark, std::chrono::seconds within = std::chrono::seconds(20)) {
  const auto end = std::chrono::steady_clock::now() + within;
  while (!processes_marked(mark).empty()) {
    if (std::chrono::steady_clock::now() > end) return false;
    ::poll(nullptr, 0, 10);
  }
  return true;
}

// The most memory a process has had so far, in KiB; 0 when it is gone.
inline long peak_kib(pid_t pid) {
  const std::string status = read_file(cat("/proc/", pid, "/status"));
  const std::size_t at = status.find("VmHWM:");
  return at == std::string::npos ? 0 : std::atol(status.c_str() + at + 6);
}

}  // namespace banyan::test
