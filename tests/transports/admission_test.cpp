// Goal: a server has at most eight of our handshakes at a time, and fewer while it drops them.
// Method: one loop of a simulated world, whose clock is moved by hand.
#include <catch2/catch.hpp>
#include <memory>
#include <utility>
#include <vector>

#include "tests/simulation/sim_loop.h"
#include "transports/admission.h"

using namespace banyan;
using Outcome = Admission::Outcome;
using Place = Admission::Place;

namespace {

struct Server {
  SimWorld world{1};
  SimLoop& loop = world.add_loop();
  Admission admission{loop};
  std::vector<Admission::Ticket> inside;  // in the order in which they were admitted

  void ask(Place place = Place::kBack) {
    auto ticket = std::make_shared<Admission::Ticket>(0);
    *ticket = admission.ask("gw:22", place, [this, ticket] { inside.push_back(*ticket); });
  }
  void ask(int count) {
    for (int i = 0; i < count; ++i) ask();
    world.run_until_idle();
  }
  void give_back_all(Outcome outcome) {
    for (const Admission::Ticket ticket : std::exchange(inside, {})) admission.give_back(ticket, outcome);
    world.run_until_idle();
  }
};

}  // namespace

TEST_CASE("a hop admits eight at a time, and the next as one of them leaves") {
  Server server;
  server.ask(20);
  CHECK(server.inside.size() == 8);

  server.admission.give_back(server.inside.front(), Outcome::kPassed);
  server.world.run_until_idle();

  CHECK(server.inside.size() == 9);
  CHECK(server.inside.back() == 9);  // in the order in which they asked
}

TEST_CASE("one that waits and goes takes nobody's place") {
  Server server;
  server.ask(10);
  CHECK(server.admission.is_waiting(9));

  server.admission.give_back(9, Outcome::kFailed);
  server.admission.give_back(server.inside.front(), Outcome::kFailed);
  server.world.run_until_idle();

  CHECK(server.inside.back() == 10);
}

TEST_CASE("hops do not wait for each other") {
  Server server;
  server.ask(20);
  bool admitted = false;

  server.admission.ask("other:22", Place::kBack, [&] { admitted = true; });
  server.world.run_until_idle();

  CHECK(admitted);
}

TEST_CASE("after a drop a hop is left alone for a moment, and then admits half as many") {
  Server server;
  server.ask(20);
  server.give_back_all(Outcome::kDropped);
  CHECK(server.inside.empty());  // eight drops of one crowd are one sign

  server.world.run_for(400 * kMillisecond);

  CHECK(server.inside.size() == 4);
}

TEST_CASE("each further drop makes the pause longer, up to a limit, and one at a time is always tried") {
  Server server;
  server.ask(1);
  Nanos last = 0;
  for (int i = 0; i < 12; ++i) {
    server.give_back_all(Outcome::kDropped);
    const Nanos began = server.world.now();
    server.ask();
    REQUIRE(server.world.run_until([&] { return !server.inside.empty(); }, 13 * kSecond));
    last = server.world.now() - began;
  }
  CHECK(last >= 4 * kSecond);
  CHECK(last <= 12 * kSecond);
}

TEST_CASE("those that pass take a hop back to the usual number") {
  Server server;
  server.ask(8);
  server.give_back_all(Outcome::kDropped);
  server.world.run_for(kSecond);
  server.ask(200);
  CHECK(server.inside.size() == 4);

  for (int round = 0; round < 10; ++round) server.give_back_all(Outcome::kPassed);

  CHECK(server.inside.size() == 8);
  CHECK(server.admission.has_passed("gw:22"));
}

TEST_CASE("one that comes again is admitted before those that have waited") {
  Server server;
  server.ask(10);
  server.ask(Place::kFront);

  server.admission.give_back(server.inside.front(), Outcome::kPassed);
  server.world.run_until_idle();

  CHECK(server.inside.back() == 11);
}
