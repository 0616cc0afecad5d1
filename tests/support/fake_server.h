// tests/support/fake_server.h -- a port of ours where something that is no SSH server listens.
//
// One thread of its own, ended with the object. To every connection it says its text once or without end;
// then it is silent, or hangs up. It keeps the first bytes that it was sent. Who hangs up ends its sentence
// and then reads to the other's end: a socket that is closed with bytes unread in it resets the connection,
// and the other may never read what was said.
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <list>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/assert.h"
#include "core/fd.h"

namespace banyan::test {

class FakeServer {
 public:
  enum class Then { kSilence, kHangUp, kAgain };

  FakeServer(std::string text, Then then)
      : text_(std::move(text)),
        then_(then),
        listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)),
        stop_(::eventfd(0, EFD_CLOEXEC)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ASSERT(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
    ASSERT(::listen(listener_.get(), kConnectionsMax) == 0);
    ASSERT(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~FakeServer() {
    ::eventfd_write(stop_.get(), 1);
    thread_.join();
  }
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  std::uint16_t port() const { return port_; }
  std::uint64_t connections() const { return connections_; }
  // Of all connections, in the order they came.
  std::string received() const {
    const std::lock_guard lock(mutex_);
    return received_;
  }

 private:
  static constexpr int kConnectionsMax = 256;
  static constexpr std::size_t kReceivedMax = 64 * 1024;
  // The other has heard our end for so long, and keeps the connection: then it is closed all the same.
  static constexpr std::chrono::seconds kLingerMax{5};
  using Clock = std::chrono::steady_clock;
  struct Connection {
    Fd socket;
    std::size_t said = 0;
    bool over = false, hung_up = false;
    Clock::time_point hung_up_at{};
  };

  void run() {
    std::list<Connection> open;
    for (;;) {
      std::vector<pollfd> wait = {{stop_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
      for (const Connection& one : open)
        wait.push_back({one.socket.get(), short(POLLIN | (one.said < text_.size() ? POLLOUT : 0)), 0});
      retry([&] { return ::poll(wait.data(), wait.size(), until_linger_ends(open)); });
      if (wait[0].revents != 0) return;
      std::size_t at = 2;
      for (Connection& one : open) {
        const short ready = wait[at++].revents;
        if ((ready & ~POLLOUT) != 0) take(one);
        if ((ready & POLLOUT) != 0) say(one);
        one.over = one.over || (one.hung_up && Clock::now() - one.hung_up_at >= kLingerMax);
      }
      open.remove_if([](const Connection& one) { return one.over; });
      for (Fd fresh;
           (fresh = Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)));) {
        ++connections_;
        Connection& one = open.emplace_back();
        one.socket = std::move(fresh);
        if (text_.empty() && then_ == Then::kHangUp) hang_up(one);
      }
    }
  }

  void say(Connection& one) {
    const ssize_t put = ::send(one.socket.get(), text_.data() + one.said, text_.size() - one.said,
                               MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put < 0) {
      one.over = one.over || errno != EAGAIN;
      return;
    }
    one.said += std::size_t(put);
    if (one.said < text_.size()) return;
    if (then_ == Then::kAgain) one.said = 0;
    if (then_ == Then::kHangUp) hang_up(one);
  }

  static void hang_up(Connection& one) {
    ::shutdown(one.socket.get(), SHUT_WR);
    one.hung_up = true;
    one.hung_up_at = Clock::now();
  }

  // Milliseconds, for poll(); -1: nobody has been hung up on.
  static int until_linger_ends(const std::list<Connection>& open) {
    Clock::duration least = Clock::duration::max();
    for (const Connection& one : open)
      if (one.hung_up) least = std::min(least, one.hung_up_at + kLingerMax - Clock::now());
    if (least == Clock::duration::max()) return -1;
    return int(std::max<std::int64_t>(std::chrono::ceil<std::chrono::milliseconds>(least).count(), 0));
  }

  void take(Connection& one) {
    char bytes[4096];
    const ssize_t got = ::recv(one.socket.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (got <= 0) {
      one.over = got == 0 || errno != EAGAIN;
      return;
    }
    const std::lock_guard lock(mutex_);
    if (received_.size() < kReceivedMax) received_.append(bytes, std::size_t(got));
  }

  const std::string text_;
  const Then then_;
  const Fd listener_, stop_;
  std::uint16_t port_ = 0;
  std::atomic<std::uint64_t> connections_ = 0;
  mutable std::mutex mutex_;
  std::string received_;
  std::thread thread_;
};

}  // namespace banyan::test
