// Goal: a context says of itself what is so, and only to who is above it.
// Method: two routers joined by a socketpair.
#include "core/info.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <optional>

#include "tests/support/tree.h"

namespace banyan {
namespace {

TEST_CASE("a context tells its ancestors its process, memory, age and commands") {
  EpollLoop loop;
  Router root(loop, test::config_of(0)), agent(loop, test::config_of(1, {0}));
  test::join(loop, root, agent);
  ExecService exec(loop, agent);
  InfoService service(loop, agent, exec);
  std::optional<ContextInfo> info;
  root.call(1, kInfo, {}, [&](const Reply& reply) {
    auto decoded = ContextInfo::decode(reply.payload);
    REQUIRE(decoded);
    info = *decoded;
  });
  REQUIRE(test::run_until(loop, [&] { return info.has_value(); }));
  CHECK(info->pid == ::getpid());
  CHECK(info->rss_kib > 100);
  CHECK(info->uptime_ms < 10'000);
  CHECK(info->running == 0);
}

TEST_CASE("a context does not tell those beneath it about itself") {
  EpollLoop loop;
  Router root(loop, test::config_of(0)), agent(loop, test::config_of(1, {0}));
  test::join(loop, root, agent);
  ExecService exec(loop, root);
  InfoService service(loop, root, exec);
  std::optional<DeadReason> reason;
  agent.call(0, kInfo, {}, [&](const Reply& reply) {
    REQUIRE(reply.dead != nullptr);
    reason = reply.dead->reason;
  });
  REQUIRE(test::run_until(loop, [&] { return reason.has_value(); }));
  CHECK(*reason == DeadReason::kRefused);
}

TEST_CASE("what a context says of itself is refused when it is cut short or holds nonsense") {
  ContextInfo info;
  info.pid = 123;
  info.running = 4;
  const Buffer whole = info.encode();
  CHECK(ContextInfo::decode(whole));
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes)
    CHECK_FALSE(ContextInfo::decode(Bytes(whole).first(bytes)));
}

}  // namespace
}  // namespace banyan
