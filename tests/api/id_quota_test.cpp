// Goal: a context that asks for ids without end gets its quota, and leaves enough for its siblings.
// Method: a root in this process, an agent as hop, and beneath it one context that was taken over and asks
// for as many as it can get in the most wasteful way, and an honest one that then needs more than it was
// given.

#include <catch2/catch.hpp>

#include "tests/support/impostor.h"
#include "tests/support/root.h"

using namespace banyan;
using namespace banyan::test;

namespace {

// Asks for `count` ids; how many came.
std::uint64_t ask_for(Root& root, Impostor& far, ContextId parent, std::uint64_t count) {
  static Handle reply_to = 1'000'000;
  far.heard.clear();
  far.say(far.control(parent, kAllocateId, ++reply_to), numbers({count}));
  std::uint64_t got = 0;
  CHECK(run_until(root.loop, [&] {
    far.listen(0);
    for (const auto& [header, payload] : far.heard) {
      if (header.handle != reply_to) continue;
      Unpacker in(payload);
      in.array();
      const std::uint64_t first = in.number();
      got = in.number();
      CHECK(in.finish());
      CHECK(first > 0);
      CHECK(first + got <= UINT32_MAX);  // no wrap
    }
    return got > 0 || far.deaths.contains(reply_to) || far.is_over();
  }));
  CHECK((got == 0 || got == count));
  far.deaths.clear();
  return got;
}

}  // namespace

TEST_CASE(
    "a context that takes all the ids it can get leaves its siblings theirs, and nobody's beyond its quota") {
  Root root;
  const Child hop = root.child(0), hostile = root.child(hop.id), honest = root.child(hop.id);
  // Somebody elsewhere, so that what the hop is given is not in a row.
  const Child other = root.child(0), far_other = root.child(other.id);
  Impostor far(pid_t(hostile.hello.pid), hostile.id), elsewhere(pid_t(far_other.hello.pid), far_other.id);
  std::uint64_t got = 0;
  for (const std::uint64_t nonsense : {std::uint64_t(0), std::uint64_t(8'193), std::uint64_t(UINT32_MAX)})
    CHECK(ask_for(root, far, hop.id, nonsense) == 0);
  for (std::uint64_t count = 8'192; count > 0; count = count > 2'048 ? count - 1'024 : count / 2)
    while (const std::uint64_t now = ask_for(root, far, hop.id, count)) {
      got += now;
      if (got % 4 == 0) ask_for(root, elsewhere, other.id, 64);
      REQUIRE(got <= kIdsPerLink);
    }
  CHECK(got > kIdsPerLink / 4);  // it was a real attack

  // More than it was given, and than the hop keeps beforehand.
  for (int i = 0; i < 40; ++i) {
    const Result<Child> child = root.try_child(honest.id);
    INFO((child ? "" : child.error().text));
    REQUIRE(bool(child));
  }
  CHECK(bool(root.try_child(hop.id)));
  CHECK(bool(root.try_child(0)));
}
