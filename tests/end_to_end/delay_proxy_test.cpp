// Goal: the wire that other tests put in between does what it says: it delays, limits, holds no more than it
// may, and flips and cuts where it was told. Method: an echo behind it, on a thread of its own.
#include "tests/support/delay_proxy.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <optional>
#include <string>
#include <thread>

#include "core/fd.h"

using namespace banyan;
using namespace banyan::test;
using namespace std::chrono_literals;

namespace {

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

// Takes one connection and gives back what comes, until its end.
class Echo {
 public:
  Echo() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    REQUIRE(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(::listen(socket_.get(), 4) == 0);
    REQUIRE(::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] {
      const Fd one(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      char bytes[4096];
      ssize_t got;
      while ((got = ::read(one.get(), bytes, sizeof bytes)) > 0)
        if (::send(one.get(), bytes, std::size_t(got), MSG_NOSIGNAL) != got) return;
    });
  }
  ~Echo() {
    ::shutdown(socket_.get(), SHUT_RDWR);
    thread_.join();
  }
  Echo(const Echo&) = delete;
  Echo& operator=(const Echo&) = delete;
  std::uint16_t port() const { return port_; }

 private:
  Fd socket_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

Fd connect_to(std::uint16_t port) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = loopback(port);
  REQUIRE(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  return socket;
}

void write_whole(const Fd& to, const std::string& text) {
  REQUIRE(::send(to.get(), text.data(), text.size(), MSG_NOSIGNAL) == ssize_t(text.size()));
}

// Until so many are there, or the end.
std::string read_some(const Fd& from, std::size_t bytes) {
  std::string text(bytes, '\0');
  std::size_t have = 0;
  ssize_t got;
  while (have < bytes && (got = ::read(from.get(), text.data() + have, bytes - have)) > 0)
    have += std::size_t(got);
  text.resize(have);
  return text;
}

double seconds_since(std::chrono::steady_clock::time_point began) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

}  // namespace

TEST_CASE("a byte takes the round trip's time, and the end of one side arrives at the other") {
  const Echo echo;
  const DelayProxy proxy(DelayProxy::round_trip(echo.port(), 100ms));
  const Fd client = connect_to(proxy.port());
  for (int i = 0; i < 3; ++i) {
    const auto began = std::chrono::steady_clock::now();
    write_whole(client, "x");
    CHECK(read_some(client, 1) == "x");
    CHECK(seconds_since(began) >= 0.1);
  }
  ::shutdown(client.get(), SHUT_WR);
  CHECK(read_some(client, 1) == "");
  CHECK(proxy.connections() == 1);
}

TEST_CASE("a limited wire takes the time its rate says, both ways at once, and loses nothing") {
  const Echo echo;
  const DelayProxy proxy(DelayProxy::round_trip(echo.port(), 0ms, 1'000'000));
  const Fd client = connect_to(proxy.port());
  std::string sent(300'000, '\0');
  for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = char(i * 7 + i / 251);
  const auto began = std::chrono::steady_clock::now();
  std::thread writer([&] { write_whole(client, sent); });
  const std::string got = read_some(client, sent.size());
  writer.join();
  CHECK(got == sent);
  CHECK(seconds_since(began) >= 0.28);
}

TEST_CASE("no more is held than was allowed, and who sends more waits") {
  const Echo echo;
  DelayProxy::Options options = DelayProxy::round_trip(echo.port(), 20ms, 4'000'000);
  options.up.buffer_bytes = options.down.buffer_bytes = 40'000;
  const DelayProxy proxy(options);
  const Fd client = connect_to(proxy.port());
  const std::string sent(500'000, 'x');
  std::thread writer([&] { write_whole(client, sent); });
  CHECK(read_some(client, sent.size()).size() == sent.size());
  writer.join();
  CHECK(proxy.most_bytes_held() >= 40'000);
  CHECK(proxy.most_bytes_held() < 40'000 + 16 * 1024);
}

TEST_CASE("the byte that was named is changed, and no other") {
  const Echo echo;
  const DelayProxy proxy({.port = echo.port(), .up = {.flip_at = 3}, .down = {}});
  const Fd client = connect_to(proxy.port());
  write_whole(client, "ab");
  write_whole(client, "cdef");
  CHECK(read_some(client, 6) == "abCdef");
}

TEST_CASE("a connection is cut after the bytes it was given") {
  const Echo echo;
  const DelayProxy proxy({.port = echo.port(), .up = {}, .down = {.cut_at = 4}});
  const Fd client = connect_to(proxy.port());
  write_whole(client, "abcdef");
  CHECK(read_some(client, 6) == "abcd");
}

TEST_CASE(
    "a port behind it that nobody listens on is the end of the connection, and a proxy ends with those "
    "open") {
  std::uint16_t closed = 0;
  std::optional<Fd> open;
  {
    const Echo echo;
    closed = echo.port();
    const DelayProxy proxy(DelayProxy::round_trip(echo.port(), 1s));
    open = connect_to(proxy.port());
    write_whole(*open, "on its way");
  }
  CHECK(read_some(*open, 1) == "");
  const DelayProxy proxy({.port = closed, .up = {}, .down = {}});
  const Fd client = connect_to(proxy.port());
  CHECK(read_some(client, 1) == "");
}
