// Goal: an exchange of questions and answers has a thread of its own for exactly as long as it lasts, puts
// the server's words before the loop and the person's before the server, and ends at once when it is
// destroyed, without a word more. Method: libssh2 before any key exchange speaks in the clear, so the other
// end of a socket pair plays the server, honest or not; the threads are real (ThreadSanitizer watches them in
// ./dev test --sanitize=thread).
#include "transports/connector/interactive.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <memory>
#include <optional>
#include <string>

#include "core/epoll_loop.h"
#include "core/fd.h"
#include "transports/connector/library.h"
#include "transports/connector/wire.h"

using namespace banyan;
using namespace banyan::connector;

namespace {

constexpr Nanos kPatience = 20 * kSecond;  // far beyond any honest wait
constexpr std::uint8_t kRequest = 50, kSuccess = 52, kInfoRequest = 60, kInfoResponse = 61;

// The server's end, and a session of libssh2 on the other.
class Exchange {
 public:
  Exchange() {
    int both[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both) == 0);
    server_ = Fd(both[0]);
    socket_ = Fd(both[1]);
    ::fcntl(socket_.get(), F_SETFL, O_NONBLOCK);
    library_.early_left = 1024 * 1024;
    library_.round_left = 1024 * 1024;
    session_ = new_session(library_);
    REQUIRE(session_ != nullptr);
    libssh2_session_set_blocking(session_, 0);
    // It says its version, waits for ours, and has the socket.
    REQUIRE(libssh2_session_handshake(session_, socket_.get()) == LIBSSH2_ERROR_EAGAIN);
    while (!take_line()) {
    }
  }
  ~Exchange() {
    interactive.reset();
    libssh2_session_free(session_);
  }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  void begin() {
    interactive = std::make_unique<Interactive>(
        loop, session_, socket_.get(), "ann", [this](SessionQuestion asked) { question = std::move(asked); },
        [this](int result) {
          ++ends;
          code = result;
        });
  }

  template <class Condition>
  void run_until(Condition condition) {
    const Nanos deadline = loop.now() + kPatience;
    while (!condition()) {
      REQUIRE(loop.now() < deadline);
      loop.run_once(20 * kMillisecond);
    }
  }

  // What the client says next, without what surrounds it; empty: it has hung up.
  Buffer receive() {
    while (true) {
      if (received_.size() >= 5) {
        WireReader reader(received_);
        const std::size_t length = reader.number();
        REQUIRE(length < 10'000);
        if (received_.size() >= 4 + length) {
          const std::size_t payload = length - received_[4] - 1;
          const Buffer message(received_.begin() + 5, received_.begin() + 5 + std::ptrdiff_t(payload));
          received_.erase(received_.begin(), received_.begin() + 4 + std::ptrdiff_t(length));
          return message;
        }
      }
      if (!read_more()) return {};
    }
  }
  void send(Bytes message) {
    std::size_t padding = 8 - (5 + message.size()) % 8;
    if (padding < 4) padding += 8;
    Buffer packet;
    put_number(packet, std::uint32_t(1 + message.size() + padding));
    packet.push_back(std::uint8_t(padding));
    packet.insert(packet.end(), message.begin(), message.end());
    packet.resize(packet.size() + padding);
    send_raw(packet);
  }
  void send_raw(Bytes bytes) { REQUIRE(write_all(server_.get(), bytes.data(), bytes.size())); }
  // Asks for a password, shown or not, and for a code, shown.
  void ask() {
    REQUIRE(receive().at(0) == kRequest);
    Buffer message = {kInfoRequest};
    for (const char* text : {"name", "instruction", "en"}) put_string(message, std::string_view(text));
    put_number(message, 2);
    put_string(message, std::string_view("Password: "));
    message.push_back(0);
    put_string(message, std::string_view("Code: "));
    message.push_back(1);
    send(message);
  }
  void hang_up() { server_.reset(); }

  EpollLoop loop;
  std::optional<SessionQuestion> question;
  int ends = 0, code = 0;
  std::unique_ptr<Interactive> interactive;

 private:
  bool take_line() {
    const auto end = std::ranges::find(received_, '\n');
    if (end == received_.end()) {
      REQUIRE(read_more());
      return false;
    }
    received_.erase(received_.begin(), end + 1);
    return true;
  }
  bool read_more() {
    pollfd wait = {server_.get(), POLLIN, 0};
    REQUIRE(::poll(&wait, 1, int(kPatience / kMillisecond)) == 1);
    std::uint8_t bytes[4096];
    const ssize_t got = retry([&] { return ::read(server_.get(), bytes, sizeof bytes); });
    if (got > 0) received_.insert(received_.end(), bytes, bytes + got);
    return got > 0;
  }

  Fd server_, socket_;
  Library library_;
  LIBSSH2_SESSION* session_ = nullptr;
  Buffer received_;
};

std::vector<Secret> secrets(std::string_view one, std::string_view two) {
  std::vector<Secret> both;
  for (const std::string_view text : {one, two}) both.push_back(Secret::copy_of(as_bytes(text)));
  return both;
}

}  // namespace

TEST_CASE("what the server asks comes to the loop, and what is answered to the server") {
  Exchange exchange;
  exchange.begin();
  exchange.ask();
  exchange.run_until([&] { return exchange.question.has_value(); });
  const SessionQuestion& question = *exchange.question;
  CHECK(question.kind == SessionQuestion::Kind::kInteractive);
  CHECK(question.name == "name");
  CHECK(question.instruction == "instruction");
  REQUIRE(question.items.size() == 2);
  CHECK(question.items[0].text == "Password: ");
  CHECK_FALSE(question.items[0].echo);
  CHECK(question.items[1].text == "Code: ");
  CHECK(question.items[1].echo);

  exchange.interactive->answer(secrets("correct horse", "0815"));
  const Buffer said = exchange.receive();
  REQUIRE_FALSE(said.empty());
  CHECK(said[0] == kInfoResponse);
  WireReader answers(Bytes(said).subspan(1));
  CHECK(answers.number() == 2);
  CHECK(answers.text() == "correct horse");
  CHECK(answers.text() == "0815");
  CHECK(answers.finish());
  CHECK(exchange.ends == 0);
  exchange.send(Buffer{kSuccess});
  exchange.run_until([&] { return exchange.ends > 0; });
  CHECK(exchange.code == 0);
  CHECK(exchange.ends == 1);
}

TEST_CASE("an exchange that is ended while a person thinks says nothing more, and tells nobody") {
  Exchange exchange;
  exchange.begin();
  exchange.ask();
  exchange.run_until([&] { return exchange.question.has_value(); });
  exchange.interactive.reset();
  CHECK(exchange.receive().empty());
  for (int i = 0; i < 3; ++i) exchange.loop.run_once(0);
  CHECK(exchange.ends == 0);
}

TEST_CASE("an exchange that is ended while the server is silent ends at once") {
  for (const bool has_heard : {false, true}) {
    CAPTURE(has_heard);
    Exchange exchange;
    exchange.begin();
    if (has_heard) CHECK(exchange.receive().at(0) == kRequest);
    const Nanos began = exchange.loop.now();
    exchange.interactive.reset();
    CHECK(exchange.loop.now() - began < kPatience);
    for (int i = 0; i < 3; ++i) exchange.loop.run_once(0);
    CHECK(exchange.ends == 0);
  }
}

TEST_CASE("an exchange that is ended before its question has come to the loop asks nobody") {
  Exchange exchange;
  exchange.begin();
  exchange.ask();
  exchange.interactive.reset();
  for (int i = 0; i < 3; ++i) exchange.loop.run_once(0);
  CHECK_FALSE(exchange.question.has_value());
  CHECK(exchange.ends == 0);
}

TEST_CASE("a server that sends what is no answer, or hangs up, ends the exchange with libssh2's code") {
  const Buffer garbage(64, 0xff);
  Buffer too_many = {kInfoRequest};
  for (int i = 0; i < 3; ++i) put_string(too_many, std::string_view());
  put_number(too_many, 0x7fffffff);
  for (const int what : {0, 1, 2}) {
    CAPTURE(what);
    Exchange exchange;
    exchange.begin();
    REQUIRE(exchange.receive().at(0) == kRequest);
    if (what == 0) exchange.send_raw(garbage);
    if (what == 1) exchange.send(too_many);
    if (what == 2) exchange.hang_up();
    exchange.run_until([&] { return exchange.ends > 0; });
    CHECK(exchange.code < 0);
    CHECK_FALSE(exchange.question.has_value());
  }
}

TEST_CASE("more questions than a person would answer are not put, and end the connection unanswered") {
  Exchange exchange;
  exchange.begin();
  REQUIRE(exchange.receive().at(0) == kRequest);
  Buffer message = {kInfoRequest};
  for (int i = 0; i < 3; ++i) put_string(message, std::string_view());
  constexpr std::uint32_t kMany = kPromptsMax + 1;
  put_number(message, kMany);
  for (std::uint32_t i = 0; i < kMany; ++i) {
    put_string(message, std::string_view("Password: "));
    message.push_back(0);
  }
  exchange.send(message);
  CHECK(exchange.receive().empty());
  exchange.run_until([&] { return exchange.ends > 0; });
  CHECK(exchange.code < 0);
  CHECK_FALSE(exchange.question.has_value());
}
