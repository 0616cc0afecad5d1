// Goal: our keys sign for the connection that was ordered, once, for its user and towards the host that
// proves itself, and for nothing else that a hop may ask.
// Method: real keys; the requests that OpenSSH makes, and each of those that an enemy would like answered.

#include "transports/connector/signer.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "core/epoll_loop.h"
#include "tests/support/key_agent.h"
#include "tests/support/run_until.h"
#include "tests/transports/ssh_tools.h"
#include "transports/connector/host_signature.h"
#include "transports/connector/private_key.h"
#include "transports/connector/wire.h"

using namespace banyan;
using namespace banyan::connector;
using namespace banyan::test;

namespace {

constexpr std::uint8_t kFailure = 5, kSuccess = 6;

PrivateKey open_key(const SshFolder& folder, const std::string& name) {
  const std::string text = folder.read(name);
  Result<PrivateKey> key = parse_private_key(as_bytes(text), name, {});
  REQUIRE(bool(key));
  return std::move(*key);
}

// In wire form, with the algorithm's name.
Buffer signature_of(const PrivateKey& key, Bytes data, std::string_view algorithm = {}) {
  const std::string_view name = algorithm.empty() ? key.algorithms().front() : algorithm;
  const Result<Buffer> made = key.sign(name, data);
  REQUIRE(bool(made));
  Buffer whole;
  put_string(whole, name);
  put_string(whole, *made);
  return whole;
}

struct Bind {
  Buffer host_key, session, signature;
  bool is_forwarded = false;
};
Buffer request_of(const Bind& bind) {
  Buffer out{27};
  put_string(out, "session-bind@openssh.com");
  put_string(out, bind.host_key);
  put_string(out, bind.session);
  put_string(out, bind.signature);
  out.push_back(bind.is_forwarded ? 1 : 0);
  return out;
}

struct Wish {
  std::string session = "session one", user = "ann", service = "ssh-connection", method = "publickey",
              algorithm = "ssh-ed25519";
  std::uint8_t kind = 50;
  Buffer key = {}, host_key = {};
};
Buffer request_of(const Wish& wish) {
  Buffer data;
  put_string(data, wish.session);
  data.push_back(wish.kind);
  put_string(data, wish.user);
  put_string(data, wish.service);
  put_string(data, wish.method);
  data.push_back(1);
  put_string(data, wish.algorithm);
  put_string(data, wish.key);
  if (!wish.host_key.empty()) put_string(data, wish.host_key);
  Buffer out{13};
  put_string(out, wish.key);
  put_string(out, data);
  put_number(out, wish.algorithm == "rsa-sha2-512" ? 4 : 0);
  return out;
}

// A hop's ssh, and the order it was started by.
struct Hop final : Signer::Owner {
  SshFolder folder;
  EpollLoop loop;
  KeyRing ring{loop};
  std::vector<Buffer> answers;
  std::string refusal;
  std::vector<std::string> excesses;  // refusals of what nobody ordered
  std::vector<std::string> asked;
  SessionOrder order;
  std::unique_ptr<Signer> signer;

  Hop() {
    folder.must_run(
        "ssh-keygen -q -t ed25519 -N '' -f host; ssh-keygen -q -t ed25519 -N '' -f other_host; "
        "ssh-keygen -q -t ed25519 -N '' -f mine");
    order.id = 1;
    order.task = SessionOrder::Task::kSign;
    order.settings.user = "ann";
    order.settings.host = "web1";
    order.settings.key_name = "web1";
    order.settings.known_hosts = {folder.write("known", "web1 " + folder.read("host.pub"))};
    order.settings.identities = {folder.path("mine")};
  }
  void on_signed(SessionId, std::uint32_t, Bytes answer) override {
    answers.emplace_back(answer.begin(), answer.end());
  }
  void on_passphrase(SessionQuestion question) override {
    asked.push_back(question.file);
    SessionAnswer answer{.id = 1, .number = question.number, .secrets = {}};
    answer.secrets.push_back(Secret::copy_of(as_bytes("open sesame")));
    loop.post([this, answer = std::make_shared<SessionAnswer>(std::move(answer))] {
      signer->answer(std::move(*answer));
    });
  }
  void on_refusal(SessionId, std::string_view why, Signer::Fault fault) override {
    refusal = why;
    if (fault == Signer::Fault::kAskers) excesses.emplace_back(why);
  }

  Buffer ask(const Buffer& request, std::uint32_t visitor = 1) {
    if (!signer) signer = std::make_unique<Signer>(loop, ring, order, *this);
    const std::size_t before = answers.size();
    signer->ask({.id = 1, .visitor = visitor, .bytes = request});
    REQUIRE(run_until(loop, [&] { return answers.size() > before; }));
    return answers.back();
  }
  Bind bind(const std::string& session = "session one", const std::string& host = "host") {
    const PrivateKey key = open_key(folder, host);
    const Buffer id(session.begin(), session.end());
    return {key.public_blob(), id, signature_of(key, id)};
  }
  Wish wish(const std::string& key = "mine") { return {.key = open_key(folder, key).public_blob()}; }
  bool is_refused(const Buffer& request, std::uint32_t visitor = 1) {
    return ask(request, visitor) == Buffer{kFailure};
  }
  // The reply is a signature of what was wished, by that key.
  bool has_signed(const Wish& wish, const Buffer& answer) {
    WireReader in(answer);
    if (in.byte() != 14) return false;
    const Bytes signature = in.string();
    WireReader request(request_of(wish));
    const Buffer whole = request_of(wish);
    WireReader parts(Bytes(whole).subspan(1));
    parts.string();
    return in.finish() && is_signed_by(wish.key, parts.string(), signature);
  }
};

}  // namespace

TEST_CASE("an ssh that proves which host it talks to is given the signature that was ordered") {
  Hop hop;
  CHECK(hop.ask(request_of(hop.bind())) == Buffer{kSuccess});
  const Buffer keys = hop.ask(Buffer{11});
  WireReader in(keys);
  CHECK(in.byte() == 12);
  CHECK(in.number() == 1);
  const Bytes shown = in.string();
  CHECK(Buffer(shown.begin(), shown.end()) == hop.wish().key);
  const Wish wish = hop.wish();
  CHECK(hop.has_signed(wish, hop.ask(request_of(wish))));
  CHECK(hop.refusal == "");
}

TEST_CASE("the host may stand in what is signed, if it is the one that was proved") {
  Hop hop;
  hop.ask(request_of(hop.bind()));
  Wish wish = hop.wish();
  wish.method = "publickey-hostbound-v00@openssh.com";
  wish.host_key = open_key(hop.folder, "other_host").public_blob();
  CHECK(hop.is_refused(request_of(wish)));
  wish.host_key = open_key(hop.folder, "host").public_blob();
  CHECK(hop.has_signed(wish, hop.ask(request_of(wish))));
}

TEST_CASE("without a proof nothing is signed") {
  Hop hop;
  CHECK(hop.is_refused(request_of(hop.wish())));
  CHECK(hop.refusal.find("--trust-hop") != std::string::npos);
  CHECK(hop.excesses == std::vector<std::string>{"it asked without a proof of the host that it talks to"});
  CHECK(hop.is_refused(Buffer{11}));  // nor said which keys there are
}

TEST_CASE("a hop that is trusted needs no proof, and still gets one login of that user") {
  Hop hop;
  hop.order.task = SessionOrder::Task::kSignTrustingly;
  Wish wish = hop.wish();
  wish.user = "root";
  CHECK(hop.is_refused(request_of(wish)));
  wish.user = "ann";
  CHECK(hop.has_signed(wish, hop.ask(request_of(wish))));
  wish.session = "session two";
  CHECK(hop.is_refused(request_of(wish)));
  CHECK(hop.refusal.find("second session") != std::string::npos);
}

TEST_CASE("a proof that proves nothing is none") {
  Hop hop;
  hop.order.task = GENERATE(SessionOrder::Task::kSign, SessionOrder::Task::kSignTrustingly);
  SECTION("another host's key") {
    CHECK(hop.is_refused(request_of(hop.bind("session one", "other_host"))));
  }
  SECTION("the right key, and a signature by another") {
    Bind bind = hop.bind("session one", "other_host");
    bind.host_key = hop.bind().host_key;
    CHECK(hop.is_refused(request_of(bind)));
  }
  SECTION("a signature of another session") {
    Bind bind = hop.bind("session two");
    bind.session = hop.bind().session;
    CHECK(hop.is_refused(request_of(bind)));
  }
  SECTION("for a machine beyond the hop") {
    Bind bind = hop.bind();
    bind.is_forwarded = true;
    CHECK(hop.is_refused(request_of(bind)));
  }
  SECTION("something else") {
    const Buffer whole = request_of(hop.bind());
    for (std::size_t length = 1; length < whole.size(); ++length)
      CHECK(hop.is_refused(Buffer(whole.begin(), whole.begin() + std::ptrdiff_t(length))));
    CHECK(hop.is_refused(Buffer{13}));
    CHECK(hop.is_refused(Buffer{27}));
    CHECK(hop.is_refused(Buffer{1, 2, 3}));
  }
  CHECK(hop.is_refused(request_of(hop.bind())));  // nor is there another try
  hop.refusal.clear();
  CHECK(hop.is_refused(request_of(hop.wish())));
  CHECK(hop.refusal != "");
  CHECK(hop.refusal.find("--trust-hop") == std::string::npos);  // which would not help
}

TEST_CASE("what was not ordered is not signed") {
  Hop hop;
  REQUIRE(hop.ask(request_of(hop.bind())) == Buffer{kSuccess});
  Wish wish = hop.wish();
  bool is_excess = true;
  SECTION("another user") {
    wish.user = "root";
  }
  SECTION("another session") {
    wish.session = "session two";
  }
  SECTION("another service") {
    wish.service = "ssh-userauth";
  }
  SECTION("another method") {
    wish.method = "hostbased";
  }
  SECTION("no request to log in") {
    wish.kind = 51;
  }
  SECTION("a key that is not ours") {
    wish.key = open_key(hop.folder, "other_host").public_blob();
  }
  SECTION("an algorithm that the key has not") {
    wish.algorithm = "rsa-sha2-512";
    is_excess = false;  // it may not know better
  }
  CHECK(hop.is_refused(request_of(wish)));
  CHECK(hop.refusal != "");
  CHECK(hop.excesses == std::vector<std::string>(is_excess ? 1 : 0, hop.refusal));
}

TEST_CASE("a file's signature, as ssh-keygen -Y makes them, is not made") {
  Hop hop;
  REQUIRE(hop.ask(request_of(hop.bind())) == Buffer{kSuccess});
  Buffer request{13};
  put_string(request, hop.wish().key);
  put_string(request, hop.folder.to_sign());
  put_number(request, 0);
  CHECK(hop.is_refused(request));
}

TEST_CASE("each key signs once, and for one session") {
  Hop hop;
  hop.ask(request_of(hop.bind()));
  const Wish wish = hop.wish();
  REQUIRE(hop.has_signed(wish, hop.ask(request_of(wish))));
  CHECK(hop.is_refused(request_of(wish)));
  CHECK(hop.is_refused(request_of(hop.bind())));                  // bound again
  CHECK(hop.is_refused(request_of(hop.bind("session two")), 2));  // on another connection
  CHECK(hop.is_refused(request_of(wish), 2));
}

TEST_CASE("whose proof is none is told that, and nobody is told to trust the hop") {
  Hop hop;
  CHECK(hop.is_refused(request_of(hop.bind("session one", "other_host"))));
  const std::string why = hop.refusal;
  CHECK(why.find("--trust-hop") == std::string::npos);
  CHECK(hop.is_refused(request_of(hop.wish())));
  CHECK(hop.refusal == why);
  CHECK(hop.is_refused(request_of(hop.wish()), 2));  // that one proved nothing at all
  CHECK(hop.refusal.find("--trust-hop") != std::string::npos);
}

TEST_CASE("a proof by one visitor is not another's") {
  Hop hop;
  REQUIRE(hop.ask(request_of(hop.bind())) == Buffer{kSuccess});
  CHECK(hop.is_refused(request_of(hop.wish()), 2));
}

TEST_CASE("every type of host key is proof, and RSA signs with SHA-2 alone") {
  for (const char* type : {"ecdsa -b 256", "ecdsa -b 384", "ecdsa -b 521", "rsa -b 2048"}) {
    CAPTURE(type);
    Hop hop;
    hop.folder.must_run(cat("rm host host.pub mine mine.pub; ssh-keygen -q -t ", type,
                            " -N '' -f host; ssh-keygen -q -t ", type, " -N '' -f mine"));
    hop.folder.write("known", "web1 " + hop.folder.read("host.pub"));
    REQUIRE(hop.ask(request_of(hop.bind())) == Buffer{kSuccess});
    Wish wish = hop.wish();
    wish.algorithm = open_key(hop.folder, "mine").type();
    if (wish.algorithm == "ssh-rsa") {
      CHECK(hop.is_refused(request_of(wish)));
      wish.algorithm = "rsa-sha2-512";
    }
    CHECK(hop.has_signed(wish, hop.ask(request_of(wish))));
  }
}

TEST_CASE("the passphrase of a key is asked for when it is to sign, and not before") {
  Hop hop;
  hop.folder.must_run("rm mine mine.pub; ssh-keygen -q -t ed25519 -a 1 -N 'open sesame' -f mine");
  hop.order.settings.may_ask = true;
  hop.ask(request_of(hop.bind()));
  hop.ask(Buffer{11});
  CHECK(hop.asked.empty());
  Wish wish;
  const std::string line = hop.folder.read("mine.pub");
  wish.key = *decode_base64(line.substr(12, line.rfind(' ') - 12));
  CHECK(hop.has_signed(wish, hop.ask(request_of(wish))));
  CHECK(hop.asked == std::vector<std::string>{hop.folder.path("mine")});
}

TEST_CASE("the key agent signs with its keys, and its other keys are no one's business") {
  Hop hop;
  hop.folder.must_run("ssh-keygen -q -t ed25519 -N '' -f spare");
  const KeyAgentProcess agent(hop.folder.path("."), {hop.folder.path("mine"), hop.folder.path("spare")});
  hop.order.settings.key_agent = agent.socket();
  hop.order.settings.only_identities = true;
  hop.ask(request_of(hop.bind()));
  const Buffer keys = hop.ask(Buffer{11});
  WireReader in(keys);
  in.byte();
  CHECK(in.number() == 1);
  CHECK(hop.is_refused(request_of(hop.wish("spare"))));
  const Wish wish = hop.wish();
  CHECK(hop.has_signed(wish, hop.ask(request_of(wish))));
}

TEST_CASE("who has no key is told why") {
  Hop hop;
  hop.order.settings.identities = {hop.folder.path("none")};
  hop.ask(request_of(hop.bind()));
  const Buffer keys = hop.ask(Buffer{11});
  CHECK(keys == Buffer{12, 0, 0, 0, 0});
  CHECK(hop.refusal.find("no key") != std::string::npos);
  CHECK(hop.excesses.empty());
}

TEST_CASE("a person who does not give a passphrase is not asked for it again") {
  Hop hop;
  hop.folder.must_run("rm mine mine.pub; ssh-keygen -q -t rsa -b 2048 -a 1 -N 'another one' -f mine");
  hop.order.settings.may_ask = true;
  hop.ask(request_of(hop.bind()));
  Wish wish;
  const std::string line = hop.folder.read("mine.pub");
  wish.key = *decode_base64(line.substr(8, line.rfind(' ') - 8));
  for (int i = 0; i < 10; ++i) {
    wish.algorithm = i % 2 == 0 ? "rsa-sha2-512" : "rsa-sha2-256";
    CHECK(hop.is_refused(request_of(wish)));
  }
  CHECK(hop.asked.size() == kPassphraseTriesMax);
  CHECK(hop.excesses == std::vector<std::string>(9, "it asked for a second signature with one key"));
}
