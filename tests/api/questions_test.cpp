// Goal: what the processes of a transport ask is answered by whoever ordered it, here and at a hop, and does
// not lengthen the time a phase has.
// Method: a transport that is a real process and asks on its socket; the shipped hop beneath a root in this
// process.

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "parent/back_channel.h"
#include "tests/support/root.h"

using namespace banyan;
using namespace banyan::test;

namespace {

// Before the leak check counts descriptors.
const bool kHopIsOpen = bool(embedded_images().local_image(ImageKind::kHop));

// Asks, each time after so many milliseconds, and says on standard error what it was answered.
constexpr const char* kAsks = R"(
use Socket;
socket(my $at, AF_UNIX, SOCK_STREAM, 0);
connect($at, pack_sockaddr_un($ENV{ASKS_AT})) or die "no socket\n";
for (1 .. $ARGV[0]) {
  select(undef, undef, undef, $ARGV[1] / 1000);
  syswrite($at, pack("N", 3) . "who");
  sysread($at, my $length, 4) == 4 or die "shown out\n";
  sysread($at, my $answer, unpack("N", $length));
  print STDERR "answered: $answer\n";
}
)";

Recipe asking(int times, int pause_ms, std::shared_ptr<Answerer> answerer) {
  Recipe recipe;
  recipe.name = "asks";
  recipe.method = "perl";
  recipe.boot = Recipe::Boot::kStage0;
  recipe.argv = {"perl", "-e", kAsks, std::to_string(times), std::to_string(pause_ms)};
  recipe.environment = {{"ASKS_AT", std::string(kSocketPlace)}};
  recipe.extra().answerer = std::move(answerer);
  return recipe;
}

struct Slow final : Answerer {
  Loop& loop;
  const Nanos delay;
  int asked = 0;
  Slow(Loop& its_loop, Nanos its_delay) : loop(its_loop), delay(its_delay) {}
  void ask(std::uint32_t, Bytes question, OnAnswer on_answer) override {
    ++asked;
    CHECK(as_text(question) == "who");
    loop.after(delay, [on_answer = std::move(on_answer)] { on_answer(as_bytes("somebody")); });
  }
};

struct Tree : Root {
  ~Tree() { end_all(); }
  Error error_of(ContextId at, Recipe recipe) {
    std::optional<Result<Child>> outcome;
    start(
        at, std::move(recipe), [&](const Result<Child>& child) { outcome = child; },
        [](ContextId, const Error&) {});
    REQUIRE(run_until(
        loop, [&] { return outcome.has_value(); }, 30 * kSecond));
    REQUIRE_FALSE(*outcome);
    return outcome->error();
  }
  // 0: here; else a hop.
  ContextId place(bool at_hop) {
    if (!at_hop) return 0;
    Recipe recipe = local("hop");
    recipe.kind = ImageKind::kHop;
    std::optional<Result<Child>> outcome;
    start(
        0, std::move(recipe), [&](const Result<Child>& child) { outcome = child; },
        [](ContextId, const Error&) {});
    REQUIRE(run_until(
        loop, [&] { return outcome.has_value(); }, 30 * kSecond));
    REQUIRE(*outcome);
    return (*outcome)->id;
  }
};

}  // namespace

TEST_CASE("what a transport asks is answered at the root, also where a hop has started it") {
  REQUIRE(kHopIsOpen);
  for (const bool at_hop : {false, true}) {
    CAPTURE(at_hop);
    Tree tree;
    const ContextId at = tree.place(at_hop);
    const auto answerer = std::make_shared<Slow>(tree.loop, 0);
    const Error error = tree.error_of(at, asking(2, 0, answerer));
    CHECK(error.text.find("answered: somebody") != std::string::npos);
    CHECK(answerer->asked == 2);
  }
}

TEST_CASE("questions take none of a phase's time, and give it none") {
  for (const bool at_hop : {false, true}) {
    CAPTURE(at_hop);
    Tree tree;
    const ContextId at = tree.place(at_hop);
    const auto answerer = std::make_shared<Slow>(tree.loop, kSecond);
    Recipe recipe = asking(100, 400, answerer);
    recipe.deadlines.until_ready = kSecond;
    const Error error = tree.error_of(at, std::move(recipe));
    CHECK(error.error_class == ErrorClass::kTimeout);
    // A second of pauses: two and a half, and as many answers that took a second each. A busy machine pauses
    // longer.
    CHECK(answerer->asked >= 1);
    CHECK(answerer->asked <= 2);
  }
}
