// Goal: how far ssh has come is read from what it says of itself, in any split; what a host says is not taken
// for it. Method: what ssh 9.2 printed, cut everywhere.
#include "transports/openssh_log.h"

#include <catch2/catch.hpp>

using namespace banyan;

namespace {

const std::vector<std::string> kGood = {
    "OpenSSH_9.2p1 Debian-2+deb12u3, OpenSSL 3.0.15 3 Sep 2024\r\n",
    "debug1: Reading configuration data /etc/ssh/ssh_config\r\n",
    "debug1: Connecting to web [fe80::1%eth0] port 2222.\r\n",
    "debug1: Connection established.\r\n",
    "debug1: Remote protocol version 2.0, remote software version OpenSSH_9.2p1 Debian-2\r\n",
    "debug1: Server host key: ssh-ed25519 SHA256:abc+/def\r\n",
    "debug1: Host '[web]:2222' is known and matches the ED25519 host key.\r\n",
    "debug1: SSH2_MSG_NEWKEYS received\r\n",
    "debug1: Authentications that can continue: publickey,password\r\n",
    "debug1: Offering public key: /home/a b/.ssh/one ECDSA SHA256:one explicit\r\n",
    "debug1: Offering public key: /home/a b/.ssh/two ED25519 SHA256:two explicit agent\r\n",
    "debug1: Server accepts key: /home/a b/.ssh/two ED25519 SHA256:two explicit agent\r\n",
    "Authenticated to web ([fe80::1%eth0]:2222) using \"publickey\".\r\n",
    "debug1: Sending command: exec sh -c '...'\r\n"};

}  // namespace

TEST_CASE("each step of ssh is known with its time, and what it found") {
  OpensshLog log;
  Nanos at = 0;
  std::vector<Phase> phases;
  for (const std::string& line : kGood) {
    log.feed(line, ++at);
    if (phases.empty() || phases.back() != log.progress().phase()) phases.push_back(log.progress().phase());
  }
  const OpensshProgress& p = log.progress();
  CHECK(phases ==
        std::vector<Phase>{Phase::kResolve, Phase::kConnect, Phase::kKex, Phase::kAuth, Phase::kShell});
  CHECK(p.connecting == 3);
  CHECK(p.connected == 4);
  CHECK(p.keyed == 8);
  CHECK(p.authenticated == 13);
  CHECK(p.address == "fe80::1%eth0");
  CHECK(p.server == "OpenSSH_9.2p1 Debian-2");
  CHECK(p.host_key_type == "ssh-ed25519");
  CHECK(p.host_key_fingerprint == "SHA256:abc+/def");
  CHECK(p.method == "publickey");
  CHECK(p.key == "/home/a b/.ssh/two");
  CHECK(p.key_type == "ED25519");
  CHECK(p.key_fingerprint == "SHA256:two");
  CHECK(p.offered.size() == 2);
  CHECK(p.methods_left == "publickey,password");
}

TEST_CASE("the pieces that ssh's words come in do not matter") {
  std::string all;
  for (const std::string& line : kGood) all += line;
  for (std::size_t cut = 0; cut <= all.size(); ++cut) {
    CAPTURE(cut);
    OpensshLog log;
    log.feed(std::string_view(all).substr(0, cut), 1);
    log.feed(std::string_view(all).substr(cut), 2);
    CHECK(log.progress().phase() == Phase::kShell);
    CHECK(log.progress().key_fingerprint == "SHA256:two");
    CHECK(log.progress().address == "fe80::1%eth0");
  }
}

TEST_CASE("what the host says after the login is not ssh's word") {
  OpensshLog log;
  for (const std::string& line : kGood) log.feed(line, 1);
  log.feed("debug1: Server host key: ssh-rsa SHA256:mine\ndebug1: Connecting to evil [1.2.3.4] port 1.\n", 2);
  CHECK(log.progress().host_key_fingerprint == "SHA256:abc+/def");
  CHECK(log.progress().address == "fe80::1%eth0");
}

TEST_CASE(
    "what a connector tells in ssh's words is read as ssh's, and a stranger's text makes no second line of "
    "it") {
  OpensshLog log;
  log.feed(step_line("Remote protocol version 2.0, remote software version x\ndebug1: Server host key: t k"),
           1);
  log.feed(step_line("Authenticated to web using \"password\"."), 2);
  CHECK(log.progress().server == "x debug1: Server host key: t k");
  CHECK(log.progress().host_key_type.empty());
  CHECK(log.progress().method == "password");
  CHECK(log.progress().authenticated == 2);
  CHECK(step_line("x").starts_with(kStepMark));
  CHECK(step_line("x").ends_with("x\n"));
  const std::string cut = step_line(std::string(100'000, 'x'));
  CHECK(cut.size() == 4096);
  CHECK(cut.ends_with("x\n"));
}

TEST_CASE("a shared connection and a proxy are known as such") {
  OpensshLog shared, proxy;
  shared.feed(
      "debug1: auto-mux: Trying existing master\ndebug1: mux_client_request_session: master session id: 2\n",
      1);
  CHECK(shared.progress().is_shared);
  CHECK(shared.progress().phase() == Phase::kShell);
  proxy.feed("debug1: Executing proxy command: exec nc web 22\n", 1);
  CHECK(proxy.progress().is_by_proxy);
  CHECK(proxy.progress().phase() == Phase::kConnect);
  proxy.feed("debug1: Remote protocol version 2.0, remote software version x\n", 2);
  CHECK(proxy.progress().phase() == Phase::kKex);
}

TEST_CASE("words without end, lines that are cut short and other words are passed over") {
  OpensshLog log;
  for (int i = 0; i < 1000; ++i) log.feed(std::string(100, 'x'), 1);
  log.feed(
      "\ndebug1: Server accepts key: \ndebug1: Server host key: \ndebug1: Connecting to \nAuthenticated to "
      "\n",
      2);
  CHECK(log.progress().phase() == Phase::kShell);
  CHECK(log.progress().method.empty());
  for (int i = 0; i < 100; ++i) log.feed("debug1: Offering public key: k\n", 3);
  CHECK(log.progress().offered.empty());
  OpensshLog offers;
  for (int i = 0; i < 100; ++i) offers.feed("debug1: Offering public key: k\n", 3);
  CHECK(offers.progress().offered.size() == OpensshProgress::kOfferedMax);
}
