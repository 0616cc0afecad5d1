// Goal: an idle agent is small, before its first command and after a large one.
// Method: a local agent under the runner, and what the kernel says of its own pages: those it shares with
// nobody but the file it was started from count too, because every host has that file once.
#include <catch2/catch.hpp>
#include <cstdio>
#include <fstream>

#include "core/text.h"
#include "parent/command.h"
#include "tests/support/not_tested.h"
#include "tests/support/root.h"

using namespace banyan;
using namespace banyan::test;

namespace {

constexpr std::uint64_t kOwnKibMax = 1024;
constexpr std::uint64_t kAimKib = 512;
constexpr std::size_t kOutputBytes = 8 << 20;

std::uint64_t own_kib(std::int64_t pid) {
  std::ifstream file(cat("/proc/", pid, "/smaps_rollup"));
  std::string word;
  std::uint64_t own = 0, kib = 0;
  while (file >> word)
    if ((word == "Private_Clean:" || word == "Private_Dirty:") && file >> kib) own += kib;
  return own;
}

// For an answer, so that the agent has read its identity and is back at rest.
void ask(Root& root, ContextId agent) {
  bool answered = false;
  root.router.call(agent, kInfo, {}, [&](const Reply& reply) { answered = reply.dead == nullptr; });
  REQUIRE(run_until(root.loop, [&] { return answered; }));
}

}  // namespace

TEST_CASE("an idle agent has less than a mebibyte of its own, also after a command with much output") {
  if (*embedded_images().local_image(ImageKind::kAgent) < 0) {
    not_tested("image", "no image for this machine");
    return;
  }
  Root root;
  const Child agent = root.child(0);
  ask(root, agent.id);
  const std::uint64_t at_first = own_kib(agent.hello.pid);

  std::size_t bytes = 0;
  bool done = false;
  ExecRequest request;
  request.argv = {cat("head -c ", kOutputBytes, " /dev/zero")};
  request.shell = true;
  Command::Callbacks callbacks;
  callbacks.on_output = [&](bool, Bytes piece, Charge) { bytes += piece.size(); };
  callbacks.on_done = [&](Result<ExecOutcome> outcome) { done = bool(outcome); };
  {
    Command command(root.router, agent.id, std::move(request), std::move(callbacks));
    REQUIRE(run_until(root.loop, [&] { return done; }));
  }
  ask(root, agent.id);
  const std::uint64_t afterwards = own_kib(agent.hello.pid);
  CHECK(root.end_all());

  std::printf("an idle agent's own memory: %llu KiB at first, %llu KiB after a command, of %llu (aim %llu)\n",
              static_cast<unsigned long long>(at_first), static_cast<unsigned long long>(afterwards),
              static_cast<unsigned long long>(kOwnKibMax), static_cast<unsigned long long>(kAimKib));
  CHECK(bytes == kOutputBytes);
  CHECK(at_first > 0);
  CHECK(at_first <= kOwnKibMax);
  CHECK(afterwards <= kOwnKibMax);
}
