// Goal: a hop starts children through transports as the root would, with images that cross each link once; an
// agent, which cannot, says so.
// Method: the shipped hop as a real process beneath a root in this process; its transports are plain shells.
// Frames on the root's link are counted.

#include <sys/utsname.h>

#include <catch2/catch.hpp>
#include <optional>
#include <string>
#include <vector>

#include "parent/api/stage0.h"
#include "parent/image_service.h"
#include "parent/remote_runner.h"
#include "tests/support/processes.h"
#include "tests/support/root.h"

using namespace banyan;
using namespace banyan::test;

namespace {

// Before the leak check counts descriptors.
const bool kHopIsOpen = bool(embedded_images().local_image(ImageKind::kHop));

std::string machine() {
  utsname name{};
  ::uname(&name);
  return name.machine;
}

Recipe local(ImageKind kind) {
  Recipe recipe;
  recipe.name = recipe.method = "local";
  recipe.kind = kind;
  return recipe;
}

// What a shell that `argv` starts makes of stage 0.
Recipe through(std::vector<std::string> argv, std::uint64_t nonce, const std::string& architecture,
               ImageKind kind = ImageKind::kAgent) {
  Recipe recipe;
  recipe.name = "beneath";
  recipe.method = "shell";
  recipe.boot = Recipe::Boot::kStage0;
  recipe.nonce = nonce;
  recipe.architecture = architecture;
  recipe.kind = kind;
  recipe.argv = std::move(argv);
  recipe.argv.push_back(stage0_command(nonce, architecture));
  recipe.deadlines.total = 30 * kSecond;
  return recipe;
}

Recipe shell(std::uint64_t nonce, const std::string& architecture = {}, ImageKind kind = ImageKind::kAgent) {
  return through({"/bin/sh", "-c"}, nonce, architecture, kind);
}

struct Tree : Root {
  ImageService images{router, embedded_images()};
  std::size_t asked = 0, image_bytes = 0;  // for images, and of all answers, on the links to our children
  std::vector<std::string> lost;

  Tree() {
    runner.watch_frames([this](std::string_view, bool outgoing, const Header& header) {
      if (!outgoing && header.handle == kGetImage) ++asked;
      if (outgoing && header.stream == kReplyStream) image_bytes += header.length;
    });
  }
  ~Tree() { end_all(); }

  using Outcome = std::optional<Result<Child>>;
  void begin(ContextId at, Recipe recipe, Outcome& outcome) {
    start(
        at, std::move(recipe), [&outcome](const Result<Child>& child) { outcome = child; },
        [this](ContextId, const Error& why) { lost.push_back(why.text); });
  }
  Result<Child> try_child(ContextId at, Recipe recipe) {
    Outcome outcome;
    begin(at, std::move(recipe), outcome);
    REQUIRE(run_until(
        loop, [&] { return outcome.has_value(); }, 30 * kSecond));
    return *outcome;
  }
  Child child(ContextId at, Recipe recipe) {
    const Result<Child> child = try_child(at, std::move(recipe));
    INFO((child ? "" : child.error().text));
    REQUIRE(bool(child));
    return *child;
  }
  std::string state_of(ContextId context) {
    std::string heard;
    router.call(context, kInfo, {},
                [&](const Reply& reply) { heard = reply.dead ? reply.dead->text : "up"; });
    REQUIRE(run_until(loop, [&] { return !heard.empty(); }));
    return heard;
  }
};

}  // namespace

TEST_CASE("a hop brings up a child through a transport, and it is usable at once") {
  REQUIRE(kHopIsOpen);
  for (const std::string& architecture : {std::string(), machine()}) {
    Tree root;
    const Child hop = root.child(0, local(ImageKind::kHop));

    const Child child = root.child(hop.id, shell(11, architecture));

    CHECK(child.hello.architecture == machine());
    CHECK(child.name == "beneath");
    CHECK(child.bytes_sent > 30'000);
    CHECK(root.router.parent_of(child.id) == hop.id);
    CHECK(root.state_of(child.id) == "up");
    CHECK(root.lost.empty());
  }
}

TEST_CASE("an image crosses the link to a hop once, for all who are started beneath it at the same time") {
  Tree root;
  const Child hop = root.child(0, local(ImageKind::kHop));
  const Image& image = *embedded_images().find(machine(), ImageKind::kAgent);

  constexpr std::size_t kChildren = 20;
  std::vector<Tree::Outcome> outcomes(kChildren);
  for (std::size_t i = 0; i < kChildren; ++i) root.begin(hop.id, shell(100 + i), outcomes[i]);
  for (Tree::Outcome& outcome : outcomes) {
    REQUIRE(run_until(
        root.loop, [&] { return outcome.has_value(); }, 60 * kSecond));
    INFO((*outcome ? "" : outcome->error().text));
    CHECK(bool(*outcome));
  }

  CHECK(root.asked == 1);
  CHECK(root.image_bytes >= image.compressed.size());
  CHECK(root.image_bytes < image.compressed.size() + image.loader.size() + 10'000);
}

TEST_CASE("a hop beneath a hop gets its images from above through the first, which keeps them") {
  Tree root;
  const Child first = root.child(0, local(ImageKind::kHop));
  const Child second = root.child(first.id, shell(21, {}, ImageKind::kHop));
  const Child third = root.child(second.id, shell(22, {}, ImageKind::kHop));
  CHECK(root.asked == 1);  // the second asked the first, which had it by then

  const Child leaf = root.child(third.id, shell(23));

  CHECK(root.asked == 2);  // of the other kind
  CHECK(root.state_of(leaf.id) == "up");
}

TEST_CASE("a hop's child whose transport fails is told with its last words, and where") {
  Tree root;
  const Child hop = root.child(0, local(ImageKind::kHop));
  Recipe recipe = through({"/bin/sh", "-c", "echo 'become: no such user' >&2; exit 7; :"}, 31, {});
  recipe.symptoms = {{"no such user", Phase::kBecome, ErrorClass::kRefused, "name one that is there"}};

  const Result<Child> failed = root.try_child(hop.id, recipe);

  REQUIRE_FALSE(bool(failed));
  CHECK(failed.error().phase == Phase::kBecome);
  CHECK(failed.error().error_class == ErrorClass::kRefused);
  CHECK(failed.error().text == "become: no such user");
  CHECK(failed.error().remedy == "name one that is there");
  CHECK(failed.error().context == hop.id);

  const Result<Child> missing = root.try_child(hop.id, through({"/nonexistent/transport"}, 32, {}));
  REQUIRE_FALSE(bool(missing));
  CHECK(missing.error().text.find("/nonexistent/transport") != std::string::npos);
}

TEST_CASE("a hop whose child dies says that it is lost, and how") {
  Tree root;
  const Child hop = root.child(0, local(ImageKind::kHop));
  const Child child = root.child(hop.id, shell(41));

  REQUIRE(::kill(pid_t(child.hello.pid), SIGKILL) == 0);

  REQUIRE(run_until(root.loop, [&] { return !root.lost.empty(); }));
  CHECK(root.lost.size() == 1);
  CHECK_FALSE(root.router.way_to(child.id).has_value());
}

TEST_CASE("a start at a hop that is cancelled leaves nothing behind") {
  Tree root;
  const Child hop = root.child(0, local(ImageKind::kHop));
  Tree::Outcome outcome;
  auto on_up = [&](const Result<Child>& child) { outcome = child; };
  const auto start = root.remote.start(hop.id, through({"/bin/sh", "-c", "sleep 300; :"}, 51, {}), on_up,
                                       [](ContextId, const Error&) {});
  for (int i = 0; i < 20; ++i) root.loop.run_once(5 * kMillisecond);

  root.remote.cancel(start);

  REQUIRE(run_until(root.loop, [&] { return outcome.has_value(); }));
  REQUIRE_FALSE(bool(*outcome));
  CHECK(outcome->error().error_class == ErrorClass::kCancelled);
}

TEST_CASE("a start that has ended while it waited for an image is not disturbed when that comes") {
  struct Slow final : ImageStore {
    const Image* find(std::string_view, ImageKind) const override { return nullptr; }
    std::vector<std::string_view> architectures() const override { return {}; }
    void obtain(std::string_view, ImageKind, Function<void()> done) override {
      waiting.push_back(std::move(done));
    }
    Result<int> local_image(ImageKind) override { return -1; }
    std::vector<Function<void()>> waiting;
  } slow;
  for (const bool is_cancelled : {true, false}) {
    Root root(slow);
    const Runner::StartId start = root.start(shell(71));
    REQUIRE(run_until(root.loop, [&] { return !slow.waiting.empty(); }));
    CHECK(root.runner.phase_of(start) == Phase::kUpload);
    if (!is_cancelled) slow.waiting.back()();  // and there is none
    root.runner.cancel(start);
    REQUIRE(root.settle());
    CHECK(root.told.up == 1);
    CHECK(root.told.error.error_class == (is_cancelled ? ErrorClass::kCancelled : ErrorClass::kBootstrap));
    for (const auto& done : slow.waiting) done();
    slow.waiting.clear();
  }
}

TEST_CASE("an agent refuses to start children through transports, and lives on") {
  Tree root;
  const Child agent = root.child(0, local(ImageKind::kAgent));

  const Result<Child> refused = root.try_child(agent.id, shell(61));

  REQUIRE_FALSE(bool(refused));
  CHECK(refused.error().text.find("no transport can be started here") != std::string::npos);
  CHECK(root.state_of(agent.id) == "up");
}
