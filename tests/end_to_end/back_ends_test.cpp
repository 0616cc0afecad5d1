// Goal: whoever speaks SSH, the same run does the same.
// Method: one table of runs, over ssh and over a connector, against a real sshd whose client configuration
// uses what people use.
#include <fstream>

#include "tests/end_to_end/ssh.h"

using namespace banyan::test;
using banyan::cat;

namespace {

Words through(const std::string& back_end, const Sshd& server, const std::string& targets,
              const Words& rest) {
  return over(server, targets, rest, back_end);
}

}  // namespace

TEST_CASE("over ssh and over libssh2 a command has the same input, output, environment and exit code") {
  if (!has_sshd()) return;
  const Sshd server({.client_lines = "SetEnv BANYAN_TEST_SET=set"});
  std::string much(3'000'000, '\0');
  for (std::size_t i = 0; i < much.size(); ++i) much[i] = char(i * 31 + i / 253);
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    const Finished code =
        run_program(through(back_end, server, "web", {"--sh", "echo out; echo err >&2; exit 7"}));
    CHECK(code.code == 7);
    CHECK(code.out == "out\n");
    CHECK(code.err == "err\n");
    const Finished copied = run_program(through(back_end, server, "web", {"--", "cat"}), much);
    CHECK(copied.code == 0);
    CHECK(copied.out == much);
    const Finished variables =
        run_program(through(back_end, server, "web", {"--sh", "echo $BANYAN_TEST_A-$BANYAN_TEST_SET"}), {},
                    {"BANYAN_TEST_A=sent"});
    CHECK(variables.out == "sent-set\n");
    const Finished killed = run_program(through(back_end, server, "web", {"--sh", "kill -9 $$"}));
    CHECK(killed.code == 137);
    const Finished late =
        run_program(through(back_end, server, "web", {"--timeout", "1s", "--", "sleep", "60"}));
    CHECK(late.code == 124);
    const Finished many = run_program(through(back_end, server, "db[1-20]", {"--", "echo", "hi"}));
    CHECK(many.code == 0);
    CHECK(lines_of(many.out).size() == 20);
  }
}

TEST_CASE("over ssh and over libssh2 a refusal has the same phase, class and exit code") {
  if (!has_sshd()) return;
  const Sshd server;
  std::ofstream(server.folder() + "/none") << "";
  const struct {
    Words options;
    const char* target;
    const char* phase;
    const char* error_class;
  } table[] = {
      {{"--known-hosts", server.folder() + "/none"}, "web", "kex", "hostkey"},
      {{"-l", "nobody-of-that-name"}, "web", "auth", "auth"},
      {{}, "no-such-host.invalid", "resolve", "unreachable"},
      {{"--port", "1"}, "web", "connect", "unreachable"},
  };
  for (const char* back_end : kBackEnds) {
    for (const auto& row : table) {
      CAPTURE(back_end, row.target, row.phase);
      Words options = row.options;
      options.insert(options.end(), {"--json", "--", "true"});
      const Finished got = run_program(through(back_end, server, row.target, options));
      CAPTURE(got.out, got.err);
      CHECK(got.code == 255);
      const auto fail = the_event(got.out, "fail");
      REQUIRE(fail.is_object());
      CHECK(fail["phase"] == row.phase);
      CHECK(fail["class"] == row.error_class);
      CHECK(fail["started"] == "no");
      CHECK(fail["remedy"].is_string());
    }
  }
}

TEST_CASE("a setting that libssh2 cannot honour is refused by name, and auto leaves the host to ssh") {
  if (!has_sshd()) return;
  const Sshd server({.client_lines = "ProxyCommand /bin/sh -c 'exec nc 127.0.0.1 1'"});
  const Finished refused = run_program(through("libssh2", server, "web", {"--json", "--", "true"}));
  CHECK(refused.code == 255);
  const auto fail = the_event(refused.out, "fail");
  REQUIRE(fail.is_object());
  CHECK(contains(fail["error"], "ProxyCommand"));
  const Finished left = run_program(through("auto", server, "web", {"--json", "--", "true"}));
  const auto other = the_event(left.out, "fail");
  REQUIRE(other.is_object());
  CHECK_FALSE(contains(other["error"], "libssh2"));
}
