// Goal: what a hop is asked to start is the target beneath it, in time, and as that user.
// Method: targets as they are written, and the recipes made of them.
#include "cli/recipes.h"

#include <catch2/catch.hpp>

#include "transports/sudo.h"

using namespace banyan;
using namespace banyan::cli;

namespace {

Target target_of(const char* expression) {
  return parse_targets(expression).targets.at(0);
}

}  // namespace

TEST_CASE("a local context beneath a hop is started from memory by its last name") {
  const Recipe recipe = recipe_beneath(target_of("web1/local2"), 7, "aarch64", 3 * kSecond);
  CHECK(recipe.method == "local");
  CHECK(recipe.name == "local2");
  CHECK(recipe.boot == Recipe::Boot::kImage);
  CHECK(recipe.argv.empty());
  CHECK(recipe.deadlines.total == 3 * kSecond);
}

TEST_CASE("another user beneath a hop is a sudo there, which knows the hop's machine") {
  const Recipe recipe = recipe_beneath(target_of("web1/local/sudo:postgres"), 7, "aarch64", 3 * kSecond);
  CHECK(recipe.method == "sudo");
  CHECK(recipe.name == "sudo:postgres");
  CHECK(recipe.nonce == 7);
  CHECK(recipe.architecture == "aarch64");
  CHECK(recipe.argv == sudo({"", "postgres", ""}, 7, "aarch64").argv);
  CHECK(recipe.deadlines.total == 3 * kSecond);
  CHECK(recipe_beneath(target_of("web1/sudo"), 7, "", 0).argv == sudo({"", "root", ""}, 7, "").argv);
}

TEST_CASE("a hop that says it is no machine there could be is asked what it is, and nothing of that is run") {
  for (const char* said : {"a-b", "x86_64; id", "'", "", "$(id)", "x86 64"}) {
    CAPTURE(said);
    const Recipe recipe = recipe_beneath(target_of("web1/sudo:postgres"), 7, said, 0);
    CHECK(recipe.architecture == "");
    CHECK(recipe.argv == sudo({"", "postgres", ""}, 7, "").argv);
  }
  CHECK(recipe_beneath(target_of("web1/sudo"), 7, std::string(65, 'x'), 0).architecture == "");
}

TEST_CASE(
    "a container is entered where that can be, and else by its engine's exec, once it is known that it "
    "cannot") {
  const Target app = target_of("web1/docker:app");
  const Recipe enter = recipe_beneath(app, 7, "aarch64", 3 * kSecond);
  CHECK((enter.boot == Recipe::Boot::kNamespaces));
  CHECK(enter.name == "docker:app");
  const Recipe exec = recipe_beneath(app, 7, "aarch64", 3 * kSecond, "no");
  CHECK((exec.boot == Recipe::Boot::kStage0));
  CHECK(exec.architecture == "");
  CHECK((recipe_beneath(target_of("web1/docker:ann@app"), 7, "", 0).boot == Recipe::Boot::kStage0));
  CHECK((recipe_beneath(target_of("web1/kubectl:pod"), 7, "", 0).boot == Recipe::Boot::kStage0));
  CHECK(has_second_try(app));
  CHECK_FALSE(has_second_try(target_of("nsenter:42")));
}

TEST_CASE(
    "what goes wrong with a sudo beneath a hop goes wrong in phase become, with a local one where it does") {
  const Error error{ErrorClass::kTimeout, Phase::kConnect, "nothing came of it", {}};
  CHECK(error_of_start(target_of("web1/sudo:postgres"), error).phase == Phase::kBecome);
  CHECK(error_of_start(target_of("web1/local"), error).phase == Phase::kConnect);
}
