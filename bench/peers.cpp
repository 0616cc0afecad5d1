#include "bench/peers.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

namespace banyan::bench {

namespace {

constexpr std::size_t kRelayBytes = 256 * 1024;
constexpr int kPipeBytes = 1 << 20;
constexpr int kCommandPipeBytes = 256 * 1024;  // core/exec.cpp's

pid_t spawn(const std::string& program) {
  char* argv[] = {const_cast<char*>(program.c_str()), nullptr};
  pid_t pid = -1;
  if (::posix_spawn(&pid, program.c_str(), nullptr, nullptr, argv, environ) != 0)
    die("cannot spawn " + program);
  return pid;
}

void wait_for(pid_t pid) {
  retry([&] { return ::waitpid(pid, nullptr, 0); });
}

FdPair socketpair_or_die() {
  Result<FdPair> pair = make_socketpair();
  if (!pair) die("no socketpair");
  return std::move(*pair);
}

Fd make_epoll(int fd, int other = -1) {
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  for (const int watched : {fd, other}) {
    if (watched < 0) continue;
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = watched;
    if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, watched, &event) != 0) die("epoll_ctl");
  }
  return epoll;
}

// Passes on between its two sockets, or sends back where there is only one, until one of them ends.
void relay(int up, int down) {
  const Fd epoll = make_epoll(up, down);
  const auto buffer = std::make_unique<char[]>(kRelayBytes);
  for (;;) {
    epoll_event event;
    if (::epoll_wait(epoll.get(), &event, 1, -1) != 1) continue;
    const ssize_t bytes = ::recv(event.data.fd, buffer.get(), kRelayBytes, MSG_DONTWAIT);
    if (bytes <= 0) return;
    const int to = down < 0 ? up : event.data.fd == up ? down : up;
    if (!write_all(to, buffer.get(), std::size_t(bytes))) return;
  }
}

void splice_all(int from, int to) {
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0) return;
  ::fcntl(pipe[1], F_SETPIPE_SZ, kPipeBytes);
  for (;;) {
    ssize_t in = ::splice(from, nullptr, pipe[1], nullptr, kPipeBytes, SPLICE_F_MOVE | SPLICE_F_MORE);
    if (in <= 0) return;
    while (in > 0) {
      const ssize_t out =
          ::splice(pipe[0], nullptr, to, nullptr, std::size_t(in), SPLICE_F_MOVE | SPLICE_F_MORE);
      if (out <= 0) return;
      in -= out;
    }
  }
}

// Starts `count` processes in a row, of which all but the last know a next one. Our end of the first link.
Fd start_row(Children& children, int count, const std::function<void(int up, int down)>& main) {
  FdPair first = socketpair_or_die();
  Fd up = std::move(first.second);
  for (int i = 0; i < count; ++i) {
    FdPair next;
    if (i + 1 < count) next = socketpair_or_die();
    children.start([&] {
      first.first.reset();
      next.second.reset();
      main(up.get(), next.first.get());
    });
    up = std::move(next.second);
  }
  return std::move(first.first);
}

}  // namespace

double spawn_in_a_row_us(const char* program, int count) {
  const std::string path = beside_us(program);
  const double began = now_us();
  for (int i = 0; i < count; ++i) wait_for(spawn(path));
  return now_us() - began;
}

double spawn_at_once_us(const char* program, int count) {
  const std::string path = beside_us(program);
  const double began = now_us();
  std::vector<pid_t> pids;
  for (int i = 0; i < count; ++i) pids.push_back(spawn(path));
  for (const pid_t pid : pids) wait_for(pid);
  return now_us() - began;
}

BarePingPong::BarePingPong(int relays) : socket_(start_row(children_, relays + 1, relay)) {
  epoll_ = make_epoll(socket_.get());
}

void BarePingPong::place(const std::vector<int>& processors) {
  place_all(children_, processors);
}

void BarePingPong::round_trips(std::size_t bytes, int count, Samples& samples) {
  std::vector<char> out(bytes), in(kRelayBytes);
  for (; count > 0; --count) {
    const double began = now_us();
    if (!write_all(socket_.get(), out.data(), bytes)) die("the peer has gone");
    for (std::size_t got = 0; got < bytes;) {
      epoll_event event;
      if (::epoll_wait(epoll_.get(), &event, 1, -1) != 1) continue;
      const ssize_t more = ::recv(socket_.get(), in.data(), in.size(), MSG_DONTWAIT);
      if (more <= 0) die("the peer has gone");
      got += std::size_t(more);
    }
    samples.add(now_us() - began);
  }
}

double BarePingPong::processor_time_us() const {
  double sum = cpu_us(kOurselves);
  for (std::size_t i = 0; i < children_.count(); ++i) sum += cpu_us(children_.pid(i));
  return sum;
}

double bare_stream_rate(int relays, const std::vector<int>& processors, std::size_t bytes) {
  Result<FdPair> verdict = make_pipe();
  if (!verdict) die("no pipe");
  Children children;
  const Fd socket = start_row(children, relays + 1, [&](int up, int down) {
    if (down >= 0) return splice_all(up, down);
    const auto buffer = std::make_unique<char[]>(kBlockBytes);
    std::size_t taken = 0;
    auto take = [&](std::size_t until) {
      while (taken < until) {
        const ssize_t more = ::read(up, buffer.get(), kBlockBytes);
        if (more <= 0) ::_exit(1);
        taken += std::size_t(more);
      }
      if (!write_all(verdict->second.get(), "", 1)) ::_exit(1);
    };
    take(kBlockBytes);  // a first block, so that all are there when the time begins
    take(kBlockBytes + bytes);
  });
  verdict->second.reset();
  place_all(children, processors);
  const std::vector<char> block(kBlockBytes);
  auto send = [&](std::size_t left) {
    for (; left > 0; left -= std::min(left, kBlockBytes))
      if (!write_all(socket.get(), block.data(), std::min(left, kBlockBytes))) die("the reader has gone");
    char done;
    if (::read(verdict->first.get(), &done, 1) != 1) die("the reader has gone");
  };
  send(kBlockBytes);
  const double began = now_us();
  send(bytes);
  return double(bytes) / (now_us() - began);
}

namespace {

// What an agent does for a command, without frames: the command's pid to *pid, its output to `up`.
void run_writer(int up, std::size_t bytes, int input, std::uint64_t* pid) {
  FdPair output = [] {
    Result<FdPair> pipe = make_pipe();
    if (!pipe) ::_exit(1);
    return std::move(*pipe);
  }();
  ::fcntl(output.first.get(), F_SETPIPE_SZ, kCommandPipeBytes);
  const std::string program = beside_us(kWriter), count = format("%zu", bytes);
  char* argv[] = {const_cast<char*>(program.c_str()), const_cast<char*>(count.c_str()), nullptr};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, input, 0);
  ::posix_spawn_file_actions_adddup2(&actions, output.second.get(), 1);
  pid_t writer = -1;
  if (::posix_spawn(&writer, argv[0], &actions, nullptr, argv, environ) != 0) ::_exit(1);
  ::posix_spawn_file_actions_destroy(&actions);
  *static_cast<volatile std::uint64_t*>(pid) = std::uint64_t(writer);
  output.second.reset();
  while (::splice(output.first.get(), nullptr, up, nullptr, kPipeBytes, SPLICE_F_MOVE | SPLICE_F_MORE) > 0) {
  }
  wait_for(writer);
}

}  // namespace

StreamCost bare_command_stream(int relays, const std::vector<int>& processors, std::size_t bytes) {
  Result<FdPair> input = make_pipe();
  if (!input) die("no pipe");
  const SharedCounters writer(1);
  Children children;
  const Fd socket = start_row(children, relays + 1, [&](int up, int down) {
    input->second.reset();
    if (down >= 0) return splice_all(down, up);
    // Placed by the time something comes, and so will be the writer.
    char placed;
    if (::read(input->first.get(), &placed, 1) == 1) run_writer(up, bytes, input->first.get(), writer.at(0));
  });
  input->first.reset();
  place_all(children, processors);
  const auto buffer = std::make_unique<char[]>(kBlockBytes);
  auto say = [&] {
    if (!write_all(input->second.get(), "", 1)) die("the writer has gone");
  };
  auto take = [&](std::size_t left) {
    while (left > 0) {
      const ssize_t more = ::read(socket.get(), buffer.get(), std::min(left, kBlockBytes));
      if (more <= 0) die("the writer has gone");
      left -= std::size_t(more);
    }
  };
  say();
  take(kBlockBytes);
  const auto used = [&] {
    double sum = cpu_us(kOurselves) + cpu_us(pid_t(*writer.at(0)));
    for (std::size_t i = 0; i < children.count(); ++i) sum += cpu_us(children.pid(i));
    return sum;
  };
  const double used_before = used(), began = now_us();
  say();
  take(bytes);
  const double took = now_us() - began, cost = used() - used_before;
  // The writer sees the end of its input, and then the row that of the writer.
  input->second.reset();
  char end;
  if (::read(socket.get(), &end, 1) != 0) die("more came than was to be written");
  return {double(bytes) / took, cost / (double(bytes) / (1 << 20))};
}

}  // namespace banyan::bench
