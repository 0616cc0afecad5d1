// Goal: the key agent lists and signs, and one that fails, is silent or lies is an Error in bounded time and
// costs no other request its answer. Method: the real ssh-agent; sockets on the same loop that send whatever
// a test tells them to.
#include "transports/connector/key_agent.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <memory>
#include <optional>

#include "tests/support/run_until.h"
#include "tests/transports/ssh_tools.h"
#include "transports/connector/private_key.h"
#include "transports/connector/public_key.h"
#include "transports/connector/wire.h"

using namespace banyan;
using namespace banyan::connector;
using test::made_up_key;
using test::SshFolder;

namespace {

constexpr Nanos kPatience = 20 * kSecond;  // far beyond any honest wait

template <class Condition>
void run_until(EpollLoop& loop, Condition condition) {
  REQUIRE(test::run_until(loop, condition, kPatience));
}

class RealAgent {
 public:
  explicit RealAgent(const SshFolder& folder) : path_(folder.path("agent")) {
    Result<FdPair> output = make_pipe();
    REQUIRE(output);
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      ::dup2(output->second.get(), 1);
      ::execlp("ssh-agent", "ssh-agent", "-D", "-a", path_.c_str(), nullptr);
      ::_exit(127);
    }
    output->second.reset();
    char byte;  // it says where it listens when it does
    REQUIRE(retry([&] { return ::read(output->first.get(), &byte, 1); }) == 1);
  }
  ~RealAgent() {
    ::kill(pid_, SIGTERM);
    retry([&] { return ::waitpid(pid_, nullptr, 0); });
  }
  RealAgent(const RealAgent&) = delete;
  RealAgent& operator=(const RealAgent&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
  pid_t pid_;
};

// Takes connections one after the other. Each gets the next of the answers once it has sent a whole request;
// then it is hung up on, or, after an empty answer, just kept.
class MadeUpAgent {
 public:
  MadeUpAgent(EpollLoop& loop, const std::string& path, std::vector<Buffer> answers,
              std::size_t bytes_at_a_time = 4096)
      : loop_(loop), answers_(std::move(answers)), at_a_time_(bytes_at_a_time) {
    listener_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    REQUIRE(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(listener_.get(), 16) == 0);
    loop_.watch(listener_.get(), {.read = true}, [this](Ready) { accept(); });
  }
  ~MadeUpAgent() {
    for (auto& caller : callers_) hang_up(*caller);
    loop_.close(listener_.release());
  }
  MadeUpAgent(const MadeUpAgent&) = delete;
  MadeUpAgent& operator=(const MadeUpAgent&) = delete;

  int callers = 0;
  int most_at_once = 0;
  std::vector<Buffer> requests;

 private:
  struct Caller {
    Fd fd;
    Loop::WatchId watch = 0;
    Buffer request;
    std::size_t answer = 0, sent = 0;
  };

  void accept() {
    auto caller = std::make_unique<Caller>();
    caller->fd = Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    REQUIRE(caller->fd);
    caller->answer = std::size_t(callers++);
    Caller* one = caller.get();
    one->watch = loop_.watch(one->fd.get(), {.read = true}, [this, one](Ready) { serve(*one); });
    callers_.push_back(std::move(caller));
    const auto open = std::ranges::count_if(callers_, [](const auto& each) { return bool(each->fd); });
    most_at_once = std::max(most_at_once, int(open));
  }

  void serve(Caller& caller) {
    std::uint8_t bytes[4096];
    const IoResult got = loop_.read(caller.fd.get(), bytes, sizeof bytes);
    if (got.status == IoResult::Status::kEnd || got.status == IoResult::Status::kError)
      return hang_up(caller);
    caller.request.insert(caller.request.end(), bytes, bytes + got.bytes);
    if (caller.request.size() < 4 || caller.request.size() < 4 + WireReader(caller.request).number()) return;
    requests.push_back(caller.request);
    send(caller);
  }

  void send(Caller& caller) {
    if (!caller.fd || caller.answer >= answers_.size() || answers_[caller.answer].empty()) return;
    Buffer& answer = answers_[caller.answer];
    const iovec part{answer.data() + caller.sent, std::min(at_a_time_, answer.size() - caller.sent)};
    const IoResult result = loop_.write(caller.fd.get(), &part, 1);
    caller.sent += result.bytes;
    if (result.status != IoResult::Status::kOk || caller.sent == answer.size()) return hang_up(caller);
    loop_.post([this, one = &caller] { send(*one); });
  }

  void hang_up(Caller& caller) {
    if (!caller.fd) return;
    loop_.unwatch(caller.watch);
    loop_.close(caller.fd.release());
  }

  EpollLoop& loop_;
  std::vector<Buffer> answers_;
  std::size_t at_a_time_;
  Fd listener_;
  std::vector<std::unique_ptr<Caller>> callers_;
};

Buffer framed(Bytes message) {
  Buffer out;
  put_string(out, message);
  return out;
}

Buffer list_of(const std::vector<Buffer>& keys) {
  Buffer message{12};
  put_number(message, std::uint32_t(keys.size()));
  for (const Buffer& key : keys) {
    put_string(message, key);
    put_string(message, "a comment");
  }
  return message;
}

Buffer signature_of(std::string_view algorithm, std::string_view signature) {
  Buffer message{14}, blob;
  put_string(blob, algorithm);
  put_string(blob, signature);
  put_string(message, blob);
  return message;
}

// What came back, if anything yet.
struct Keys {
  std::optional<Result<std::vector<AgentKey>>> result;
  KeyAgent::OnKeys taker() {
    return [this](Result<std::vector<AgentKey>> keys) {
      REQUIRE_FALSE(result);
      result = std::move(keys);
    };
  }
};
struct Signature {
  std::optional<Result<Buffer>> result;
  KeyAgent::OnSignature taker() {
    return [this](Result<Buffer> signature) {
      REQUIRE_FALSE(result);
      result = std::move(signature);
    };
  }
};

}  // namespace

TEST_CASE("the real key agent lists its keys and signs what OpenSSH believes, RSA with SHA-2") {
  SshFolder folder;
  const RealAgent real(folder);
  std::vector<Buffer> blobs;
  for (const char* type : {"ed25519", "ecdsa -b 256", "ecdsa -b 521", "rsa -b 2048"}) {
    folder.must_run(cat("rm -f key key.pub; ssh-keygen -q -N '' -f key -t ", type));
    folder.must_run(cat("SSH_AUTH_SOCK=", real.path(), " ssh-add -q key"));
    blobs.push_back(*parse_public_key(folder.read("key.pub")));
  }
  EpollLoop loop;
  KeyAgent agent(loop, real.path());
  Keys keys;
  REQUIRE(agent.list_keys(kPatience, keys.taker()));
  CHECK_FALSE(keys.result);
  run_until(loop, [&] { return keys.result.has_value(); });
  REQUIRE(*keys.result);
  REQUIRE((*keys.result)->size() == blobs.size());

  for (std::size_t i = 0; i < blobs.size(); ++i) {
    const AgentKey& key = (**keys.result)[i];
    CHECK(key.public_blob == blobs[i]);
    CHECK(key.type == public_key_type(blobs[i]));
    std::vector<std::string_view> algorithms = {key.type};
    if (key.type == "ssh-rsa") algorithms = {"rsa-sha2-256", "rsa-sha2-512"};
    for (const std::string_view algorithm : algorithms) {
      CAPTURE(algorithm);
      Signature signature;
      REQUIRE(agent.sign(key.public_blob, folder.to_sign(), algorithm, kPatience, signature.taker()));
      run_until(loop, [&] { return signature.result.has_value(); });
      REQUIRE(*signature.result);
      CHECK(folder.believes(key.public_blob, algorithm, **signature.result));
    }
  }
}

TEST_CASE("what the key agent signs is what the key file would") {
  SshFolder folder;
  const RealAgent real(folder);
  for (const char* type : {"ed25519", "rsa -b 2048"}) {
    folder.must_run(cat("rm -f key key.pub; ssh-keygen -q -N '' -f key -t ", type));
    folder.must_run(cat("SSH_AUTH_SOCK=", real.path(), " ssh-add -q key"));
    const std::string text = folder.read("key");
    const Result<PrivateKey> key = parse_private_key(as_bytes(text), "key", "");
    REQUIRE(key);
    EpollLoop loop;
    KeyAgent agent(loop, real.path());
    for (const std::string_view algorithm : key->algorithms()) {
      Signature signature;
      REQUIRE(agent.sign(key->public_blob(), as_bytes("data"), algorithm, kPatience, signature.taker()));
      run_until(loop, [&] { return signature.result.has_value(); });
      REQUIRE(*signature.result);
      CHECK(**signature.result == *key->sign(algorithm, as_bytes("data")));
    }
  }
}

TEST_CASE("a key that the agent has not, or that it may not use, is a refusal") {
  SshFolder folder;
  const RealAgent real(folder);
  folder.must_run("ssh-keygen -q -N '' -f key -t ed25519");
  // Its question for consent has nobody to answer it.
  folder.must_run(cat("SSH_AUTH_SOCK=", real.path(), " ssh-add -q -c key"));
  EpollLoop loop;
  KeyAgent agent(loop, real.path());
  for (const Buffer& blob : {made_up_key(1), *parse_public_key(folder.read("key.pub"))}) {
    Signature signature;
    REQUIRE(agent.sign(blob, as_bytes("data"), "ssh-ed25519", kPatience, signature.taker()));
    run_until(loop, [&] { return signature.result.has_value(); });
    REQUIRE_FALSE(*signature.result);
    CHECK(signature.result->error().text.find("refused") != std::string::npos);
  }
}

TEST_CASE("a key agent that never answers ends every request in its own time, and the loop goes on") {
  SshFolder folder;
  EpollLoop loop;
  MadeUpAgent silent(loop, folder.path("agent"), {});
  KeyAgent agent(loop, folder.path("agent"));
  const Nanos start = loop.now();
  Keys first, second;
  Signature third;
  REQUIRE(agent.list_keys(50 * kMillisecond, first.taker()));
  REQUIRE(agent.list_keys(100 * kMillisecond, second.taker()));
  REQUIRE(agent.sign(made_up_key(1), as_bytes("data"), "ssh-ed25519", 60 * kMillisecond, third.taker()));
  int ticks = 0;
  loop.after(10 * kMillisecond, [&] { ++ticks; });
  run_until(loop, [&] { return first.result && second.result && third.result; });
  CHECK(loop.now() - start >= 100 * kMillisecond);
  CHECK(ticks == 1);
  for (const Error& error : {first.result->error(), second.result->error(), third.result->error()})
    CHECK(error.error_class == ErrorClass::kTimeout);
  CHECK(agent.outstanding() == 0);
  CHECK(silent.callers <= 2);  // the third request never had its turn
}

TEST_CASE("a key agent that does not even take the connection is waited for no longer than allowed") {
  SshFolder folder;
  const Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, folder.path("agent").data(), folder.path("agent").size());
  REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(::listen(listener.get(), 0) == 0);
  const Fd in_the_way(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::connect(in_the_way.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);

  EpollLoop loop;
  KeyAgent agent(loop, folder.path("agent"));
  Keys late, later;
  REQUIRE(agent.list_keys(60 * kMillisecond, late.taker()));
  run_until(loop, [&] { return late.result.has_value(); });
  REQUIRE_FALSE(*late.result);
  CHECK(late.result->error().error_class == ErrorClass::kTimeout);

  // It takes it at last, before the time is over: then it is asked.
  REQUIRE(agent.list_keys(kPatience, later.taker()));
  Fd asked;
  loop.after(50 * kMillisecond, [&] {
    ::close(::accept(listener.get(), nullptr, nullptr));
    loop.watch(listener.get(), {.read = true}, [&](Ready) {
      asked = Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      const Buffer answer = framed(list_of({}));
      REQUIRE(write_all(asked.get(), answer.data(), answer.size()));
    });
  });
  run_until(loop, [&] { return later.result.has_value(); });
  CHECK(*later.result);
}

TEST_CASE("a lying key agent is an error, whatever it sends") {
  const auto cut = [](const Buffer& message) { return Buffer(message.begin(), message.end() - 1); };
  const auto longer = [](Buffer message) {
    message.push_back(0);
    return message;
  };
  Buffer many{12}, huge_string{12};
  put_number(many, 0xffffffff);
  put_number(huge_string, 1);
  put_number(huge_string, 0xfffffff0);
  const std::vector<Buffer> answers = {
      {0, 0, 0, 0},                               // no message at all
      {0xff, 0xff, 0xff, 0xff},                   // more than may be
      {0, 4, 0, 1},                               // one byte more than may be
      {0, 0},                                     // not even a length
      {0, 0, 0, 10, 12, 0},                       // less than announced
      framed(Buffer{5}),                          // it failed
      framed(Buffer{99}),                         // no such message
      framed(signature_of("ssh-ed25519", "x")),   // the answer to another question
      framed(many),                               // more keys than bytes
      framed(huge_string),                        // a longer key than bytes
      framed(cut(list_of({made_up_key(1)}))),     // a key cut short
      framed(longer(list_of({made_up_key(1)}))),  // and more behind it
      framed(Buffer{12}),                         // no number
  };
  SshFolder folder;
  EpollLoop loop;
  MadeUpAgent liar(loop, folder.path("agent"), answers);
  KeyAgent agent(loop, folder.path("agent"));
  for (std::size_t i = 0; i < answers.size(); ++i) {
    CAPTURE(i);
    Keys keys;
    REQUIRE(agent.list_keys(kPatience, keys.taker()));
    run_until(loop, [&] { return keys.result.has_value(); });
    REQUIRE_FALSE(*keys.result);
    CHECK(keys.result->error().error_class == ErrorClass::kAuth);
    if (i < 3) CHECK(keys.result->error().text.find("announces an answer of") != std::string::npos);
  }
}

TEST_CASE("a signature that is damaged, empty, or made with SHA-1 is not used") {
  Buffer no_algorithm{14}, more = signature_of("rsa-sha2-512", "x");
  put_string(no_algorithm, "abc");
  more.push_back(0);
  const std::vector<Buffer> answers = {framed(signature_of("ssh-rsa", "x")),
                                       framed(signature_of("rsa-sha2-256", "x")),
                                       framed(signature_of("rsa-sha2-512", "")),
                                       framed(signature_of("\x1b[31m\n", "x")),
                                       framed(no_algorithm),
                                       framed(more),
                                       framed(list_of({}))};
  SshFolder folder;
  EpollLoop loop;
  MadeUpAgent liar(loop, folder.path("agent"), answers);
  KeyAgent agent(loop, folder.path("agent"));
  for (std::size_t i = 0; i < answers.size(); ++i) {
    CAPTURE(i);
    Signature signature;
    REQUIRE(agent.sign(made_up_key(1), as_bytes("data"), "rsa-sha2-512", kPatience, signature.taker()));
    run_until(loop, [&] { return signature.result.has_value(); });
    REQUIRE_FALSE(*signature.result);
    const std::string& text = signature.result->error().text;
    CHECK(std::ranges::all_of(text, [](char c) { return c >= ' '; }));
    if (i == 0) CHECK(text.find("ssh-rsa instead of rsa-sha2-512") != text.npos);
  }
}

TEST_CASE("requests are served one at a time, in order, and what comes behind an answer belongs to nobody") {
  SshFolder folder;
  EpollLoop loop;
  Buffer with_more = framed(list_of({made_up_key(1)}));
  const Buffer surplus = framed(list_of({made_up_key(9)}));
  with_more.insert(with_more.end(), surplus.begin(), surplus.end());
  MadeUpAgent agent_process(
      loop, folder.path("agent"),
      {with_more, framed(list_of({made_up_key(2)})), framed(signature_of("ssh-ed25519", "abc"))}, 1);
  KeyAgent agent(loop, folder.path("agent"));
  Keys first, second;
  Signature third;
  REQUIRE(agent.list_keys(kPatience, first.taker()));
  REQUIRE(agent.list_keys(kPatience, second.taker()));
  REQUIRE(agent.sign(made_up_key(3), as_bytes("data"), "ssh-ed25519", kPatience, third.taker()));
  run_until(loop, [&] { return third.result.has_value(); });
  REQUIRE(first.result);
  REQUIRE(second.result);
  REQUIRE(*first.result);
  REQUIRE(*second.result);
  REQUIRE(*third.result);
  CHECK((**first.result)[0].public_blob == made_up_key(1));
  CHECK((**first.result)[0].comment == "a comment");
  CHECK((**second.result)[0].public_blob == made_up_key(2));
  CHECK(**third.result == Buffer{'a', 'b', 'c'});
  CHECK(agent_process.most_at_once == 1);
  CHECK(agent_process.requests[0] == Buffer{0, 0, 0, 1, 11});
}

TEST_CASE("a request that was cancelled is not answered, and the next one is") {
  SshFolder folder;
  EpollLoop loop;
  MadeUpAgent slow(loop, folder.path("agent"), {{}, framed(list_of({made_up_key(2)}))});
  KeyAgent agent(loop, folder.path("agent"));
  Keys cancelled, waiting, next;
  const Result<KeyAgent::RequestId> one = agent.list_keys(kPatience, cancelled.taker());
  const Result<KeyAgent::RequestId> two = agent.list_keys(kPatience, waiting.taker());
  REQUIRE(agent.list_keys(kPatience, next.taker()));
  run_until(loop, [&] { return slow.requests.size() == 1; });
  agent.cancel(*two);
  agent.cancel(*one);
  agent.cancel(*one);
  CHECK(agent.outstanding() == 1);
  run_until(loop, [&] { return next.result.has_value(); });
  CHECK(*next.result);
  CHECK_FALSE(cancelled.result);
  CHECK_FALSE(waiting.result);
}

TEST_CASE("a callback may ask again, and may destroy the one it asked") {
  SshFolder folder;
  EpollLoop loop;
  const Buffer answer = framed(list_of({made_up_key(1)}));
  MadeUpAgent process(loop, folder.path("agent"), {answer, answer});
  auto agent = std::make_unique<KeyAgent>(loop, folder.path("agent"));
  Keys dropped;
  REQUIRE(agent->list_keys(kPatience, [&](Result<std::vector<AgentKey>>) {
    REQUIRE(agent->list_keys(kPatience, [&](Result<std::vector<AgentKey>> keys) {
      CHECK(keys);
      REQUIRE(agent->list_keys(kPatience, dropped.taker()));
      agent.reset();
    }));
  }));
  run_until(loop, [&] { return agent == nullptr; });
  loop.run_once(0);
  CHECK_FALSE(dropped.result);
}

TEST_CASE("no socket, none that listens, or one of too long a name are errors that say which") {
  SshFolder folder;
  EpollLoop loop;
  KeyAgent none(loop, ""), long_named(loop, std::string(200, 'x')), missing(loop, folder.path("missing"));
  Keys keys;
  CHECK_FALSE(none.list_keys(kPatience, keys.taker()));
  CHECK_FALSE(long_named.list_keys(kPatience, keys.taker()));
  CHECK_FALSE(missing.sign(made_up_key(1), Buffer(kKeyAgentMessageMax), "ssh-ed25519", kPatience, {}));
  REQUIRE(missing.list_keys(kPatience, keys.taker()));
  run_until(loop, [&] { return keys.result.has_value(); });
  REQUIRE_FALSE(*keys.result);
  CHECK(keys.result->error().text.find(folder.path("missing")) != std::string::npos);
}

TEST_CASE("more requests than the queue holds are refused at once") {
  SshFolder folder;
  EpollLoop loop;
  MadeUpAgent silent(loop, folder.path("agent"), {});
  KeyAgent agent(loop, folder.path("agent"));
  for (std::size_t i = 0; i < kKeyAgentQueueMax; ++i)
    REQUIRE(agent.list_keys(kPatience, [](Result<std::vector<AgentKey>>) {}));
  const Result<KeyAgent::RequestId> refused =
      agent.list_keys(kPatience, [](Result<std::vector<AgentKey>>) {});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().error_class == ErrorClass::kResource);
}
