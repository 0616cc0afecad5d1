// Goal: a call runs at most once, a cancel finds it wherever it is on its way, and is acknowledged after the
// outcome. Method: calls and cancels are handed over in every order in which two neighbours' queues can bring
// them.
#include "core/served_calls.h"

#include <catch2/catch.hpp>

using namespace banyan;

namespace {

constexpr ContextId kCaller = 7;
constexpr std::uint32_t kLink = 1;
constexpr Handle kCall = 5'000, kAcknowledge = 6'000;
using Verdict = ServedCalls::Verdict;

Header call_from(ContextId source, Handle reply_to) {
  Header header;
  header.source = source;
  header.reply_to = reply_to;
  return header;
}

}  // namespace

TEST_CASE(
    "a cancel that overtakes its call keeps it from beginning, and is acknowledged at once afterwards") {
  ServedCalls calls(100);

  calls.cancel(kLink, kCaller, kCall);
  CHECK(calls.begin(kLink, call_from(kCaller, kCall)) == Verdict::kCancelled);

  CHECK(calls.cancel_in_order(kCaller, kCall, kAcknowledge));
  CHECK(calls.size() == 0);
  CHECK(calls.cancelled_early() == 0);
}

TEST_CASE("a cancel of a call that is being served acts once, and is acknowledged with the outcome") {
  ServedCalls calls(100);
  int acts = 0;
  REQUIRE(calls.begin(kLink, call_from(kCaller, kCall)) == Verdict::kBegins);
  calls.on_cancel(call_from(kCaller, kCall), [&] { ++acts; });

  calls.cancel(kLink, kCaller, kCall);
  CHECK_FALSE(calls.cancel_in_order(kCaller, kCall, kAcknowledge));

  CHECK(acts == 1);
  CHECK(calls.finish(call_from(kCaller, kCall)) == kAcknowledge);
}

TEST_CASE("a cancel that crosses the outcome leaves nothing behind") {
  ServedCalls calls(100);
  REQUIRE(calls.begin(kLink, call_from(kCaller, kCall)) == Verdict::kBegins);
  CHECK(calls.finish(call_from(kCaller, kCall)) == kNoReply);

  calls.cancel(kLink, kCaller, kCall);

  CHECK(calls.cancel_in_order(kCaller, kCall, kAcknowledge));
  CHECK(calls.cancelled_early() == 0);
}

TEST_CASE("the same call again is not served again while it is being served") {
  ServedCalls calls(100);
  REQUIRE(calls.begin(kLink, call_from(kCaller, kCall)) == Verdict::kBegins);

  CHECK(calls.begin(kLink, call_from(kCaller, kCall)) == Verdict::kTwice);
  CHECK(calls.begin(kLink, call_from(kCaller + 1, kCall)) ==
        Verdict::kBegins);  // another's, by chance the same
}

TEST_CASE("one link may have a quarter of all calls, and others still have theirs") {
  ServedCalls calls(100);
  for (Handle call = 0; call < 25; ++call)
    REQUIRE(calls.begin(kLink, call_from(kCaller, kCall + call)) == Verdict::kBegins);

  CHECK(calls.begin(kLink, call_from(kCaller, kCall + 25)) == Verdict::kFull);
  CHECK(calls.begin(kLink + 1, call_from(kCaller + 1, kCall)) == Verdict::kBegins);
  calls.finish(call_from(kCaller, kCall));
  CHECK(calls.begin(kLink, call_from(kCaller, kCall + 25)) == Verdict::kBegins);
}

TEST_CASE("cancels for calls that never come are remembered up to a limit, and go with their caller") {
  ServedCalls calls(100);
  for (Handle call = 0; call < 10'000; ++call) calls.cancel(kLink, kCaller, kCall + call);
  CHECK(calls.cancelled_early() == 256);
  // One that was not remembered is found by the message that follows it.
  int acts = 0;
  REQUIRE(calls.begin(kLink, call_from(kCaller, kCall + 9'999)) == Verdict::kBegins);
  calls.on_cancel(call_from(kCaller, kCall + 9'999), [&] { ++acts; });
  CHECK_FALSE(calls.cancel_in_order(kCaller, kCall + 9'999, kAcknowledge));
  CHECK(acts == 1);

  calls.forget([](ContextId id) { return id == kCaller; });

  CHECK(calls.cancelled_early() == 0);
  CHECK(calls.size() == 0);
}

TEST_CASE("a call whose caller is gone is cancelled and forgotten, another's is not") {
  ServedCalls calls(100);
  int acts = 0, others = 0;
  REQUIRE(calls.begin(kLink, call_from(kCaller, kCall)) == Verdict::kBegins);
  calls.on_cancel(call_from(kCaller, kCall), [&] { ++acts; });
  REQUIRE(calls.begin(kLink, call_from(kCaller + 1, kCall)) == Verdict::kBegins);
  calls.on_cancel(call_from(kCaller + 1, kCall), [&] { ++others; });

  calls.forget([](ContextId id) { return id == kCaller; });

  CHECK(acts == 1);
  CHECK(others == 0);
  CHECK(calls.size() == 1);
}

TEST_CASE("what is no call cannot be cancelled, and harms nobody") {
  ServedCalls calls(100);

  calls.on_cancel(call_from(kCaller, kNoReply), [] {});

  CHECK(calls.size() == 0);
}
