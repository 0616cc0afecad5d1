// Goal: a hop's word that nothing has begun is taken once, however often it is given: what it costs is
// another signature. Method: a hop that is a router of this process, and answers whatever it is asked to
// start as an enemy would. What signs is a process that never answers.
#include "cli/relay.h"

#include <catch2/catch.hpp>

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
  RemoteRunner remote{root};
  Nobody nobody;
  Secrets secrets{loop, nobody};
  Connectors connectors{loop, "/bin/cat", &secrets};
  ArchCache cache{""};
  SshQuestions questions{loop, local_user()};
  SshFacts facts{local_user(), true};
  SshOptions ssh;
  Target target = parse_targets("gw/db1").targets.at(0);
  int starts = 0;
  Error answer{ErrorClass::kBootstrap, Phase::kShell, "not that machine", ""};
  std::optional<Error> told;

  Scene() {
    join(loop, root, hop);
    const std::string known = folder.write(
        "known_hosts",
        "db1.invalid " + folder.must_run("ssh-keygen -q -t ed25519 -N '' -f host; cat host.pub"));
    ssh.config_file = folder.write(
        "config", cat("Host db1\nHostName db1.invalid\nUserKnownHostsFile ", known, "\nIdentityFile none\n"));
    hop.add_handler(kStartChild, Access::anyone(), [this](Incoming& request) {
      ++starts;
      hop.reply(request.header, StartReply::encode(answer));
    });
  }
  void run() {
    Relay relay(loop, remote, {connectors, secrets, cache, questions, facts, ssh, true});
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
