// Goal: whatever lies between us and a command, a port that is no SSH server, a wire that is long, thin, or
// changes and cuts what it carries, a server that talks too much, the run works or ends in bounded time with
// a phase, a class, an exit code and a remedy, and nothing is left; over both back ends. Method: the real
// program against ports of the test's own, and against a real sshd behind a proxy.
#include <fstream>

#include "tests/end_to_end/ssh.h"
#include "tests/support/delay_proxy.h"
#include "tests/support/fake_server.h"

using namespace banyan::test;
using namespace std::chrono_literals;
using banyan::cat;

namespace {

using Then = FakeServer::Then;

// The server as it is known behind another port.
Words behind(const Sshd& server, std::uint16_t port, const std::string& back_end, const Words& rest) {
  const std::string known = cat(server.folder(), "/known", port);
  std::ofstream(known) << "[127.0.0.1]:" << port << " " << server.host_key() << "\n";
  Words words = {"--port", std::to_string(port), "--known-hosts", known};
  words.insert(words.end(), rest.begin(), rest.end());
  return over(server, "web", words, back_end);
}

}  // namespace

TEST_CASE("a port where no SSH server listens fails in time, whatever it says") {
  if (!has_sshd()) return;
  const struct {
    const char* name;
    std::string says;
    Then then;
    const char* phases;  // ssh counts the server's first line to connecting
    const char* classes;
    const char* timeout;
    double seconds;
  } table[] = {
      {"silent", "", Then::kSilence, "connect kex", "timeout", "1s", 1},
      {"hangs up", "", Then::kHangUp, "kex", "refused", "10s", 6},
      {"a web server", "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", Then::kHangUp, "kex",
       "refused protocol", "10s", 6},
      {"no packet", "SSH-2.0-x\r\nthis is no packet, and goes on for a while like that", Then::kHangUp, "kex",
       "protocol", "10s", 1},
      {"half a line", "SSH-2.0", Then::kSilence, "connect kex", "timeout", "1s", 1},
      {"lines without end", std::string(500, 'x') + "\r\n", Then::kAgain, "kex connect",
       "protocol timeout refused", "1s", 3},
      {"a line without end", std::string(5000, 'x'), Then::kAgain, "kex connect", "protocol timeout refused",
       "1s", 3},
      {"packets without end", "SSH-2.0-x\r\n" + std::string(5000, '\0'), Then::kAgain, "kex",
       "protocol timeout refused", "1s", 3},
  };
  const Sshd server;
  for (const auto& row : table) {
    for (const char* back_end : kBackEnds) {
      const FakeServer fake(row.says, row.then);
      const Finished got = run_program(
          behind(server, fake.port(), back_end, {"--json", "--connect-timeout", row.timeout, "--", "true"}));
      CAPTURE(row.name, back_end, got.out, got.err);
      check_failed(got, {row.phases, row.classes, "", "", row.seconds});
      // Who hangs up may only be crowded, and is tried a few times more.
      CHECK(fake.connections() >= 1);
      CHECK(fake.connections() <= (row.then == Then::kHangUp ? 4U : 1U));
    }
  }
}

TEST_CASE("a server that talks without end holds up nobody else, and costs no memory") {
  if (!has_sshd()) return;
  const Sshd server;
  const FakeServer fake(std::string(500, 'x') + "\r\n", Then::kAgain);
  const std::string config = server.folder() + "/with_flood";
  std::ofstream(config) << "Host flood*\nPort " << fake.port() << "\nHost web db* flood*\nInclude "
                        << server.client_config() << "\nHost flood*\nHostName 127.0.0.1\n";
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    Program program({"run", "-F", config, "--ssh", back_end, "--json", "--connect-timeout", "20s", "-f", "12",
                     "flood[1-4],db[1-8]", "--", "echo", "here"});
    const Finished got = program.finish();
    CAPTURE(got.out, got.err);
    int fine = 0;
    for (const nlohmann::json& event : events_of(got.out)) {
      if (event.value("event", "") != "exit") continue;
      ++fine;
      CHECK(event["target"].get<std::string>().starts_with("db"));
      CHECK(event["seconds"].get<double>() < 3 + kSlack);
    }
    CHECK(fine == 8);
    CHECK(the_event(got.out, "summary").value("unreachable", 0) == 4);
  }
}

TEST_CASE("over a wire of 300 ms, and over one of 1 MB/s, a command has its input and output") {
  if (!has_sshd()) return;
  const Sshd server;
  const std::string bytes = random_bytes(500'000);
  const DelayProxy slow(DelayProxy::round_trip(server.port(), 300ms)),
      thin(DelayProxy::round_trip(server.port(), 0ms, 1'000'000));
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    const Finished far = run_program(behind(server, slow.port(), back_end, {"--", "cat"}), "over there");
    CAPTURE(far.err);
    CHECK(far.code == 0);
    CHECK(far.out == "over there");
    CHECK(far.seconds > 8 * 0.3);  // no fewer round trips than ssh makes
    CHECK(far.seconds < 18 * 0.3 + kSlack);
    const Finished thinner = run_program(behind(server, thin.port(), back_end, {"--", "cat"}), bytes);
    CAPTURE(thinner.err);
    CHECK(thinner.code == 0);
    CHECK((thinner.out == bytes));
    CHECK(thinner.seconds > 0.5);
    CHECK(thinner.seconds < 3 + kSlack);
  }
}

TEST_CASE("a wire that changes a byte, or is cut, is told in the phase it happened in, and nothing is left") {
  if (!has_sshd()) return;
  const Sshd server;
  const struct {
    const char* name;
    Wire up, down;
    const char* phases;
    const char* classes;
  } table[] = {
      {"a byte of the server's first packet changed",
       {},
       {.flip_at = 300},
       "kex connect",
       "protocol refused lost"},
      {"a byte of our first packet changed", {.flip_at = 300}, {}, "kex connect", "protocol refused lost"},
      {"cut in the server's first packet", {}, {.cut_at = 200}, "kex connect auth", "protocol refused lost"},
      {"a byte of the upload changed", {.flip_at = 30'000}, {}, "upload hello", "lost"},
      {"cut in the upload", {.cut_at = 20'000}, {}, "upload hello", "lost"},
      {"cut at the end of the upload", {.cut_at = 45'000}, {}, "upload hello", "lost"},
  };
  for (const auto& row : table) {
    for (const char* back_end : kBackEnds) {
      const DelayProxy proxy({.port = server.port(), .up = row.up, .down = row.down});
      const Finished got = run_program(
          behind(server, proxy.port(), back_end, {"--json", "--connect-timeout", "5s", "--", "true"}));
      CAPTURE(row.name, back_end, got.out);
      check_failed(got, {row.phases, row.classes, "", "", 5});
    }
  }
}

TEST_CASE("a banner of 64 KiB and a greeting of 64 KiB are passed over, or refused with the remedy") {
  if (!has_sshd() || !has_namespaces()) return;
  std::string text;
  while (text.size() < 64 * 1024)
    text += "Authorised use only. Everything is \033[31mPermission denied\033[0m (logged).\n";
  text.resize(64 * 1024);
  const Sshd server({.server_lines = "Banner /srv/banner",
                     .accounts = {{"guest", "/bin/bash"}},
                     .setup = "cp /srv/guest/banner /srv/banner\n",
                     .files = {{"guest", "banner", text},
                               {"guest", "greeting", text},
                               {"guest", ".bashrc", "cat ~/greeting\n"}}});
  for (const char* back_end : {"openssh", "auto"}) {
    const Finished passed = run_program(over(server, "guest@web", {"--", "echo", "here"}, back_end));
    CAPTURE(back_end, passed.err);
    CHECK(passed.code == 0);
    CHECK(passed.out == "here\n");
    CHECK(passed.err == "");
  }
  // A packet as long as that libssh2 1.10 does not take; auto had ssh try it.
  const Finished refused =
      run_program(over(server, "guest@web", {"--json", "--", "echo", "here"}, "libssh2"));
  CAPTURE(refused.out);
  check_failed(refused, {"auth", "protocol", "a banner of more than", "--ssh openssh", 2});
}

TEST_CASE("a greeting of 64 KiB is passed over by both back ends") {
  if (!has_sshd() || !has_namespaces()) return;
  std::string text;
  while (text.size() < 64 * 1024) text += "Welcome! Enjoy your stay.\n";
  text.resize(64 * 1024);
  const Sshd server({.accounts = {{"guest", "/bin/bash"}},
                     .files = {{"guest", "greeting", text}, {"guest", ".bashrc", "cat ~/greeting\n"}}});
  for (const char* back_end : kBackEnds) {
    const Finished got = run_program(over(server, "guest@web", {"--", "echo", "here"}, back_end));
    CAPTURE(back_end, got.err);
    CHECK(got.code == 0);
    CHECK(got.out == "here\n");
  }
}

TEST_CASE("too many keys are told with what the server said when it hung up") {
  if (!has_sshd()) return;
  const Sshd server({.server_lines = "MaxAuthTries 2"});
  const std::string config = server.folder() + "/many";
  std::string keys;
  for (int i = 0; i < 4; ++i) {
    const std::string file = cat(server.folder(), "/wrong", i);
    REQUIRE(std::system(cat("ssh-keygen -q -t ed25519 -N '' -f '", file, "'").c_str()) == 0);
    keys += cat("IdentityFile ", file, "\n");
  }
  std::ofstream(config) << "Host web\n" << keys << "Include " << server.client_config() << "\n";
  for (const char* back_end : kBackEnds) {
    const Finished got = run_program({"run", "-F", config, "--ssh", back_end, "--json", "web", "--", "true"});
    CAPTURE(back_end, got.out);
    check_failed(got, {"auth", "auth", "Too many authentication failures", "--identity", 2});
  }
}
