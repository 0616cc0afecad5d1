#include "tests/support/delay_proxy.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <list>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "core/assert.h"
#include "core/fd.h"

namespace banyan::test {
namespace {

using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;

constexpr std::size_t kChunkBytes = 16 * 1024;  // read at once: so fine is the rate
constexpr int kConnectionsMax = 512;
constexpr int kEvents = 64;

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

Fd tcp_socket() {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  ASSERT(socket);
  const int on = 1;
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return socket;
}

// What has been read on one side of a connection and is not yet written on the other.
class Lane {
 public:
  Lane(const Wire& wire, int from, int to, std::atomic<std::size_t>& most)
      : wire_(wire), from_(from), to_(to), most_(most) {}

  bool wants_input() const { return !ended_ && held_ < wire_.buffer_bytes; }
  bool wants_room(Time now) const { return !chunks_.empty() && chunks_.front().due <= now; }
  bool is_over() const { return ended_ && chunks_.empty(); }
  std::optional<Time> due() const {
    return chunks_.empty() ? std::nullopt : std::optional(chunks_.front().due);
  }

  // As much as can be moved now. False when the connection is broken, or is to be cut.
  bool move(Time now) {
    for (;;) {
      if (!give(now) || !take(now)) return false;
      const bool was_full = !wants_input();
      if (!give(now)) return false;
      // No event tells of what could not be taken for want of room.
      if (ended_ || !was_full || !wants_input()) return true;
    }
  }

 private:
  bool take(Time now) {
    while (wants_input()) {
      Chunk chunk;
      chunk.bytes.resize(kChunkBytes);
      const ssize_t got = retry([&] { return ::read(from_, chunk.bytes.data(), chunk.bytes.size()); });
      if (got < 0) return errno == EAGAIN || errno == ENOTCONN;
      chunk.bytes.resize(std::size_t(got));
      ended_ = got == 0;
      if (wire_.flip_at > seen_ && wire_.flip_at <= seen_ + std::uint64_t(got))
        chunk.bytes[wire_.flip_at - seen_ - 1] ^= 0x20;
      if (wire_.cut_at != 0 && seen_ + std::uint64_t(got) >= wire_.cut_at) {
        chunk.bytes.resize(wire_.cut_at - seen_);
        chunk.cut = ended_ = true;
      }
      seen_ += chunk.bytes.size();
      free_ = std::max(free_, now);
      if (wire_.bytes_per_second != 0)
        free_ += std::chrono::nanoseconds(chunk.bytes.size() * 1'000'000'000 / wire_.bytes_per_second);
      chunk.due = free_ + wire_.delay;
      held_ += chunk.bytes.size();
      if (held_ > most_) most_ = held_;
      chunks_.push_back(std::move(chunk));
    }
    return true;
  }

  bool give(Time now) {
    while (wants_room(now)) {
      Chunk& chunk = chunks_.front();
      while (chunk.given < chunk.bytes.size()) {
        const ssize_t put = retry([&] {
          return ::send(to_, chunk.bytes.data() + chunk.given, chunk.bytes.size() - chunk.given,
                        MSG_NOSIGNAL);
        });
        if (put < 0) return errno == EAGAIN;
        chunk.given += std::size_t(put);
        held_ -= std::size_t(put);
      }
      if (chunk.cut) return false;
      if (chunk.bytes.empty()) ::shutdown(to_, SHUT_WR);  // it was the end
      chunks_.pop_front();
    }
    return true;
  }

  struct Chunk {
    std::vector<std::uint8_t> bytes;  // none: the end
    std::size_t given = 0;
    Time due;
    bool cut = false;
  };
  const Wire wire_;
  const int from_, to_;
  std::atomic<std::size_t>& most_;
  std::deque<Chunk> chunks_;
  std::size_t held_ = 0;
  std::uint64_t seen_ = 0;
  Time free_{};  // when the wire can begin with the next byte
  bool ended_ = false;
};

}  // namespace

class DelayProxy::Pump {
 public:
  explicit Pump(const Options& options)
      : options_(options),
        listener_(tcp_socket()),
        epoll_(::epoll_create1(EPOLL_CLOEXEC)),
        stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        timer_(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)) {
    ASSERT(epoll_ && stop_ && timer_);
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    ASSERT(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
    ASSERT(::listen(listener_.get(), kConnectionsMax) == 0);
    ASSERT(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
    for (const int fd : {listener_.get(), stop_.get(), timer_.get()})
      watch(EPOLL_CTL_ADD, fd, EPOLLIN, nullptr);
    thread_ = std::thread([this] { run(); });
  }
  ~Pump() {
    ::eventfd_write(stop_.get(), 1);
    thread_.join();
  }
  Pump(const Pump&) = delete;
  Pump& operator=(const Pump&) = delete;

  std::uint16_t port() const { return port_; }
  std::atomic<std::uint64_t> connections = 0;
  std::atomic<std::size_t> most = 0;

 private:
  struct Connection {
    Connection(Fd client_side, Fd server_side, const Options& options, std::atomic<std::size_t>& most)
        : client(std::move(client_side)),
          server(std::move(server_side)),
          up(options.up, client.get(), server.get(), most),
          down(options.down, server.get(), client.get(), most) {}
    Fd client, server;
    Lane up, down;
    std::uint32_t client_events = EPOLLIN | EPOLLET, server_events = EPOLLIN | EPOLLET;
  };

  void run() {
    for (;;) {
      epoll_event events[kEvents];
      const int count = retry([&] { return ::epoll_wait(epoll_.get(), events, kEvents, -1); });
      ASSERT(count >= 0);
      for (int i = 0; i < count; ++i)
        if (events[i].data.ptr == this) return;
      std::uint64_t times;
      [[maybe_unused]] const ssize_t read = ::read(timer_.get(), &times, sizeof times);
      accept_all();
      const Time now = Clock::now();
      for (auto it = open_.begin(); it != open_.end();) {
        const bool keep = move(*it, now);
        it = keep ? std::next(it) : open_.erase(it);
      }
      wake_when_due(now);
    }
  }

  // Few connections and few events: looking at all of them is simplest.
  bool move(Connection& one, Time now) {
    if (!one.up.move(now) || !one.down.move(now)) return false;
    if (one.up.is_over() && one.down.is_over()) return false;
    change(one.client, one.client_events, one.up, one.down, now, &one);
    change(one.server, one.server_events, one.down, one.up, now, &one);
    return true;
  }

  // By edges: a side that has hung up is told once, while the other's bytes are still on their way.
  void change(const Fd& fd, std::uint32_t& events, const Lane& from_it, const Lane& to_it, Time now,
              void* whose) {
    const std::uint32_t wanted =
        EPOLLET | (from_it.wants_input() ? EPOLLIN : 0U) | (to_it.wants_room(now) ? EPOLLOUT : 0U);
    if (std::exchange(events, wanted) != wanted) watch(EPOLL_CTL_MOD, fd.get(), wanted, whose);
  }

  void accept_all() {
    for (;;) {
      Fd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!client) return;
      const int on = 1;
      ::setsockopt(client.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      Fd server = tcp_socket();
      const sockaddr_in address = loopback(options_.port);
      if (::connect(server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
          errno != EINPROGRESS)
        continue;
      ++connections;
      Connection& one = open_.emplace_back(std::move(client), std::move(server), options_, most);
      watch(EPOLL_CTL_ADD, one.client.get(), one.client_events, &one);
      watch(EPOLL_CTL_ADD, one.server.get(), one.server_events, &one);
    }
  }

  void wake_when_due(Time now) {
    std::optional<Time> next;
    for (const Connection& one : open_) {
      for (const Lane* lane : {&one.up, &one.down}) {
        // What was due and could not be given waits for room, not for time.
        const std::optional<Time> due = lane->due();
        if (due && *due > now && (!next || *due < *next)) next = due;
      }
    }
    itimerspec when{};
    if (next) {
      const auto wait =
          std::max<std::chrono::nanoseconds>(*next - Clock::now(), std::chrono::microseconds(20));
      when.it_value = {.tv_sec = wait.count() / 1'000'000'000, .tv_nsec = wait.count() % 1'000'000'000};
    }
    ::timerfd_settime(timer_.get(), 0, &when, nullptr);
  }

  void watch(int operation, int fd, std::uint32_t events, void* whose) {
    epoll_event event{};
    event.events = events;
    event.data.ptr = fd == stop_.get() ? this : whose;
    ASSERT(::epoll_ctl(epoll_.get(), operation, fd, &event) == 0);
  }

  const Options options_;
  const Fd listener_, epoll_, stop_, timer_;
  std::uint16_t port_ = 0;
  std::list<Connection> open_;
  std::thread thread_;
};

DelayProxy::DelayProxy(const Options& options) : pump_(std::make_unique<Pump>(options)) {}

DelayProxy::~DelayProxy() = default;

std::uint16_t DelayProxy::port() const {
  return pump_->port();
}

std::uint64_t DelayProxy::connections() const {
  return pump_->connections;
}

std::size_t DelayProxy::most_bytes_held() const {
  return pump_->most;
}

}  // namespace banyan::test
