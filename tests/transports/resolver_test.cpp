// Goal: names become addresses without stopping the loop, each question is answered once, and more questions
// than threads wait for their turn. Method: addresses instead of names, so that no name server is asked; the
// threads are real (ThreadSanitizer watches them in ./dev test --sanitize=thread).
#include "transports/connector/resolver.h"

#include <catch2/catch.hpp>

#include "core/epoll_loop.h"
#include "core/text.h"

using namespace banyan;
using namespace banyan::connector;

namespace {

constexpr Nanos kPatience = 20 * kSecond;  // far beyond any honest wait

}  // namespace

TEST_CASE("every question is answered once, later, with addresses or with why there are none") {
  EpollLoop loop;
  Resolver resolver(loop);
  constexpr std::size_t kQuestions = 3 * kLookupsMax;
  std::vector<std::string> answers(kQuestions);
  std::size_t answered = 0;
  for (std::size_t i = 0; i < kQuestions; ++i) {
    // Each third has the wrong family.
    const AddressFamily family = i % 3 == 0 ? AddressFamily::kIpv6 : AddressFamily::kAny;
    resolver.resolve(cat("127.0.0.", i + 1), 22, family, [&, i](Result<std::vector<Address>> found) {
      ++answered;
      CHECK(answers[i].empty());
      answers[i] = found ? text_of(found->front()) : found.error().text;
    });
  }
  CHECK(answered == 0);
  const Nanos end = loop.now() + kPatience;
  while (answered < kQuestions && loop.now() < end) loop.run_once(20 * kMillisecond);
  REQUIRE(answered == kQuestions);
  for (std::size_t i = 0; i < kQuestions; ++i) {
    const std::string address = cat("127.0.0.", i + 1);
    if (i % 3 == 0) {
      CHECK(answers[i].starts_with(address + ": "));
    } else {
      CHECK(answers[i] == address);
    }
  }
}
