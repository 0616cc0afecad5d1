// tests/shm/peers.h -- other processes for these tests: a program of its own (peer/peer.cpp) that is told by
// its arguments and by lines what to do, and answers in lines.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <string>
#include <vector>

#include "shm/futex.h"

extern char** environ;  // NOLINT

namespace banyan::shm::test {

using std::chrono::milliseconds;
using std::chrono::seconds;

// How long an answer may take, on a busy machine under a sanitizer.
constexpr seconds kAnswerIn{30};

class Peer {
 public:
  // `kept` is a descriptor that it has as number 3.
  explicit Peer(const std::vector<std::string>& arguments, int kept = -1,
                const char* program = BANYAN_SHM_PEER) {
    int to[2], from[2];
    if (::pipe2(to, O_CLOEXEC) != 0 || ::pipe2(from, O_CLOEXEC) != 0) return;
    std::vector<char*> words{const_cast<char*>(program)};
    for (const std::string& word : arguments) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, to[0], 0);
    ::posix_spawn_file_actions_adddup2(&actions, from[1], 1);
    if (kept >= 0) ::posix_spawn_file_actions_adddup2(&actions, kept, 3);
    if (::posix_spawnp(&pid_, program, &actions, nullptr, words.data(), environ) != 0) pid_ = -1;
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(to[0]);
    ::close(from[1]);
    in_ = to[1];
    out_ = from[0];
  }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  ~Peer() {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
    wait();
  }

  pid_t pid() const { return pid_; }

  void say(const std::string& line) {
    const std::string text = line + "\n";
    if (::write(in_, text.data(), text.size()) != ssize_t(text.size())) heard_ = "cannot write";
  }
  // No more will be said.
  void close_input() {
    if (in_ >= 0) ::close(in_);
    in_ = -1;
  }

  // The next line, or what there was when it ended or took too long.
  std::string line() {
    const Deadline deadline = Clock::now() + kAnswerIn;
    for (;;) {
      const std::size_t end = heard_.find('\n');
      if (end != heard_.npos) {
        std::string found = heard_.substr(0, end);
        heard_.erase(0, end + 1);
        return found;
      }
      const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now()).count();
      pollfd ready{out_, POLLIN, 0};
      if (left <= 0 || ::poll(&ready, 1, int(left)) <= 0) return "no answer in time: " + heard_;
      char bytes[4096];
      const ssize_t count = ::read(out_, bytes, sizeof bytes);
      if (count <= 0) return "ended: " + heard_;
      heard_.append(bytes, std::size_t(count));
    }
  }

  void kill(int signal = SIGKILL) const { ::kill(pid_, signal); }
  // Its exit code, or minus the signal that ended it.
  int wait() {
    close_input();
    if (out_ >= 0) ::close(out_);
    out_ = -1;
    if (pid_ <= 0) return status_;
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  pid_t pid_ = -1;
  int in_ = -1, out_ = -1;
  int status_ = 0;
  std::string heard_;
};

}  // namespace banyan::shm::test
