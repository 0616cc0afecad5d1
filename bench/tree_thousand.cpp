// A thousand contexts of this machine: up, called, gone.

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

#include "bench/groups.h"
#include "bench/tree_path.h"
#include "transports/local.h"

namespace banyan::bench {

namespace {

constexpr int kContexts = 1'000, kHops = 10;
constexpr int kRounds = 5;
constexpr rlim_t kFilesPerChild = 4;  // link, pidfd, stderr, and one to spare
constexpr Budget kSeconds{2.5, 0};

void allow_many_files() {
  rlimit limit;
  const rlim_t needed = 100 + kFilesPerChild * kContexts;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed) return;
  if (limit.rlim_max < needed) die("a thousand children want more descriptors than this user may have");
  limit.rlim_cur = needed;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

Root::Times nested() {
  Root root;
  RemoteRunner remote(root.router());
  Root::Times times;
  int unanswered = kContexts;
  const double began = now_us();
  auto child_or_die = [](const Result<Child>& child) {
    if (!child) die(child.error().text + ": " + child.error().remedy);
    return child->id;
  };
  const auto on_lost = [](ContextId, const Error& why) { die("a context was lost: " + why.text); };
  const auto on_leaf = [&](const Result<Child>& child) {
    times.hello = now_us() - began;
    root.router().call(child_or_die(child), kInfo, {}, [&](const Reply& reply) {
      if (reply.dead != nullptr) die("a new context answered dead: " + reply.dead->text);
      times.answered = now_us() - began;
      if (--unanswered == 0) root.loop().stop();
    });
  };
  for (int hop = 0; hop < kHops; ++hop)
    root.runner().start(
        local("hop"),
        [&](const Result<Child>& child) {
          const ContextId at = child_or_die(child);
          for (int i = 0; i < kContexts / kHops; ++i) remote.start(at, local("leaf"), on_leaf, on_lost);
        },
        on_lost);
  root.loop().run();
  const double asked = now_us();
  root.end_all();
  times.gone = times.answered + now_us() - asked;
  return times;
}

Root::Times in_a_row_of_one() {
  std::vector<Recipe> recipes;
  for (int i = 0; i < kContexts; ++i) recipes.push_back(local("one of a thousand"));
  return Root().bring_up(std::move(recipes));
}

struct Taken {
  Samples answered, gone;
  void add(const Root::Times& times) {
    answered.add(times.answered);
    gone.add(times.gone);
    if (has_children(::getpid())) die("processes are left");
  }
};

std::string in_seconds(const Samples& samples) {
  return format("%.2f s (slowest %.2f)", samples.median() / 1e6, samples.quantile(1) / 1e6);
}

}  // namespace

void measure_tree_thousand() {
  Table table(
      "A thousand contexts of this machine",
      format(
          "Started all at once, each called when it is up, then told to leave and waited for; %d rounds. "
          "Beneath ten hops: ten children that start a hundred each. The peer is posix_spawn() of a static "
          "program that does nothing, a thousand times, waited for.",
          kRounds));
  allow_many_files();
  Taken wide, deep;
  Samples in_a_row, at_once;
  for (int round = 0; round < kRounds; ++round) {
    in_a_row.add(spawn_in_a_row_us(kStaticProgram, kContexts));
    at_once.add(spawn_at_once_us(kStaticProgram, kContexts));
    wide.add(in_a_row_of_one());
    deep.add(nested());
  }
  const std::string peer = in_seconds(in_a_row) + " one by one";
  for (const auto& [what, taken] : {std::pair{"children of the root", &wide}, {"beneath ten hops", &deep}}) {
    table.plain(format("%s, to the last one's first reply", what), in_seconds(taken->answered), peer,
                taken->answered.median() / in_a_row.median());
    table.within(format("%s, until all are gone", what), in_seconds(taken->gone),
                 in_seconds(at_once) + " all at once", taken->gone.median() / 1e6, "s", kSeconds);
  }
}

}  // namespace banyan::bench
