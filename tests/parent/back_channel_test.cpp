// Goal: what a transport's processes ask is answered, one thing at a time and so much; nobody else is heard,
// and nothing is left of the socket.
// Method: a real socket and real processes, which say what they were answered by how they end.

#include "parent/back_channel.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/epoll_loop.h"
#include "parent/visitor.h"
#include "tests/support/not_tested.h"
#include "tests/support/run_until.h"
#include "tests/support/tree.h"

using namespace banyan;
using namespace banyan::test;

namespace {

// Says each question backwards.
struct Backwards final : Answerer {
  std::vector<std::string> asked;
  std::vector<std::uint32_t> visitors;
  OnAnswer held;
  bool holds = false;
  void ask(std::uint32_t visitor, Bytes question, OnAnswer on_answer) override {
    visitors.push_back(visitor);
    asked.emplace_back(as_text(question));
    if (holds) {
      held = std::move(on_answer);
    } else {
      on_answer(Buffer(question.rbegin(), question.rend()));
    }
  }
};

int connect_to(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 ? fd : -1;
}

int connect_by_name(const std::string& name) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.c_str(), name.size());
  const auto size = socklen_t(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return ::connect(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 ? fd : -1;
}

// What is answered; "" when the other end hangs up.
std::string ask(int fd, const std::string& question) {
  std::string message(4, '\0');
  message[2] = char(question.size() >> 8);
  message[3] = char(question.size() & 0xff);
  message += question;
  (void)!::send(fd, message.data(), message.size(), MSG_NOSIGNAL);
  unsigned char length[4];
  if (::recv(fd, length, 4, MSG_WAITALL) != 4) return {};
  std::string answer(std::size_t(length[2]) << 8 | length[3], '\0');
  return ::recv(fd, answer.data(), answer.size(), MSG_WAITALL) == ssize_t(answer.size()) ? answer : "";
}

// A process that does `what`, and how it ended: 0 if that was true.
struct Asking {
  pid_t pid;
  template <class What>
  explicit Asking(const What& what) : pid(::fork()) {
    if (pid == 0) ::_exit(what() ? 0 : 1);
  }
};

struct Channel {
  EpollLoop loop;
  Backwards answerer;
  int asks = 0;  // how often it was said
  bool is_asking = false;
  std::unique_ptr<BackChannel> channel;

  explicit Channel(BackChannel::Reached reached = BackChannel::Reached::kByPath) {
    const auto note = [this](bool now) {
      ++asks;
      is_asking = now;
    };
    auto opened = BackChannel::open(loop, answerer, note, reached);
    REQUIRE(bool(opened));
    channel = std::move(*opened);
  }
  // The end of `process`, which is the transport.
  int outcome_of(const Asking& process) {
    channel->expect(process.pid);
    return end_of(process);
  }
  int end_of(const Asking& process) {
    int status = -1;
    run_until(loop, [&] { return ::waitpid(process.pid, &status, WNOHANG) == process.pid; });
    return status;
  }
};

// A transport that asks a question, which is not answered yet, and ends well if it never is.
struct Unanswered : Channel {
  const Asking transport{[path = channel->path()] { return ask(connect_to(path), "who").empty(); }};

  Unanswered() {
    answerer.holds = true;
    channel->expect(transport.pid);
    REQUIRE(run_until(loop, [&] { return bool(answerer.held); }));
    REQUIRE(is_asking);
  }
};

}  // namespace

TEST_CASE("what a process of the transport asks is answered, one thing after the other") {
  Channel at;
  const std::string path = at.channel->path();
  const Asking transport([&] {
    const int fd = connect_to(path);
    return ask(fd, "one") == "eno" && ask(fd, "two") == "owt";
  });
  CHECK(at.outcome_of(transport) == 0);
  CHECK((at.answerer.asked == std::vector<std::string>{"one", "two"}));
  CHECK((at.answerer.visitors == std::vector<std::uint32_t>{1, 1}));
  CHECK(at.asks == 4);
  CHECK_FALSE(at.is_asking);
}

TEST_CASE("a child of the transport is heard; a process that is none is not") {
  Channel at;
  const std::string path = at.channel->path();
  const Asking transport([&] {
    const Asking child([&] { return ask(connect_to(path), "who") == "ohw"; });
    int status = -1;
    ::waitpid(child.pid, &status, 0);
    return status == 0;
  });
  CHECK(at.outcome_of(transport) == 0);
  const Asking stranger([&] { return ask(connect_to(path), "who").empty(); });
  CHECK(at.end_of(stranger) == 0);
  CHECK(at.answerer.asked.size() == 1);
}

TEST_CASE("a process of the transport that has become another user is not heard") {
  if (::geteuid() != 0) return not_tested("users", "becoming another user wants root");
  Channel at(BackChannel::Reached::kByName);
  const std::string name = at.channel->path();
  const Asking transport([&] {
    constexpr uid_t kStranger = 65534;
    return ask(connect_by_name(name), "who") == "ohw" && ::setuid(kStranger) == 0 &&
           ask(connect_by_name(name), "who").empty();
  });
  CHECK(at.outcome_of(transport) == 0);
  CHECK(at.answerer.asked.size() == 1);
}

TEST_CASE("a question that is too long ends the visit, and one as long as may be does not") {
  Channel at;
  const std::string path = at.channel->path(), longest(kQuestionBytesMax, 'x');
  const Asking transport([&] {
    return ask(connect_to(path), longest) == longest && ask(connect_to(path), longest + "x").empty();
  });
  CHECK(at.outcome_of(transport) == 0);
  CHECK(at.answerer.asked.size() == 1);
}

TEST_CASE("one question too many ends the visit") {
  Channel at;
  const std::string path = at.channel->path();
  const Asking transport([&] {
    const int fd = connect_to(path);
    for (std::uint32_t i = 0; i < kQuestionsMax; ++i)
      if (ask(fd, "xy") != "yx") return false;
    return ask(fd, "xy").empty();
  });
  CHECK(at.outcome_of(transport) == 0);
  CHECK(at.answerer.asked.size() == kQuestionsMax);
}

TEST_CASE("one visit too many is not heard") {
  Channel at;
  const std::string path = at.channel->path();
  const Asking transport([&] {
    for (std::uint32_t i = 0; i < kVisitorsMax; ++i) {
      const int fd = connect_to(path);
      if (ask(fd, "xy") != "yx") return false;
      ::close(fd);
    }
    return ask(connect_to(path), "xy").empty();
  });
  CHECK(at.outcome_of(transport) == 0);
  CHECK(at.answerer.visitors.back() == kVisitorsMax);
}

TEST_CASE("an answer that comes when the channel is gone goes nowhere, and the visitor hears its end") {
  Unanswered at;

  at.channel.reset();
  at.answerer.held(as_bytes("late"));

  CHECK(at.end_of(at.transport) == 0);
}

TEST_CASE("an empty answer shows the visitor out") {
  Unanswered at;

  at.answerer.held({});

  CHECK_FALSE(at.is_asking);
  CHECK(at.end_of(at.transport) == 0);
}

TEST_CASE("the socket has no name in any folder") {
  Channel at;
  const char* runtime = ::getenv("XDG_RUNTIME_DIR");
  for (const char* folder : {runtime == nullptr ? "/tmp" : runtime, "/dev/shm", "/tmp", "/var/tmp"}) {
    DIR* entries = ::opendir(folder);
    for (const dirent* entry; entries != nullptr && (entry = ::readdir(entries)) != nullptr;) {
      const std::string_view name(entry->d_name);
      const bool is_ours = name.size() == 7 + 16 && name.starts_with("banyan-") &&
                           name.find_first_not_of("0123456789abcdef", 7) == name.npos;
      CHECK_FALSE(is_ours);
    }
    if (entries != nullptr) ::closedir(entries);
  }
}

TEST_CASE("a private file is read under its path, and cannot be written") {
  const Result<PrivateFile> file = make_private_file("web1 ssh-ed25519 AAAA\n");
  REQUIRE(bool(file));
  std::string text(100, '\0');
  const Fd fd(::open(file->path.c_str(), O_RDONLY));
  text.resize(std::size_t(std::max<ssize_t>(::read(fd.get(), text.data(), text.size()), 0)));
  CHECK(text == "web1 ssh-ed25519 AAAA\n");
  const Fd writable(::open(file->path.c_str(), O_RDWR));
  CHECK((!writable || ::write(writable.get(), "x", 1) < 0));
}
