// Goal: a context comes up behind an ssh session that a connector keeps, and every refusal says why. Method:
// a Runner and connectors as the program uses them, against a real sshd on loopback.
#include <catch2/catch.hpp>

#include "core/text.h"
#include "parent/command.h"
#include "parent/runner.h"
#include "tests/support/sshd.h"
#include "tests/support/tree.h"
#include "transports/libssh2.h"

using namespace banyan;
using namespace banyan::test;

namespace {

const bool kOpened = bool(embedded_images().local_image());

struct Root {
  EpollLoop loop;
  Router router{loop, config_of(0)};
  Connectors connectors{loop, BANYAN_CONNECTOR_PROGRAM};
  Runner runner{loop, router, embedded_images()};
  int told = 0, lost = 0;
  std::optional<Child> child;
  Error error;

  Runner::StartId start(const SessionSettings& settings, Nanos timeout = 0) {
    return runner.start(
        libssh2("it", settings, timeout, loop.random(), "", connectors),
        [this](Result<Child> result) {
          ++told;
          if (result) {
            child = *result;
          } else {
            error = result.error();
          }
        },
        [this](ContextId, const Error& why) {
          ++lost;
          error = why;
        });
  }
  bool settle() {
    return run_until(loop, [&] { return runner.count() == 0; });
  }
  ~Root() {
    bool done = false;
    runner.shut_down_all(2 * kSecond, [&] { done = true; });
    run_until(loop, [&] { return done; });
  }
};

SessionSettings settings_for(const Sshd& server) {
  SessionSettings settings;
  settings.host = "127.0.0.1";
  settings.port = server.port();
  settings.user = ::getlogin() != nullptr ? ::getlogin() : "root";
  settings.key_name = "127.0.0.1";
  settings.known_hosts = {server.known_hosts()};
  settings.identities = {server.folder() + "/user_key"};
  return settings;
}

}  // namespace

TEST_CASE("a context comes up behind a session of a connector, and is gone when it was shut down") {
  REQUIRE(kOpened);
  if (!has_sshd()) return;
  const Sshd server;
  Root root;
  root.start(settings_for(server));
  REQUIRE(run_until(root.loop, [&] { return root.told > 0; }));
  INFO(root.error.text);
  REQUIRE(root.child.has_value());
  CHECK(root.child->method == "ssh");
}
