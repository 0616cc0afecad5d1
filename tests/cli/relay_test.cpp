// Goal: a hop's word that nothing has begun is taken once, however often it is given: what it costs is
// another signature. And no server beneath a hop is crowded. Method: a hop that is a router of this process,
// and answers whatever it is asked to start as an enemy would. What signs is a process that never answers.
#include "cli/relay.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <vector>

#include "cli/targets.h"
#include "parent/start_message.h"
#include "tests/support/run_until.h"
#include "tests/support/tree.h"
#include "tests/transports/ssh_tools.h"

using namespace banyan;
using namespace banyan::cli;
using namespace banyan::test;

namespace {

class Nobody final : public Asker {
 public:
  bool can_ask() const override { return false; }
  Id ask(Question, OnAnswer) override { return 0; }
  void cancel(Id) override {}
  bool is_waiting(Id) const override { return false; }
};

struct Scene {
  SshFolder folder;
  EpollLoop loop;
  Router root{loop, config_of(0)}, hop{loop, config_of(1, {0})};
  Nobody nobody;
  Secrets secrets{loop, nobody};
  Connectors connectors{loop, "/bin/cat", &secrets};
  ArchCache cache{""};
  SshQuestions questions{loop, local_user()};
  SshFacts facts{local_user(), true};
  RemoteRunner remote{root};  // after those whose answers its starts hold
  SshOptions ssh;
  Target target = parse_targets("gw/db1").targets.at(0);
  int starts = 0;
  bool answers = true;
  Error answer{ErrorClass::kBootstrap, Phase::kShell, "not that machine", ""};
  std::optional<Error> told;

  Scene() {
    join(loop, root, hop);
    const std::string known = folder.write(
        "known_hosts",
        "db*.invalid " + folder.must_run("ssh-keygen -q -t ed25519 -N '' -f host; cat host.pub"));
    ssh.config_file = folder.write(
        "config", cat("Host db*\nHostName %h.invalid\nUserKnownHostsFile ", known, "\nIdentityFile none\n"));
    hop.add_handler(kStartChild, Access::anyone(), [this](Incoming& request) {
      ++starts;
      if (answers) hop.reply(request.header, StartReply::encode(answer));
    });
  }
  RelayParts parts() { return {connectors, secrets, cache, questions, facts, ssh, true}; }
  void run() {
    Relay relay(loop, remote, parts());
    relay.start(
        1, target, ImageKind::kAgent, 0, [this](const Result<Child>& child) { told = child.error(); },
        [](ContextId, const Error&) {});
    REQUIRE(run_until(loop, [this] { return told.has_value(); }));
  }
};

}  // namespace

TEST_CASE("a hop that says a guess was wrong is asked once more if there was a guess, and never again") {
  Scene scene;
  scene.answer.wrong_guess = true;
  SECTION("a guess") {
    scene.cache.learn(cat("gw/db1 0 ", scene.ssh.config_file), "x86_64");
    scene.run();
    CHECK(scene.starts == 2);
  }
  SECTION("none") {
    scene.run();
    CHECK(scene.starts == 1);
  }
}

TEST_CASE("what a hop says for good is for good") {
  Scene scene;
  scene.run();
  CHECK(scene.starts == 1);
  CHECK(scene.told->text == "not that machine");
}

TEST_CASE(
    "at one server beneath a hop so many log in at a time as it takes, and others do not wait for them") {
  Scene scene;
  scene.answers = false;
  const std::size_t too_many = kHandshakesMax + 5;
  const std::vector<Target> targets = parse_targets("gw/db[1-2]").targets;
  Relay relay(scene.loop, scene.remote, scene.parts());
  std::vector<Relay::Id> ways;
  const auto start = [&](const Target& target) {
    ways.push_back(relay.start(
        1, target, ImageKind::kAgent, 0, [](const Result<Child>&) {}, [](ContextId, const Error&) {}));
  };
  for (std::size_t i = 0; i < too_many; ++i) start(targets[0]);
  start(targets[1]);
  REQUIRE(run_until(scene.loop, [&] {
    return std::ranges::none_of(ways, [&](Relay::Id id) { return relay.is_asking_for_settings(id); }) &&
           scene.starts >= int(kHandshakesMax) + 1;
  }));
  CHECK(scene.starts == int(kHandshakesMax) + 1);
  CHECK(std::size_t(std::ranges::count_if(ways, [&](Relay::Id id) { return relay.is_waiting(id); })) == 5);
  CHECK_FALSE(relay.is_waiting(ways.back()));
}
