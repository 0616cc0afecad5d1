// Goal: the hosts that ssh's configuration puts before a target are found, in their order, and a
// configuration that never comes to an end is refused. Method: ssh itself is asked (ssh -G), which contacts
// nobody.
#include "cli/route.h"

#include <catch2/catch.hpp>
#include <optional>
#include <string>

#include "core/epoll_loop.h"
#include "core/text.h"
#include "tests/support/run_until.h"
#include "tests/transports/ssh_tools.h"

using namespace banyan;
using namespace banyan::cli;
using namespace banyan::test;

namespace {

struct Scene {
  SshFolder folder;
  EpollLoop loop;
  SshQuestions questions{loop, local_user()};
  SshOptions options;

  explicit Scene(const std::string& config) { options.config_file = folder.write("config", config); }
  Result<Route> route_to(const std::string& host) {
    std::optional<Result<Route>> found;
    ask_for_route(questions, {.name = host, .user = {}, .host = host}, options,
                  [&](const Result<Route>& route) { found = route; });
    REQUIRE(run_until(loop, [&] { return found.has_value(); }));
    return *found;
  }
};

// Hosts n1, n2, ...: each is reached through the next, the last by itself.
std::string row_of(std::size_t hosts) {
  std::string config;
  for (std::size_t i = 1; i <= hosts; ++i) {
    config += cat("Host n", i, "\nHostName 192.0.2.", i, "\n");
    if (i < hosts) config += cat("ProxyJump n", i + 1, "\n");
  }
  return config;
}

}  // namespace

TEST_CASE("jumps of jumps stand in the order in which they are gone through, so many as a way may have") {
  Scene scene(row_of(kSshJumpsMax + 1));
  const Result<Route> route = scene.route_to("n1");
  REQUIRE(route);
  REQUIRE(route->size() == kSshJumpsMax + 1);
  CHECK(route->front().settings->hostname == cat("192.0.2.", kSshJumpsMax + 1));
  CHECK(route->back().settings->hostname == "192.0.2.1");
}

TEST_CASE("a configuration with one jump too many, or whose jumps lead back, is refused") {
  for (const std::string& config :
       {row_of(kSshJumpsMax + 2), std::string("Host n1\nHostName 192.0.2.1\nProxyJump n2\n"
                                              "Host n2\nHostName 192.0.2.2\nProxyJump n1\n")}) {
    Scene scene(config);
    const Result<Route> route = scene.route_to("n1");
    REQUIRE_FALSE(route);
    CHECK(route.error().text == "more than 16 jumps");
    CHECK(route.error().phase == Phase::kResolve);
  }
}
