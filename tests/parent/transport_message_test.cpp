// Goal: a recipe reaches the context that is to start the child as it was made, and nothing else is taken for
// one.
// Method: what one side packs the other reads; then too much of each part, and every length that is cut
// short.

#include "parent/transport_message.h"

#include <catch2/catch.hpp>

#include "parent/start_message.h"

using namespace banyan;

TEST_CASE("a recipe for a transport arrives as it was sent") {
  Recipe sent;
  sent.name = "db1";
  sent.method = "ssh";
  sent.boot = Recipe::Boot::kStage0;
  sent.argv = {"ssh", "-e", "none", ""};
  sent.environment = {{"LC_ALL", "C"}, {"EMPTY", ""}};
  sent.nonce = 0x8000'0000'0000'0001;
  sent.architecture = "x86_64";
  sent.kind = ImageKind::kHop;
  sent.symptoms = {{"denied", Phase::kAuth, ErrorClass::kRefused, "ask"},
                   {"lost", Phase::kLink, ErrorClass::kLost, ""}};
  sent.deadlines.shell = 7 * kSecond;
  sent.deadlines.total = 9 * kSecond + 1;
  sent.asides = "debug1:";
  sent.extra().file = "web1 ssh-ed25519 AAAA\n";
  sent.extra().answered_by = 0xffff'fffe;
  sent.extra().answered_at = 0x8000'0000'0000'0002;

  const Result<StartRequest> got =
      StartRequest::decode(StartRequest{sent, 1'234}.encode(), &Runner::kTransports);

  REQUIRE(bool(got));
  const Recipe& recipe = got->recipe;
  CHECK(got->lost == 1'234);
  CHECK(recipe.name == sent.name);
  CHECK(recipe.method == sent.method);
  CHECK((recipe.boot == sent.boot));
  CHECK((recipe.argv == sent.argv));
  CHECK((recipe.environment == sent.environment));
  CHECK(recipe.nonce == sent.nonce);
  CHECK(recipe.architecture == sent.architecture);
  CHECK((recipe.kind == sent.kind));
  REQUIRE(recipe.symptoms.size() == 2);
  CHECK(recipe.symptoms[0].text == "denied");
  CHECK((recipe.symptoms[0].phase == Phase::kAuth));
  CHECK((recipe.symptoms[0].error_class == ErrorClass::kRefused));
  CHECK(recipe.symptoms[0].remedy == "ask");
  CHECK((recipe.symptoms[1].phase == Phase::kLink));
  CHECK(recipe.deadlines.shell == 7 * kSecond);
  CHECK(recipe.deadlines.connect == sent.deadlines.connect);
  CHECK(recipe.deadlines.total == 9 * kSecond + kMillisecond);
  CHECK(recipe.asides == "debug1:");
  CHECK(recipe.extra().file == sent.extra().file);
  CHECK(recipe.extra().answered_by == sent.extra().answered_by);
  CHECK(recipe.extra().answered_at == sent.extra().answered_at);
}

TEST_CASE("a recipe that enters namespaces arrives as one") {
  Recipe sent;
  sent.boot = Recipe::Boot::kNamespaces;
  sent.argv = {"42"};
  const Result<StartRequest> got = StartRequest::decode(StartRequest{sent, 1}.encode(), &Runner::kTransports);
  REQUIRE(bool(got));
  CHECK((got->recipe.boot == Recipe::Boot::kNamespaces));
  CHECK((got->recipe.argv == sent.argv));
}

TEST_CASE("a recipe without a program, with too much of anything, or cut short, is refused") {
  Recipe recipe;
  recipe.boot = Recipe::Boot::kStage0;
  const auto is_taken = [&] {
    return bool(StartRequest::decode(StartRequest{recipe, 1}.encode(), &Runner::kTransports));
  };
  CHECK_FALSE(is_taken());
  recipe.argv = {"true"};
  CHECK(is_taken());
  recipe.argv.resize(kTransportWordsMax + 1);
  CHECK_FALSE(is_taken());
  recipe.argv.resize(1);
  recipe.environment.resize(kTransportWordsMax / 2 + 1);
  CHECK_FALSE(is_taken());
  recipe.environment.clear();
  recipe.symptoms.resize(kSymptomsMax + 1);
  CHECK_FALSE(is_taken());
  recipe.symptoms.clear();
  recipe.extra().file.resize(kRecipeFileMax + 1);
  CHECK_FALSE(is_taken());
  recipe.extra().file.clear();

  const Buffer whole = StartRequest{recipe, 1}.encode();
  for (std::size_t length = 0; length < whole.size(); ++length)
    CHECK_FALSE(bool(StartRequest::decode(Bytes(whole).first(length), &Runner::kTransports)));
}
